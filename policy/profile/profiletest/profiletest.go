// Package profiletest provides tests with a compiler that uses this machine's apparmor_parser, and with the features of
// a kernel, which do not depend on the machine.
package profiletest

import (
	_ "embed"
	"errors"
	"slices"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

//go:embed features
var features []byte

// Features returns the features of a kernel like 6.1, in the form that profile.ReadFeatures returns.
func Features() []byte { return slices.Clone(features) }

// Compiler returns a compiler with the machine's apparmor_parser, for a kernel with these features. It skips the test
// if the machine has no parser.
func Compiler(t testing.TB, features []byte) *profile.Compiler {
	t.Helper()
	c, err := profile.NewCompiler(features)
	if errors.Is(err, profile.ErrNoParser) {
		t.Skipf("what the parser writes matters here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}
