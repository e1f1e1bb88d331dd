package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The program is the tests' host's own ls, and its loader a copy of the host's.
func TestSetInterpreter(t *testing.T) {
	loader, err := filepath.EvalSymlinks("/lib64/ld-linux-x86-64.so.2")
	if err != nil {
		t.Skip("needs a host with glibc on amd64, as the program's copy runs by its loader: ", err)
	}
	ls, err := exec.LookPath("ls")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	to, own := filepath.Join(dir, "ls"), filepath.Join(dir, strings.Repeat("long", 20)+".so")
	if err := setInterpreter(ls, own, to); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(to, dir).CombinedOutput(); err == nil {
		t.Fatalf("it runs without its loader: %s", out)
	}
	if err := copyFile(loader, own); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(own, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(to, dir).CombinedOutput(); err != nil || !strings.Contains(string(out), filepath.Base(own)) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestSetInterpreterRefusesWhatHasNone(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	writeFile(t, text, "#!/bin/sh\n")
	self, err := os.Executable() // CGO_ENABLED=0 links it statically
	if err != nil {
		t.Fatal(err)
	}
	if setInterpreter(text, "/loader", filepath.Join(dir, "a")) == nil {
		t.Error("a script is taken for a program")
	}
	if out, err := exec.Command("go", "env", "CGO_ENABLED").Output(); err == nil && strings.TrimSpace(string(out)) == "0" {
		if err := setInterpreter(self, "/loader", filepath.Join(dir, "b")); err == nil || !strings.Contains(err.Error(), "has no interpreter") {
			t.Errorf("of a static program: %v", err)
		}
	}
}
