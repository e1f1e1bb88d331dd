package meaning

// socketTopics are about sockets, of any family and of AF_UNIX.
func socketTopics() []*Topic {
	network := newTopic("network", func(ask Ask) Access { return SocketAccess{Want: ask.Want} }, asksOf(MayCreate, MayBind, MayListen,
		MayConnect, MayAccept, MaySend, MayReceive, MaySetOpt, MayGetOpt, MaySetAttr, MayGetAttr, MayShutdown)...)
	network.answers = func(p *Profile, q *Topic) Answers {
		begin := p.mediatesNet()
		if begin == 0 {
			return passing(len(q.Asks))
		}
		return p.sockets(q, begin, 4)
	}

	topics := []*Topic{network, unixPathTopic()}
	for _, wants := range [][]uint32{{MayCreate}, {MayBind, MayAccept, MaySetAttr, MayGetAttr, MayShutdown}, {MayListen},
		{MaySetOpt, MayGetOpt}, {MayConnect, MaySend, MayReceive}} { // those of one have the same texts
		unix := newTopic("unix", func(ask Ask) Access { return UnixAccess{Want: ask.Want} }, asksOf(wants...)...)
		unix.answers = func(p *Profile, q *Topic) Answers { return p.unixSockets(q) }
		topics = append(topics, unix)
	}
	return topics
}

// unixPathTopic is about a connection to a socket in the file system, of which the rules about files say whether it may be
// used. It is one of a stream.
func unixPathTopic() *Topic {
	const stream = 1
	q := &Topic{Name: "unix path", Fields: []Field{PathField}, Asks: []Ask{{Want: MayConnect}, {Want: MayConnect, Owner: true}}}
	q.access = func(f []string, ask Ask) Access {
		return UnixAccess{Type: stream, Want: ask.Want, PeerAddress: f[0], Owner: ask.Owner}
	}
	q.answers = func(p *Profile, q *Topic) Answers {
		if p.policy.begin(NetV9) == 0 {
			return constant(q.each(func(ask Ask) Answer { return p.unix(UnixAccess{Type: stream, Want: ask.Want}) }))
		}
		return p.file.direct(p.file.begin(File), func(s state) []Outcome {
			return q.each(func(ask Ask) Answer { return p.audited(p.file.whose(s, ask.Owner), ask.Want) })
		})
	}
	return q
}

// addressOf returns an address as UnixAccess has it, from what it is in a key.
func addressOf(field string) string {
	if field == "" || field[0] == anonymousAddress {
		return ""
	}
	return "@" + field[1:]
}

// socketState is where a key of a socket is: how many bytes were read that matter, and what the type's permissions are.
type socketState struct {
	read   uint8
	at     state
	byType Perms
}

// sockets are the answers of rules that know nothing of a socket but what its key begins with: bytes up to its type, of which
// there are so many from a state on, and the two of its protocol.
func (p *Profile) sockets(q *Topic, begin state, typed uint8) Answers {
	r := &p.policy
	step := func(s socketState, b byte) socketState {
		if s.read == typed+2 {
			return s
		}
		s.at = r.next(s.at, b)
		if s.read++; s.read == typed {
			if s.byType = r.at(s.at); s.byType.Allow&contMatch == 0 {
				s.at = 0
			}
		}
		return s
	}
	type decided struct{ byType, byProtocol Perms }
	return newWalk(socketState{at: begin}, r.classesOf(), step, func(s socketState) decided {
		return decided{s.byType, r.at(s.at)}
	}, func(m decided) []Outcome {
		return q.each(func(ask Ask) Answer {
			perms := m.byType
			if perms.Allow&ask.Want != ask.Want && perms.Allow&contMatch != 0 {
				perms = m.byProtocol
			}
			return p.checked(p.flagged(perms), ask.Want)
		})
	})
}

// unixState is where a key of a socket of AF_UNIX is.
type unixState struct {
	read  uint8 // bytes of the type and the protocol
	field uint8 // 1 and 2 for addresses, 3 for a label or a number
	begun bool  // a byte of the address was read
	at    state
	from  state // where a label begins
	slash uint8 // how many slashes were read last
	last  [2]state
	parts unixOutcomes // what all parts of the label before are answered
}

// unixSockets are the answers of rules about AF_UNIX. Those of older kernels know types alone.
func (p *Profile) unixSockets(q *Topic) Answers {
	r := &p.policy
	begin := r.begin(NetV9)
	if begin == 0 {
		if begin = p.mediatesNet(); begin == 0 {
			return passing(len(q.Asks))
		}
		return p.sockets(q, r.number(begin, afUnix), 2)
	}
	u := unixRules{p, r, q, passingUnix()}
	start := unixState{at: r.number(begin, afUnix), parts: u.passing}
	return newWalk(start, r.classesOf(0, 1, '/', '&'), u.step, u.mark, func(m unixOutcomes) []Outcome { return m[:len(q.Asks)] })
}

// unixOutcomes are the outcomes of at most so many asks about a socket of AF_UNIX.
type unixOutcomes [5]Outcome

func passingUnix() (all unixOutcomes) {
	for i := range all {
		all[i] = Outcome{Allowed: true}
	}
	return all
}

type unixRules struct {
	p       *Profile
	r       *rules
	q       *Topic
	passing unixOutcomes
}

func (u *unixRules) step(s unixState, b byte) unixState {
	const fixed = 4
	switch {
	case s.read < fixed:
		s.read++
		s.at = u.r.next(s.at, b)
		if s.read == fixed {
			s.field = 1
		}
	case s.field < 3 && (b != 0 || !s.begun):
		s.begun = true
		s.at = u.r.next(s.at, b)
	case s.field < 3:
		s = u.next(s)
	case len(u.q.Fields) == 5:
		s = u.label(s, b)
	default: // a number
		s.at = u.r.next(s.at, b)
	}
	return s
}

// next goes on behind an address and the NUL after it.
func (u *unixRules) next(s unixState) unixState {
	s.at, s.begun = u.r.zero(s.at), false
	if s.field == 1 {
		s.at = u.r.zero(s.at) // behind it would be the label of the socket itself
	}
	command := map[uint32]byte{MayListen: commandListen, MaySetOpt: commandOption, MayConnect: commandAddress}[u.q.Asks[0].Want]
	switch {
	case s.field == 2:
		s.field, s.from = 3, s.at
	case len(u.q.Fields) == 5:
		s.field, s.at = 2, u.r.next(s.at, command)
	default:
		s.field, s.at = 3, u.r.next(s.at, command)
	}
	return s
}

// label reads a byte of the other side's label, of which each part must be allowed.
func (u *unixRules) label(s unixState, b byte) unixState {
	if b == '&' && s.slash == 2 {
		s.parts = u.with(s.parts, s.last[1])
		s.at, s.slash, s.last = s.from, 0, [2]state{}
		return s
	}
	before := s.at
	s.at = u.r.next(s.at, b)
	if b != '/' {
		s.slash, s.last = 0, [2]state{}
		return s
	}
	s.last = [2]state{before, s.last[0]}
	s.slash = min(s.slash+1, 2)
	return s
}

// with adds to the outcomes of parts of a label that of one more, as unixPeer does.
func (u *unixRules) with(parts unixOutcomes, end state) unixOutcomes {
	for i, ask := range u.q.Asks {
		one := u.p.checked(u.p.flagged(u.r.at(end)), ask.Want).outcome()
		logged := parts[i].Logged || one.Logged
		if parts[i].Allowed {
			parts[i] = one
		}
		parts[i].Logged = logged
	}
	return parts
}

func (u *unixRules) mark(s unixState) unixOutcomes {
	switch len(u.q.Fields) {
	case 5:
		return u.with(s.parts, s.at)
	case 3: // which ends in an address, without the NUL
		s.at = u.r.zero(u.r.zero(s.at))
	}
	return u.with(u.passing, s.at)
}

// otherTopics are about message queues, message buses, and what has no key.
func otherTopics() []*Topic {
	mqueue := newTopic("mqueue", func(ask Ask) Access { return MqueueAccess{Want: ask.Want} }, asksOf(MayRead, MayWrite, MayCreate,
		MayDelete, MayOpen, MaySetAttr, MayGetAttr)...)
	mqueue.answers = func(p *Profile, q *Topic) Answers { return p.mqueues(q) }

	single := func(name string, c Class, want uint32, access Access) *Topic {
		q := newTopic(name, func(Ask) Access { return access }, Ask{Want: want})
		q.answers = func(p *Profile, q *Topic) Answers { return constant{p.alone(c, want).outcome()} }
		return q
	}
	bus := func(wants ...uint32) *Topic {
		q := newTopic("dbus", func(ask Ask) Access { return DBusAccess{Want: ask.Want} }, asksOf(wants...)...)
		q.answers = func(p *Profile, q *Topic) Answers {
			if !p.Mediates(DBus) {
				return passing(len(q.Asks))
			}
			return p.policy.direct(p.policy.start[DBus], func(s state) []Outcome {
				return q.each(func(ask Ask) Answer { return p.checked(p.flagged(p.policy.at(s)), ask.Want) })
			})
		}
		return q
	}
	return []*Topic{mqueue,
		single("userns", Namespaces, MayAppend, UsernsAccess{}),
		single("io_uring sqpoll", IOUring, MayCreate, IOUringAccess{}),
		bus(DBusEavesdrop),
		bus(DBusBind),
		bus(DBusSend, DBusReceive),
	}
}

// mqueueAsks is how many asks there are about a message queue.
const mqueueAsks = 7

// mqueues follows Profile.mqueue. A queue without a label is decided about by its name alone.
func (p *Profile) mqueues(q *Topic) Answers {
	if !p.Mediates(PosixMQueue) {
		return passing(len(q.Asks))
	}
	type at struct {
		behind, labelled bool
		name             state
		label            labelState
	}
	r, l := &p.policy, p.labelsOfPeers()
	step := func(s at, b byte) at {
		switch {
		case s.behind:
			s.labelled, s.label = true, l.step(s.label, b)
		case b != 0:
			s.name = r.next(s.name, b)
		default:
			s.behind, s.label = true, l.begin(r.zero(s.name))
		}
		return s
	}
	return newWalk(at{name: r.start[PosixMQueue]}, r.classesOf(0, '/', '&'), step, func(s at) (perms [mqueueAsks]Perms) {
		for i, ask := range q.Asks {
			if perms[i] = r.at(s.name); s.labelled && perms[i].Allow&ask.Want != ask.Want {
				perms[i] = l.perms(s.label, ask.Want)
			}
			perms[i] = p.flagged(perms[i])
		}
		return perms
	}, func(m [mqueueAsks]Perms) []Outcome {
		all := make([]Outcome, len(q.Asks))
		for i, ask := range q.Asks {
			all[i] = p.checked(m[i], ask.Want).outcome()
		}
		return all
	})
}
