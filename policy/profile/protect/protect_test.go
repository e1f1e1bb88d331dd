package protect

import (
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// Each line of each protection can be read, and says something of a rule that allows what it is about.
func TestProtections(t *testing.T) {
	// Some are about what the features of this kernel do not mediate.
	const unmediated = "userns io_uring dbus"
	compiled, err := meaning.Read(profiletest.Several(t, "abi <abi/3.0>,\nprofile all { file, capability, network, mount, remount, umount, pivot_root, "+
		"signal, ptrace, change_profile, }\nprofile none { deny /oci-apparmor/no/file r, }\nprofile free { /** ux, }\n"))
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]*meaning.Profile)
	for _, p := range compiled {
		named[p.Name] = p
	}
	for _, w := range table() {
		for _, line := range w.lines {
			pattern, err := access.Parse(line)
			if err != nil {
				t.Errorf("%s: %v", line, err)
				continue
			}
			one := Protection{written: w, patterns: []access.Pattern{pattern}, kinds: []string{kindOf(line)}}
			given, err := one.GivenBy(line, named["all"], named["none"], "all")
			if strings.HasPrefix(line, "ux") || strings.HasPrefix(line, "x") {
				given, err = one.GivenBy(line, named["free"], named["none"], "free")
			}
			word, _, _ := strings.Cut(line, " ")
			if want := !slices.Contains(strings.Fields(unmediated), word); err != nil || given != want {
				t.Errorf("%s: given up by a profile that allows everything: %v, want %v: %v", line, given, want, err)
			}
		}
	}
}

// A rule that allows what Docker's profile denies says that it gives something up.
func TestEachDenyOfDockersProfileIsProtected(t *testing.T) {
	t.Parallel()
	c := profiletest.Compiler(t, profiletest.Features())
	text, err := templates.Text("docker-default", "docker-default", templates.Target{})
	if err != nil {
		t.Fatal(err)
	}
	read, count := syntax.Read(string(text)), 0
	for _, b := range read.Blocks {
		for _, rule := range b.Rules {
			if !rule.Deny {
				continue
			}
			count++
			alone, _ := Alone(read.Head(), []string{allowing(read.Source(rule))})
			data, err := c.CompileSeveral(t.Context(), "docker-default", []byte(alone))
			if err != nil {
				t.Fatal(err)
			}
			each, err := meaning.ReadFor(data, c)
			if err != nil {
				t.Fatal(err)
			}
			given := false
			for _, p := range All() {
				is, err := p.GivenBy(strings.Join(rule.Words, " "), each[0], each[1], b.Name)
				if err != nil {
					t.Fatal(err)
				}
				given = given || is
			}
			if !given {
				t.Errorf("no protection is given up by %s", rule.Text)
			}
		}
	}
	if count < 15 {
		t.Errorf("the template has %d rules that deny", count)
	}
}

// allowing returns a rule that allows what another one denies.
func allowing(deny string) string {
	text := strings.TrimPrefix(deny, "deny ")
	for _, x := range []string{" wklx", " wkx", " rwklx"} {
		text = strings.Replace(text, x, strings.Replace(x, "x", "ix", 1), 1)
	}
	return text
}
