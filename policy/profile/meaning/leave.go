package meaning

import "strings"

// Leaves reports whether what runs under the profile can go on without any confinement: by a program that it executes, and by
// changing its profile to unconfined itself.
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

// LeavesBy reports whether a program of this path can be executed without any confinement.
func (p *Profile) LeavesBy(path string) bool {
	if p.Mode == Unconfined {
		return false
	}
	owner, other := p.File(path)
	return p.leaves(owner) || p.leaves(other)
}

// leaves reports whether permissions execute a program under no profile, at least where the one for it is not loaded. A stack
// with unconfined in it confines by its other parts.
func (p *Profile) leaves(perms Perms) bool {
	switch x := perms.XIndex; {
	case perms.Allow&^perms.Deny&MayExec == 0:
		return false
	case x&XUnconfined != 0:
		return true
	case x&XTable == 0, x&XChild != 0, int(x&XIndexMask) >= len(p.Names):
		return false
	default:
		return IsUnconfined(p.Names[x&XIndexMask])
	}
}

// IsUnconfined reports whether a label is that of no profile, here or in a namespace.
func IsUnconfined(label string) bool {
	return strings.TrimPrefix(label[strings.LastIndexAny(label, ":\x00")+1:], "//") == "unconfined"
}
