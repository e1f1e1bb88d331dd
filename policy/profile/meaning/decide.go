package meaning

// An Access is what a process does and a profile decides about: FileAccess, LinkAccess, ExecAccess and the other types
// of this package whose names end so.
type Access interface{ access() }

// An Answer is what the kernel does with an access.
type Answer struct {
	Allowed bool
	Logged  bool // it writes a record: AUDIT, DENIED, KILLED, or ALLOWED in complain mode
	Killed  bool // it kills the process
	Missing bool // the error of the denial is ENOENT, not EACCES or EPERM

	// Denied are the permissions that were asked for and that no rule allows, in complain mode, too. They are those of
	// Part.
	Denied uint32

	// Part is the profile that denies the access, the first one of a stack. It is nil if the access is allowed.
	Part *Profile
}

// Decide returns what the kernel does with an access of a process under the profile.
func (p *Profile) Decide(a Access) Answer {
	if p.Mode == Unconfined {
		return Answer{Allowed: true}
	}
	// No method of the interface is called, so that an access that is passed need not be allocated.
	switch a := a.(type) {
	case FileAccess:
		return p.path(a)
	case LinkAccess:
		return p.link(a)
	case ExecAccess:
		answer, _ := p.Exec(a)
		return answer
	case ChangeProfileAccess:
		return p.changeProfile(a)
	case ChangeHatAccess:
		return p.changeHat(a)
	case CapabilityAccess:
		return p.capability(a)
	case RlimitAccess:
		return p.rlimit(a)
	case SocketAccess:
		return p.socket(a)
	case UnixAccess:
		return p.unix(a)
	case MountAccess:
		return p.mount(a)
	case UmountAccess:
		return p.umount(a)
	case PivotRootAccess:
		return p.pivotRoot(a)
	case SignalAccess:
		return p.checked(p.Signal(a.Want, a.Signal, a.Peer), a.Want)
	case PtraceAccess:
		return p.ptrace(a)
	case UsernsAccess:
		return p.alone(Namespaces, MayAppend)
	case IOUringAccess:
		return p.ioURing(a)
	case MqueueAccess:
		return p.mqueue(a)
	case DBusAccess:
		return p.dbus(a)
	}
	return Answer{Part: p}
}

// A Stack is the profiles of a label such as "a//&b". An access of a process under it must be allowed by each of them.
type Stack []*Profile

// Decide returns what the kernel does with an access of a process under the stack. Each part is asked and writes records
// of its own, also if another one denies the access.
func (s Stack) Decide(a Access) Answer {
	whole := Answer{Allowed: true}
	for _, p := range s {
		whole.join(p.Decide(a), p)
	}
	return whole
}

// join adds the answer of a further part of a stack.
func (a *Answer) join(part Answer, p *Profile) {
	a.Logged = a.Logged || part.Logged
	a.Killed = a.Killed || part.Killed
	if a.Part == nil && !part.Allowed {
		a.Allowed, a.Part, a.Missing, a.Denied = false, p, part.Missing, part.Denied
	}
}

// Query returns the permissions that the stack has for a key of a class, as Profile.Query does for one profile. It also
// reports whether a part mediates the class.
func (s Stack) Query(c Class, key string) (Perms, bool) { return s.query(c, key, true) }

// QueryOther is Query by a process that does not own the file.
func (s Stack) QueryOther(c Class, key string) (Perms, bool) { return s.query(c, key, false) }

// query follows aa_perms_accum_raw (security/apparmor/include/perms.h).
func (s Stack) query(c Class, key string, owner bool) (whole Perms, mediated bool) {
	whole = all
	for _, p := range s {
		perms, ok := p.query(c, key, owner)
		if !ok {
			continue
		}
		mediated = true
		whole.Deny |= perms.Deny
		whole.Allow &= perms.Allow &^ perms.Deny
		whole.Audit |= perms.Audit & perms.Allow
		whole.Quiet &= perms.Quiet &^ perms.Allow
		whole.Kill |= perms.Kill &^ perms.Allow
		whole.Hide &= perms.Hide &^ perms.Allow
		if whole.XIndex == 0 {
			whole.XIndex = perms.XIndex
		}
	}
	return whole, mediated
}

// checked decides as most classes do (aa_check_perms, security/apparmor/lib.c). It kills nobody, and says KILLED only.
func (p *Profile) checked(perms Perms, request uint32) Answer {
	denied := request & (^perms.Allow | perms.Deny)
	if denied == 0 {
		return Answer{Allowed: true, Logged: request&perms.Audit != 0}
	}
	a := Answer{Denied: denied, Part: p, Logged: denied&^perms.Quiet != 0, Missing: denied&^perms.Hide == 0}
	kill := p.Mode == Kill || denied&perms.Kill != 0
	if a.Logged && !kill && (p.Mode == Complain || denied&^perms.Complain == 0) {
		a.pass()
	}
	return a
}

// audited decides as files, mounts, capabilities and limits do (aa_audit_file and its like, aa_audit).
func (p *Profile) audited(perms Perms, request uint32) Answer {
	denied := request &^ perms.Allow
	if denied == 0 {
		mask := perms.Audit
		if p.Audit {
			mask = 1<<16 - 1
		}
		return Answer{Allowed: true, Logged: request&mask != 0}
	}
	a := Answer{Denied: denied, Part: p, Logged: p.Audit || denied&^perms.Quiet != 0}
	switch {
	case !a.Logged:
	case denied&perms.Kill != 0:
		a.Killed = true
	case p.Mode == Complain:
		a.pass()
	default:
		a.Killed = p.Mode == Kill
	}
	return a
}

// pass lets a denied access pass, as complain mode does.
func (a *Answer) pass() { a.Allowed, a.Missing, a.Part = true, false, nil }

// alone decides where the class itself is all that rules are about.
func (p *Profile) alone(c Class, request uint32) Answer {
	if !p.Mediates(c) {
		return Answer{Allowed: true}
	}
	return p.checked(p.flagged(p.policy.at(p.policy.start[c])), request)
}

// zero returns the state after a NUL, which parts the fields of a key.
func (r *rules) zero(s state) state {
	if s == 0 {
		return 0
	}
	return r.step(s, 0)
}

// number returns the state after a number of 2 bytes in network order.
func (r *rules) number(s state, n uint16) state {
	if s == 0 {
		return 0
	}
	return r.step(r.step(s, byte(n>>8)), byte(n))
}
