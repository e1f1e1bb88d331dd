package meaning

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// A sweep reads the texts of an access, as automaton.InTurn joins them, and then has a profile's answer.
type sweep interface {
	automaton.Machine
	answer(automaton.State, Access) Answer
}

// A kindOfAccess is what a question about a type of access is answered with.
type kindOfAccess struct {
	widths []int                             // of the texts, in bytes; 0 where that differs
	sweep  func(p *Profile, a Access) sweep  // a has no texts
	filled func(a Access, t []string) Access // a with the texts
}

// kindOf returns what answers questions about accesses like one.
func kindOf(like Access) (kindOfAccess, bool) {
	switch a := like.(type) {
	case FileAccess:
		return kindOfAccess{[]int{0}, fileSweep, func(a Access, t []string) Access {
			file := a.(FileAccess)
			file.Path = t[0]
			return file
		}}, true
	case ExecAccess:
		return kindOfAccess{[]int{0}, fileSweep, func(a Access, t []string) Access {
			exec := a.(ExecAccess)
			exec.Path = t[0]
			return exec
		}}, true
	case LinkAccess:
		return kindOfAccess{[]int{0, 0}, linkSweep, func(a Access, t []string) Access {
			link := a.(LinkAccess)
			link.Path, link.Target = t[0], t[1]
			return link
		}}, true
	case ChangeProfileAccess:
		if a.withProgram() {
			return kindOfAccess{[]int{0, 0}, changeSweep, func(a Access, t []string) Access {
				change := a.(ChangeProfileAccess)
				change.Program, change.Label = t[0], t[1]
				return change
			}}, true
		}
		return kindOfAccess{[]int{0}, changeSweep, func(a Access, t []string) Access {
			change := a.(ChangeProfileAccess)
			change.Label = t[0]
			return change
		}}, true
	case ChangeHatAccess:
		return kindOfAccess{[]int{0}, hatSweep, func(_ Access, t []string) Access { return ChangeHatAccess{Hat: t[0]} }}, true
	case SignalAccess:
		return kindOfAccess{[]int{1, 0}, signalSweep, func(a Access, t []string) Access {
			signal := a.(SignalAccess)
			signal.Signal, signal.Peer = Signal(t[0][0]), t[1]
			return signal
		}}, true
	case PtraceAccess:
		return kindOfAccess{[]int{0}, ptraceSweep, func(a Access, t []string) Access {
			ptrace := a.(PtraceAccess)
			ptrace.Peer = t[0]
			return ptrace
		}}, true
	case IOUringAccess:
		if !a.Override {
			return kindOfAccess{}, true
		}
		return kindOfAccess{[]int{0}, ioURingSweep, func(a Access, t []string) Access {
			ring := a.(IOUringAccess)
			ring.Label = t[0]
			return ring
		}}, true
	case CapabilityAccess, RlimitAccess, UsernsAccess:
		return kindOfAccess{}, true
	}
	return kindOfAccess{}, false
}

// keyed is a sweep of texts that together are the key which the kernel looks up.
type keyed struct {
	machine
	decide func(state, Access) Answer
}

func (k keyed) answer(s automaton.State, a Access) Answer { return k.decide(state(s), a) }

// reading is a sweep whose states are values of S.
type reading[S comparable] struct {
	*automaton.Lazy[S]
	decide func(S, Access) Answer
}

func (r reading[S]) answer(s automaton.State, a Access) Answer { return r.decide(r.Value(s), a) }

// always is a sweep with the same answer to all texts.
func always(decide func(Access) Answer) sweep {
	return keyed{machine{}, func(_ state, a Access) Answer { return decide(a) }}
}

// next is step from a state that may be 0.
func (r *rules) next(s state, b byte) state {
	if s == 0 {
		return 0
	}
	return r.step(s, b)
}

// bytes returns what bytes rules tell apart, and these as well.
func (r *rules) bytes(also string) *[256]uint32 {
	return automaton.Together(machine{r.dfa, 0}.Classes(), automaton.Apart(also))
}

// noted gives numbers to values that were found on the way.
type noted[T comparable] struct{ values []T }

func (n *noted[T]) number(value T) int32 {
	at := slices.Index(n.values, value)
	if at < 0 {
		at = len(n.values)
		n.values = append(n.values, value)
	}
	return int32(at)
}

func fileSweep(p *Profile, _ Access) sweep {
	return keyed{machine{p.file.dfa, p.file.begin(File)}, func(s state, a Access) Answer {
		if exec, ok := a.(ExecAccess); ok {
			answer, _ := p.executes(p.file.whose(s, exec.Owner), exec.To)
			return answer
		}
		file := a.(FileAccess)
		return p.audited(p.file.whose(s, file.Owner), file.Want)
	}}
}

// linking is how far the paths of a link are read.
type linking struct {
	path         state
	second       bool  // the link's path is behind
	link         int32 // then, what the rules say of it for the owner and for others, by its number
	pair, target state // and where the target's path leads
}

func linkSweep(p *Profile, _ Access) sweep {
	r := &p.file
	begin := r.begin(File)
	var links noted[[2]Perms]
	return reading[linking]{automaton.NewLazy(r.bytes("\x00"), linking{path: begin}, func(at linking, b byte) linking {
		switch {
		case at.second && at.pair != 0:
			at.pair, at.target = r.next(at.pair, b), r.next(at.target, b)
		case !at.second && b != 0:
			at.path = r.next(at.path, b)
		case !at.second:
			perms := [2]Perms{r.owner(at.path), r.other(at.path)}
			pair := state(0)
			if (perms[0].Allow|perms[1].Allow)&MayLink != 0 {
				pair = r.zero(at.path)
			}
			at = linking{second: true, link: links.number(perms), pair: pair, target: begin}
		}
		if at.second && at.pair == 0 { // there is no rule about the pair
			at.target = 0
		}
		return at
	}), func(at linking, a Access) Answer {
		owner := a.(LinkAccess).Owner
		link := links.values[at.link][1]
		if owner {
			link = links.values[at.link][0]
		}
		return p.linked(link, r.whose(at.pair, owner), r.whose(at.target, owner))
	}}
}

func hatSweep(p *Profile, _ Access) sweep {
	var names [2][]string // of children, and of hats
	root := p.hatsOf()
	for _, child := range root.children() {
		name := strings.TrimPrefix(child.Name, root.Name+"//")
		if child.Hat {
			names[1] = append(names[1], name)
		} else {
			names[0] = append(names[0], name)
		}
	}
	children, hats := automaton.Words(names[0]...), automaton.Words(names[1]...)
	return reading[[2]automaton.State]{automaton.NewLazy(automaton.Together(children.Classes(), hats.Classes()),
		[2]automaton.State{children.Start(), hats.Start()}, func(at [2]automaton.State, b byte) [2]automaton.State {
			return [2]automaton.State{children.Step(at[0], b), hats.Step(at[1], b)}
		}), func(at [2]automaton.State, _ Access) Answer {
		switch {
		case hats.Accepts(at[1]):
			return p.toChild(true)
		case children.Accepts(at[0]):
			return p.toChild(false)
		}
		return p.toNone()
	}}
}
