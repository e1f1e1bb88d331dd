package meaning

import "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"

// labelled is how far a label is read: as a whole, and by its parts, which "//&" stands between.
type labelled struct {
	begin   state // where rules about the label begin
	whole   state
	part    state // of the present part, without what slashes counts
	slashes uint8 // at its end, which may be the beginning of "//&"
	before  int32 // what the parts before it allow together, by its number; refused if one of them is in no rule
}

const refused = -1

// A labelReader reads labels as rules.peer does.
type labelReader struct {
	rules  *rules
	at     func(state) Perms
	before noted[Perms]
}

func (l *labelReader) first(begin state) labelled {
	return labelled{begin: begin, whole: begin, part: begin, before: l.before.number(all)}
}

func (l *labelReader) next(at labelled, b byte) labelled {
	at.whole = l.rules.next(at.whole, b)
	switch {
	case b == '/' && at.slashes < 2:
		at.slashes++
		return at
	case b == '/':
		at.part = l.rules.next(at.part, b)
		return at
	case b == '&' && at.slashes == 2:
		if at.before != refused && at.part != 0 {
			perms := l.before.values[at.before]
			perms.and(l.at(at.part))
			at.before = l.before.number(perms)
		} else {
			at.before = refused
		}
		at.part = at.begin
	default:
		at.part = l.rules.next(l.slashed(at), b)
	}
	at.slashes = 0
	return at
}

// slashed returns the state after the slashes at the end.
func (l *labelReader) slashed(at labelled) state {
	for range at.slashes {
		at.part = l.rules.next(at.part, '/')
	}
	return at.part
}

// perms returns what the rules say of the label that is read.
func (l *labelReader) perms(at labelled, request uint32) Perms {
	if at.whole != 0 {
		if perms := l.at(at.whole); perms.Allow&request == request {
			return perms
		}
	}
	end := l.slashed(at)
	if end == 0 || at.before == refused {
		return Perms{}
	}
	perms := l.before.values[at.before]
	perms.and(l.at(end))
	return perms
}

// classes returns what bytes tell labels apart.
func (l *labelReader) classes() *[256]uint32 { return l.rules.bytes("/&") }

// signalling is how far a signal and a label are read.
type signalling struct {
	numbered bool
	labelled
}

func signalSweep(p *Profile, _ Access) sweep {
	if !p.Mediates(Signals) {
		return always(func(Access) Answer { return Answer{Allowed: true} })
	}
	l := labelReader{rules: &p.policy, at: p.policy.at}
	return reading[signalling]{automaton.NewLazy(l.classes(), signalling{}, func(at signalling, b byte) signalling {
		if at.numbered {
			return signalling{true, l.next(at.labelled, b)}
		}
		return signalling{true, l.first(p.policy.step(p.policy.start[Signals], b))}
	}), func(at signalling, a Access) Answer {
		want := a.(SignalAccess).Want
		return p.checked(p.flagged(l.perms(at.labelled, want)), want)
	}}
}

// naming is how far a label is read, beside one that it may be.
type naming struct {
	labelled
	name int32 // how much of that one it is; refused if it is another one
}

// ptraceSweep follows ptrace and Ptrace, for which one label is special.
func ptraceSweep(p *Profile, _ Access) sweep {
	special, mediated := p.Name, p.Mediates(PTrace)
	var begin state
	if mediated {
		special, begin = "unconfined", p.policy.next(p.policy.start[Label], byte(PTrace))
	}
	l := labelReader{rules: &p.policy, at: p.policy.at}
	classes := automaton.Together(l.classes(), automaton.Apart(special))
	return reading[naming]{automaton.NewLazy(classes, naming{labelled: l.first(begin)}, func(at naming, b byte) naming {
		at.labelled = l.next(at.labelled, b)
		if at.name == int32(len(special)) || at.name != refused && special[at.name] != b {
			at.name = refused
		}
		if at.name != refused {
			at.name++
		}
		return at
	}), func(at naming, a Access) Answer {
		access := a.(PtraceAccess)
		is := at.name == int32(len(special))
		if !mediated {
			access.Peer = "" // which no profile is called
			if is {
				access.Peer = special
			}
			return p.ptrace(access)
		}
		if is && access.Want&^(MayAppend|MayCreate) == 0 {
			return p.checked(all, access.Want)
		}
		return p.checked(p.flagged(l.perms(at.labelled, access.Want)), access.Want)
	}}
}

// ioURingSweep is about requests with credentials of another label.
func ioURingSweep(p *Profile, _ Access) sweep {
	if !p.Mediates(IOUring) {
		return always(func(Access) Answer { return Answer{Allowed: true} })
	}
	l := labelReader{rules: &p.policy, at: p.policy.at}
	return reading[labelled]{automaton.NewLazy(l.classes(), l.first(p.policy.start[IOUring]), l.next),
		func(at labelled, _ Access) Answer {
			return p.checked(p.flagged(l.perms(at, MayAppend)), MayAppend)
		}}
}

// changing is how far a program's path and a label are read.
type changing struct {
	program state
	second  bool  // the program is behind
	exec    int32 // then, what rules say of it for the owner and for others, by its number
	change  labelled
	pair    labelled // of program and label
}

// changeSweep follows changeProfile.
func changeSweep(p *Profile, a Access) sweep {
	like := a.(ChangeProfileAccess)
	r := &p.file
	begin := r.begin(File)
	request := uint32(MayChangeProfile)
	if like.OnExec {
		request = MayOnExec
	}
	l := labelReader{rules: r, at: func(s state) Perms { return p.flagged(r.other(s)) }}
	first := func(s state) labelled {
		if like.Stack {
			s = r.next(s, '&')
		}
		return l.first(s)
	}
	var programs noted[[2]Perms]
	start := changing{program: begin, second: !like.withProgram(), change: first(begin)}
	return reading[changing]{automaton.NewLazy(automaton.Together(l.classes(), r.bytes("\x00&")), start,
		func(at changing, b byte) changing {
			switch {
			case !at.second && b != 0:
				at.program = r.next(at.program, b)
			case !at.second:
				at.exec = programs.number([2]Perms{r.owner(at.program), r.other(at.program)})
				at.second, at.pair, at.program = true, first(r.zero(at.program)), 0
			case like.withProgram():
				at.pair = l.next(at.pair, b)
				fallthrough
			default:
				at.change = l.next(at.change, b)
			}
			return at
		}), func(at changing, a Access) Answer {
		answer := p.audited(l.perms(at.change, request), request)
		answer.Logged = answer.Logged && answer.Denied != 0
		if !like.withProgram() || !answer.Allowed {
			return answer
		}
		perms := programs.values[at.exec][1]
		if a.(ChangeProfileAccess).Owner {
			perms = programs.values[at.exec][0]
		}
		if perms.Allow&MayOnExec == 0 {
			return p.onExec(perms, Perms{})
		}
		return p.onExec(perms, l.perms(at.pair, MayOnExec))
	}}
}
