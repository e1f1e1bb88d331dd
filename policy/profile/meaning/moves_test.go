package meaning_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// moving has profiles that programs leave in different ways.
const moving = `abi <abi/3.0>,
profile stays { /usr/bin/* ix, /srv/** rw, }
profile none { /srv/** rw, }
profile frees { /usr/bin/* ix, /usr/bin/sudo ux, }
profile kids { /usr/bin/* cx -> kid, /usr/sbin/* ix, profile kid { /** r, } profile other { } }
profile names { /usr/bin/a px -> stays, /usr/bin/b pix -> none, /usr/bin/c Px, /usr/bin/d pux, }
profile owns { owner /home/*/bin/* ux, /usr/bin/* ix, }
profile denies { /usr/bin/* ux, deny /usr/bin/{a,c}* x, }
profile changes { change_profile -> stays, change_profile /usr/bin/a -> web-*, }
profile leaves { change_profile, }
profile paths { change_profile -> /usr/sbin/foo, change_profile -> stays, /bin/** rix, }
profile merged { change_profile /usr/bin/a -> /{usr/,}sbin/*, }
profile root { change_profile -> "/", }
profile programs { change_profile /usr/bin/a -> stays, }
profile learns flags=(complain) { /usr/bin/* ix, deny /usr/bin/a x, }
profile free flags=(unconfined) { }
`

func TestMoves(t *testing.T) {
	p := parse(t, moving)
	for stack, want := range map[string][]string{
		"stays":        nil,
		"none":         nil,
		"frees":        {"/usr/bin/sudo unconfined"},
		"kids":         {"/usr/bin/a label kids//kid"},
		"names":        {"/usr/bin/a label stays", "/usr/bin/b label none or same", "/usr/bin/c attached", "/usr/bin/d attached or unconfined"},
		"owns":         {"owner /home/a/bin/a unconfined"},
		"denies":       {"/usr/bin/b unconfined"},
		"learns":       {"/a learning"},
		"free":         {"/a attached or same"},
		"frees stays":  {"/usr/bin/sudo unconfined, same"},
		"frees none":   nil,
		"frees denies": {"/usr/bin/b same, unconfined", "/usr/bin/sudo unconfined, unconfined"},
		"kids frees":   {"/usr/bin/a label kids//kid, same", "/usr/bin/sudo label kids//kid, unconfined"},
	} {
		moves, err := stackOf(p, stack).Moves()
		if err != nil {
			t.Errorf("%s: %v", stack, err)
		}
		var got []string
		for _, m := range moves {
			owner := ""
			if m.Exec.Owner {
				owner = "owner "
			}
			var ways []string
			for _, to := range m.To {
				ways = append(ways, wayOf(to))
			}
			got = append(got, owner+m.Exec.Path+" "+strings.Join(ways, ", "))
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", stack, got, want)
		}
	}
}

func wayOf(t Transition) string {
	names := map[Target]string{TargetSame: "same", TargetUnconfined: "unconfined", TargetAttached: "attached", TargetLabel: "label",
		TargetLearning: "learning"}
	says := names[t.To]
	if t.To == TargetLabel {
		says += " " + t.Label
	}
	if t.Else != TargetNone {
		says += " or " + names[t.Else]
	}
	return says
}

// What Moves finds is what Exec says of that program, for each part.
func TestMovesAreWhatExecSays(t *testing.T) {
	p := parse(t, moving)
	for a := range p {
		for b := range p {
			s := stackOf(p, a+" "+b)
			moves, err := s.Moves()
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range moves {
				if !s.Decide(m.Exec).Allowed {
					t.Errorf("%s//&%s does not allow %+v", a, b, m.Exec)
				}
				for i, part := range s {
					if _, to := part.Exec(m.Exec); to != m.To[i] {
						t.Errorf("%s//&%s: %s goes on as %+v, and Moves says %+v", a, b, m.Exec.Path, to, m.To[i])
					}
				}
			}
		}
	}
}

func TestChanges(t *testing.T) {
	p := parse(t, moving)
	names := []string{"unconfined", "stays", "none"}
	for stack, want := range map[string]string{
		"stays":          "[] ",
		"changes":        "[stays] web-",
		"leaves":         "[unconfined stays none] a",
		"changes leaves": "[stays] web-",
		"leaves stays":   "[] ",
		"paths":          "[stays] /usr/sbin/foo",
		"merged":         "[] /sbin/a",
		"root":           "[] /",
		"programs":       "[stays] ",
		"paths leaves":   "[stays] /usr/sbin/foo",
		"paths programs": "[stays] ",
		"free":           "[unconfined stays none] a",
	} {
		known, other, err := stackOf(p, stack).Changes(names)
		if got := fmt.Sprintf("%v %s", known, other); got != want || err != nil {
			t.Errorf("%s: %q, want %q: %v", stack, got, want, err)
		}
	}
}
