package meaning

import (
	"bytes"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

func stateOf(s state) automaton.State { return automaton.State(s) }

// labels are the rules about labels from a state on: about a whole label and, where they do not allow a request, about
// all parts of a stack together.
type labels struct {
	next func(state, byte) state // never leaves state 0
	at   func(state) Perms
}

// labelState is where a label is: what the rules say of it as a whole, of the part that is being read, and of those before.
type labelState struct {
	from, whole state
	part        [3]state // the last states of the part; earlier ones are kept while slashes are read
	slashes     uint8    // how many of them were read last, at most 2
	earlier     Perms    // what all earlier parts allow
	none        bool     // an earlier part is none that rules know
}

// labels are those of rules about files.
func (c *condensed) labels() labels {
	return labels{c.step, func(s state) Perms { return c.whose(s, false) }}
}

// labelsOfPeers have permissions as they stand in the rules, to which the profile's flags are still to be applied.
func (p *Profile) labelsOfPeers() labels {
	return labels{func(s state, b byte) state { return p.policy.next(s, b) }, p.policy.at}
}

func (l labels) begin(s state) labelState {
	return labelState{from: s, whole: s, part: [3]state{s}, earlier: all}
}

func (l labels) step(s labelState, b byte) labelState {
	if b == '&' && s.slashes == 2 {
		if end := s.part[2]; end == 0 {
			s.none, s.earlier = true, Perms{}
		} else {
			s.earlier.and(l.at(end))
		}
		s.whole = l.next(s.whole, b)
		s.slashes, s.part = 0, [3]state{s.from}
		if s.none {
			s.part, s.from = [3]state{}, 0
		}
		return s
	}
	next := l.next(s.part[0], b)
	if b == '/' {
		s.slashes = min(s.slashes+1, 2)
		s.part = [3]state{next, s.part[0], s.part[1]}
		if s.slashes < 2 {
			s.part[2] = 0
		}
	} else {
		s.slashes, s.part = 0, [3]state{next}
	}
	s.whole = l.next(s.whole, b)
	return s
}

// perms is rules.peer and Profile.label for a label that was read.
func (l labels) perms(s labelState, request uint32) Perms {
	if s.whole != 0 {
		if perms := l.at(s.whole); perms.Allow&request == request {
			return perms
		}
	}
	if s.none || s.part[0] == 0 {
		return Perms{}
	}
	whole := s.earlier
	whole.and(l.at(s.part[0]))
	return whole
}

// peerTopics are about labels of other processes.
func peerTopics() []*Topic {
	signal := newTopic("signal", func(ask Ask) Access { return SignalAccess{Want: ask.Want} }, asksOf(MayWrite, MayRead)...)
	signal.answers = func(p *Profile, q *Topic) Answers {
		if !p.Mediates(Signals) {
			return constant(q.each(func(ask Ask) Answer { return p.checked(all, ask.Want) }))
		}
		type at struct {
			named bool
			label labelState
		}
		l := p.labelsOfPeers()
		return newWalk(at{}, p.policy.classesOf('/', '&'), func(s at, b byte) at {
			if s.named {
				s.label = l.step(s.label, b)
				return s
			}
			return at{true, l.begin(p.policy.next(p.policy.start[Signals], b))}
		}, func(s at) askedPeer { return p.peer(q, l, s.label) }, p.eachChecked(q))
	}

	ptrace := newTopic("ptrace", func(ask Ask) Access { return PtraceAccess{Want: ask.Want} },
		asksOf(MayWrite, MayRead, MayAppend, MayCreate)...)
	ptrace.answers = func(p *Profile, q *Topic) Answers {
		if !p.Mediates(PTrace) {
			return p.unmediatedPtrace(q)
		}
		type at struct {
			label labelState
			name  literal
		}
		l := p.labelsOfPeers()
		return newWalk(at{label: l.begin(p.policy.next(p.policy.start[Label], byte(PTrace)))},
			p.policy.classesOf(bytesOf("/&"+unconfined)...), func(s at, b byte) at {
				return at{l.step(s.label, b), s.name.step(unconfined, b)}
			}, func(s at) askedPeer {
				perms := p.peer(q, l, s.label)
				if int(s.name) == len(unconfined) {
					perms[2], perms[3] = all, all // the kernel does not ask
				}
				return perms
			}, p.eachChecked(q))
	}

	uring := newTopic("io_uring override_creds", func(Ask) Access { return IOUringAccess{Override: true} }, Ask{Want: MayAppend})
	uring.answers = func(p *Profile, q *Topic) Answers {
		if !p.Mediates(IOUring) {
			return passing(1)
		}
		l := p.labelsOfPeers()
		return newWalk(l.begin(p.policy.start[IOUring]), p.policy.classesOf('/', '&'), l.step,
			func(s labelState) askedPeer { return p.peer(q, l, s) }, p.eachChecked(q))
	}
	return []*Topic{signal, ptrace, uring}
}

// unconfined is the label of a process without a profile.
const unconfined = "unconfined"

func bytesOf(text string) []byte {
	list := []byte(text)
	slices.Sort(list)
	return slices.Compact(bytes.Clone(list))
}

// askedPeer has the permissions for each of at most 4 asks.
type askedPeer [4]Perms

// peer returns what the profile answers for a label.
func (p *Profile) peer(q *Topic, l labels, s labelState) (perms askedPeer) {
	for i, ask := range q.Asks {
		perms[i] = p.flagged(l.perms(s, ask.Want))
	}
	return perms
}

// eachChecked decides about each ask by its permissions.
func (p *Profile) eachChecked(q *Topic) func(askedPeer) []Outcome {
	return func(m askedPeer) []Outcome {
		all := make([]Outcome, len(q.Asks))
		for i, ask := range q.Asks {
			all[i] = p.checked(m[i], ask.Want).outcome()
		}
		return all
	}
}

// unmediatedPtrace are the answers of a profile without rules about ptrace.
func (p *Profile) unmediatedPtrace(q *Topic) Answers {
	var classes [256]uint32
	for i := range len(p.Name) {
		classes[p.Name[i]] = uint32(p.Name[i]) + 1
	}
	return newWalk(literal(0), &classes, func(s literal, b byte) literal { return s.step(p.Name, b) },
		func(s literal) bool { return int(s) == len(p.Name) }, func(own bool) []Outcome {
			return q.each(func(ask Ask) Answer {
				peer := p.Name
				if !own {
					peer += "x" // any other
				}
				return p.ptrace(PtraceAccess{Want: ask.Want, Peer: peer})
			})
		})
}
