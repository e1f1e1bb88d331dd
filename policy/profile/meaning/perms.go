package meaning

// Perms are the answers of a set of rules for one thing, each a set of permissions (struct aa_perms,
// security/apparmor/include/perms.h). What a bit means depends on the class: MayRead is "receive" for signals.
type Perms struct {
	Allow uint32 // allowed
	Deny  uint32 // denied by a rule; set only in tables of permissions, older blobs show a denied permission by Quiet
	Audit uint32 // logged if allowed
	Quiet uint32 // not logged if denied
	Kill  uint32 // if denied, the kernel kills the task
	Hide  uint32 // if denied, the error is ENOENT

	Complain uint32 // if denied, the kernel logs it and lets it pass

	// XIndex says how an exec goes on: under which profile, and whether the kernel scrubs the environment (AA_X_* in
	// security/apparmor/include/file.h).
	XIndex uint32
}

// all is the answer of a profile for a class that it does not mediate (allperms).
var all = Perms{Allow: ^uint32(0), Quiet: ^uint32(0), Hide: ^uint32(0)}

// Permissions of files, and, for those that the kernel shares, of other classes (security/apparmor/include/perms.h).
const (
	MayExec          = 1 << 0
	MayWrite         = 1 << 1 // signals: send; ptrace: trace
	MayRead          = 1 << 2 // signals: receive; ptrace: read
	MayAppend        = 1 << 3 // ptrace: tracedby; userns: create; io_uring: override_creds
	MayCreate        = 1 << 4 // ptrace: readby; io_uring: sqpoll
	MayDelete        = 1 << 5
	MayOpen          = 1 << 6
	MayRename        = 1 << 7
	MaySetAttr       = 1 << 8
	MayGetAttr       = 1 << 9
	MayChmod         = 1 << 12
	MayChown         = 1 << 13
	MayLock          = 1 << 15
	MayMmapExec      = 1 << 16
	MayLink          = 1 << 18
	MayOnExec        = 1 << 29
	MayChangeProfile = 1 << 30

	linkSubset = MayLock // of the second half of a pair of paths: the link may have no more rights than its target
	contMatch  = 1 << 27 // of a socket's type: there are rules about protocols
)

// Permissions of sockets (security/apparmor/include/net.h).
const (
	MaySend     = MayWrite
	MayReceive  = MayRead
	MayShutdown = MayDelete
	MayConnect  = MayOpen
	MayAccept   = 1 << 20
	MayBind     = 1 << 21
	MayListen   = 1 << 22
	MaySetOpt   = 1 << 24
	MayGetOpt   = 1 << 25
)

// Permissions of mounts (security/apparmor/include/mount.h).
const (
	mayPivotRoot = 1 << 0
	mayMount     = 1 << 1
	mayUmount    = 1 << 2
	matchesData  = 1 << 6 // there are rules about the data of such a mount
)

// How a blob without a table of permissions packs them into the words of ACCEPT and ACCEPT2 (policy_compat.c since Linux
// 6.4, before it file.c and lib.c): 7 bits for the owner and 7 of exec, then the same for others; ACCEPT2 has audit and
// quiet in their places.
const (
	wordBits         = 1<<7 - 1
	wordChangeExec   = 1 << 30
	wordChange       = 1 << 31
	wordOther        = 14 // where the others' half begins
	wordSecond       = 7  // where a half's second set begins
	wordLink         = 1 << 4
	wordLock         = 1 << 5
	wordMmap         = 1 << 6
	wordExecUnsafe   = 1 << 8
	wordExecInherit  = 1 << 9
	wordExecFallback = 1 << 7
)

// filePerms unpacks the words of a state of rules about files, for the owner or for others.
func filePerms(accept, accept2 uint32, other bool) Perms {
	p := Perms{XIndex: execIndex(accept)}
	if other {
		p.XIndex = execIndex(accept >> wordOther)
		p.Allow, p.Audit, p.Quiet = accept>>wordOther, accept2>>wordOther, accept2>>(wordOther+wordSecond)
	} else {
		p.Allow, p.Audit, p.Quiet = accept, accept2, accept2>>wordSecond
	}
	p.Allow, p.Audit, p.Quiet = fileBits(p.Allow), fileBits(p.Audit), fileBits(p.Quiet)
	p.Allow |= MayGetAttr
	if accept&wordChange != 0 {
		p.Allow |= MayChangeProfile
	}
	if accept&wordChangeExec != 0 {
		p.Allow |= MayOnExec
	}
	return p
}

// fileBits spreads the seven permissions that rules about files have over those that the kernel asks for
// (map_old_perms).
func fileBits(word uint32) uint32 {
	p := word & (MayExec | MayWrite | MayRead | MayAppend)
	if word&MayRead != 0 {
		p |= MayGetAttr | MayOpen
	}
	if word&MayWrite != 0 {
		p |= MaySetAttr | MayCreate | MayDelete | MayChmod | MayChown | MayOpen
	}
	if word&wordLink != 0 {
		p |= MayLink
	}
	if word&wordLock != 0 {
		p |= MayLock
	}
	if word&wordMmap != 0 {
		p |= MayMmapExec
	}
	return p
}

// The parts of XIndex (security/apparmor/include/file.h).
const (
	XIndexMask  = 1<<24 - 1
	XName       = 0x04 << 24 // go on under the profile that attaches to the path
	XTable      = 0x08 << 24 // go on under the label in Profile.Names at XIndex & XIndexMask
	XUnsafe     = 0x10 << 24 // the kernel does not scrub the environment
	XChild      = 0x20 << 24 // the profile to go on under is a child of this one
	XInherit    = 0x40 << 24 // go on under the same profile, also if the named one is missing
	XUnconfined = 0x80 << 24 // go on under no profile, also if the named one is missing
)

// execIndex unpacks how an exec goes on (dfa_map_xindex).
func execIndex(word uint32) uint32 {
	var x uint32
	if word&wordExecUnsafe != 0 {
		x |= XUnsafe
	}
	if word&wordExecInherit != 0 {
		x |= XInherit
	}
	if word&wordExecFallback != 0 {
		x |= XUnconfined
	}
	switch index := word >> 10 & 0xf; index {
	case 0:
	case 1:
		x |= XUnconfined
	case 2:
		x |= XName
	case 3:
		x |= XName | XChild
	default:
		x |= XTable | index - 4
	}
	return x
}

// policyPerms unpacks the words of a state of rules about anything but files. The half that is for others in rules about
// files extends the first half here.
//
// It is compute_perms_entry for the versions up to 8, which every parser writes. It leaves out MayLock: kernels since
// 6.4 add that to each answer, and no class but files asks for it.
func policyPerms(accept, accept2 uint32) Perms {
	return Perms{
		Allow: accept&(wordBits|wordChange) | policyBits(accept>>wordOther),
		Audit: accept2&wordBits | policyBits(accept2>>wordOther),
		Quiet: accept2>>wordSecond&wordBits | policyBits(accept2>>(wordOther+wordSecond)),
	}
}

// policyBits spreads the second half (map_other).
func policyBits(word uint32) uint32 {
	word &= wordBits
	return word&0x3<<8 | word&0x1c<<18 | word&0x60<<19
}

// and restricts p to what another part of the peer's label allows as well (aa_perms_accum).
func (p *Perms) and(more Perms) {
	p.Deny |= more.Deny
	p.Allow &= more.Allow &^ p.Deny
	p.Audit |= more.Audit & p.Allow
	p.Quiet &= more.Quiet &^ p.Allow
	p.Kill |= more.Kill &^ p.Allow
	p.Hide &= more.Hide &^ p.Allow
	p.Complain |= more.Complain &^ p.Allow &^ p.Deny
	if p.XIndex == 0 {
		p.XIndex = more.XIndex
	}
}
