package suite

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/compare"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// rules are put together at random to profiles.
var rules = []string{"/srv/** r,", "/srv/** rw,", "/etc/** w,", "/** r,", "deny /srv/secret/** rwlx,", "owner /home/** rwk,",
	"/usr/bin/* ix,", "/usr/bin/a cx -> kid,", "/usr/bin/b ux,", "/usr/bin/c px -> p1,", "/usr/bin/d pix -> p2,", "capability chown,",
	"capability sys_admin,", "deny capability chown,", "change_profile -> p1,", "signal,", "ptrace (read),", "/links/** l,",
	"network inet,", "mount fstype=tmpfs,", "deny mount,", "file,"}

// compiled returns profiles p0, p1 and so on of random rules, and their blobs.
func compiled(t *testing.T, r *rand.Rand, n int) Policy {
	t.Helper()
	by := profiletest.Compiler(t, profiletest.Features())
	blobs := make(map[string][]byte)
	c := new(policy.Config)
	for i := 0; i < n; {
		name := fmt.Sprintf("p%d", i)
		var text strings.Builder
		fmt.Fprintf(&text, "abi <abi/3.0>,\nprofile %s {\n  signal (receive),\n", name)
		for range 1 + r.IntN(5) {
			text.WriteString("  " + rules[r.IntN(len(rules))] + "\n")
		}
		text.WriteString("  profile kid { /srv/** rw, signal (receive), }\n}\n")
		blob, err := by.Compile(t.Context(), name, profile.Mode(r.IntN(6)/5), name, []byte(text.String()))
		if err != nil {
			continue // x modifiers that conflict
		}
		i++
		blobs[name] = blob.Data
		c.Profiles = append(c.Profiles, policy.Profile{Name: name, Source: "profiles/" + name, Mode: blob.Profiles[0].Mode})
		c.Policies = append(c.Policies, policy.Policy{Name: name, Profile: name})
	}
	return Policy{
		Config: c,
		Blob:   func(name string) ([]byte, error) { return blobs[name], nil },
		Source: func(file string) string { return file },
	}
}

func suiteOf(t testing.TB, text string, p Policy) *policyfile.Suite {
	t.Helper()
	s, err := policyfile.ParseSuite("tests.yaml", []byte(text), p.Config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A floor that is in a label always passes, also if the profiles are compared and it is not only looked for among them.
func TestFloorInTheLabelPasses(t *testing.T) {
	n := 12
	if os.Getenv("OCI_APPARMOR_EVERYTHING") == "yes" {
		n = 24
	}
	p := compiled(t, rand.New(rand.NewPCG(2, 8)), n)
	s := newStacks(p)
	apart := 0
	for _, floor := range p.Config.Profiles {
		if floor.Mode != profile.Enforce { // floors are enforced
			continue
		}
		p.Config.Assignments = nil
		for _, other := range p.Config.Profiles {
			if other.Name == floor.Name {
				continue
			}
			p.Config.Assignments = append(p.Config.Assignments, policy.Assignment{File: "policy.yaml",
				Line: len(p.Config.Assignments) + 1, Namespace: []string{other.Name}, Policy: other.Name, Floor: floor.Name})
			both, err := s.of([]string{other.Name, floor.Name})
			if err != nil {
				t.Fatal(err)
			}
			base := compare.Side{Stack: both[1:]}
			if beyond, within, err := compare.Within(compare.Side{Stack: both}, base); err != nil || !within {
				t.Errorf("%s//&%s may do more than %[2]s: %+v, %v", other.Name, floor.Name, beyond, err)
			}
			if _, within, err := compare.Within(compare.Side{Stack: both[:1]}, base); err == nil && !within {
				apart++
			}
		}
		p.Config.Assignments = append(p.Config.Assignments, policy.Assignment{File: "policy.yaml", Line: 100, Policy: floor.Name})
		report, err := Execute(context.Background(), p, suiteOf(t, "floor: {every: "+floor.Name+"}\n", p), nil)
		if err != nil || !report.Passed() {
			t.Errorf("floor %s: %+v, %v", floor.Name, report, err)
		}
	}
	if apart < n*n/6 {
		t.Errorf("only %d pairs of profiles differ", apart)
	}
}

// What a never says of a policy is what its profiles decide: an access of its pattern, chosen at random, is denied under
// each label if it passes, and its witness is allowed if it fails.
func TestNeverIsWhatIsDecided(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 1))
	p := compiled(t, r, 24)
	for i, one := range p.Config.Profiles {
		p.Config.Assignments = append(p.Config.Assignments, policy.Assignment{File: "policy.yaml", Line: i + 1,
			Namespace: []string{one.Name}, Policy: one.Name})
	}
	p.Config.Assignments = append(p.Config.Assignments, policy.Assignment{File: "policy.yaml", Line: 100, Policy: "p0"})
	s := newStacks(p)
	patterns := map[string]func() meaning.Access{
		"w /srv/**": func() meaning.Access {
			return meaning.FileAccess{Path: fmt.Sprintf("/srv/%c/%c", 'a'+r.IntN(26), 'a'+r.IntN(26)), Want: meaning.MayWrite, Owner: r.IntN(2) == 0}
		},
		"w /srv/secret/x": func() meaning.Access { return meaning.FileAccess{Path: "/srv/secret/x", Want: meaning.MayWrite} },
		"r /etc/*": func() meaning.Access {
			return meaning.FileAccess{Path: "/etc/" + string(rune('a'+r.IntN(26))), Want: meaning.MayRead}
		},
		"capability sys_admin": func() meaning.Access { return meaning.CapabilityAccess(21) },
	}
	free, bound, moved := 0, 0, 0
	for _, text := range slices.Sorted(maps.Keys(patterns)) {
		report, err := Execute(context.Background(), p, suiteOf(t, "never: [{allow: "+text+"}]\n", p), nil)
		if err != nil {
			t.Fatal(err)
		}
		failed := make(map[string]Failure)
		for _, f := range report.Results[0].Failed {
			failed[f.Label] = f
		}
		for _, one := range p.Config.Profiles {
			stack, err := s.of([]string{one.Name})
			if err != nil {
				t.Fatal(err)
			}
			f, fails := failed[one.Name]
			switch {
			case !fails:
				bound++
				for range 50 {
					if a := patterns[text](); stack.Decide(a).Allowed {
						t.Errorf("%s allows %s, and never %s passes", one.Name, access.Format(a), text)
					}
				}
			case f.Unknown:
			case f.After != "":
				moved++
				first, err := access.Parse(strings.Split(f.After, ", ")[0])
				if err != nil {
					t.Fatal(err)
				}
				if _, can, err := first.Allowed(stack); err != nil || !can {
					t.Errorf("%s does not allow %s, after which it is to allow %s: %v", one.Name, f.After, f.Witness, err)
				}
			default:
				free++
				witness, err := access.Parse(f.Witness)
				if err != nil {
					t.Fatal(err)
				}
				if a, denied, err := witness.Denied(stack); err != nil || denied {
					t.Errorf("%s denies %s, which is to show that it allows %s: %v", one.Name, access.Format(a), text, err)
				}
			}
		}
	}
	t.Logf("%d labels are free, %d after a move, and %d bound", free, moved, bound)
	if free < 5 || bound < 5 || moved < 5 {
		t.Errorf("%d labels are free, %d after a move, and %d bound", free, moved, bound)
	}
}

// A test that passes notes with which kernels it would not, and one that fails tells the kernels with which it would pass.
func TestAssertionsHangOnKernels(t *testing.T) {
	by := profiletest.Compiler(t, profiletest.Features())
	blob, err := by.Compile(t.Context(), "web", profile.Enforce, "web", []byte("abi <abi/3.0>,\nprofile web { /srv/** r, mount fstype=proc, signal (receive), }\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := Policy{
		Config: &policy.Config{Profiles: []policy.Profile{{Name: "web", Source: "profiles/web"}}, Policies: []policy.Policy{{Name: "web", Profile: "web"}},
			Assignments: []policy.Assignment{{File: "policy.yaml", Line: 1, Policy: "web"}}},
		Blob:   func(string) ([]byte, error) { return blob.Data, nil },
		Source: func(file string) string { return file },
	}
	report, err := Execute(context.Background(), p, suiteOf(t, `tests:
  - container: {namespace: a}
    deny: [w /srv/x, mount options=move -> /mnt/]
  - container: {namespace: a}
    allow: [mount options=move -> /mnt/]
never:
  - allow: [mount options=move -> /mnt/]
`, p), nil)
	if err != nil {
		t.Fatal(err)
	}
	const kernels = "allowed by Linux before 6.7 without a fix of 2023 (157a3537d6bc), which asks about mount(2) alone, and move_mount(2) can do the same"
	const note = "mount options=move -> /mnt/: mount options=move / -> /mnt/ is " + kernels
	for i, one := range report.Results {
		failed := i == 1
		switch {
		case failed != (len(one.Failed) > 0):
			t.Errorf("%s: %+v", one.Name, one.Failed)
		case failed && !slices.Equal(one.Failed[0].Kernels, []string{kernels}):
			t.Errorf("%s: %q", one.Name, one.Failed[0].Kernels)
		case !failed && !slices.Contains(one.Notes, note):
			t.Errorf("%s: %q", one.Name, one.Notes)
		}
	}
}
