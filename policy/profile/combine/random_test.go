package combine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/combine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// profileOf compiles a text and returns its profile.
func profileOf(t testing.TB, text []byte) *meaning.Profile {
	t.Helper()
	blob, err := profiletest.Compiler(t, profiletest.Features()).CompileText(t.Context(), "text", text)
	if err != nil {
		t.Fatal(fmt.Errorf("%w\n%s", err, text))
	}
	all, err := meaning.Read(blob.Data)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// asker makes accesses that have to do with what texts say, each of one permission.
type asker struct {
	*rand.Rand
	paths, labels []string
}

func newAsker(seed uint64, sources ...Source) *asker {
	a := asker{Rand: rand.New(rand.NewPCG(5, seed))}
	a.paths = []string{"/", "/etc/shadow", "/proc/1/mem", "/srv/a/b", "/home/x/.Private/x", "/home/x/.Private/y", "/sys/fs/cgroup/x"}
	a.labels = []string{"unconfined", "runc", "x", "a", "ab", "b", "docker-default", "kid"}
	word := regexp.MustCompile(`[/@][^\s,"]*[^\s,"]`)
	for _, s := range sources {
		a.paths = append(a.paths, word.FindAllString(string(s.Text), -1)...)
	}
	return &a
}

func (a *asker) of(list ...string) string { return list[a.IntN(len(list))] }

var globPart = regexp.MustCompile(`\*+|\?|\[[^]]*\]|@\{[^}]*\}|\{[^{}]*\}`)

// path returns what a pattern of the texts may match, and often with something changed.
func (a *asker) path() string {
	path := a.of(a.paths...)
	for range 5 {
		path = globPart.ReplaceAllStringFunc(path, func(part string) string {
			switch {
			case strings.HasPrefix(part, "@{PROC"):
				return "/proc"
			case strings.HasPrefix(part, "@{"):
				return a.of("/root", "7", "/run", "x")
			case strings.HasPrefix(part, "{"):
				return a.of(strings.Split(strings.Trim(part, "{}"), ",")...)
			case strings.HasPrefix(part, "["):
				return string([]byte{part[1+a.IntN(len(part)-2)]})
			}
			return a.of("a", "0", "b/c", ".x", "ab", "x.so")
		})
	}
	switch at := a.IntN(len(path) + 1); a.IntN(5) {
	case 0:
		path = path[:at]
	case 1:
		path = path[:at] + a.of("a", "/", "x", ".so", "b") + path[at:]
	}
	path = "/" + path
	for strings.Contains(path, "//") { // which no path has
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// label returns the label of a profile, of a child or of a stack of two.
func (a *asker) label() string {
	one := func() string {
		return a.of(a.of(a.labels...), a.of(a.labels...)+"//"+a.of("a", "b", "kid"), a.path(), a.path()+"//b")
	}
	if a.IntN(3) == 0 {
		return one() + "//&" + one()
	}
	return one()
}

func one(a *asker, permissions ...uint32) uint32 { return permissions[a.IntN(len(permissions))] }

func (a *asker) access() meaning.Access {
	switch a.IntN(13) {
	default:
		return meaning.FileAccess{Path: a.path(), Owner: a.IntN(2) == 0, Want: one(a, meaning.MayRead, meaning.MayWrite, meaning.MayAppend,
			meaning.MayCreate, meaning.MayDelete, meaning.MayLock, meaning.MayMmapExec)}
	case 0:
		return meaning.ExecAccess{Path: a.path(), Owner: a.IntN(2) == 0}
	case 1:
		return meaning.CapabilityAccess(a.IntN(41))
	case 2:
		return meaning.SocketAccess{Family: uint16(1 + a.IntN(20)), Type: uint16(1 + a.IntN(5)), Want: meaning.MayCreate}
	case 3:
		return meaning.SignalAccess{Want: one(a, meaning.MayRead, meaning.MayWrite), Signal: meaning.Signal(1 + a.IntN(35)), Peer: a.of(a.labels...)}
	case 4:
		return meaning.PtraceAccess{Want: one(a, meaning.MayRead, meaning.MayWrite, meaning.MayAppend, meaning.MayCreate), Peer: a.of(a.labels...)}
	case 5:
		return meaning.MountAccess{Source: a.of("x", a.path()), Target: a.path(), Type: a.of("tmpfs", "proc", "ext4"), Flags: uint32(a.IntN(1 << 13))}
	case 6:
		return meaning.UmountAccess{Target: a.path()}
	case 7:
		return meaning.PivotRootAccess{New: a.path(), Old: a.path()}
	case 8:
		change := meaning.ChangeProfileAccess{Label: a.label(), Stack: a.IntN(3) == 0}
		if a.IntN(2) == 0 { // without a program, it is the first half of a change
			change.OnExec, change.Program, change.Owner = true, a.path(), a.IntN(2) == 0
		}
		return change
	case 9:
		return meaning.RlimitAccess{Resource: a.IntN(16), Hard: uint64(a.IntN(30))}
	}
}

// combines checks what is made of two texts against the evaluator. It reports whether something is.
func combines(t *testing.T, seed uint64, a, b Source) (merged, intersected bool) {
	t.Helper()
	pa, pb := profileOf(t, a.Text), profileOf(t, b.Text)
	// What two keys decide together may differ: see meaning.Combination.
	for _, all := range []bool{false, true} {
		make := merging(t)
		if all {
			make = intersecting(t)
		}
		text, err := make(a, b)
		if unsayable := (*Unsayable)(nil); errors.As(err, &unsayable) {
			continue
		}
		if err != nil {
			t.Errorf("all %v: %v, of\n%s\n%s", all, err, a.Text, b.Text)
			continue
		}
		p := profileOf(t, []byte(text))
		ask := newAsker(seed, a, b)
		for range 2000 {
			access := ask.access()
			one, other := pa.Decide(access).Allowed, pb.Decide(access).Allowed
			want := one || other
			if all {
				want = one && other
				if stack := (meaning.Stack{pa, pb}).Decide(access).Allowed; stack != want {
					t.Fatalf("a stack answers %v", stack)
				}
			}
			if change, ok := access.(meaning.ChangeProfileAccess); ok && strings.Contains(change.Label, "//&") && want == all {
				continue // of a stack, each part may be allowed by another profile
			}
			if got := p.Decide(access).Allowed; got != want {
				t.Fatalf("all %v: %+v: %v, want %v, by\n%s\nof\n%s\n%s", all, access, got, want, text, a.Text, b.Text)
			}
		}
		// A is within what both allow together, and what both allow is within A.
		for _, part := range []*meaning.Profile{pa, pb} {
			less, more := part, p
			if all {
				less, more = more, less
			}
			rule, err := meaning.NewRule(less, ^uint32(0))
			if err != nil {
				t.Fatal(err)
			}
			if j, err := (meaning.Combination{Profiles: []*meaning.Profile{more}}).Judge(rule); err != nil || !j.Within {
				t.Errorf("all %v: %s within %s: %v, %v\n%s", all, less.Name, more.Name, j.Within, err, text)
			}
		}
		merged, intersected = merged || !all, intersected || all
	}
	return merged, intersected
}

// everything says that nothing is left out.
var everything = os.Getenv("OCI_APPARMOR_EVERYTHING") == "yes"

// generator writes random profiles.
type generator struct{ *rand.Rand }

func (g generator) of(list ...string) string { return list[g.IntN(len(list))] }

func (g generator) glob() string {
	glob := ""
	for range 1 + g.IntN(3) {
		glob += "/" + g.of("a", "b", "srv", "*", "**", "a*", "?", "[ab]", "[^a]", "{a,b}", "*b", "{,c}d")
	}
	return glob + g.of("", "", "/")
}

func (g generator) rule() string {
	before := g.of("", "", "", "deny ", "audit ")
	label := g.of("a", "b*", "unconfined", "{a,b}", "*")
	switch n := g.IntN(16); {
	case n < 8:
		return before + g.of("", "", "owner ") + g.glob() + " " + g.of("r", "w", "rw", "a", "rk", "mr", "rwl") + ","
	case n < 9:
		return g.of("link ", "link subset ") + g.glob() + " -> " + g.glob() + ","
	case n < 11:
		return before + "signal " + g.of("", "(send)", "(receive)") + g.of("", " set=(kill)", " set=(kill hup)") + g.of("", " peer="+label) + ","
	case n < 12:
		return before + "ptrace " + g.of("", "(read)", "(trace tracedby)") + g.of("", " peer="+label) + ","
	case n < 13:
		return before + "network " + g.of("inet", "inet6", "inet stream", "unix dgram", "raw") + ","
	case n < 14:
		return before + "capability " + g.of("chown", "sys_admin", "kill") + ","
	case n < 15:
		return before + g.of("mount "+g.glob()+" -> "+g.glob()+",", "mount fstype="+g.of("tmpfs", "proc")+" -> "+g.glob()+",",
			"umount "+g.glob()+",", "mount options in (ro,nosuid) "+g.glob()+" -> "+g.glob()+",", "mount options in (ro) fstype=tmpfs,",
			"mount options=(ro,bind) -> "+g.glob()+",")
	}
	return g.change()
}

// change returns a rule about changes to profiles, children and stacks, at once or with a program.
func (g generator) change() string {
	return "change_profile " + g.of("", "", g.glob(), "/run1/*", "/run1/a") + " -> " + g.of("", "", "&") +
		g.of("a", "b*", "{a,b}", "a//b", "*//b", "a//{b,kid}", "a//&b", "/srv/a", "/srv/*", "/srv/*//b", "/srv/a//b") + ","
}

func (g generator) source(name string) Source {
	var rules []string
	for i, way := range []string{"ix", "px -> a", "cx"} {
		if g.IntN(20) == 0 {
			way = g.of("ix", "ux")
		}
		if g.IntN(2) == 0 {
			rules = append(rules, fmt.Sprintf("/run%d/%s r%s,", i, g.of("a", "*", "{a,b}"), way))
		}
	}
	for range 2 + g.IntN(8) {
		rules = append(rules, g.rule())
	}
	return source(name, strings.Join(rules, "\n"))
}

func TestRandomProfiles(t *testing.T) {
	t.Parallel()
	merged, intersected := 0, 0
	n := 12
	if everything {
		n = 300
	}
	for i := range n {
		g := generator{rand.New(rand.NewPCG(4, uint64(i)))}
		m, both := combines(t, uint64(i), g.source("a"), g.source("b"))
		if m {
			merged++
		}
		if both {
			intersected++
		}
	}
	t.Logf("of %d, %d were merged and %d intersected", n, merged, intersected)
	if merged < n/3 || intersected < n*2/3 {
		t.Errorf("of %d, only %d were merged and %d intersected", n, merged, intersected)
	}
}

// Changes of the profile to children and stacks, with programs and without, are combined as the evaluator has them.
func TestRandomChanges(t *testing.T) {
	t.Parallel()
	merged, intersected := 0, 0
	n := 5
	if everything {
		n = 300
	}
	for i := range n {
		g := generator{rand.New(rand.NewPCG(6, uint64(i)))}
		some := func(name string) Source {
			rules := []string{"change_profile /none -> none,"} // with which both may write what each change needs
			for range 1 + g.IntN(3) {
				rules = append(rules, g.change())
			}
			return source(name, strings.Join(rules, "\n"))
		}
		m, both := combines(t, uint64(i), some("a"), some("b"))
		if m {
			merged++
		}
		if both {
			intersected++
		}
	}
	t.Logf("of %d, %d were merged and %d intersected", n, merged, intersected)
	if merged < n*2/3 || intersected < n*2/3 {
		t.Errorf("of %d, only %d were merged and %d intersected", n, merged, intersected)
	}
}

// Of what is in use: docker-default, pages about nginx, and AppArmor's own abstractions.
func TestProfilesInUse(t *testing.T) {
	t.Parallel()
	var all []Source
	for _, name := range templates.Names() {
		text, err := templates.Text(name, name, templates.Target{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Source{name, text})
	}
	for _, file := range []string{"../../../integration/testdata/docker-nginx", "../../../integration/testdata/docker-nginx-today"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Source{filepath.Base(file), text})
	}
	for _, name := range []string{"base", "nameservice", "ssl_certs"} {
		all = append(all, Source{name, []byte("abi <abi/3.0>,\ninclude <tunables/global>\nprofile " + name +
			" flags=(attach_disconnected,mediate_deleted) {\n  include <abstractions/" + name + ">\n}\n")})
	}
	wanted := []string{"docker-default or docker-default", "docker-default or docker-nginx", "docker-default and docker-nginx",
		"base or nameservice", "base and nameservice"}
	if everything {
		wanted = append(wanted, "docker-default and docker-nginx-today", "docker-nginx and base")
	}
	var done []string
	for i, a := range all {
		for j, b := range all[i:] {
			if !everything && !slices.Contains(wanted, a.Name+" and "+b.Name) && !slices.Contains(wanted, a.Name+" or "+b.Name) {
				continue
			}
			merged, intersected := combines(t, uint64(i*100+j), a, b)
			if merged {
				done = append(done, a.Name+" or "+b.Name)
			}
			if intersected {
				done = append(done, a.Name+" and "+b.Name)
			}
			if a.Name == b.Name && (!merged || !intersected) {
				t.Errorf("%s with itself: %v, %v", a.Name, merged, intersected)
			}
		}
	}
	t.Logf("%d are combined: %s", len(done), strings.Join(done, ", "))
	for _, want := range wanted {
		if !slices.Contains(done, want) {
			t.Errorf("%s is not combined", want)
		}
	}
}
