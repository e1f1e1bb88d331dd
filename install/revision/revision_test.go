package revision

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repository makes a repository with two revisions of a directory "policy" in it.
func repository(t *testing.T) (dir string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is missing")
	}
	dir = t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "init", "-q", "-b", "main")
	write("policy/policy.yaml", "one")
	write("policy/profiles/web", "web")
	write("other", "other")
	for link, to := range map[string]string{"policy/profiles/link": "web", "policy/out": "../other", "policy/etc": "/etc/passwd"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "add", ".")
	run(t, dir, "commit", "-q", "-m", "one")
	write("policy/policy.yaml", "two")
	run(t, dir, "commit", "-q", "-a", "-m", "two")
	return dir
}

func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestExtract(t *testing.T) {
	dir := repository(t)
	for rev, want := range map[string]string{"HEAD": "two", "main~1": "one"} {
		into := t.TempDir()
		if err := Extract(t.Context(), filepath.Join(dir, "policy"), rev, into); err != nil {
			t.Fatal(err)
		}
		if got := read(t, into+"/policy.yaml"); got != want {
			t.Errorf("%s: %q", rev, got)
		}
		if got := read(t, into+"/profiles/link"); got != "web" {
			t.Errorf("%s: the link leads to %q", rev, got)
		}
		for _, name := range []string{"out", "etc", "other", "policy"} {
			if _, err := os.Lstat(filepath.Join(into, name)); err == nil {
				t.Errorf("%s: %s is there", rev, name)
			}
		}
	}
	for _, rev := range []string{"none", "", "--help", "-h", "HEAD:other", "HEAD~7"} {
		if err := Extract(t.Context(), filepath.Join(dir, "policy"), rev, t.TempDir()); err == nil ||
			strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%q: %v", rev, err)
		}
	}
	if err := Extract(t.Context(), t.TempDir(), "HEAD", t.TempDir()); err == nil {
		t.Error("a directory in no repository is read")
	}
}

// Root compares revisions of what another user has checked out, which git by itself refuses to read.
func TestExtractOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a repository to another user")
	}
	dir := repository(t)
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, 65534, 65534)
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("git", "-C", dir, "rev-parse", "HEAD")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1"}
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Skipf("git reads another user's repository by itself: %s", out)
	}
	into := t.TempDir()
	if err := Extract(t.Context(), filepath.Join(dir, "policy"), "HEAD", into); err != nil {
		t.Fatal(err)
	}
	if got := read(t, into+"/policy.yaml"); got != "two" {
		t.Errorf("the policy at HEAD is %q", got)
	}
}

// A repository whose configuration and hooks would run programs runs none.
func TestExtractRunsNothing(t *testing.T) {
	dir := repository(t)
	ran := filepath.Join(t.TempDir(), "ran")
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$0 $*\" >>"+ran+"\ncat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"core.fsmonitor", "core.pager", "core.sshCommand", "core.editor", "core.askPass",
		"core.gitProxy", "core.alternateRefsCommand", "pager.ls-tree", "pager.cat-file", "pager.rev-parse", "diff.external",
		"filter.x.smudge", "filter.x.clean", "filter.x.process", "diff.x.textconv", "alias.rev-parse", "alias.ls-tree",
		"alias.cat-file", "tar.tar.command", "credential.helper", "remote.origin.uploadpack", "gpg.program"} {
		value := program
		if strings.HasPrefix(key, "alias") {
			value = "!" + program
		}
		run(t, dir, "config", key, value)
	}
	run(t, dir, "config", "remote.origin.url", "ext::"+program)
	run(t, dir, "config", "remote.origin.promisor", "true")
	run(t, dir, "config", "extensions.partialClone", "origin")
	run(t, dir, "config", "core.repositoryFormatVersion", "1")
	for path, text := range map[string]string{".gitattributes": "* filter=x diff=x export-subst\n",
		".git/info/attributes": "* filter=x diff=x\n"} {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, hook := range []string{"post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc", "fsmonitor-watchman"} {
		data, _ := os.ReadFile(program)
		if err := os.WriteFile(filepath.Join(dir, ".git/hooks", hook), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.Remove(ran) // what our own git has started
	t.Setenv("GIT_PAGER", program)
	t.Setenv("GIT_EXTERNAL_DIFF", program)
	t.Setenv("GIT_SSH", program)
	into := t.TempDir()
	if err := Extract(t.Context(), filepath.Join(dir, "policy"), "HEAD", into); err != nil {
		t.Fatal(err)
	}
	if read(t, into+"/policy.yaml") != "two" {
		t.Error("it was not read")
	}
	// Without an object, git would fetch it from where the repository says.
	objects, err := filepath.Glob(dir + "/.git/objects/??/*")
	if err != nil || len(objects) == 0 {
		t.Fatal(err)
	}
	for _, o := range objects {
		content, err := exec.Command("git", "-C", dir, "cat-file", "-t", filepath.Base(filepath.Dir(o))+filepath.Base(o)).Output()
		if err == nil && strings.TrimSpace(string(content)) == "blob" {
			os.Remove(o)
		}
	}
	os.Remove(ran)
	if err := Extract(t.Context(), filepath.Join(dir, "policy"), "HEAD", t.TempDir()); err == nil {
		t.Error("a file is read that is missing")
	}
	if text, err := os.ReadFile(ran); err == nil {
		t.Errorf("programs were run: %s", text)
	}
}

func TestTheErrorOfANameThatIsNoRevisionSaysJustThat(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, "init", "-q")
	err := Extract(t.Context(), dir, "nosuch", t.TempDir())
	if err == nil || !strings.HasPrefix(err.Error(), "nosuch is no revision of the repository that ") || strings.Contains(err.Error(), "exit status") {
		t.Error(err)
	}
}
