package access

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// permissionNames are the words for the permissions of a class. One permission may have several words, of which the
// first is written.
type permissionNames []meaning.Permission

// Words for permissions of files that stand for those of another class, too: these have the same bits.
var (
	fileWords   = []meaning.Permission{{Word: "write", Bits: meaning.MayWrite}, {Word: "read", Bits: meaning.MayRead}}
	fileLetters = []meaning.Permission{{Word: "w", Bits: meaning.MayWrite}, {Word: "r", Bits: meaning.MayRead}}
)

// named returns the words for permissions, which several lists have.
func named(words ...[]meaning.Permission) permissionNames { return slices.Concat(words...) }

// want reads the words of permissions that are asked for together, joined by "+".
func (n permissionNames) want(text string) (want uint32, ok bool) {
	for word := range strings.SplitSeq(text, "+") {
		bit := uint32(0)
		for _, one := range n {
			if one.Word == word {
				bit = one.Bits
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
		if want&one.Bits != 0 {
			words = append(words, one.Word)
			want &^= one.Bits
		}
	}
	return strings.Join(words, "+")
}

// words returns the first word of each permission.
func (n permissionNames) words() (words []string) {
	var seen uint32
	for _, one := range n {
		if one.Bits&^seen != 0 {
			words = append(words, one.Word)
			seen |= one.Bits
		}
	}
	return words
}

// bits returns the permissions.
func (n permissionNames) bits() (bits []uint32) {
	var seen uint32
	for _, one := range n {
		if one.Bits&^seen != 0 {
			bits = append(bits, one.Bits)
			seen |= one.Bits
		}
	}
	return bits
}
