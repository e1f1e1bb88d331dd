package meaning

// A CapabilityAccess uses a capability, by the kernel's number of it (CAP_CHOWN is 0).
type CapabilityAccess uint

// A RlimitAccess sets a hard limit of a resource.
type RlimitAccess struct {
	Resource int    // its number; RLIMIT_NOFILE is 7
	Hard     uint64 // RLIM_INFINITY is all bits
}

// A UsernsAccess makes a user namespace. Kernels before Linux 6.7 ask no profile.
type UsernsAccess struct{}

// An IOUringAccess makes an io_uring whose queue a kernel thread polls or, with Override, has requests run with
// credentials of another label.
type IOUringAccess struct {
	Override bool
	Label    string
}

// A MqueueAccess is an access to a POSIX message queue. The kernels of Ubuntu ask, and none of kernel.org.
type MqueueAccess struct {
	Name  string // with its slash
	Label string // of a queue that is there
	Want  uint32 // MayRead, MayWrite, MayCreate, MayDelete, MayOpen, MaySetAttr, MayGetAttr
}

// A DBusAccess is an access to a message bus. dbus-daemon and dbus-broker ask the kernel for it. Want is DBusSend,
// DBusReceive, DBusBind or DBusEavesdrop. Fields that the kind of access does not have are empty.
type DBusAccess struct {
	Want      uint32
	Bus       string // "system", "session" or an address
	Name      string // of the peer or, for DBusBind, the one that is taken
	Label     string // of the peer
	Path      string
	Interface string
	Member    string
}

// Permissions of message buses (parser/dbus.h).
const (
	DBusSend      = MayWrite
	DBusReceive   = MayRead
	DBusEavesdrop = 1 << 5
	DBusBind      = 1 << 6
)

func (CapabilityAccess) access() {}
func (RlimitAccess) access()     {}
func (UsernsAccess) access()     {}
func (IOUringAccess) access()    {}
func (MqueueAccess) access()     {}
func (DBusAccess) access()       {}

func (p *Profile) capability(a CapabilityAccess) Answer {
	perms := p.Capability(uint(a))
	if p.policy.begin(Capabilities) != 0 {
		return p.checked(perms, 1)
	}
	return p.audited(perms, 1)
}

// rlimit follows profile_setrlimit, for a process that sets its own.
func (p *Profile) rlimit(a RlimitAccess) Answer {
	limit, set := p.Rlimits[a.Resource]
	if set && a.Hard > limit {
		return p.audited(Perms{}, 1)
	}
	return p.audited(Perms{Allow: 1}, 1)
}

// ioURing follows profile_uring, security/apparmor/lsm.c.
func (p *Profile) ioURing(a IOUringAccess) Answer {
	if !a.Override {
		return p.alone(IOUring, MayCreate)
	}
	if !p.Mediates(IOUring) {
		return Answer{Allowed: true}
	}
	return p.checked(p.flagged(p.policy.peer(p.policy.start[IOUring], a.Label, MayAppend)), MayAppend)
}

// mqueue asks as the parser writes rules: about the name and, where that does not do, about the queue's label as well.
func (p *Profile) mqueue(a MqueueAccess) Answer {
	if !p.Mediates(PosixMQueue) {
		return Answer{Allowed: true}
	}
	s := p.policy.walk(p.policy.start[PosixMQueue], a.Name)
	perms := p.policy.at(s)
	if a.Label != "" && perms.Allow&a.Want != a.Want {
		perms = p.policy.peer(p.policy.zero(s), a.Label, a.Want)
	}
	return p.checked(p.flagged(perms), a.Want)
}

// dbus asks as dbus-daemon does: about the bus, to eavesdrop; about the name behind it, to take that; and about the
// peer's label, the path, the interface and the member behind that, for a message. A NUL stands between two of them.
func (p *Profile) dbus(a DBusAccess) Answer {
	if !p.Mediates(DBus) {
		return Answer{Allowed: true}
	}
	s := p.policy.walk(p.policy.start[DBus], a.Bus)
	next := func(text string) { s = p.policy.walk(p.policy.zero(s), text) }
	switch a.Want {
	case DBusEavesdrop:
	case DBusBind:
		next(a.Name)
	default:
		next(a.Name)
		next(a.Label)
		next(a.Path)
		next(a.Interface)
		next(a.Member)
	}
	return p.checked(p.flagged(p.policy.at(s)), a.Want)
}
