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
	rules  pruned
	mask   uint32 // permissions that matter
	state  func(state) Perms
	before noted[Perms]
}

// newLabelReader returns a reader of labels about which rules say something of these permissions.
func newLabelReader(r *rules, mask uint32, at func(state) Perms) *labelReader {
	l := &labelReader{rules: r.only(mask), mask: mask, state: at}
	for _, perms := range r.perms {
		// What such an entry has may differ from what no rule has, even if it allows nothing.
		if (perms.Deny|perms.Kill|perms.Hide|perms.Complain)&mask != 0 {
			l.rules.keep = nil
		}
	}
	return l
}

// at returns what matters of a state's permissions.
func (l *labelReader) at(s state) Perms { return l.state(s).only(l.mask) }

func (l *labelReader) first(begin state) labelled {
	if begin = l.rules.first(begin); begin == 0 {
		return labelled{before: refused}
	}
	return labelled{begin: begin, whole: begin, part: begin, before: l.before.number(all)}
}

func (l *labelReader) next(at labelled, b byte) labelled {
	at.whole = l.rules.next(at.whole, b)
	switch {
	case at.before == refused:
	case b == '/' && at.slashes < 2:
		at.slashes++
	case b == '/':
		at.part = l.rules.next(at.part, b)
	case b == '&' && at.slashes == 2:
		perms := l.before.values[at.before]
		perms.and(l.at(at.part))
		at.before, at.part, at.slashes = l.before.number(perms), at.begin, 0
	default:
		at.part, at.slashes = l.rules.next(l.slashed(at), b), 0
	}
	if at.part == 0 { // whatever the part is, no rule is about it
		at = labelled{whole: at.whole, before: refused}
	}
	return at
}

// ended reports whether no rule is about the label, whatever follows.
func (at labelled) ended() bool { return at.whole == 0 && at.before == refused }

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

func signalSweep(p *Profile, _ []Access) sweep {
	if !p.Mediates(Signals) {
		return always(func(Access) Answer { return Answer{Allowed: true} })
	}
	l := newLabelReader(&p.policy, MayRead|MayWrite, p.policy.at)
	return reading[signalling]{automaton.NewLazy(l.classes(), signalling{}, func(at signalling, b byte) signalling {
		if at.numbered {
			return signalling{true, l.next(at.labelled, b)}
		}
		return signalling{true, l.first(p.policy.step(p.policy.start[Signals], b))}
	}), func(at signalling, a Access) Answer {
		want := a.(SignalAccess).Want
		return p.checked(p.flagged(l.perms(at.labelled, want)), want)
	}, func(at signalling) bool { return at.numbered && at.ended() }}
}

// naming is how far a label is read, beside one that it may be.
type naming struct {
	labelled
	name int32 // how much of that one it is; refused if it is another one
}

// ptraceSweep follows ptrace and Ptrace, for which one label is special.
func ptraceSweep(p *Profile, _ []Access) sweep {
	special, mediated := p.Name, p.Mediates(PTrace)
	var begin state
	if mediated {
		special, begin = "unconfined", p.policy.walk(p.policy.start[Label], string(rune(PTrace)))
	}
	l := newLabelReader(&p.policy, MayRead|MayWrite|MayAppend|MayCreate, p.policy.at)
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
	}, func(at naming) bool { return at.name == refused && at.ended() }}
}

// ioURingSweep is about requests with credentials of another label.
func ioURingSweep(p *Profile, _ []Access) sweep {
	if !p.Mediates(IOUring) {
		return always(func(Access) Answer { return Answer{Allowed: true} })
	}
	l := newLabelReader(&p.policy, MayAppend, p.policy.at)
	return reading[labelled]{automaton.NewLazy(l.classes(), l.first(p.policy.start[IOUring]), l.next),
		func(at labelled, _ Access) Answer {
			return p.checked(p.flagged(l.perms(at, MayAppend)), MayAppend)
		}, labelled.ended}
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
func changeSweep(p *Profile, like []Access) sweep {
	one := like[0].(ChangeProfileAccess)
	r := p.file.only(MayOnExec)
	begin := r.begin(File)
	request := uint32(MayChangeProfile)
	if one.OnExec {
		request = MayOnExec
	}
	l := newLabelReader(&p.file, request, func(s state) Perms { return p.flagged(p.file.other(s)) })
	first := func(s state) labelled {
		if one.Stack {
			s = l.rules.next(s, '&')
		}
		return l.first(s)
	}
	var programs noted[[2]Perms]
	programs.number([2]Perms{})
	learns := p.audited(Perms{}, request).Allowed
	start := changing{program: r.first(begin), second: !one.withProgram(), change: first(begin)}
	return reading[changing]{automaton.NewLazy(automaton.Together(l.classes(), r.bytes("\x00&")), start,
		func(at changing, b byte) changing {
			switch {
			case !at.second && b != 0:
				at.program = r.next(at.program, b)
			case !at.second:
				perms := [2]Perms{r.owner(at.program).only(MayOnExec), r.other(at.program).only(MayOnExec)}
				pair := state(0)
				if (perms[0].Allow|perms[1].Allow)&MayOnExec != 0 {
					pair = r.zero(at.program)
				}
				at.second, at.exec, at.pair, at.program = true, programs.number(perms), first(pair), 0
			case one.withProgram() && !at.pair.ended():
				at.pair = l.next(at.pair, b)
				fallthrough
			default:
				at.change = l.next(at.change, b)
			}
			if at.second && at.change.ended() && !learns { // it is denied
				at = changing{second: true, change: at.change}
			}
			return at
		}), func(at changing, a Access) Answer {
		answer := p.audited(l.perms(at.change, request), request)
		answer.Logged = answer.Logged && answer.Denied != 0
		if !one.withProgram() || !answer.Allowed {
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
	}, func(at changing) bool { return at.second && at.change.ended() && !learns }}
}
