// Package profiletest provides tests with a compiler that uses this machine's apparmor_parser, and with the features of
// a kernel, which do not depend on the machine.
package profiletest

import (
	_ "embed"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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

// Including returns a compiler as Compiler does, with a directory of its own that has these files to include, and the ABI
// abi/3.0, of the features that Features returns.
func Including(t testing.TB, features []byte, files map[string]string) *profile.Compiler {
	t.Helper()
	c := Compiler(t, features)
	c.Base = t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(c.Base, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("abi/3.0", string(Features()))
	for name, text := range files {
		write(name, text)
	}
	return c
}

// Files reads the files that match patterns. There must be some for each.
func Files(t testing.TB, patterns ...string) (all [][]byte) {
	t.Helper()
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, data)
		}
	}
	return all
}

// compiled has what Several has compiled: many tests of a package are about the same profiles.
var compiled sync.Map

// Several compiles a text, which may have several profiles, with the machine's apparmor_parser for a kernel with the
// features that Features returns.
func Several(t testing.TB, text string) []byte {
	t.Helper()
	if data, done := compiled.Load(text); done {
		return slices.Clone(data.([]byte))
	}
	c := Compiler(t, []byte("caps {mask {chown\n}\n}\n"))
	file := filepath.Join(t.TempDir(), "features")
	if err := os.WriteFile(file, features, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(c.Parser, "--config-file", "/dev/null", "--skip-kernel-load", "--skip-cache", "--stdout",
		"--kernel-features", file, "--policy-features", file)
	cmd.Stdin = strings.NewReader(text)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	data, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	compiled.Store(text, slices.Clone(data))
	return data
}
