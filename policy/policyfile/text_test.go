package policyfile

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
)

const textPath = "profiles/sub/web"

// readTwice makes a configuration directory whose profile web has this text, and reads it, as an apply does that remembers
// what it has read. again reads it once more after a change, and returns the profile web.
func readTwice(t *testing.T, text string) (dir string, again func(change func(dir string) error) (policy.Profile, error)) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "etc")
	for path, content := range map[string]string{
		mainFile: "version: 1\nprofiles: {web: {file: " + textPath + "}}\npolicies: {web: {profile: web}}\n" +
			"assign:\n  - policy: web\n",
		textPath: text,
	} {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(30 * time.Millisecond) // files are not new any more
	before := seen.Parse(nil)
	read := func(before *seen.Files) (policy.Profile, error) {
		p, err := Reader{Seen: before}.Read(dir)
		if err != nil {
			return policy.Profile{}, err
		}
		return p.Profiles[0], nil
	}
	if p, err := read(before); err != nil || p.Unread != nil || string(p.Text) != text {
		t.Fatalf("at first it is %+v, %v", p, err)
	}
	return dir, func(change func(dir string) error) (policy.Profile, error) {
		t.Helper()
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		return read(seen.Parse(before.Bytes()))
	}
}

const someText = "include <tunables/global>\nprofile web {\n}\n"

func TestATextThatIsUnchangedIsNotRead(t *testing.T) {
	dir, again := readTwice(t, someText)
	p, err := again(func(string) error { return nil })
	if err != nil || p.Unread == nil || p.Text != nil {
		t.Fatalf("it is %+v, %v", p, err)
	}
	if d, err := p.Digest(); err != nil || d.SHA256 != sha256.Sum256([]byte(someText)) ||
		!slices.Equal(d.Includes, []string{"tunables/global"}) {
		t.Errorf("its digest is %+v, %v", d, err)
	}
	if err := p.ReadText(); err != nil || string(p.Text) != someText || p.Unread != nil {
		t.Errorf("it is read as %+v, %v", p, err)
	}

	// One that is gone after that, or was replaced, is found out where the text is needed.
	for change, wrong := range map[string]func(path string) error{
		"gone": os.Remove,
		"out of the directory": func(path string) error {
			away := filepath.Dir(dir) + "/away"
			return errors.Join(os.Rename(filepath.Dir(path), away), os.Symlink(away, filepath.Dir(path)))
		},
	} {
		dir, again := readTwice(t, someText)
		p, err := again(func(string) error { return nil })
		if err != nil || p.Unread == nil {
			t.Fatalf("it is %+v, %v", p, err)
		}
		if err := wrong(filepath.Join(dir, textPath)); err != nil {
			t.Fatal(err)
		}
		if err := p.ReadText(); err == nil {
			t.Errorf("%s: it is read as %q", change, p.Text)
		}
	}
}

// A text of which it is not certain that it is the same is read.
func TestATextThatMayHaveChangedIsRead(t *testing.T) {
	other := "include <tunables/GLOBAL>\nprofile web {\n}\n"
	for name, one := range map[string]struct {
		change func(dir, path string) error
		want   string
	}{
		"other content of the same size and time": {func(_, path string) error {
			info, err := os.Stat(path)
			return errors.Join(err, os.WriteFile(path, []byte(other), 0o644), os.Chtimes(path, info.ModTime(), info.ModTime()))
		}, other},
		"another file of the same size and time": {func(_, path string) error {
			info, err := os.Stat(path)
			return errors.Join(err, os.WriteFile(path+".new", []byte(other), 0o644),
				os.Chtimes(path+".new", info.ModTime(), info.ModTime()), os.Rename(path+".new", path))
		}, other},
		"cut short": {func(_, path string) error { return os.Truncate(path, 26) }, someText[:26]},
		"a link to another": {func(_, path string) error {
			return errors.Join(os.WriteFile(path+".other", []byte(other), 0o644), os.Remove(path), os.Symlink("web.other", path))
		}, other},
		"a link to the same": {func(_, path string) error {
			return errors.Join(os.Rename(path, path+".same"), os.Symlink("web.same", path))
		}, someText},
		"another directory": {func(_, path string) error {
			dir := filepath.Dir(path)
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o755), os.WriteFile(path, []byte(other), 0o644))
		}, other},
		"others may write to it": {func(_, path string) error { return os.Chmod(path, 0o666) }, someText},
	} {
		_, again := readTwice(t, someText)
		p, err := again(func(dir string) error { return one.change(dir, filepath.Join(dir, textPath)) })
		if err != nil || p.Unread != nil || string(p.Text) != one.want {
			t.Errorf("%s: it is %q, unread %v, %v", name, p.Text, p.Unread, err)
		}
	}
}

// What cannot be read, or must not, is refused as if nobody had read it before.
func TestATextThatMustNotBeReadIsRefused(t *testing.T) {
	for name, change := range map[string]func(dir, path string) error{
		"gone": func(_, path string) error { return os.Remove(path) },
		"a link that leads out of the directory": func(dir, path string) error {
			return errors.Join(os.Rename(path, filepath.Dir(dir)+"/web"), os.Symlink(filepath.Dir(dir)+"/web", path))
		},
		"in a directory that a link leads out to, unchanged itself": func(dir, path string) error {
			away := filepath.Dir(dir) + "/away"
			return errors.Join(os.Rename(filepath.Dir(path), away), os.Symlink(away, filepath.Dir(path)))
		},
	} {
		_, again := readTwice(t, someText)
		if p, err := again(func(dir string) error { return change(dir, filepath.Join(dir, textPath)) }); err == nil {
			t.Errorf("%s: it is %q, unread %v", name, p.Text, p.Unread)
		}
	}
}

func TestATextWithoutADigestIsReadEachTime(t *testing.T) {
	_, again := readTwice(t, "include <@{X}/a>\nprofile web {\n}\n")
	if p, err := again(func(string) error { return nil }); err != nil || p.Unread != nil {
		t.Errorf("it is %+v, %v", p, err)
	}
}

// The policy file is read each time, and may name another text.
func TestATextOfAnotherFileIsRead(t *testing.T) {
	_, again := readTwice(t, someText)
	p, err := again(func(dir string) error {
		main := filepath.Join(dir, mainFile)
		data, err := os.ReadFile(main)
		return errors.Join(err, os.WriteFile(filepath.Join(dir, "profiles/other"), []byte("profile other {\n}\n"), 0o644),
			os.WriteFile(main, bytes.Replace(data, []byte(textPath), []byte("profiles/other"), 1), 0o644))
	})
	if err != nil || string(p.Text) != "profile other {\n}\n" {
		t.Errorf("it is %+v, %v", p, err)
	}
}
