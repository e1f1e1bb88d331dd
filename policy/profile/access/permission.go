package access

import "strings"

// permissionNames are the words for the permissions of a class. One permission may have several words, of which the
// first is written.
type permissionNames []struct {
	word string
	bit  uint32
}

// want reads the words of permissions that are asked for together, joined by "+".
func (n permissionNames) want(text string) (want uint32, ok bool) {
	for word := range strings.SplitSeq(text, "+") {
		bit := uint32(0)
		for _, one := range n {
			if one.word == word {
				bit = one.bit
			}
		}
		if bit == 0 {
			return 0, false
		}
		want |= bit
	}
	return want, true
}

// joined writes permissions as want reads them.
func (n permissionNames) joined(want uint32) string {
	var words []string
	for _, one := range n {
		if want&one.bit != 0 {
			words = append(words, one.word)
			want &^= one.bit
		}
	}
	return strings.Join(words, "+")
}

// words returns the first word of each permission.
func (n permissionNames) words() (words []string) {
	var seen uint32
	for _, one := range n {
		if one.bit&^seen != 0 {
			words = append(words, one.word)
			seen |= one.bit
		}
	}
	return words
}

// bits returns the permissions.
func (n permissionNames) bits() (bits []uint32) {
	var seen uint32
	for _, one := range n {
		if one.bit&^seen != 0 {
			bits = append(bits, one.bit)
			seen |= one.bit
		}
	}
	return bits
}
