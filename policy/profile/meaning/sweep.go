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
	settled(automaton.State) bool // the answer does not depend on what is read from here on
}

// keyed is a sweep of texts that together are the key which the kernel looks up.
type keyed struct {
	prunedMachine
	decide func(state, Access) Answer
}

func (k keyed) answer(s automaton.State, a Access) Answer { return k.decide(state(s), a) }

func (k keyed) settled(s automaton.State) bool { return s == 0 }

// reading is a sweep whose states are values of S.
type reading[S comparable] struct {
	*automaton.Lazy[S]
	decide func(S, Access) Answer
	ends   func(S) bool // whether what follows a value does not matter; nil where that is not known
}

func (r reading[S]) answer(s automaton.State, a Access) Answer { return r.decide(r.Value(s), a) }
func (r reading[S]) settled(s automaton.State) bool {
	return r.ends != nil && r.ends(r.Value(s))
}

// always is a sweep with the same answer to all texts.
func always(decide func(Access) Answer) sweep {
	return keyed{prunedMachine{pruned: pruned{rules: &rules{}}}, func(_ state, a Access) Answer { return decide(a) }}
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

func fileSweep(p *Profile, like []Access) sweep {
	if _, exec := like[0].(ExecAccess); exec && p.whole {
		return wholeSweep(p)
	}
	wants := uint32(0)
	for _, a := range like {
		if file, ok := a.(FileAccess); ok {
			wants |= file.Want
		} else {
			wants |= MayExec
		}
	}
	return keyed{prunedMachine{p.file.only(wants), p.file.begin(File)}, func(s state, a Access) Answer {
		if exec, ok := a.(ExecAccess); ok {
			answer, _ := p.executes(p.file.whose(s, exec.Owner), exec.To, true)
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

func linkSweep(p *Profile, _ []Access) sweep {
	r, targets := p.file.only(MayLink|linkSubset), p.file.only(^uint32(0))
	begin := r.first(r.begin(File))
	var links noted[[2]Perms]
	return reading[linking]{automaton.NewLazy(r.bytes("\x00"), linking{path: begin}, func(at linking, b byte) linking {
		switch {
		case at.second && at.pair != 0:
			at.pair, at.target = r.next(at.pair, b), targets.next(at.target, b)
		case !at.second && b != 0:
			at.path = r.next(at.path, b)
		case !at.second:
			perms := [2]Perms{r.owner(at.path), r.other(at.path)}
			pair := state(0)
			if (perms[0].Allow|perms[1].Allow)&MayLink != 0 {
				pair = r.zero(at.path)
			}
			at = linking{second: true, link: links.number(perms), pair: pair, target: r.begin(File)}
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
	}, func(at linking) bool { return at.second && at.pair == 0 }}
}

func hatSweep(p *Profile, _ []Access) sweep {
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
	}, nil}
}
