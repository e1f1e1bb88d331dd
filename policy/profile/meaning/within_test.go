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

func TestWithin(t *testing.T) {
	p := parse(t, compared)
	for _, test := range []struct{ a, b, excess string }{ // excess is empty where a is within b
		{"nothing", "reads", ""},
		{"reads", "nothing", "2 \"/srv/a\" 4"},
		{"reads", "writes", ""},
		{"globs", "reads", ""},
		{"reads", "globs", "2 \"/srv/c\" 4"},
		{"writes", "reads", "2 \"/srv/a\""},
		{"owns", "writes", ""},
		{"writes", "owns", "2 \"/srv/a\""},
		{"careful", "writes", ""},
		{"writes", "careful", "2 \"/srv/secret/a\""},
		{"runs", "reads", "2 \"/usr/bin/a\" 1"},
		{"runs", "frees", "2 \"/usr/bin/a\" 1"},
		{"frees", "runs", "2 \"/usr/bin/a\" 1"},
		{"names", "runs", "2 \"/usr/bin/a\" 1"},
		{"runs", "runs", ""},
		{"kid", "kid", ""},
		{"caps", "reads", "3 \"\\x00\" 1"},
		{"reads", "caps", ""},
		{"signals-2", "signals", ""},
		{"signals", "signals-2", "10"},
		{"traces", "reads", "16 \"\\ta\""},
		{"nets", "nets-2", ""},
		{"nets-2", "nets", "14"},
		{"mounts", "mounts-2", ""},
		{"mounts-2", "mounts", "7"},
		{"links", "writes", "2 \"/srv/a\""},
		{"changes", "reads", "2 \"/proc/a/attr/exec\""},
		{"reads", "all", ""},
		{"all", "reads", "3"},
		{"all", "all", ""},
		{"learns", "free", ""},
		{"free", "learns", "2 \"/srv/secret/a\""},
		{"learns", "reads", "3"},
		{"reads", "learns", ""},
		// Parts of a stack, with a blank between them.
		{"writes reads", "reads", ""},
		{"writes reads", "writes", ""},
		{"writes careful", "reads", "2 \"/srv/a\""},
		{"reads", "writes reads", ""},
		{"writes", "writes reads", "2 \"/srv/a\""},
		{"runs reads", "reads", ""},
		{"frees runs", "runs", ""},
		{"frees runs", "frees", ""},
		{"runs", "frees runs", "2 \"/usr/bin/a\" 1"},
		{"free reads", "reads", ""},
	} {
		got, within, err := stackOf(p, test.a).Within(stackOf(p, test.b))
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		if !within {
			text = fmt.Sprintf("%d %q %x", got.Class, got.Key, got.Perms)
		}
		if within != (test.excess == "") || !strings.HasPrefix(text, test.excess) {
			t.Errorf("%s within %s: %s, want %q", test.a, test.b, text, test.excess)
		}
	}
}

func stackOf(p map[string]*Profile, names string) (s Stack) {
	for _, name := range strings.Fields(names) {
		s = append(s, p[name])
	}
	return s
}

// What Within says agrees with answers to random questions, and what it shows is so.
func TestWithinAgreesWithQuery(t *testing.T) {
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
	const asked = MayExec | MayWrite | MayRead | MayAppend | MayLink | MayChangeProfile
	for range 300 {
		a := stackOf(p, of(names...)+" "+of("", "", of(names...)))
		b := stackOf(p, of(names...)+" "+of("", "", of(names...)))
		excess, within, err := a.Within(b)
		if err != nil {
			t.Fatal(err)
		}
		allows := func(s Stack, c Class, key string, owner bool) (perms uint32) {
			perms = ^uint32(0)
			for _, p := range s {
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
				perms &= answer.Allow
			}
			return perms
		}
		if !within && excess.Class != Capabilities && excess.Perms != MayExec {
			mine := allows(a, excess.Class, excess.Key, excess.Owner)
			theirs := allows(b, excess.Class, excess.Key, excess.Owner)
			if excess.Perms == 0 || mine&excess.Perms != excess.Perms || theirs&excess.Perms != 0 {
				t.Fatalf("%+v: %x of %x", excess, mine, theirs)
			}
		}
		for range 100 {
			class, key := question()
			owner := random.IntN(2) == 0
			if more := allows(a, class, key, owner) &^ allows(b, class, key, owner) & asked; within && more != 0 {
				t.Fatalf("%s is within %s, but for %d %q it has %x", a[0].Name, b[0].Name, class, key, more)
			}
		}
	}
	for name, profile := range p {
		s := Stack{profile}
		if _, within, err := s.Within(s); !within || err != nil {
			t.Errorf("%s is not within itself: %v", name, err)
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
