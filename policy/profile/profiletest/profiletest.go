// Package profiletest gives tests the compiler of this machine, for a kernel whose features do not change.
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

// Features returns the features of a kernel like 6.1, in the form in which apparmor_parser takes them.
func Features() []byte { return slices.Clone(features) }

// Compiler returns the machine's apparmor_parser for a kernel with features. It skips the test where the machine has no parser.
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
