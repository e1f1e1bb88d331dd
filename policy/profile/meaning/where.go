package meaning

import "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"

// A View is a profile, and what stands ahead of each path that it is asked about.
type View struct {
	*Profile
	Prefix string
}

// WherePaths returns the shortest text that matches a glob, and for which pick is true of what the views allow for the
// path that it ends. perms has the permissions of each view for its prefix and the text, for the owner of the file or
// for others. It reports whether there is such a text. The error wraps automaton.ErrTooLarge if the profiles are too large
// to decide.
//
// So it finds a path below one directory for which one profile decides otherwise than another one does for the same path
// below another directory. There may be 7 views.
func WherePaths(glob string, owner bool, pick func(perms []uint32) bool, views ...View) (text string, found bool, err error) {
	keys, err := automaton.NewGlob(glob)
	if err != nil {
		return "", false, err
	}
	machines := make([]automaton.Machine, len(views), len(views)+1)
	for i, v := range views {
		machines[i] = machine{v.file.dfa, v.file.walk(v.file.begin(File), v.Prefix)}
	}
	perms := make([]uint32, len(views))
	return automaton.Shortest(func(states []automaton.State) bool {
		if !keys.Accepts(states[len(views)]) {
			return false
		}
		for i, v := range views {
			if perms[i] = ^uint32(0); v.Mode != Unconfined {
				found := v.file.whose(state(states[i]), owner)
				perms[i] = found.Allow &^ found.Deny
			}
		}
		return pick(perms)
	}, limit, append(machines, keys)...)
}
