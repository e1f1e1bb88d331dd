package meaning

import "slices"

// fileBitsAsked are the permissions that the kernel asks for one by one, or several of them at once.
var fileBitsAsked = []uint32{MayRead, MayWrite, MayAppend, MayCreate, MayDelete, MayRename, MaySetAttr, MayGetAttr, MayChmod,
	MayChown, MayLock, MayMmapExec}

// fileTopic is about paths: FileAccess and ExecAccess.
func fileTopic() *Topic {
	var asks []Ask
	for _, owner := range []bool{false, true} {
		for _, want := range fileBitsAsked {
			asks = append(asks, Ask{Want: want, Owner: owner})
		}
		asks = append(asks, Ask{Want: MayExec, Owner: owner, Exec: true})
	}
	q := newTopic("file", func(ask Ask) Access {
		if ask.Exec {
			return ExecAccess{Owner: ask.Owner}
		}
		return FileAccess{Want: ask.Want, Owner: ask.Owner}
	}, asks...)
	q.ofFiles = true
	q.answers = func(p *Profile, q *Topic) Answers {
		return p.file.direct(p.file.begin(File), func(s state) []Outcome {
			all := make([]Outcome, len(q.Asks))
			for i, ask := range q.Asks {
				perms := p.file.whose(s, ask.Owner)
				if !ask.Exec {
					all[i] = p.audited(perms, ask.Want).outcome()
					continue
				}
				answer, to := p.executes(perms, Destination{}, true)
				all[i] = answer.outcome()
				all[i].Exec = to
			}
			return all
		})
	}
	return q
}

// linkState is where a key of a link is: in the path of the link; or behind it, in the pair of paths and in the target's.
type linkState struct {
	behind             bool
	link, pair, target state
}

func linkTopic() *Topic {
	q := newTopic("link", func(ask Ask) Access { return LinkAccess{Owner: ask.Owner} }, Ask{Want: MayLink}, Ask{Want: MayLink, Owner: true})
	q.ofFiles = true
	q.answers = func(p *Profile, q *Topic) Answers {
		r := &p.file
		if r.dfa == nil {
			return r.direct(0, func(state) []Outcome {
				return q.each(func(ask Ask) Answer { return p.linked(Perms{}, Perms{}, Perms{}) })
			})
		}
		marks := r.direct(0, nil) // that take states with the same permissions for the same
		subset := subsets{rules: r, known: make(map[state]bool)}
		step := func(s linkState, b byte) linkState {
			switch {
			case s.behind:
				s.pair, s.target = r.next(s.pair, b), r.next(s.target, b)
			case b != 0:
				s.link = r.next(s.link, b)
			case (r.owner(s.link).Allow|r.other(s.link).Allow)&MayLink == 0:
				s = linkState{behind: true, link: alike(marks, s.link)}
			default:
				s = linkState{behind: true, link: alike(marks, s.link), pair: r.zero(s.link)}
				if subset.from(s.pair) {
					s.target = r.begin(File)
				}
			}
			return s
		}
		type decided struct{ link, pair, target state }
		mark := func(s linkState) decided {
			return decided{alike(marks, s.link), alike(marks, s.pair), alike(marks, s.target)}
		}
		return newWalk(linkState{link: r.begin(File)}, r.classesOf(0), step, mark, func(m decided) []Outcome {
			return q.each(func(ask Ask) Answer {
				return p.linked(r.whose(m.link, ask.Owner), r.whose(m.pair, ask.Owner), r.whose(m.target, ask.Owner))
			})
		})
	}
	return q
}

// alike returns the first state with the same permissions that was asked about.
func alike(marks *direct, s state) state { return marks.marks[marks.Mark(stateOf(s))] }

// subsets tells from which states of a pair of paths a rule with subset can be reached, so that the target's permissions
// matter.
type subsets struct {
	rules *rules
	known map[state]bool
	work  int
}

func (t *subsets) from(s state) bool {
	const most = 1 << 22 // steps; after them, all is looked at
	if s == 0 {
		return false
	}
	if reaches, ok := t.known[s]; ok {
		return reaches
	}
	if t.work > most {
		return true
	}
	seen := map[state]bool{s: true}
	for queue := []state{s}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if (t.rules.owner(at).Allow|t.rules.other(at).Allow)&linkSubset != 0 {
			t.known[s] = true
			return true
		}
		for b := range 256 {
			next := t.rules.step(at, byte(b))
			if reaches, ok := t.known[next]; ok && reaches {
				t.known[s] = true
				return true
			}
			if !seen[next] && next != 0 {
				seen[next] = true
				queue = append(queue, next)
			}
		}
		t.work += 256
	}
	for one := range seen {
		t.known[one] = false
	}
	return false
}

// changeTopic is about ChangeProfileAccess without a program, with stack or without.
func changeTopic(stack bool) *Topic {
	q := newTopic("change_profile", func(ask Ask) Access {
		return ChangeProfileAccess{Stack: stack, OnExec: ask.Want == MayOnExec}
	}, asksOf(MayChangeProfile, MayOnExec)...)
	q.ofFiles = true
	if stack {
		q.Name = "change_profile &"
	}
	q.answers = func(p *Profile, q *Topic) Answers {
		c := p.condense()
		l := c.labels()
		type decided struct{ change, exec Perms }
		return newWalk(l.begin(c.stacked(c.groups[p.file.begin(File)], stack)), c.bytes('/', '&'), l.step,
			func(s labelState) decided { return decided{l.perms(s, MayChangeProfile), l.perms(s, MayOnExec)} },
			func(m decided) []Outcome {
				return []Outcome{p.changed(m.change, MayChangeProfile).outcome(), p.changed(m.exec, MayOnExec).outcome()}
			})
	}
	return q
}

// stacked returns the state from which a label is looked up that is put on top of the present one.
func (c *condensed) stacked(begin state, stack bool) state {
	if stack {
		return c.step(begin, '&')
	}
	return begin
}

// execChangeTopic is about ChangeProfileAccess with a program.
func execChangeTopic(stack bool) *Topic {
	q := newTopic("change_profile onexec", func(ask Ask) Access {
		return ChangeProfileAccess{Stack: stack, OnExec: true, Program: "/", Owner: ask.Owner}
	}, Ask{Want: MayOnExec}, Ask{Want: MayOnExec, Owner: true})
	q.ofFiles = true
	if stack {
		q.Name = "change_profile & onexec"
	}
	type at struct {
		behind       bool
		program      state
		label, again labelState // of the label alone, and behind the program's path
	}
	q.answers = func(p *Profile, q *Topic) Answers {
		c := p.condense()
		l, begin := c.labels(), c.groups[p.file.begin(File)]
		step := func(s at, b byte) at {
			switch {
			case s.behind:
				s.label, s.again = l.step(s.label, b), l.step(s.again, b)
			case b != 0:
				s.program = c.step(s.program, b)
			default:
				s = at{behind: true, program: s.program, label: l.begin(c.stacked(begin, stack)),
					again: l.begin(c.stacked(c.step(s.program, 0), stack))}
			}
			return s
		}
		type decided struct {
			program      state
			label, again Perms
		}
		return newWalk(at{program: begin}, c.bytes(0, '/', '&'), step, func(s at) decided {
			if !s.behind {
				return decided{}
			}
			return decided{s.program, l.perms(s.label, MayOnExec), l.perms(s.again, MayOnExec)}
		}, func(m decided) []Outcome {
			all := make([]Outcome, len(q.Asks))
			for i, ask := range q.Asks {
				answer := p.changed(m.label, MayOnExec)
				if !answer.Allowed {
					all[i] = answer.outcome()
					continue
				}
				program := c.whose(m.program, ask.Owner)
				all[i] = p.onExec(program, m.again).outcome()
				all[i].Scrub = program.Allow&m.again.Allow&MayOnExec != 0 && m.again.XIndex&XUnsafe == 0
			}
			return all
		})
	}
	return q
}

// attachment is the name of the topic to which programs a profile attaches.
const attachment = "attachment"

// attachTopic is about the programs of which a profile takes hold. It is no access.
func attachTopic() *Topic {
	q := &Topic{Name: attachment, Fields: []Field{PathField}, Asks: []Ask{{}}}
	q.access = func([]string, Ask) Access { return nil }
	q.answers = func(p *Profile, q *Topic) Answers {
		r := &p.attach
		if r.dfa == nil {
			return passingPath(p)
		}
		return r.direct(r.start[0], func(s state) []Outcome { return []Outcome{{Allowed: r.accept[s] != 0}} })
	}
	return q
}

// passingPath are the answers of a profile that attaches to the one program whose path is its name, or to none.
func passingPath(p *Profile) Answers {
	name := p.Name
	if len(name) == 0 || name[0] != '/' {
		return constant{{}}
	}
	var classes [256]uint32
	for i := range name {
		classes[name[i]] = uint32(name[i]) + 1
	}
	return newWalk(literal(0), &classes, func(s literal, b byte) literal { return s.step(name, b) },
		func(s literal) bool { return int(s) == len(name) }, func(is bool) []Outcome { return []Outcome{{Allowed: is}} })
}

// literal is how much of a text was read; -1 if something else was.
type literal int

func (s literal) step(text string, b byte) literal {
	if s >= 0 && int(s) < len(text) && text[s] == b {
		return s + 1
	}
	return -1
}

// Topics returns all topics that a profile answers by rules: all accesses but capabilities, limits and hats, of
// which there are few.
func Topics() []*Topic {
	return slices.Concat([]*Topic{fileTopic(), linkTopic(), changeTopic(false), changeTopic(true), execChangeTopic(false),
		execChangeTopic(true)}, mountTopics(), socketTopics(), peerTopics(), otherTopics(), []*Topic{attachTopic()})
}
