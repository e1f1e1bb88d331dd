package integration

import (
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// Texts that read as if a container under them could, or could not, be stopped, and are compiled to the contrary.
func TestStopIsJudgedByWhatIsCompiled(t *testing.T) {
	const policy = "version: 1\nprofiles:\n  odd: {file: profiles/odd}\npolicies:\n  odd: {profile: odd}\nassign:\n  - policy: odd\n"
	guesttest.Require(t)
	const odd = "profiles/odd:3: an unconfined runtime cannot kill what runs under profile odd"
	refused := map[string]struct{ text, said string }{
		"signals in a branch that is not taken": {`$trusting = false
profile odd flags=(attach_disconnected,mediate_deleted) {
  file, capability, network,
  if $trusting {
    signal,
    ptrace,
  }
}
`, odd},
		"a comma in a variable": {`@{ports}=http,https
profile odd flags=(attach_disconnected,mediate_deleted) {
  file, capability, network,
  deny /srv/@{ports}/** w,
}
`, odd},
		"a child into which the container's program goes": {`profile odd flags=(attach_disconnected,mediate_deleted) {
  capability, network, signal, ptrace,
  /** rwlkm,
  /** cx -> inner,
  profile inner flags=(attach_disconnected,mediate_deleted) {
    file, capability, network,
  }
}
`, "profiles/odd:6: an unconfined runtime cannot kill what runs under profile odd//inner"},
	}
	version, err := guestCompiler(t).Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	flags := []string{"unconfined"}
	if version >= "4" {
		flags = append(flags, "default_allow")
	}
	for _, flag := range flags { // under which even deny rules do not hold
		refused["the flag "+flag] = struct{ text, said string }{
			"profile odd flags=(" + flag + ",attach_disconnected) {\n  deny /etc/denied w,\n}\n", "by its flag unconfined or default_allow: it confines nothing"}
	}
	setPolicy(t, keepPolicy)
	for name, test := range refused {
		writePolicy(t, policy, map[string]string{"odd": "abi <abi/3.0>,\n" + test.text})
		o := guesttest.Run(t, "oci-apparmor", "policy", "apply")
		if o.Code == 0 || !strings.Contains(o.Stderr, test.said) {
			t.Errorf("%s: exit code %d, %s%s", name, o.Code, o.Stdout, o.Stderr)
		}
	}
	if version < "4.1" {
		t.Logf("parser %s knows no priorities, which the rest is about", version)
		return
	}
	writePolicy(t, policy, map[string]string{"odd": `abi <abi/4.0>,
profile odd flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, ptrace,
  audit deny /etc/denied w,
  priority=-1 deny signal,
  signal (receive) peer={unconfined,runc,crun},
  signal (send,receive) peer={odd,odd//&**,**//&odd,**//&odd//&**},
}
`})
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t).Start(t, rt.wrapped)
		wantConfined(t, c, tries{"write /etc/denied": denied, "read /etc/passwd": "ok"}, "odd")
		guesttest.MustRun(t, rt.wrapped, "kill", c.ID, "KILL")
		waitFor(t, "the container to stop", func() bool {
			return strings.Contains(guesttest.Run(t, rt.bare, "state", c.ID).Stdout, `"stopped"`)
		})
	})
}
