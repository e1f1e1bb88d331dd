package compare

import (
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Flags by which the kernel has other paths, beside meaning.PathConnect and meaning.PathMediateDeleted (PATH_* in
// security/apparmor/include/path.h).
const (
	pathChrootRelative  = 0x8 // chroot_relative: paths begin at the root of the process
	pathChrootConnect   = 0x10
	pathDelegateDeleted = 0x8000
)

// unnamed looks for an access to a file that has a path under each part of the first side and, by the flags of the profiles, has
// none or another one under a part of the second side. Without a path, the kernel denies the access in complain mode, too
// (aa_path_name).
func (w *within) unnamed(t couple) (beyond Beyond, found bool, err error) {
	open, deleted := false, false // of which files: those that are not deleted, and those that are
	for _, y := range t.b {
		if y.Mode != meaning.Unconfined && !slices.Contains(t.a, y) {
			open = open || !namesAlike(t.a, y)
			deleted = deleted || namesMoreDeleted(t.a, y)
		}
	}
	if !open && !deleted {
		return Beyond{}, false, nil
	}
	for _, topic := range meaning.Topics() {
		if !t.names(topic) {
			continue
		}
		p := newPair(topic, t.a, t.b, &w.steps)
		var at int32
		var ask meaning.Ask
		x, err := p.explore(topic.Shape(), false, func(m marks, node int32) bool {
			a, _ := p.outcomes(m)
			for i, one := range topic.Asks {
				counts := open && one.Want != meaning.MayGetAttr || // which rules about other things allow as well
					deleted && (one.Want == meaning.MayExec || topic.Name == "link")
				if counts && together(a, i).Allowed {
					at, ask, found = node, one, true
					return true
				}
			}
			return false
		})
		if err != nil {
			return Beyond{}, false, err
		}
		if found {
			return Beyond{Access: topic.Access(x.key(at), ask), Unnamed: true}, true, nil
		}
	}
	return Beyond{}, false, nil
}

// names reports whether accesses of a topic need a path, and the second side decides about them.
func (t couple) names(topic *meaning.Topic) bool {
	switch topic.Name {
	case "file", "link":
		return true
	case "mount", "umount", "pivot_root":
		return slices.ContainsFunc(t.b, func(y *meaning.Profile) bool { return y.Mediates(meaning.Mount) })
	}
	return false
}

// namesAlike reports whether a profile has the same path for each file that has one under all parts of a stack, as far as the file
// is not deleted.
func namesAlike(s meaning.Stack, y *meaning.Profile) bool {
	more := uint32(meaning.PathConnect | pathChrootConnect)
	for _, x := range s {
		if x.Mode == meaning.Unconfined {
			continue
		}
		if more &= x.Path; (x.Path^y.Path)&pathChrootRelative != 0 {
			return false
		}
	}
	switch {
	case more&^y.Path != 0:
		return false
	case more&meaning.PathConnect == 0:
		return true
	}
	// What is connected begins with what the profile says.
	return !slices.ContainsFunc(s, func(x *meaning.Profile) bool { return x.Disconnected != y.Disconnected })
}

// namesMoreDeleted reports whether a stack has paths for deleted files, and a profile has none. The kernel asks for that where a
// program is executed or a link is made; other accesses go by what the file was opened as.
func namesMoreDeleted(s meaning.Stack, y *meaning.Profile) bool {
	const deleted = meaning.PathMediateDeleted | pathDelegateDeleted
	return y.Path&deleted == 0 && !slices.ContainsFunc(s, func(x *meaning.Profile) bool {
		return x.Mode != meaning.Unconfined && x.Path&deleted == 0
	})
}
