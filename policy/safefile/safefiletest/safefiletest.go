// Package safefiletest lets tests work in memory whose files are written to last: each is synced to the disk, and so is its
// directory, which takes long while others use the disk, and shows a test nothing.
package safefiletest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// memory is where Linux has a file system in memory for all users.
const memory = "/dev/shm"

// Main runs the tests of a package, with their temporary directories in memory where this machine lets programs run from
// there, as tests do, and nobody has set TMPDIR. It ends the process.
func Main(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv("TMPDIR") != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp(memory, "oci-apparmor-test-")
	if err != nil {
		return m.Run()
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "program")
	usable := os.Chmod(dir, 0o755) == nil // as that of /tmp is for other users
	if usable && os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700) == nil && exec.Command(program).Run() == nil {
		os.Setenv("TMPDIR", dir)
	}
	return m.Run()
}
