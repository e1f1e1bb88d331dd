package suite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// policyOf compiles profiles of these rules, each with a policy of its name. Containers get the first one, and the floors of
// the label if it has several parts.
func policyOf(t *testing.T, label string, rules map[string]string) Policy {
	t.Helper()
	by := profiletest.Compiler(t, profiletest.Features())
	blobs := make(map[string][]byte)
	c := new(policy.Config)
	for name, text := range rules {
		blob, err := by.Compile(t.Context(), name, profile.Enforce, name,
			[]byte(fmt.Sprintf("abi <abi/3.0>,\nprofile %s {\n  signal (receive),\n%s\n}\n", name, text)))
		if err != nil {
			t.Fatal(err)
		}
		blobs[name] = blob.Data
		c.Profiles = append(c.Profiles, policy.Profile{Name: name, Source: "profiles/" + name, Mode: blob.Profiles[0].Mode})
	}
	slices.SortFunc(c.Profiles, func(a, b policy.Profile) int { return strings.Compare(a.Name, b.Name) })
	name, floor, _ := strings.Cut(label, "//&")
	c.Policies = []policy.Policy{{Name: "it", Profile: name}}
	c.Assignments = []policy.Assignment{{File: "policy.yaml", Line: 1, Policy: "it", Floor: floor}}
	return Policy{Config: c, Blob: func(name string) ([]byte, error) { return blobs[name], nil },
		Source: func(file string) string { return file }}
}

// Whether tests of labels pass hangs on all that the policy has: on every part of a stack, on the profiles to which programs
// go on, and on children.
func TestTheWholePolicyCounts(t *testing.T) {
	const kids = " /x r, profile k { signal (receive), /a rw, } profile l { signal (receive), /b rw, }"
	for _, test := range []struct {
		what, label string
		rules       map[string]string
		suite       string
		want        string // a part of each failure, or empty if it passes
	}{
		{"a stack, by its second part", "app//&base", map[string]string{"app": "file, capability, /bin/* ix,",
			"base": "/** r, /bin/* ix,", "wall": "/** rw, /bin/* ix,"}, "floor: {every: wall}", ""},
		{"a stack, by its first part", "base//&zapp", map[string]string{"zapp": "file, capability, /bin/* ix,",
			"base": "/** r, /bin/* ix,", "wall": "/** rw, /bin/* ix,"}, "floor: {every: wall}", ""},
		{"a stricter profile of the policy", "app", map[string]string{"app": "/** r, /bin/* Px -> helper,",
			"helper": "/etc/** r,", "wall": "/** r, /bin/* ix, /bin/* m,"}, "floor: {every: wall}", ""},
		{"a laxer profile of the policy", "app", map[string]string{"app": "/** r, /bin/* Px -> helper,",
			"helper": "/etc/** rw,", "wall": "/** r, /bin/* ix,"}, "floor: {every: wall}", "coming under helper"},
		{"a profile of the policy behind another one", "app", map[string]string{"app": "/** r, /bin/* Px -> helper,",
			"helper": "/bin/* Px -> next,", "next": "/etc/** rw,", "wall": "/** r, /bin/* ix,"}, "floor: {every: wall}", "coming under next"},
		{"a profile that the policy has not", "app", map[string]string{"app": "/** r, /bin/* Px -> gone,",
			"wall": "/** r, /bin/* ix,"}, "floor: {every: wall}", "goes on under gone"},
		{"a child that may do it", "app", map[string]string{"app": "change_profile -> app//k," + kids},
			"never: [{allow: w /a}]", "change_profile -> app//k owner write /a allowed"},
		{"a child that may not do it", "app", map[string]string{"app": "change_profile -> app//l," + kids}, "never: [{allow: w /a}]", ""},
		{"a child of another profile", "app", map[string]string{"app": "change_profile -> web//k,", "web": kids},
			"never: [{allow: w /a}]", "change_profile -> web//k owner write /a allowed"},
		{"a child that is not there", "app", map[string]string{"app": "change_profile -> web//m,", "web": kids},
			"never: [{allow: w /a}]", "as to one called web//m"},
		{"a profile that is named by a path, and that the policy has not", "app", map[string]string{"app": "change_profile -> /usr/sbin/foo,"},
			"never: [{allow: capability sys_admin}]", "as to one called /usr/sbin/foo"},
		{"a program under a child of another profile", "app", map[string]string{"app": "/bin/* Px -> web//k,", "web": kids},
			"never: [{allow: w /a}]", "/bin/a owner write /a allowed"},
		{"a program under a child of another profile, and a floor", "app", map[string]string{"app": "/x r, /bin/* Px -> web//k,",
			"web": kids, "wall": "/x r, /bin/* ix,"}, "floor: {every: wall}", "coming under web//k"},
		{"a program under a stack of the policy, of which one part is strict", "app", map[string]string{"app": "/** r, /bin/* Px -> lax//&strict,",
			"lax": "/etc/** rw,", "strict": "/etc/** r,", "wall": "/** r, /bin/* ix,"}, "floor: {every: wall}", ""},
		{"a program under a stack of the policy, of which no part is strict", "app", map[string]string{"app": "/** r, /bin/* Px -> lax//&other,",
			"lax": "/etc/** rw,", "other": "/etc/** rw,", "wall": "/** r, /bin/* ix,"}, "floor: {every: wall}", "coming under lax//&other"},
		{"a program under a stack, which is on top of what would be without it", "app", map[string]string{"app": "/bin/* px -> &zapp,",
			"zapp": "/a rw,"}, "never: [{allow: w /a}]", "it goes on under the profile that attaches to /bin/a on a node"},
		{"a program under a stack, which allows no more than what is on top", "app", map[string]string{"app": "/bin/* px -> &zapp,",
			"zapp": "/b rw,"}, "never: [{allow: w /a}]", ""},
		{"a program under a stack, or else under the same", "app", map[string]string{"app": "/a rw, /bin/* pix -> &zapp,",
			"zapp": "/b rw,"}, "never: [{allow: w /b}]", "it goes on under the profile that attaches to /bin/a on a node"},
		{"a program under a child that attaches, of which a policy has none", "app", map[string]string{"app": "/bin/* cx," + kids},
			"never: [{allow: w /a}]", ""},
		{"a program under a child that attaches, or else under the same", "app", map[string]string{"app": "/c rw, /bin/* cix," + kids},
			"never: [{allow: w /a}]", ""},
		{"a program under a child that is not there, which may start", "app", map[string]string{"app": "/bin/* cx -> m," + kids},
			"tests: [{container: {engine: docker, image: web}, allow: x /bin/sh}]", "it leads to a child that profile app does not have"},
		{"a program under a child that attaches, which none does, and which may start", "app", map[string]string{"app": "/bin/* cx," + kids},
			"tests: [{container: {engine: docker, image: web}, allow: x /bin/sh}]", "it leads to a child that profile app does not have"},
		{"a program under a child that is there", "app", map[string]string{"app": "/bin/* cx -> k," + kids},
			"tests: [{container: {engine: docker, image: web}, allow: x /bin/sh}]", ""},
		{"a program under a child that is not there, which is to be denied", "app", map[string]string{"app": "/bin/* cx -> m," + kids},
			"tests: [{container: {engine: docker, image: web}, deny: [x /bin/sh, w /a]}]", ""},
	} {
		p := policyOf(t, test.label, test.rules)
		report, err := Execute(context.Background(), p, suiteOf(t, test.suite+"\n", p), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, f := range report.Results[0].Failed {
			got += strings.Join([]string{f.After, f.Witness, f.Reason}, " ")
		}
		if !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s: %q, want %q", test.what, got, test.want)
		}
	}
}
