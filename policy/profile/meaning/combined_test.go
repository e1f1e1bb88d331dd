package meaning_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// compared has profiles of which some allow more than others.
var compared = func() string {
	text := "abi <abi/3.0>,\n"
	for name, rules := range map[string]string{
		"nothing":   "",
		"reads":     "/srv/** r,",
		"globs":     "/srv/{a,b}* r, /srv/[c-e]/** r,",
		"writes":    "/srv/** rw,",
		"owns":      "owner /srv/** rw, /srv/** r,",
		"careful":   "/srv/** rw, deny /srv/secret/** w,",
		"runs":      "/srv/** r, /usr/bin/* ix,",
		"frees":     "/srv/** r, /usr/bin/* ux,",
		"names":     "/srv/** r, /usr/bin/* px -> runs,",
		"kid":       "/srv/** r, /usr/bin/* cx -> kid, profile kid { }",
		"caps":      "/srv/** r, capability chown,",
		"signals":   "/srv/** r, signal (receive) peer=unconfined,",
		"signals-2": "/srv/** r, signal (receive) set=(term,kill) peer=unconfined,",
		"traces":    "/srv/** r, ptrace (read) peer=a*,",
		"nets":      "/srv/** r, network inet stream,",
		"nets-2":    "/srv/** r, network inet,",
		"mounts":    "/srv/** r, mount fstype=tmpfs -> /mnt/**, umount /mnt/**,",
		"mounts-2":  "/srv/** r, mount -> /mnt/**, umount,",
		"links":     "/srv/** rwl, link /srv/a -> /srv/b,",
		"changes":   "/srv/** r, change_profile -> reads,",
		"all":       "file, capability, network, mount, umount, pivot_root, signal, ptrace, change_profile,",
	} {
		text += fmt.Sprintf("profile %s { %s }\n", name, rules)
	}
	return text + "profile learns flags=(complain) { /srv/** r, deny /srv/secret/** w, }\nprofile free flags=(unconfined) { }\n"
}()

// Where a profile deviates from what others allow together, the shortest example is shown, and what is within it is told.
func TestDeviation(t *testing.T) {
	p := parse(t, compared)
	for _, test := range []struct {
		profile, others string // an "&" stands for all of the others
		deviation       string // the beginning of it, and empty where there is none
		within          bool   // all that the profile allows is allowed by the others
	}{
		{"nothing", "reads", "less 2 \"/srv/a\" 4", true},
		{"reads", "nothing", "more 2 \"/srv/a\" 4", false},
		{"reads", "writes", "less 2 \"/srv/a\"", true},
		{"globs", "reads", "less 2 \"/srv/c\" 4", true},
		{"writes", "reads", "more 2 \"/srv/a\"", false},
		{"owns", "writes", "less 2 \"/srv/a\"", true},
		{"careful", "writes", "less 2 \"/srv/secret/a\"", true},
		{"runs", "reads", "more 2 \"/usr/bin/a\" 1", false},
		{"runs", "frees", "more 2 \"/usr/bin/a\" 1", false},
		{"names", "runs", "less 2 \"/usr/bin/a\" 10000", false},
		{"runs", "runs", "", true},
		{"kid", "kid", "", true},
		{"caps", "reads", "more 3 \"\\x00\" 1", false},
		{"signals-2", "signals", "less 10", true},
		{"traces", "reads", "more 16 \"\\ta\"", false},
		{"nets", "nets-2", "less 14", true},
		{"mounts", "mounts-2", "less 7", true},
		{"links", "writes", "more 2 \"/srv/a\\x00/a\"", false},
		{"changes", "reads", "more 2 \"/proc/a/attr/exec\"", false},
		{"reads", "all", "less 3", true},
		{"all", "all", "", true},
		{"free", "learns", "more 2 \"/srv/secret/a\"", false},
		{"learns", "reads", "more 3", false},
		// What one of several allows, and what all of them do.
		{"writes", "writes reads", "", true},
		{"writes", "careful reads", "more 2 \"/srv/secret/a\"", false},
		{"reads", "& writes reads", "", true},
		{"reads", "& writes careful", "less 2 \"/srv/a\"", true},
		{"runs", "runs reads", "", true},
		{"reads", "& runs reads", "", true},
		{"runs", "& runs reads", "more 2 \"/usr/bin/a\" 1", false},
		{"runs", "frees runs", "more 2 \"/usr/bin/a\" 1", false},
		{"reads", "& free reads", "", true},
	} {
		c := combinationOf(p, test.others)
		d, found, err := c.Deviation(p[test.profile])
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if found {
			got = fmt.Sprintf("%s %d %q %x", map[bool]string{true: "more", false: "less"}[d.More], d.Class, d.Key, d.Perms)
		}
		if found != (test.deviation != "") || !strings.HasPrefix(got, test.deviation) {
			t.Errorf("%s, and %s: %s, want %q", test.profile, test.others, got, test.deviation)
		}
		if p[test.profile].Mode != Enforce { // as a rule's is
			continue
		}
		rule, err := NewRule(p[test.profile], ^uint32(0))
		if err != nil {
			t.Fatal(err)
		}
		if j, err := c.Judge(rule); err != nil || j.Within != test.within {
			t.Errorf("%s within %s: %v, %v", test.profile, test.others, j.Within, err)
		}
	}
}

func combinationOf(p map[string]*Profile, names string) (c Combination) {
	names, c.All = strings.CutPrefix(names, "&")
	c.Profiles = stackOf(p, names)
	return c
}

func stackOf(p map[string]*Profile, names string) (s Stack) {
	for _, name := range strings.Fields(names) {
		s = append(s, p[name])
	}
	return s
}

// What is said of combinations agrees with answers to random questions, and what is shown is so.
func TestDeviationAgreesWithQuery(t *testing.T) {
	p := parse(t, compared)
	var names []string
	for name := range p {
		if !strings.Contains(name, "//") {
			names = append(names, name)
		}
	}
	random := rand.New(rand.NewPCG(1, 3))
	of := func(list ...string) string { return list[random.IntN(len(list))] }
	path := func() string {
		return of("/srv", "/usr/bin", "/mnt", "/x") + of("", "/", "/a", "/b/c", "/secret/x", "/f", "/d/e")
	}
	question := func() (Class, string) {
		switch random.IntN(6) {
		case 0:
			return Signals, of("\x0f", "\x09", "\x01") + of("unconfined", "a", "x")
		case 1:
			return Label, "\x09" + of("a", "ab", "x", "unconfined")
		case 2:
			return Net, of("\x00\x02\x00\x01", "\x00\x02\x00\x02", "\x00\x0a\x00\x01", "\x00\x02")
		case 3:
			return Mount, path() + "\x00" + of("x", "") + "\x00" + of("tmpfs", "proc", "") + "\x00" + of("", "\x02")
		}
		return File, of(path(), path(), path()+"\x00"+path(), of("reads", "x"))
	}
	const asked = MayExec | MayWrite | MayRead | MayAppend | MayChangeProfile
	allows := func(p *Profile, c Class, key string, owner bool) uint32 {
		answer, _ := p.Query(c, key)
		if !owner {
			answer, _ = p.QueryOther(c, key)
		}
		if c == Label && !p.Mediates(Label) && p.Mediates(PTrace) { // and so has no rule that allows any
			answer = Perms{}
		}
		if p.Mode == Complain {
			answer.Allow |= ^answer.Quiet
		}
		return answer.Allow
	}
	for range 300 {
		one := p[of(names...)]
		c := combinationOf(p, of("", "&")+" "+of(names...)+" "+of("", "", of(names...)))
		d, found, err := c.Deviation(one)
		if err != nil {
			t.Fatal(err)
		}
		together := func(class Class, key string, owner bool) uint32 {
			perms := allows(c.Profiles[0], class, key, owner)
			for _, p := range c.Profiles[1:] {
				if more := allows(p, class, key, owner); c.All {
					perms &= more
				} else {
					perms |= more
				}
			}
			return perms
		}
		if found && d.Class != Capabilities && d.Perms&^(MayExec|MayLink|MayOnExec|LinkFree|EnvironmentKept) != 0 { // whose answers come from more than one key
			more, less := allows(one, d.Class, d.Key, d.Owner), together(d.Class, d.Key, d.Owner)
			if !d.More {
				more, less = less, more
			}
			if more&d.Perms != d.Perms || less&d.Perms != 0 {
				t.Fatalf("%+v: %x of %x", d, more, less)
			}
		}
		for range 100 {
			class, key := question()
			owner := random.IntN(2) == 0
			if differ := (allows(one, class, key, owner) ^ together(class, key, owner)) & asked; !found && differ != 0 {
				t.Fatalf("%s and %d profiles (all: %v) allow the same, but for %d %q %x differs", one.Name, len(c.Profiles), c.All, class, key, differ)
			}
		}
	}
}

// A program that two profiles have go on in two ways goes on in no way that is both.
func TestConflict(t *testing.T) {
	p := parse(t, compared)
	for others, path := range map[string]string{"runs reads": "", "runs frees": "/usr/bin/a", "& runs frees": "/usr/bin/a", "& runs reads": "",
		"names kid reads": "/usr/bin/a"} {
		conflict, found, err := combinationOf(p, others).Conflict()
		if err != nil || conflict.Key != path || found != (path != "") {
			t.Errorf("%s: %+v, %v, %v", others, conflict, found, err)
		}
	}
}

// What a profile lacks of what another one allows and a third one does not.
func TestLacks(t *testing.T) {
	p := parse(t, compared)
	for _, test := range []struct {
		full, less, of string
		lacks          bool
	}{
		{"writes", "careful", "writes", false},
		{"writes", "careful", "reads", true},
		{"writes", "careful", "all", false},
		{"writes", "careful", "careful", true},
		{"caps", "reads", "all", false},
		{"caps", "reads", "reads", true},
		{"links", "writes", "links", false},
		{"links", "writes", "writes", true},
		{"changes", "reads", "all", false},
		{"changes", "reads", "links", true},
		{"signals", "signals-2", "all", false},
		{"signals", "signals-2", "reads", true},
		{"reads", "reads", "nothing", false},
		{"free", "reads", "nothing", true},
	} {
		if lacks, err := p[test.of].Lacks(p[test.full], p[test.less]); err != nil || lacks != test.lacks {
			t.Errorf("%+v: %v, %v", test, lacks, err)
		}
	}
}

func TestFind(t *testing.T) {
	p := parse(t, compared)
	for _, test := range []struct {
		stack string
		class Class
		want  uint32
		owner bool
		globs []string
		key   string // empty where there is none
	}{
		{"writes", File, MayWrite, false, []string{"/srv/secret/**"}, "/srv/secret/a"},
		{"careful", File, MayWrite, false, []string{"/srv/secret/**"}, ""},
		{"careful", File, MayRead, false, []string{"/srv/secret/**"}, "/srv/secret/a"},
		{"owns", File, MayWrite, false, []string{"/**"}, ""},
		{"owns", File, MayWrite, true, []string{"/**"}, "/srv/a"},
		{"writes reads", File, MayWrite, true, []string{"/**"}, ""},
		{"writes careful", File, MayWrite, true, []string{"/srv/secret/**", "/srv/x/*", "/srv/?"}, "/srv/a"},
		{"free", File, MayWrite, true, []string{"/proc/sysrq-trigger"}, "/proc/sysrq-trigger"},
		{"learns", File, MayWrite, true, []string{"/proc/sysrq-trigger"}, "/proc/sysrq-trigger"},
		{"learns", File, MayWrite, true, []string{"/srv/secret/*"}, ""},
		{"all", File, MayWrite, true, nil, ""},
	} {
		key, found, err := stackOf(p, test.stack).Find(test.class, test.want, test.owner, test.globs...)
		if err != nil || key != test.key || found != (key != "") {
			t.Errorf("%+v: %q, %v, %v", test, key, found, err)
		}
	}
	if _, _, err := stackOf(p, "all").Find(File, MayRead, false, "{"); err == nil {
		t.Error("half a pattern is taken")
	}
}
