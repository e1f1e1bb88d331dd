package command

import (
	"strings"
	"testing"
)

// A profile that serves its containers alone need not serve them in a stack.
func TestPolicyCheckWarnsOfAProfileThatDoesNotFitIntoItsStack(t *testing.T) {
	const text = "abi <abi/3.0>,\nprofile web flags=(attach_disconnected) {\n  file,\n  ptrace,\n" +
		"  signal (receive) peer={unconfined,runc,crun},\n  signal peer="
	for _, c := range []struct{ name, peers, floor, warns string }{
		{"own label only, and a floor", "*web,\n}\n", ", floor: base", "etc/profiles/web:2: warning: the container's processes cannot signal each other " +
			"where the profile is part of a stack"},
		{"stacks as well", "{web,web//&**,**//&web,**//&web//&**},\n}\n", ", floor: base", ""},
		{"own label only, and no floor", "*web,\n}\n", "", ""},
		{"its own floor", "*web,\n}\n", ", floor: web", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newTestable(t)
			m.write("etc/profiles/web", text+c.peers)
			m.write("etc/profiles/base", "abi <abi/3.0>,\nprofile base flags=(attach_disconnected) {\n  file,\n  ptrace,\n  signal,\n}\n")
			m.write("etc/policy.yaml", "version: 1\nprofiles: {web: {file: profiles/web}, base: {file: profiles/base}}\n"+
				"policies: {web: {profile: web}, base: {profile: base}}\nassign: [{policy: web"+c.floor+"}]\n")
			code, _ := m.run("policy", "check", "--compile", "--features", "features", "--config", "etc")
			said := m.errOut.String()
			if code != 0 || !strings.Contains(said, c.warns) || (c.warns == "") == strings.Contains(said, "part of a stack") {
				t.Errorf("exit code %d, and %s", code, said)
			}
		})
	}
}
