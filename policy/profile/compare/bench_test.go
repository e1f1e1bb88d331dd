package compare

import (
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// BenchmarkDockerDefault compares docker-default with the one of 2015, which differs from it in much.
func BenchmarkDockerDefault(b *testing.B) {
	all := various(b)
	for b.Loop() {
		if _, err := Compare(Side{Stack: meaning.Stack{all[1]}}, Side{Stack: meaning.Stack{all[0]}}, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
