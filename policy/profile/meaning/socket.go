package meaning

import "strings"

// A SocketAccess is an access to a socket of any family. For those of AF_UNIX, UnixAccess says more.
//
// Want is one or more of MayCreate, MayBind, MayListen, MayConnect, MayAccept, MaySend, MayReceive, MaySetOpt, MayGetOpt,
// MaySetAttr, MayGetAttr and MayShutdown. Rules of most kernels and parsers tell none of them from another.
type SocketAccess struct {
	Family   uint16 // AF_INET is 2
	Type     uint16 // SOCK_STREAM is 1, without flags
	Protocol uint16 // rules tell protocols since Linux 6.17
	Want     uint32
}

// A UnixAccess is an access to a socket of AF_UNIX. An address is "" for none, a path, or "@" and an abstract name.
// Profiles whose rules know addresses are for Linux 6.17 and later; others decide by the type alone.
type UnixAccess struct {
	Type     uint16
	Protocol uint16
	Want     uint32 // as in SocketAccess, one at a time
	Address  string // of the socket itself; for MayBind, the one that it is to get

	// Of the other side, for MayConnect, MaySend and MayReceive.
	Peer        string // its label
	PeerAddress string

	Owner   bool   // the process owns the socket's file, if the address that is asked about is a path
	Backlog uint16 // of MayListen
	Option  uint16 // of MaySetOpt and MayGetOpt
}

func (SocketAccess) access() {}
func (UnixAccess) access()   {}

// mediatesNet returns where the rules about sockets begin (RULE_MEDIATES_NET).
func (p *Profile) mediatesNet() state {
	if s := p.policy.begin(NetV9); s != 0 {
		return s
	}
	return p.policy.begin(Net)
}

// socket follows aa_profile_af_perm. A state of the type with rules about protocols behind it is left for these where it
// does not allow the request by itself.
func (p *Profile) socket(a SocketAccess) Answer {
	begin := p.mediatesNet()
	if begin == 0 {
		return Answer{Allowed: true}
	}
	s := p.policy.number(p.policy.number(begin, a.Family), a.Type)
	if perms := p.policy.at(s); perms.Allow&a.Want != a.Want && perms.Allow&contMatch != 0 {
		s = p.policy.number(s, a.Protocol)
	}
	return p.checked(p.flagged(p.policy.at(s)), a.Want)
}

const afUnix = 1

// What of a socket's rules is about one kind of request, and the first bytes of addresses that are none
// (security/apparmor/af_unix.c).
const (
	commandAddress = 1
	commandListen  = 2
	commandOption  = 4

	abstractAddress  = 0
	anonymousAddress = 1
)

// unix follows the functions of af_unix.c.
func (p *Profile) unix(a UnixAccess) Answer {
	begin := p.policy.begin(NetV9)
	if begin == 0 {
		return p.socket(SocketAccess{Family: afUnix, Type: a.Type, Protocol: a.Protocol, Want: a.Want})
	}
	r := &p.policy
	s := r.number(r.number(r.number(begin, afUnix), a.Type), a.Protocol)
	if a.Want == MayCreate {
		return p.checked(p.flagged(r.at(s)), a.Want)
	}
	if a.Want == MayBind && strings.HasPrefix(a.Address, "/") { // which makes a file, and that is asked about
		return Answer{Allowed: true}
	}
	peered := a.Want&(MayConnect|MaySend|MayReceive) != 0
	if path := a.file(peered); path != "" {
		return p.unixFile(path, a)
	}
	s = r.zero(r.address(s, a.Address)) // behind the second NUL would be the label of the socket itself
	command := func(b byte) {
		if s != 0 {
			s = r.step(s, b)
		}
	}
	switch {
	case peered:
		command(commandAddress)
		return p.unixPeer(r.address(s, a.PeerAddress), a)
	case a.Want == MayListen:
		command(commandListen)
		s = r.number(s, a.Backlog)
	case a.Want&(MaySetOpt|MayGetOpt) != 0:
		command(commandOption)
		s = r.number(s, a.Option)
	}
	return p.checked(p.flagged(r.at(s)), a.Want)
}

// file returns the path of the socket that a request is about, where it is about one in the file system: the peer's, or
// else the socket's own.
func (a UnixAccess) file(peered bool) string {
	switch {
	case peered && strings.HasPrefix(a.PeerAddress, "/"):
		return a.PeerAddress
	case strings.HasPrefix(a.Address, "/"):
		return a.Address
	}
	return ""
}

// unixFile decides about a socket in the file system, of which the rules about files say whether it may be used
// (unix_fs_perm).
func (p *Profile) unixFile(path string, a UnixAccess) Answer {
	return p.path(FileAccess{Path: path, Want: a.ofFile(), Owner: a.Owner})
}

// ofFile returns what a request asks of a socket's file.
func (a UnixAccess) ofFile() uint32 {
	const ofFiles = MaySend | MayReceive | MayCreate | MayShutdown | MayConnect | MayRename | MaySetAttr | MayGetAttr |
		MayChmod | MayChown | MayLock // NET_FS_PERMS
	return a.Want & ofFiles
}

// address returns the state after an address and the NUL behind it (match_addr).
func (r *rules) address(s state, address string) state {
	if s == 0 {
		return 0
	}
	switch {
	case address == "":
		s = r.step(s, anonymousAddress)
	case address[0] == '@':
		s = r.walk(r.step(s, abstractAddress), address[1:])
	default:
		s = r.walk(s, address)
	}
	return r.zero(s)
}

// unixPeer decides about the label of the other side: each part of a stack must be allowed (match_label).
func (p *Profile) unixPeer(s state, a UnixAccess) Answer {
	whole := Answer{Allowed: true}
	for part := range strings.SplitSeq(a.Peer, "//&") {
		answer := p.checked(p.flagged(p.policy.at(p.policy.walk(s, part))), a.Want)
		logged := whole.Logged || answer.Logged
		if whole.Allowed {
			whole = answer
		}
		whole.Logged = logged
	}
	return whole
}
