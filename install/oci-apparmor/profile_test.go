package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// named is how the texts of tests begin.
var named = regexp.MustCompile(`(?m)^(?: *)(?:profile|hat) ([^ ]+)`)

// CompileText is the fake compiler's: a text defines what its lines of "profile NAME" say, and those that are indented as
// children of the first.
func (c fakeCompiler) CompileText(_ context.Context, source string, text []byte) (profile.Blob, error) {
	if bytes.Contains(text, []byte("BAD")) {
		return profile.Blob{}, &profile.TextError{Source: source, Line: 2, Msg: "syntax error"}
	}
	var names []string
	for _, m := range named.FindAllSubmatch(text, -1) {
		name := string(m[1])
		if m[0][0] == ' ' {
			name = names[0] + "//" + name
		}
		names = append(names, name)
	}
	b, err := profile.Parse(kerneltest.Blob(string(text), names...))
	if err != nil {
		err = &profile.TextError{Source: source, Msg: err.Error(), Err: err}
	}
	return b, err
}

// Preprocess is the fake compiler's, which includes nothing.
func (fakeCompiler) Preprocess(_ context.Context, text []byte) ([]byte, error) { return text, nil }

// newProfiles gives a machine whose kernel takes profiles.
func newProfiles(t *testing.T) (*machine, kerneltest.Machine) {
	m := newMachine(t)
	k := kerneltest.New(t)
	m.kernel = k.Kernel()
	m.kernel.Proc = filepath.Join(k.Dir, "proc")
	if err := os.MkdirAll(m.kernel.Proc, 0o755); err != nil {
		t.Fatal(err)
	}
	m.detect = func() kernel.Readiness { return kernel.Ready }
	k.Write(t, "fs/features/caps", "chown\n")
	m.write("web", sound("web", ""))
	m.write("work", sound("work", "  profile kid flags=(attach_disconnected) {\n    signal, ptrace, file,\n  }\n"))
	m.write("loose", "profile loose {\n  file,\n  deny /bin/sh x,\n}\n")
	m.write("bad", "profile bad {\n  BAD\n}\n")
	return m, k
}

// sound is a text without fault.
func sound(name, rules string) string {
	return "abi <abi/3.0>,\nprofile " + name + " flags=(attach_disconnected) {\n  signal, ptrace, file,\n" + rules + "}\n"
}

func TestProfileCheck(t *testing.T) {
	dir := packageDir(t)
	m, k := newProfiles(t)
	m.run("profile", "check", "web", "work")
	m.run("profile", "check", "loose", "bad", "missing", ".", "web")
	m.run("profile", "check", "--json", "loose", "bad")
	m.run("profile", "check", "--strict", "web")
	m.run("profile", "check", "--strict", "loose")
	m.run("profile", "check")
	m.golden(dir)
	if k.Writes(t) != 0 {
		t.Error("a check has loaded something")
	}
}

func TestProfileLoad(t *testing.T) {
	dir := packageDir(t)
	m, k := newProfiles(t)
	m.run("profile", "load", "--dry-run", "web", "work")
	if k.Writes(t) != 0 {
		t.Error("a dry run has loaded something")
	}
	m.run("profile", "load", "web", "work")
	m.run("profile", "load", "web")
	m.note("the text of web changes")
	m.write("web", sound("web", "  audit deny /etc/** w,\n"))
	m.run("profile", "load", "web")
	m.run("profile", "load", "loose", "--quiet")

	m.note("somebody else has loaded other")
	k.Load(t, kerneltest.Blob("x", "other"))
	m.write("other", sound("other", ""))
	m.run("profile", "load", "other", "web")
	m.run("profile", "load", "other", "--replace")
	m.write("other", sound("other", "  network,\n"))
	m.run("profile", "load", "other")
	m.golden(dir)
}

// What cannot all be loaded is not loaded in part.
func TestProfileLoadRefuses(t *testing.T) {
	dir := packageDir(t)
	m, k := newProfiles(t)
	m.write("two", "profile web {\n}\nprofile unconfined {\n}\n")
	m.write("blank", "profile a\u00a0b {\n}\n")
	m.write("web2", sound("web", "  network,\n"))
	m.write("big", strings.Repeat("#", 50<<20))
	m.write("open", sound("open", ""))
	m.write("etc/policy.yaml", "version: 1\nprofiles:\n  web: {file: profiles/web}\nassign:\n  - policy: keep\n")
	m.write("etc/profiles/web", sound("web", "  audit deny /tmp/** w,\n"))
	for _, err := range []error{
		os.Chmod("open", 0o666), os.Symlink("work", "link"), os.Symlink("nowhere", "dangling"), os.Symlink("open", "link-to-open"),
		unix.Mkfifo("fifo", 0o600), os.Mkdir("directory", 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"web", "bad"}, {"two"}, {"blank"}, {"web", "web2"}, {"big"}, {"open"}, {"link-to-open"}, {"dangling"}, {"fifo"},
		{"directory"}, {"missing"}, {"web", "--name", "web,work"}, {"web", "work", "--name", "web"},
	} {
		m.run(append([]string{"profile", "load"}, args...)...)
	}
	m.note("web is one of the policy in force")
	m.run("policy", "apply", "--quiet")
	m.run("profile", "load", "web", "work")
	m.note("not root")
	m.detect = func() kernel.Readiness { return kernel.NoRight }
	m.run("profile", "load", "web")
	if k.Writes(t) != 0 {
		t.Error("something was loaded")
	}
	m.detect = func() kernel.Readiness { return kernel.Ready }
	m.note("a link is followed, and said")
	m.run("profile", "load", "link")
	m.golden(dir)
}
