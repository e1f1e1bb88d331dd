package kerneltest

import (
	"context"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Texts is a compiler for tests in which it does not matter what rules mean: it compiles a profile to a blob that has its text
// for content.
type Texts struct{}

// Compile implements store.Compiler.
func (Texts) Compile(_ context.Context, name string, _ profile.Mode, _ string, text []byte) (profile.Blob, error) {
	return profile.Parse(Blob(string(text), name))
}
