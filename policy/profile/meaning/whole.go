package meaning

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// Whole returns the profile for questions in which its children are known to be all that there are, as after the load of a
// blob that has them. An exec that leads to a child which is not there is then one that is denied.
func (p *Profile) Whole() *Profile {
	whole := *p
	whole.whole = true
	return &whole
}

// Whole returns the stack with each of its parts as Profile.Whole has it.
func (s Stack) Whole() Stack {
	whole := make(Stack, len(s))
	for i, p := range s {
		whole[i] = p.Whole()
	}
	return whole
}

// LeadsNowhere reports whether a transition of the profile is one to a child that is not among its own, and to nothing else.
// takes is whether a child attaches to the program. What a rule puts on top ("cx -> &NAME") is left out: kernels differ in
// where they look for that.
func (p *Profile) LeadsNowhere(t Transition, takes bool) bool {
	switch t = t.Own(p); {
	case !t.Child || t.Stack || t.Else != TargetNone:
		return false
	case t.To == TargetAttached:
		return !takes
	}
	return t.To == TargetLabel && !strings.Contains(t.Label, "//") && !p.hasChild(t.Label) // stacks and children of children are left out
}

// hasChild reports whether a child has a name. It is its last part.
func (p *Profile) hasChild(name string) bool {
	return slices.ContainsFunc(p.Children, func(c *Profile) bool { return c.Name == p.Name+"//"+name })
}

// takes reports whether a child of the profile attaches to a program.
func (p *Profile) takes(path string) bool {
	return slices.ContainsFunc(p.Attaching(), func(c *Profile) bool {
		programs := language{c.Programs()}
		s := programs.Start()
		for i := range len(path) {
			s = programs.Step(s, path[i])
		}
		return programs.Accepts(s)
	})
}

// taken returns the programs to which children of the profile attach.
func (p *Profile) taken() automaton.Language {
	all := automaton.Words()
	for _, c := range p.Attaching() {
		all = automaton.Either(all, language{c.Programs()})
	}
	return all
}

// language is the paths of programs.
type language struct{ of Programs }

func (l language) Start() automaton.State                         { return l.of.machine.Start() }
func (l language) Step(s automaton.State, b byte) automaton.State { return l.of.machine.Step(s, b) }
func (l language) Classes() *[256]uint32                          { return l.of.machine.Classes() }
func (l language) Accepts(s automaton.State) bool                 { return l.of.accepts(s) }
func (l language) Dead(automaton.State) bool                      { return false }

// running is how far the path of a program is read by rules and by what children attach to.
type running struct {
	file state
	kids automaton.State
}

// wholeSweep is fileSweep of a profile whose children are known, for execs.
func wholeSweep(p *Profile) sweep {
	r, kids := p.file.only(MayExec), p.taken()
	classes := automaton.Together(r.bytes(""), kids.Classes())
	return reading[running]{automaton.NewLazy(classes, running{r.first(r.begin(File)), kids.Start()}, func(at running, b byte) running {
		if at.file = r.next(at.file, b); at.file == 0 {
			return running{}
		}
		at.kids = kids.Step(at.kids, b)
		return at
	}), func(at running, a Access) Answer {
		exec := a.(ExecAccess)
		answer, _ := p.executes(p.file.whose(at.file, exec.Owner), exec.To, at.file != 0 && kids.Accepts(at.kids))
		return answer
	}, func(at running) bool { return at.file == 0 }}
}

// NoChild reports whether rules of the profile allow an exec, and it leads to a child that is not there.
func (p *Profile) NoChild(a ExecAccess) bool {
	open := *p
	open.whole = false
	answer, t := open.Exec(a)
	return answer.Allowed && p.LeadsNowhere(t, p.takes(a.Path))
}
