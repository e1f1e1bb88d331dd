package meaning

import "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"

// ofSockets are the permissions of sockets.
const ofSockets = MayCreate | MayBind | MayListen | MayConnect | MayAccept | MaySend | MayReceive | MaySetOpt | MayGetOpt |
	MaySetAttr | MayGetAttr | MayShutdown

// typing is how far a family, a type and a protocol are read.
type typing struct {
	numbers int8 // bytes
	state   state
	typed   int32 // what the rules say of the type, by its number
}

// socketSweep follows socket. What stands behind the numbers is read over.
func socketSweep(p *Profile, like []Access) sweep {
	const kind, all = 4, 6 // where the numbers of types and protocols end
	at := typing{state: p.mediatesNet()}
	if at.state == 0 {
		return always(func(Access) Answer { return Answer{Allowed: true} })
	}
	if _, ok := like[0].(UnixAccess); ok {
		at.state, at.numbers = p.policy.number(at.state, afUnix), 2
	}
	r := p.policy.only(ofSockets | contMatch)
	at.state = r.first(at.state)
	var typed noted[Perms]
	return reading[typing]{automaton.NewLazy(r.bytes(""), at, func(at typing, b byte) typing {
		if at.numbers == all {
			return at
		}
		at.state = r.next(at.state, b)
		if at.numbers++; at.numbers == kind {
			at.typed = typed.number(p.policy.at(at.state))
		}
		return at
	}), func(at typing, a Access) Answer {
		var want uint32
		switch a := a.(type) {
		case SocketAccess:
			want = a.Want
		case UnixAccess:
			want = a.Want
		}
		perms := typed.values[at.typed]
		if perms.Allow&want != want && perms.Allow&contMatch != 0 {
			perms = p.policy.at(at.state)
		}
		return p.checked(p.flagged(perms), want)
	}, func(at typing) bool { return at.numbers == all }}
}

// connecting is how far the type, the protocol, the addresses and the peer of a unix socket are read.
type connecting struct {
	numbers int8 // bytes of type and protocol
	field   int8 // behind them: the address, the peer's address, and the peer's label or a number
	begun   bool // the address that is read is not empty
	path    bool // and it is a path
	filed   bool // a path decides
	refused bool // a part of the peer's label
	slashes uint8
	state   state
	file    state // of the path
	part    state // of the present part of the label
}

// unixSweep follows unix.
func unixSweep(p *Profile, like []Access) sweep {
	begin := p.policy.begin(NetV9)
	if begin == 0 {
		return socketSweep(p, like)
	}
	u := unixReader{p: p, want: like[0].(UnixAccess).Want}
	u.rules, u.files = p.policy.only(u.want), p.file.only(u.want)
	start := connecting{state: u.rules.number(u.rules.first(begin), afUnix)}
	classes := automaton.Together(u.rules.bytes("\x00/@&"), u.files.bytes(""))
	return reading[connecting]{automaton.NewLazy(classes, start, u.next), u.answer, nil}
}

// A unixReader reads what there is to say of a request for some permission of a unix socket.
type unixReader struct {
	p            *Profile
	want         uint32
	rules, files pruned
}

func (u *unixReader) peered() bool { return u.want&(MayConnect|MaySend|MayReceive) != 0 }

func (u *unixReader) next(at connecting, b byte) connecting {
	const own, peers, numbers = 0, 1, 4
	r := u.rules
	switch {
	case at.numbers < numbers:
		at.numbers++
		at.state = r.next(at.state, b)
	case at.field > peers || at.field > own && !u.peered():
		if u.peered() {
			return u.label(at, b)
		}
		at.state = r.next(at.state, b)
	case b == 0:
		at.state, at.part = u.ended(at), u.ended(at)
		at.field, at.begun, at.path = at.field+1, false, false
	case at.path:
		at.file = u.files.next(at.file, b)
	case at.begun || b != '/' && b != '@':
		at.begun = true
		at.state = r.next(at.state, b)
	case b == '/':
		at.begun, at.path, at.filed, at.state = true, true, true, 0
		at.file = u.files.next(u.files.first(u.files.begin(File)), b)
	default:
		at.begun = true
		at.state = r.next(at.state, abstractAddress)
	}
	return at
}

// ended returns the state behind an address, and behind what says which kind of request it is.
func (u *unixReader) ended(at connecting) state {
	r, s := u.rules, at.state
	if !at.begun {
		s = r.next(s, anonymousAddress)
	}
	if s = r.zero(s); at.field > 0 {
		return s
	}
	s = r.zero(s)
	switch {
	case u.peered():
		s = r.next(s, commandAddress)
	case u.want == MayListen:
		s = r.next(s, commandListen)
	case u.want&(MaySetOpt|MayGetOpt) != 0:
		s = r.next(s, commandOption)
	}
	return s
}

// label reads a byte of the peer's label, each part of which must be allowed.
func (u *unixReader) label(at connecting, b byte) connecting {
	r := u.rules
	switch {
	case at.filed:
	case b == '/' && at.slashes < 2:
		at.slashes++
	case b == '/':
		at.part = r.next(at.part, b)
	case b == '&' && at.slashes == 2:
		at.refused = at.refused || !u.checked(at.part).Allowed
		at.part, at.slashes = at.state, 0
	default:
		at.part, at.slashes = r.next(u.slashed(at), b), 0
	}
	return at
}

func (u *unixReader) slashed(at connecting) state {
	for range at.slashes {
		at.part = u.rules.next(at.part, '/')
	}
	return at.part
}

func (u *unixReader) checked(s state) Answer {
	return u.p.checked(u.p.flagged(u.p.policy.at(s)), u.want)
}

func (u *unixReader) answer(at connecting, a Access) Answer {
	switch {
	case at.filed && u.want == MayBind:
		return Answer{Allowed: true}
	case at.filed:
		access := a.(UnixAccess)
		return u.p.audited(u.p.file.whose(at.file, access.Owner), access.ofFile())
	case u.want == MayCreate:
		return u.checked(at.state)
	case u.peered() && at.refused:
		return Answer{Denied: u.want, Part: u.p}
	case u.peered():
		return u.checked(u.slashed(at))
	case at.field == 0:
		return u.checked(u.ended(at))
	}
	return u.checked(at.state)
}
