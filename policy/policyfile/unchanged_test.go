package policyfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
)

// remembered makes a configuration directory, and reads it as an apply does that remembers what it has read. before is what
// a later apply knows of it: the configuration by way of its index, as the store keeps it.
func remembered(t *testing.T) (dir string, files []byte, before *policy.Config) {
	t.Helper()
	dir = t.TempDir()
	for path, text := range map[string]string{
		"policy.yaml": "version: 1\nprofiles:\n  web: {file: profiles/web}\n  base: {template: docker-default}\n" +
			"policies: {web: {profile: web, floor: base}}\nassign:\n  - policy: keep\n    request: web\n",
		"policy.d/10-site.yaml": "version: 1\nassign:\n  - namespace: shop\n    policy: web\n",
		"profiles/web":          someText,
	} {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(30 * time.Millisecond) // files are not new any more
	all := seen.Parse(nil)
	p, err := Reader{Seen: all}.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Profiles {
		p.Profiles[i].Blob = [32]byte{31: byte(i)}
	}
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	index, err := policy.OpenIndex(data)
	if err != nil {
		t.Fatal(err)
	}
	if before, err = index.Config(); err != nil {
		t.Fatal(err)
	}
	for i := range before.Profiles {
		before.Profiles[i].Template = p.Profiles[i].Template
	}
	return dir, all.Bytes(), before
}

func TestAPolicyThatIsUnchangedIsNotRead(t *testing.T) {
	dir, files, before := remembered(t)
	want, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // each apply writes down what the next one reads
		all := seen.Parse(files)
		p, err := Reader{Seen: all, Before: before}.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if &p.Policies[0] != &before.Policies[0] {
			t.Error("it is read again")
		}
		for i := range p.Profiles {
			if err := p.Profiles[i].ReadText(); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := describe(p, nil), describe(want, nil); got != want {
			t.Errorf("it is\n%s, and read\n%s", got, want)
		}
		if all.Changed() {
			t.Error("something else is remembered")
		}
		files = all.Bytes()
	}
}

// A policy of which it is not certain that it is the same is read.
func TestAPolicyThatMayHaveChangedIsRead(t *testing.T) {
	main := func(dir string) string { return filepath.Join(dir, "policy.yaml") }
	rewrite := func(path, old, new string) error {
		data, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(data), old) {
			err = errors.New("there is no " + old)
		}
		return errors.Join(err, os.WriteFile(path, []byte(strings.Replace(string(data), old, new, 1)), 0o644))
	}
	for name, change := range map[string]func(dir string, before *policy.Config) error{
		"other content of the same size and time": func(dir string, _ *policy.Config) error {
			info, err := os.Stat(main(dir))
			return errors.Join(err, rewrite(main(dir), "profile: web, floor: base", "profile: base, floor: web"),
				os.Chtimes(main(dir), info.ModTime(), info.ModTime()))
		},
		"another part of it": func(dir string, _ *policy.Config) error {
			return rewrite(dir+"/policy.d/10-site.yaml", "shop", "mall")
		},
		"one more part": func(dir string, _ *policy.Config) error {
			return os.WriteFile(dir+"/policy.d/05-first.yaml", []byte("version: 1\nassign:\n  - pod: a\n    policy: keep\n"), 0o644)
		},
		"one part less": func(dir string, _ *policy.Config) error { return os.Remove(dir + "/policy.d/10-site.yaml") },
		"a part with another name": func(dir string, _ *policy.Config) error {
			return os.Rename(dir+"/policy.d/10-site.yaml", dir+"/policy.d/20-site.yaml")
		},
		"a link to the same": func(dir string, _ *policy.Config) error {
			return errors.Join(os.Rename(main(dir), dir+"/same"), os.Symlink("same", main(dir)))
		},
		"another policy was put in force": func(_ string, before *policy.Config) error {
			before.Assignments[1].Request = nil
			return nil
		},
		"a profile of another mode was": func(_ string, before *policy.Config) error {
			before.Profiles[1].Mode = 1
			return nil
		},
		"a profile of another template was": func(_ string, before *policy.Config) error {
			before.Profiles[0].Template = "another"
			return nil
		},
		"a profile of another file was": func(_ string, before *policy.Config) error {
			before.Profiles[1].Source = "profiles/other"
			return nil
		},
		"one that contradicts itself was": func(_ string, before *policy.Config) error {
			before.Profiles[0].Name = "web"
			return nil
		},
	} {
		dir, files, before := remembered(t)
		if err := change(dir, before); err != nil {
			t.Fatal(err)
		}
		want, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Reader{Seen: seen.Parse(files), Before: before}.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.Profiles {
			if err := p.Profiles[i].ReadText(); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := describe(p, nil), describe(want, nil); got != want {
			t.Errorf("%s: it is\n%s, and read\n%s", name, got, want)
		}
	}
}

// What is wrong is said with the place in the policy file, though nobody has read that.
func TestATextThatIsGoneIsPlacedInAnUnchangedPolicy(t *testing.T) {
	dir, files, before := remembered(t)
	if err := os.Remove(dir + "/profiles/web"); err != nil {
		t.Fatal(err)
	}
	_, err := Reader{Seen: seen.Parse(files), Before: before}.Read(dir)
	if err == nil || !strings.HasPrefix(err.Error(), filepath.Join(dir, "policy.yaml")+":3:") {
		t.Errorf("%v", err)
	}
}
