package meaning

// A FileAccess is an access to a file or directory by its path.
//
// Want is one or more of MayRead, MayWrite, MayAppend, MayCreate, MayDelete, MayRename, MaySetAttr, MayGetAttr, MayChmod,
// MayChown, MayLock and MayMmapExec. To open a file for writing asks MayWrite, with O_APPEND MayAppend, and if there is
// none MayCreate; to rename one asks MayRead, MayWrite, MaySetAttr, MayDelete of its old path and MayWrite, MaySetAttr,
// MayCreate of its new one (security/apparmor/lsm.c).
type FileAccess struct {
	Path  string // the kernel's: absolute, without links, with a slash at the end of a directory's
	Want  uint32
	Owner bool // the process owns the file: its fsuid is the file's user
}

// A LinkAccess makes a hard link.
type LinkAccess struct {
	Path   string // of the link that is made
	Target string // of the file that is there
	Owner  bool   // the process owns the file
}

func (FileAccess) access() {}
func (LinkAccess) access() {}

// whose returns the permissions of a state of rules about files.
func (r *rules) whose(s state, owner bool) Perms {
	if owner {
		return r.owner(s)
	}
	return r.other(s)
}

func (p *Profile) path(a FileAccess) Answer {
	s := p.file.walk(p.file.begin(File), a.Path)
	return p.audited(p.file.whose(s, a.Owner), a.Want)
}

// link follows profile_path_link: the rule must be about the pair, and where it says subset, the link may have no more
// rights than its target.
func (p *Profile) link(a LinkAccess) Answer {
	begin := p.file.begin(File)
	s := p.file.walk(begin, a.Path)
	link := p.file.whose(s, a.Owner)
	if link.Allow&MayLink == 0 {
		return p.audited(link, MayLink)
	}
	pair := p.file.whose(p.file.walk(p.file.zero(s), a.Target), a.Owner)
	return p.linked(link, pair, p.file.whose(p.file.walk(begin, a.Target), a.Owner))
}

// linked decides about a link by the permissions that there are for its path, for the pair, and for its target.
func (p *Profile) linked(link, pair, target Perms) Answer {
	if link.Allow&MayLink == 0 {
		return p.audited(link, MayLink)
	}
	link.Audit, link.Quiet, link.Kill = pair.Audit, pair.Quiet, pair.Kill
	switch {
	case pair.Allow&MayLink == 0:
		return p.audited(pair, MayLink)
	case pair.Allow&linkSubset == 0:
		return p.audited(link, MayLink)
	}
	// What the link has and the target has not is what is denied.
	request := link.Allow &^ MayLink
	link.Allow &= target.Allow | MayLink
	if target.Allow&MayLink == 0 {
		request |= MayLink
	}
	if request&^link.Allow == 0 && link.Allow&MayExec != 0 && !execSubset(link.XIndex, target.XIndex) {
		link.Allow &^= MayExec
		request |= MayExec
	}
	return p.audited(link, request)
}

// execSubset reports whether an exec of a link goes on as one of its target does, and is not less safe
// (xindex_is_subset).
func execSubset(link, target uint32) bool {
	return link&^XUnsafe == target&^XUnsafe && (link&XUnsafe == 0 || target&XUnsafe != 0)
}
