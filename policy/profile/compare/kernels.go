package compare

import "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"

// unchanging returns of which kernels the example of a line does not change: "Linux before 6.7, which asks no profile about
// user namespaces".
func unchanging(a, b meaning.Stack, l Line) (kernels []string) {
	if l.Witness == nil {
		return nil
	}
	was, is := a.Kernels(l.Witness), b.Kernels(l.Witness)
	seen := make(map[string]bool)
	for _, k := range append(was[:len(was):len(was)], is...) {
		said := k.Said()
		if !seen[said] && !l.Change.made(answerOf(k, was, a, l.Witness), answerOf(k, is, b, l.Witness)) {
			kernels = append(kernels, said)
		}
		seen[said] = true
	}
	return kernels
}

// answerOf returns what kernels of a kind do with an access.
func answerOf(kind meaning.KernelAnswer, others []meaning.KernelAnswer, s meaning.Stack, a meaning.Access) meaning.Answer {
	for _, k := range others {
		if k.Said() == kind.Said() {
			return k.Answer
		}
	}
	return s.Decide(a)
}

// made reports whether one answer and the next one show the change.
func (c Change) made(was, is meaning.Answer) bool {
	switch c {
	case Allowed:
		return !was.Allowed && is.Allowed
	case Denied:
		return was.Allowed && !is.Allowed
	case Killed:
		return !was.Killed && is.Killed
	case Spared:
		return was.Killed && !is.Killed
	case Logged:
		return !was.Logged && is.Logged
	case Quiet:
		return was.Logged && !is.Logged
	case Hidden:
		return !was.Missing && is.Missing
	case Shown:
		return was.Missing && !is.Missing
	}
	return true
}
