package meaning

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// mostOfPrograms bounds how many combinations of states are looked at. Patterns of programs have some dozens.
const mostOfPrograms = 1 << 11

// Programs are those to which a profile attaches, by its pattern or by a name that is a path.
type Programs struct {
	machine automaton.Machine
	accepts func(automaton.State) bool
	xattrs  []string // extended attributes that the program must have as well
}

// Programs returns the programs to which the profile attaches. It returns none for hats, and for profiles that attach to no
// program.
func (p *Profile) Programs() Programs {
	if p.attach.dfa != nil {
		m := machine{p.attach.dfa, p.attach.start[0]}
		return Programs{m, func(s automaton.State) bool { return p.attach.accept[s] != 0 }, p.XAttrs}
	}
	name := p.Name
	if p.Parent != nil {
		name = strings.TrimPrefix(name, p.Parent.Name+"//")
	}
	var paths []string
	if strings.HasPrefix(name, "/") && !p.Hat {
		paths = append(paths, name)
	}
	words := automaton.Words(paths...)
	return Programs{words, words.Accepts, p.XAttrs}
}

// Alike reports whether they are the same programs. Among several profiles that attach to one the kernel chooses by what their
// automata match, and so alike for patterns that match the same. The error is as for Meet.
func (p Programs) Alike(other Programs) (bool, error) {
	if !slices.Equal(p.xattrs, other.xattrs) {
		return false, nil
	}
	found, err := p.some(other, func(mine, theirs bool) bool { return mine != theirs })
	return !found && err == nil, err
}

// Meet reports whether a program is among both. The error wraps automaton.ErrTooLarge if that is too much to decide.
func (p Programs) Meet(other Programs) (bool, error) {
	return p.some(other, func(mine, theirs bool) bool { return mine && theirs })
}

// some reports whether there is a path for which pick is true.
func (p Programs) some(other Programs, pick func(mine, theirs bool) bool) (bool, error) {
	return SomePath([]Programs{p, other}, func(among []bool) bool { return pick(among[0], among[1]) })
}

// Conditional reports whether a path alone does not decide that a program is among them: it must have extended attributes, too.
func (p Programs) Conditional() bool { return len(p.xattrs) > 0 }

// SomePath reports whether there is a path for which pick is true of among which programs it is. The error wraps
// automaton.ErrTooLarge if that is too much to decide; of more than 7 at once nothing is decided.
func SomePath(of []Programs, pick func(among []bool) bool) (bool, error) {
	paths, err := automaton.NewGlob("/**")
	if err != nil {
		return false, err
	}
	machines := make([]automaton.Machine, 0, len(of)+1)
	for _, p := range of {
		machines = append(machines, p.machine)
	}
	among := make([]bool, len(of))
	_, found, err := automaton.Shortest(func(s []automaton.State) bool {
		for i, p := range of {
			among[i] = p.accepts(s[i])
		}
		return paths.Accepts(s[len(of)]) && pick(among)
	}, mostOfPrograms, append(machines, paths)...)
	return found, err
}
