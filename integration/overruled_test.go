package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/lint"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

// Rules that deny and that rules of a higher priority overrule are found, of files, links and other classes, by those
// parsers that know priorities.
func TestOverruledRules(t *testing.T) {
	guesttest.Require(t)
	c := guestCompiler(t)
	version, err := c.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if version < "4.1" {
		t.Skipf("apparmor_parser %s knows no priorities", version)
	}
	overruledBy(t, c)
}

func overruledBy(t *testing.T, c *profile.Compiler) {
	for name, test := range map[string]struct{ text, want string }{
		"files": {`abi <abi/3.0>,
profile priority flags=(attach_disconnected) {
  signal, ptrace,
  priority=1 /srv/** rw,
  audit deny /srv/keep/** w,
  audit deny /srv/{one,two} w,
  audit deny /{srv/three,etc/three} w,
  audit deny owner /srv/four rw,
  priority=1 audit deny /srv/five w,
  priority=2 audit deny /srv/six w,
  audit deny /srv/seven x,
}
`, "5 6 8"},
		"links": {`abi <abi/3.0>,
profile links flags=(attach_disconnected) {
  signal, ptrace, /** r,
  priority=1 /srv/** rwl,
  audit deny /srv/all l,
  audit deny /srv/all-and-more wl,
  audit deny link /srv/from -> /srv/to,
  audit deny link subset /srv/from2 -> /srv/to2,
  priority=2 audit deny /srv/six l,
  priority=2 audit deny link /srv/seven -> /srv/to,
  audit deny /etc/x l,
  priority=1 link /opt/a -> /opt/b,
  audit deny /opt/a l,
  audit deny link /opt/a -> /opt/b,
  audit deny link /opt/a -> /opt/c,
  audit deny link /opt/a -> /opt/*,
}
`, "5 6 7 8 14"},
		"others": {`abi <abi/3.0>,
profile others flags=(attach_disconnected) {
  signal, ptrace,
  priority=1 signal (send) peer=x,
  audit deny signal (send) peer=x,
  audit deny signal (send) peer=y,
  priority=1 capability chown,
  audit deny capability chown,
  audit deny capability setuid,
}
`, "5"}, // capabilities have no priorities
	} {
		reader := why.Reader{Compiler: c}
		rules, err := reader.Read(t.Context(), name, []byte(test.text))
		if err != nil {
			t.Fatal(err)
		}
		warnings, _, err := lint.Text(t.Context(), test.text, lint.Options{Rules: rules})
		if err != nil {
			t.Fatal(err)
		}
		warnings = slices.DeleteFunc(warnings, func(w lint.Warning) bool { return w.Check != "overruled" })
		var lines []string
		for _, w := range warnings {
			lines = append(lines, fmt.Sprint(w.Line))
		}
		if got := strings.Join(lines, " "); got != test.want {
			t.Errorf("%s: %s, want %s: %+v", name, got, test.want, warnings)
		}
	}
}
