package command

import (
	"strings"
	"testing"
)

// A rule can lead to a stack. What programs may do under it counts in each comparison of a policy's profiles.
func TestStacksInTargetsAreFollowed(t *testing.T) {
	m := newCompiling(t)
	const text = "abi <abi/3.0>,\nprofile NAME flags=(attach_disconnected) {\n  signal (receive) peer=unconfined,\n  RULES\n}\n"
	write := func(dir string, profiles map[string]string) {
		policy := "version: 1\nassign:\n  - policy: web\n    request: [other, wide]\npolicies:\n  web: {profile: web}\n  other: {profile: other}\n  wide: {profile: wide}\nprofiles:\n"
		for name, rules := range profiles {
			m.write(dir+"/profiles/"+name, strings.NewReplacer("NAME", name, "RULES", rules).Replace(text))
			policy += "  " + name + ": {file: profiles/" + name + "}\n"
		}
		m.write(dir+"/policy.yaml", policy)
	}
	profiles := map[string]string{"web": "/a r, /bin/* px -> one//&two,", "other": "/a r, /bin/* px -> three,", "wide": "/a r, /bin/* px -> one,",
		"one": "/srv/** rw,", "two": "/srv/** r,", "three": "/srv/** r,"}
	write("before", profiles)
	if code, _ := m.run("policy", "apply", "--quiet", "--config", "before"); code != 0 {
		t.Fatal(m.errOut.String())
	}
	for _, test := range []struct {
		a, b string
		code int // 1 if more is possible under a
	}{{"policy:web", "policy:other", 0}, {"policy:other", "policy:web", 0}, {"policy:wide", "policy:web", 1}} {
		if code, out := m.run("profile", "contains", test.a, test.b); code != test.code {
			t.Errorf("%+v: exit code %d, %s%s", test, code, out, m.errOut.String())
		}
	}
	profiles["web"], profiles["two"] = "/b r, /bin/* px -> one//&two,", "/srv/** rw,"
	write("after", profiles)
	if code, out := m.run("policy", "diff", "before", "after"); code != 1 || !strings.Contains(out, "under profile one//&two, becomes allowed:") {
		t.Errorf("exit code %d, %s%s", code, out, m.errOut.String())
	}
}
