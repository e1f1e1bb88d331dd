package meaning_test

import (
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// childless has execs to children of which some are there.
const childless = `abi <abi/3.0>,
profile some {
  /bin/* cx,
  /usr/bin/a cx -> kid,
  /usr/bin/b cx -> gone,
  /usr/bin/c cix -> gone,
  /usr/bin/d px -> gone,
  /usr/bin/e cix,
  /usr/bin/f px -> some//gone,
  profile kid { }
  profile taker /bin/t* { }
  profile /bin/named { }
}
profile none { /bin/* cx, /usr/bin/* ix, }
profile learns flags=(complain) { /bin/* cx, }
`

// Where the children of a profile are all that there are, an exec is denied that leads to another one and nowhere else.
func TestExecsToChildrenThatAreNotThere(t *testing.T) {
	p := parse(t, childless)
	for stack, paths := range map[string]map[string]bool{
		"some": {"/bin/a": false, "/bin/t": true, "/bin/tool": true, "/bin/named": true, "/bin/name": false, "/usr/bin/a": true,
			"/usr/bin/b": false, "/usr/bin/c": true, "/usr/bin/d": true, "/usr/bin/e": true, "/usr/bin/f": false},
		"none":      {"/bin/a": false, "/usr/bin/a": true},
		"learns":    {"/bin/a": true, "/x": true},
		"some none": {"/bin/tool": false, "/usr/bin/a": true, "/usr/bin/b": false},
	} {
		s := stackOf(p, stack).Whole()
		for path, want := range paths {
			a := ExecAccess{Path: path}
			if got := s.Decide(a).Allowed; got != want {
				t.Errorf("%s: exec of %s: %v, want %v", stack, path, got, want)
			}
			like := []Access{ExecAccess{}}
			for _, allowed := range []bool{true, false} {
				example, found, err := s.Example(Question{Like: like, Texts: []automaton.Language{automaton.Words(path)}}, allowed)
				if err != nil || found != (allowed == want) || found && example != a {
					t.Errorf("%s: example of an exec of %s that is allowed %v: %+v, %v, %v", stack, path, allowed, example, found, err)
				}
			}
		}
	}
	if !stackOf(p, "none").Decide(ExecAccess{Path: "/bin/a"}).Allowed {
		t.Error("an exec to a child is denied of which nobody knows whether it is there")
	}
}
