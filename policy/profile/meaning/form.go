package meaning

import "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"

// paths is a Machine whose state says whether a key is a path, or a path and another text with a NUL between them: a path
// again, or a label, in which slashes may follow each other.
type paths struct{ label bool }

const (
	pathNever automaton.State = iota
	pathBegin
	pathSlash // the last byte of the path is a slash
	pathByte  // it is another one
	pathSecond
	pathSecondSlash
)

// Start returns the state in which a match begins.
func (paths) Start() automaton.State { return pathBegin }

// Step returns the state after one byte.
func (p paths) Step(s automaton.State, b byte) automaton.State {
	second := s >= pathSecond
	switch {
	case second && p.label && b != 0:
		return pathSecond
	case s == pathNever, s == pathBegin && b != '/', second && b == 0, b == '/' && (s == pathSlash || s == pathSecondSlash):
		return pathNever
	case b == 0:
		return pathSecond
	case b == '/' && second:
		return pathSecondSlash
	case b == '/':
		return pathSlash
	case second:
		return pathSecond
	}
	return pathByte
}

// Classes returns the equivalence classes of bytes.
func (paths) Classes() *[256]uint32 { return &[256]uint32{0: 1, '/': 2} }

// begun is a Machine whose state says whether there was a byte.
type begun struct{}

// Start returns the state in which a match begins.
func (begun) Start() automaton.State { return 0 }

// Step returns the state after one byte.
func (begun) Step(automaton.State, byte) automaton.State { return 1 }

// Classes returns the equivalence classes of bytes.
func (begun) Classes() *[256]uint32 { return new([256]uint32) }
