package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
)

// drifting is a compiler that gives other bytes each time, as Debian 13's does for some texts, and tells which texts are the
// same.
type drifting struct {
	parser
	blind bool
	mu    sync.Mutex
	said  map[string][]string
}

func (c *drifting) Compile(_ context.Context, name string, mode profile.Mode, source string, text []byte) (profile.Blob, error) {
	n := c.calls.Add(1)
	if string(text) == "bad" {
		return profile.Blob{}, fmt.Errorf("profile %s (%s) does not compile", name, source)
	}
	b, err := profile.Parse(kerneltest.Blob(fmt.Sprintf("%s, compilation %d", text, n), name))
	if err != nil {
		return b, err
	}
	c.Reused(name, []string{"a warning of " + string(text)})
	return b.WithMode(mode)
}

func (c *drifting) Said(name string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said[name]
}

func (c *drifting) Reused(name string, said []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said == nil {
		c.said = make(map[string][]string)
	}
	c.said[name] = said
}

func (c *drifting) Key(p *policy.Profile) ([sha256.Size]byte, bool) {
	text := sha256.Sum256(p.Text)
	if p.Unread != nil {
		text = p.Unread.SHA256
	}
	return sha256.Sum256(fmt.Append(nil, c.version, p.Name, p.Mode, text)), !c.blind
}

func applyKeeping(t *testing.T, s Store, c Compiler, text string) (g *Generation, changed bool, calls int32) {
	t.Helper()
	d := c.(*drifting)
	before := d.calls.Load()
	d.said = nil
	g, changed, err := s.Apply(t.Context(), twoProfiles(text), c, Manifest{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"base", "web"} { // what is in force is there, whole
		p, ok := g.Index.Profile(name)
		if !ok {
			t.Fatalf("no profile %s", name)
		}
		data, err := g.Blob(p)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := profile.Parse(data); err != nil || b.Check(name, p.Mode) != nil {
			t.Fatalf("%s: %v, %v", name, err, b.Check(name, p.Mode))
		}
	}
	if said := d.Said("web"); len(said) != 1 || said[0] != "a warning of "+text {
		t.Fatalf("%q is said", said)
	}
	return g, changed, d.calls.Load() - before
}

// locating is a drifting compiler that counts how often a profile is judged, by how often its source is asked for.
type locating struct {
	drifting
	judged atomic.Int32
}

func (c *locating) Locate(p *policy.Profile) string {
	c.judged.Add(1)
	return p.Source
}

// What is kept was judged when it was compiled, and is not judged again: that took most of the time of an apply that keeps.
func TestWhatIsKeptIsNotJudgedAgain(t *testing.T) {
	s := newStore(t)
	c := &locating{}
	for i, want := range []int32{2, 2, 4} { // so far: two profiles, none more, and two of another version
		if i == 2 {
			c.version = "another"
		}
		if _, _, err := s.Apply(t.Context(), twoProfiles("a text"), c, Manifest{}, nil); err != nil {
			t.Fatal(err)
		}
		if got := c.judged.Load(); got != want {
			t.Errorf("apply %d: %d profiles were judged so far, not %d", i+1, got, want)
		}
	}
}

// An apply of the same policy compiles nothing and keeps generation and blobs, also where a compilation would give others.
func TestTheSamePolicyIsKept(t *testing.T) {
	s := newStore(t)
	c := &drifting{parser: parser{version: "1"}}
	first, changed, calls := applyKeeping(t, s, c, "one")
	if !changed || calls != 2 {
		t.Errorf("the first apply: changed %t, %d compilations", changed, calls)
	}
	blobs := tree(t, s)
	for range 10 {
		g, changed, calls := applyKeeping(t, s, c, "one")
		if changed || calls != 0 || g.Number != first.Number {
			t.Fatalf("changed %t, %d compilations, generation %d", changed, calls, g.Number)
		}
	}
	for name, content := range tree(t, s) {
		if strings.HasPrefix(name, "blobs/") && blobs[name] != content {
			t.Errorf("%s is another", name)
		}
	}
	// One that changes is compiled, and no other.
	if g, changed, calls := applyKeeping(t, s, c, "two"); !changed || calls != 1 || g.Number != first.Number+1 {
		t.Errorf("another text: changed %t, %d compilations, generation %d", changed, calls, g.Number)
	}
	// So does a mode, and another parser for all of them.
	c.version = "2"
	if _, changed, calls := applyKeeping(t, s, c, "two"); !changed || calls != 2 {
		t.Errorf("another parser: changed %t, %d compilations", changed, calls)
	}
	c.blind = true
	if _, _, calls := applyKeeping(t, s, c, "two"); calls != 2 {
		t.Errorf("a compiler that cannot tell: %d compilations", calls)
	}
	if m, err := mustCurrent(t, s).Manifest(); err != nil || m.Profiles[0].Made != "" {
		t.Errorf("it is kept as if it could: %+v, %v", m, err)
	}
}

func mustCurrent(t *testing.T, s Store) *Generation {
	t.Helper()
	g, err := s.Current()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// rewrite gives a file another content, and leaves its size and its time of modification.
func rewrite(path string, other func(data []byte)) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	other(data)
	return errors.Join(os.WriteFile(path, data, 0o600), os.Chtimes(path, info.ModTime(), info.ModTime()))
}

// applySettled applies a policy again after its files have become old enough to be remembered, and proves that they are.
func applySettled(t *testing.T, s Store, c Compiler, text string) {
	t.Helper()
	time.Sleep(30 * time.Millisecond)
	applyKeeping(t, s, c, text)
	compiled, err := Compile(t.Context(), twoProfiles(text), c, mustCurrent(t, s), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, pr := range compiled.Policy.Profiles {
		if compiled.blobs[i].Data != nil {
			t.Errorf("the blob of %s was read", pr.Name)
		}
		if b, err := compiled.Blob(i); err != nil || b.SHA256() != pr.Blob {
			t.Errorf("the blob of %s that is read where it is needed: %v", pr.Name, err)
		}
	}
}

// What was kept and is not what it was counts for nothing: it is compiled again, and what is in force afterwards is whole. So it
// is where an apply has read the files, and remembers them.
func TestWhatIsKeptIsProven(t *testing.T) {
	for what, spoil := range map[string]func(s Store, blob, manifest string) error{
		"a blob cut short": func(s Store, blob, _ string) error { return os.Truncate(blob, 100) },
		"no blob":          func(s Store, blob, _ string) error { return os.Remove(blob) },
		"a blob of another content": func(s Store, blob, _ string) error {
			return os.WriteFile(blob, kerneltest.Blob("looser", "web"), 0o600)
		},
		"a blob of another content, and the same size and time": func(s Store, blob, _ string) error {
			return rewrite(blob, func(data []byte) { data[len(data)-1] ^= 1 })
		},
		"a blob that others can write to": func(s Store, blob, _ string) error { return os.Chmod(blob, 0o622) },
		"a blob of somebody else's": func(s Store, blob, _ string) error {
			if os.Geteuid() != 0 {
				return os.Remove(blob)
			}
			return os.Chown(blob, 65533, 65533)
		},
		"a blob behind a link": func(s Store, blob, _ string) error {
			return errors.Join(os.Rename(blob, blob+".away"), os.Symlink(blob+".away", blob))
		},
		"a manifest cut short":   func(s Store, _, manifest string) error { return os.Truncate(manifest, 200) },
		"a manifest of somebody": func(s Store, _, manifest string) error { return os.Chmod(manifest, 0o666) },
		"no manifest":            func(s Store, _, manifest string) error { return os.Remove(manifest) },
		// That of the policy before, whose blob is there as well: it says another text.
		"a manifest of another generation": func(s Store, _, manifest string) error {
			data, err := os.ReadFile(filepath.Join(s.Dir, "generations/1/manifest.json"))
			if err != nil {
				return err
			}
			return os.WriteFile(manifest, data, 0o600)
		},
	} {
		for _, remembered := range []bool{false, true} {
			testKeptIsProven(t, what, remembered, spoil)
		}
	}
}

func testKeptIsProven(t *testing.T, what string, remembered bool, spoil func(s Store, blob, manifest string) error) {
	t.Helper()
	s := newStore(t)
	c := &drifting{parser: parser{version: "1"}}
	applyKeeping(t, s, c, "one")
	g, _, _ := applyKeeping(t, s, c, "two")
	p, _ := g.Index.Profile("web")
	if remembered {
		applySettled(t, s, c, "two")
		time.Sleep(30 * time.Millisecond)
	}
	err := spoil(s, filepath.Join(s.Dir, blobPath(p.Blob)), filepath.Join(s.Dir, generationPath(g.Number), "manifest.json"))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if _, _, calls := applyKeeping(t, s, c, "two"); calls == 0 {
		t.Errorf("%s: nothing is compiled", what)
	}
	if _, changed, calls := applyKeeping(t, s, c, "two"); changed || calls != 0 {
		t.Errorf("%s: afterwards changed %t, %d compilations", what, changed, calls)
	}
}

// A manifest that says of a text what is true of another is not believed.
func TestWhatWasMadeOfAnotherTextIsNotKept(t *testing.T) {
	s := newStore(t)
	c := &drifting{parser: parser{version: "1"}}
	g, _, _ := applyKeeping(t, s, c, "one")
	path := filepath.Join(s.Dir, generationPath(g.Number), "manifest.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := g.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	other := s
	other.Dir += "-other"
	h, _, _ := applyKeeping(t, other, c, "two")
	n, err := h.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	// The hash for text "two", which stands for another blob, in the place of that for "one".
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), m.Profiles[1].Made, n.Profiles[1].Made, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, calls := applyKeeping(t, s, c, "two"); calls != 1 {
		t.Errorf("%d compilations", calls)
	}
}

// A record of files that was damaged, that somebody else could have written, or that is of another store, spares no reading.
func TestARecordOfFilesIsProven(t *testing.T) {
	for what, spoil := range map[string]func(path string) error{
		"cut short":              func(path string) error { return os.Truncate(path, 200) },
		"changed":                func(path string) error { return rewrite(path, func(data []byte) { data[len(data)-2] ^= 1 }) },
		"others can write to it": func(path string) error { return os.Chmod(path, 0o666) },
		"gone":                   os.Remove,
		"of another machine, where the blob was another file": func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f := seen.Parse(nil)
			for line := range strings.Lines(string(data)) {
				if blob, _, ok := strings.Cut(line, "\t"); ok {
					f.Add(seen.Blob, blob, safefile.Stamp{Size: 1}, time.Now(), "")
				}
			}
			return os.WriteFile(path, f.Bytes(), 0o600)
		},
	} {
		s := newStore(t)
		c := &drifting{parser: parser{version: "1"}}
		g, _, _ := applyKeeping(t, s, c, "one")
		applySettled(t, s, c, "one")
		if err := spoil(filepath.Join(s.Dir, "seen")); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		compiled, err := Compile(t.Context(), twoProfiles("one"), c, mustCurrent(t, s), nil)
		if err != nil {
			t.Fatal(err)
		}
		if compiled.Reused != 2 || compiled.blobs[0].Data == nil || compiled.blobs[1].Data == nil {
			t.Errorf("%s: a blob was not read, or compiled again", what)
		}
		p, _ := g.Index.Profile("web")
		if err := os.Truncate(filepath.Join(s.Dir, blobPath(p.Blob)), 100); err != nil {
			t.Fatal(err)
		}
		if _, _, calls := applyKeeping(t, s, c, "one"); calls != 1 {
			t.Errorf("%s: of a damaged blob %d are compiled", what, calls)
		}
	}
}

// unread returns twoProfiles with a text that was not read. reads is how often it is read after that, and as what.
func unread(text string, reads *int, as func() ([]byte, error)) *policy.Config {
	p := twoProfiles("")
	p.Profiles[1].Text = nil
	p.Profiles[1].Unread = &policy.Unread{
		Digest: profile.Digest{SHA256: sha256.Sum256([]byte(text))},
		Read:   func() ([]byte, error) { *reads++; return as() },
	}
	return p
}

// A text that was not read is kept as it was compiled. It is read where it is compiled again, and what is kept is then of
// the text that was read, also if that is another one than before.
func TestATextIsReadWhereItIsCompiled(t *testing.T) {
	s := newStore(t)
	c := &drifting{parser: parser{version: "1"}}
	applyKeeping(t, s, c, "one")
	reads := 0
	apply := func(p *policy.Config) (calls int32, m Manifest) {
		t.Helper()
		before := c.calls.Load()
		g, _, err := s.Apply(t.Context(), p, c, Manifest{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if m, err = g.Manifest(); err != nil {
			t.Fatal(err)
		}
		return c.calls.Load() - before, m
	}
	hash := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

	never := func() ([]byte, error) { return nil, errors.New("it is gone") }
	if calls, m := apply(unread("one", &reads, never)); calls != 0 || reads != 0 || m.Profiles[1].Text != hash("one") {
		t.Errorf("%d compilations, %d reads, of the text %s", calls, reads, m.Profiles[1].Text)
	}
	c.version = "2"
	_, _, err := s.Apply(t.Context(), unread("one", &reads, never), c, Manifest{}, nil)
	if !errors.As(err, new(*CompileError)) ||
		!strings.Contains(err.Error(), "the text of profile \"web\" cannot be read: it is gone") {
		t.Errorf("one that is gone: %v", err)
	}
	changed := func() ([]byte, error) { return []byte("two"), nil }
	if calls, m := apply(unread("one", &reads, changed)); calls != 2 || reads != 2 || m.Profiles[1].Text != hash("two") {
		t.Errorf("another version: %d compilations, %d reads, of the text %s", calls, reads, m.Profiles[1].Text)
	}
	if _, _, calls := applyKeeping(t, s, c, "two"); calls != 0 {
		t.Errorf("the text that was compiled: %d compilations", calls)
	}
	if _, _, calls := applyKeeping(t, s, c, "one"); calls != 1 {
		t.Errorf("the one that was not: %d compilations", calls)
	}
}

// The one text that was read is compiled while the keys of the others are still computed. What is reported counts it in.
func TestTheTextThatWasReadIsCompiledAhead(t *testing.T) {
	s := newStore(t)
	c := &drifting{parser: parser{version: "1"}}
	three := func(text string) *policy.Config {
		reads := 0
		p := unread("one", &reads, func() ([]byte, error) { return []byte("one"), nil })
		p.Profiles = append(p.Profiles, policy.Profile{Name: "zoo", Source: "profiles/zoo", Text: []byte(text)})
		p.Profiles[0].Template = "generated"
		return p
	}
	for _, step := range []struct{ text, version, compiled string }{
		{"a", "1", "base web zoo"}, {"b", "1", "zoo"}, {"b", "1", ""}, {"c", "2", "base web zoo"}, {"b", "2", "zoo"},
	} {
		c.version = step.version
		var names []string
		_, _, err := s.Apply(t.Context(), three(step.text), c, Manifest{}, func(p Progress) {
			names = append(names, p.Name)
			if want := strings.Count(step.compiled, " ") + 1; p.Done != len(names) || p.Total != want || p.Err != nil {
				t.Errorf("%+v: %+v, of %d", step, p, want)
			}
		})
		slices.Sort(names)
		if got := strings.Join(names, " "); err != nil || got != step.compiled {
			t.Errorf("%+v: compiled are %s, %v", step, got, err)
		}
	}
}
