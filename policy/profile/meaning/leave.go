package meaning

import (
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// Leaves reports whether a process under the profile can go on without any confinement. exec is for a program that it
// executes, and change for changing its own profile to unconfined.
func (p *Profile) Leaves() (exec, change bool) {
	if p.Mode == Unconfined {
		return false, false
	}
	if p.file.dfa != nil {
		for s := range p.file.accept {
			if p.leaves(p.file.owner(state(s))) || p.leaves(p.file.other(state(s))) {
				exec = true
				break
			}
		}
	}
	perms, _ := p.File("unconfined")
	return exec, perms.Allow&^perms.Deny&(MayChangeProfile|MayOnExec) != 0
}

// LeavesAs reports whether there is a program that a process under the profile and a process under another one both can
// execute without any confinement. The error wraps automaton.ErrTooLarge if the profiles are too large to decide.
func (p *Profile) LeavesAs(other *Profile) (bool, error) {
	if p.Mode == Unconfined || other.Mode == Unconfined {
		return false, nil
	}
	for _, owner := range []bool{true, false} {
		_, found, err := automaton.Shortest(func(states []automaton.State) bool {
			return p.leaves(p.file.whose(state(states[0]), owner)) && other.leaves(other.file.whose(state(states[1]), owner))
		}, limit, p.machine(File), other.machine(File))
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// leaves reports whether perms let a process execute a program under no profile, be it only if the profile for it is
// not loaded. A stack with unconfined in it does not count, since its other parts confine.
func (p *Profile) leaves(perms Perms) bool {
	switch x := perms.XIndex; {
	case perms.Allow&^perms.Deny&MayExec == 0:
		return false
	case x&XUnconfined != 0:
		return true
	case x&(XName|XTable) != XTable, x&XChild != 0, int(x&XIndexMask) >= len(p.Names):
		return false
	default:
		return IsUnconfined(p.Names[x&XIndexMask])
	}
}

// IsUnconfined reports whether a label is "unconfined", in this namespace or in another one.
func IsUnconfined(label string) bool {
	return strings.TrimPrefix(label[strings.LastIndexAny(label, ":\x00")+1:], "//") == "unconfined"
}
