package meaning

import "strings"

// A Class is a kind of access that rules are about (AA_CLASS_*, security/apparmor/include/apparmor.h). The keys of the
// policy's automaton begin with this byte.
type Class byte

const (
	File         Class = 2
	Capabilities Class = 3
	Rlimits      Class = 5
	Mount        Class = 7
	PTrace       Class = 9
	Signals      Class = 10
	Net          Class = 14 // sockets, up to Linux 6.16
	NetV9        Class = 15 // and since
	Label        Class = 16 // rules about a peer's label alone; the second byte of the key is the class
	PosixMQueue  Class = 17
	Namespaces   Class = 21
	IOUring      Class = 22
	DBus         Class = 32
)

// Mediates reports whether the profile decides on accesses of a class, that is, whether the class has a state of its
// own in the policy's automaton (RULE_MEDIATES). A profile allows every access that it does not mediate. Every profile
// that confines at all mediates files and capabilities.
func (p *Profile) Mediates(c Class) bool {
	switch {
	case p.Mode == Unconfined:
		return false
	case c == File, c == Capabilities:
		return true
	case p.policy.dfa == nil:
		return false
	case c == DBus && p.policy.start[NetV9] == 0 && !p.dbusAlone:
		return false
	}
	return p.policy.start[c] != 0
}

// Compiled reports whether the profile has rules of a class, even if a kernel does not use them. Compare Mediates.
func (p *Profile) Compiled(c Class) bool { return p.policy.dfa != nil && p.policy.start[c] != 0 }

// Query returns the permissions that the profile has for a key of a class. It also reports whether the profile mediates
// the class; if not, all is allowed. The answer is the kernel's answer to a query at .access in securityfs
// (profile_query_cb, security/apparmor/apparmorfs.c), by a process that owns the file.
//
// Of a path where no rule leads the kernel says there that nothing is allowed. For a real access it looks such a path up as any
// other: before Linux 6.4 that lets attributes be read, and in tables that parser 4.1.8 writes of a profile without rules
// about files, it lets the file be locked. Decide does as for a real access.
//
// The key of a file is its path. The key of a signal is the signal's number in AppArmor's order, as a byte, and the
// peer's label. The keys of other classes are the bytes that the kernel itself looks up.
func (p *Profile) Query(c Class, key string) (Perms, bool) { return p.query(c, key, true) }

// QueryOther is Query by a process that does not own the file.
func (p *Profile) QueryOther(c Class, key string) (Perms, bool) { return p.query(c, key, false) }

func (p *Profile) query(c Class, key string, owner bool) (Perms, bool) {
	switch {
	case p.Mode == Unconfined:
		return all, false
	case c == File:
		s := p.file.walk(p.file.begin(File), key)
		if s == 0 {
			return p.flagged(Perms{}), true
		}
		return p.flagged(p.file.whose(s, owner)), true
	case c == DBus && !p.Mediates(c), p.policy.dfa == nil || p.policy.start[c] == 0:
		return all, false
	}
	s := p.policy.start[c]
	if c == 0 { // no class: where all of them begin
		s = p.policy.step(s, 0)
	}
	return p.flagged(p.policy.at(p.policy.walk(s, key))), true
}

// flagged applies flags=(audit) (aa_apply_modes_to_perms).
func (p *Profile) flagged(perms Perms) Perms {
	if p.Audit {
		perms.Audit, perms.Quiet = ^uint32(0), 0
	}
	return perms
}

// begin returns where a match of a class begins, and 0 where there are no rules.
func (r *rules) begin(c Class) state {
	if r.dfa == nil {
		return 0
	}
	return r.start[c]
}

// walk is dfa.walk, also where there are no rules.
func (r *rules) walk(s state, text string) state {
	if r.dfa == nil {
		return 0
	}
	return r.dfa.walk(s, text)
}

// at returns a state's permissions of rules that have no owner.
func (r *rules) at(s state) Perms {
	switch {
	case r.dfa == nil, r.perms == nil && s == 0:
		return Perms{}
	case r.perms == nil:
		return policyPerms(r.accept[s], r.accept2[s])
	}
	return r.perms[r.accept[s]]
}

// paired reports whether a state has two entries in the table of permissions, the second for others than the owner.
func (r *rules) paired(s state) bool {
	const ownerFlag = 1 // ACCEPT_FLAG_OWNER, security/apparmor/include/policy.h
	return r.files && (r.accept2 == nil || r.accept2[s]&ownerFlag != 0)
}

// owner returns a state's permissions of rules about files, for a process that owns the file.
func (r *rules) owner(s state) Perms { return r.filePerms(s, false) }

// other is owner for other processes.
func (r *rules) other(s state) Perms { return r.filePerms(s, true) }

func (r *rules) filePerms(s state, other bool) Perms {
	switch {
	case r.dfa == nil:
		return Perms{}
	case r.perms == nil && r.files:
		return filePerms(r.accept[s], r.accept2[s], other)
	case r.perms == nil:
		return r.at(s)
	case other && r.paired(s):
		return r.perms[r.accept[s]+1]
	}
	return r.perms[r.accept[s]]
}

// File returns the permissions that the profile has for a path: for a process that owns the file, and for others. The
// path is the one that the kernel uses. The path of a directory ends with a slash.
func (p *Profile) File(path string) (owner, other Perms) {
	if p.Mode == Unconfined {
		return all, all
	}
	s := p.file.walk(p.file.begin(File), path)
	return p.flagged(p.file.owner(s)), p.flagged(p.file.other(s))
}

// Signal returns the permissions that the profile has for a signal and a peer with this label. request is MayWrite to
// send the signal to the peer, or MayRead to receive it from the peer. The parts of a stacked label have the kernel's
// order.
func (p *Profile) Signal(request uint32, signal Signal, peer string) Perms {
	if !p.Mediates(Signals) {
		return all
	}
	return p.flagged(p.policy.peer(p.policy.step(p.policy.start[Signals], byte(signal)), peer, request))
}

// Ptrace returns the permissions that the profile has for ptrace and a peer with this label. request is MayWrite to
// trace the peer, MayRead to read it, MayAppend to be traced by it, or MayCreate to be read by it. The kernel does not
// ask the profile of a process that an unconfined one traces or reads, so Ptrace allows that.
func (p *Profile) Ptrace(request uint32, peer string) Perms {
	const tracee = MayAppend | MayCreate
	if !p.Mediates(PTrace) || peer == "unconfined" && request&^tracee == 0 {
		return all
	}
	return p.flagged(p.policy.peer(p.policy.step(p.policy.start[Label], byte(PTrace)), peer, request))
}

// peer returns what is said in a state of a peer's label: of the whole label or, where that does not allow all that is
// requested, of all parts of a stack together (aa_label_match).
func (r *rules) peer(s state, label string, request uint32) Perms {
	if end := r.walk(s, label); end != 0 {
		if perms := r.at(end); perms.Allow&request == request {
			return perms
		}
	}
	perms := all
	for part := range strings.SplitSeq(label, "//&") {
		end := r.walk(s, part)
		if end == 0 {
			return Perms{}
		}
		perms.and(r.at(end))
	}
	return perms
}

// Capability returns the permissions that the profile has for a capability. In each field of the answer all bits are
// set, or none. number is the kernel's number of the capability (CAP_CHOWN is 0).
func (p *Profile) Capability(number uint) Perms {
	if p.Mode == Unconfined {
		return all
	}
	var set capabilities
	if p.policy.dfa != nil && p.policy.start[Capabilities] != 0 {
		perms := p.policy.at(p.policy.step(p.policy.start[Capabilities], byte(number>>5)))
		set = capabilities{perms.Allow &^ perms.Deny, perms.Audit, perms.Quiet}
	} else if number < 32 {
		set = p.low
	} else if number < 64 {
		set = p.high
	}
	every := func(word uint32) uint32 { return -(word >> (number & 31) & 1) }
	return p.flagged(Perms{Allow: every(set.allow), Audit: every(set.audit), Quiet: every(set.quiet)})
}

// Allowed reports whether the kernel lets a request pass, in the profile's mode. perms is the profile's answer. In
// complain mode everything passes, except a request of which each refused permission is denied by a rule that does not
// log it (aa_check_perms).
func (p *Profile) Allowed(perms Perms, request uint32) bool {
	denied := request & (^perms.Allow | perms.Deny)
	return denied == 0 || p.Mode == Unconfined || p.Mode == Complain && denied&^perms.Quiet != 0
}
