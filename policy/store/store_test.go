package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy"
)

func TestCurrentWithoutAnApply(t *testing.T) {
	s := newStore(t)
	if _, err := s.Current(); !errors.Is(err, ErrNone) {
		t.Errorf("no directory: %v", err)
	}
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Current(); !errors.Is(err, ErrNone) {
		t.Errorf("empty directory: %v", err)
	}
}

func TestCurrentTellsALostLinkFromAFreshMachine(t *testing.T) {
	s := newStore(t)
	apply(t, s, "one")
	if err := os.Remove(s.Dir + "/current"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Current()
	if !errors.Is(err, ErrNone) || strings.Contains(err.Error(), "none was applied") ||
		!strings.Contains(err.Error(), "the link current is gone: run oci-apparmor policy apply") {
		t.Errorf("error %v", err)
	}
}

func TestCurrentSaysOnceWhatToDo(t *testing.T) {
	s := newStore(t)
	apply(t, s, "one")
	if err := os.WriteFile(s.Dir+"/current/index", []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Current(); err == nil || strings.Count(err.Error(), "policy apply") != 1 {
		t.Errorf("error %v", err)
	}
}

// Whatever is wrong with the store, no policy comes out of it, and the error is not the one of a fresh machine.
func TestCurrentRefuses(t *testing.T) {
	chmod := func(name string, mode os.FileMode) func(Store) error {
		return func(s Store) error { return os.Chmod(filepath.Join(s.Dir, name), mode) }
	}
	index := func(s Store) string { return filepath.Join(s.Dir, "generations/1/index") }
	tests := map[string]struct {
		spoil func(s Store) error
		want  string
	}{
		"store writable by others":       {chmod(".", 0o777), "mode 0777"},
		"store writable by its group":    {chmod(".", 0o720), "mode 0720"},
		"generations writable by others": {chmod("generations", 0o703), "generations: others can write to it (mode 0703)"},
		"generation writable by others":  {chmod("generations/1", 0o702), "generations/1: others can write to it (mode 0702)"},
		"index writable by others":       {chmod("generations/1/index", 0o606), "index: others can write to it (mode 0606)"},
		"index damaged": {func(s Store) error {
			return os.WriteFile(index(s), []byte("nonsense"), 0o600)
		}, "index"},
		"index empty":   {func(s Store) error { return os.Truncate(index(s), 0) }, "index"},
		"index missing": {func(s Store) error { return os.Remove(index(s)) }, "no such file"},
		"index a directory": {func(s Store) error {
			return errors.Join(os.Remove(index(s)), os.Mkdir(index(s), 0o700))
		}, "not a regular file"},
		"index a link": {func(s Store) error {
			return errors.Join(os.Rename(index(s), s.Dir+"/i"), os.Symlink(s.Dir+"/i", index(s)))
		}, "index"},
		"generation missing": {func(s Store) error { return os.RemoveAll(s.Dir + "/generations/1") }, "no such file"},
		"link to elsewhere":  {relink("/tmp"), `names "/tmp"`},
		"link upwards":       {relink("generations/../../1"), "names"},
		"link to 01":         {relink("generations/01"), "names"},
		"link without end":   {relink(strings.Repeat("generations/1/", 200)), "names"},
		"current a directory": {func(s Store) error {
			return errors.Join(os.Remove(s.Dir+"/current"), os.Mkdir(s.Dir+"/current", 0o700))
		}, "readlink"},
		"store a link": {func(s Store) error {
			return errors.Join(os.Rename(s.Dir, s.Dir+"2"), os.Symlink(s.Dir+"2", s.Dir))
		}, "not a directory"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			apply(t, s, "one")
			checkInForce(t, s, "one")
			if err := tt.spoil(s); err != nil {
				t.Fatal(err)
			}
			g, err := s.Current()
			if err == nil {
				t.Fatalf("generation %d", g.Number)
			}
			if errors.Is(err, ErrNone) {
				t.Error("taken for a machine without a policy")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), s.Dir) {
				t.Errorf("error %q does not contain %q and the store's directory", err, tt.want)
			}
		})
	}
}

func relink(target string) func(Store) error {
	return func(s Store) error {
		return errors.Join(os.Remove(s.Dir+"/current"), os.Symlink(target, s.Dir+"/current"))
	}
}

func TestCurrentRefusesAnotherOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	s := newStore(t)
	apply(t, s, "one")
	if err := os.Chown(s.Dir, 4711, 4711); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Current(); err == nil || !strings.Contains(err.Error(), "belongs to uid 4711") {
		t.Errorf("error %v", err)
	}
}

func TestBlobIsWhatTheIndexSays(t *testing.T) {
	s := newStore(t)
	g := apply(t, s, "one")
	p, ok := g.Index.Profile("web")
	if !ok {
		t.Fatal("profile web is not in the index")
	}
	path := filepath.Join(s.Dir, blobPath(p.Blob))
	good, err := g.Blob(p)
	if err != nil {
		t.Fatal(err)
	}
	spoiled := append([]byte(nil), good...)
	spoiled[len(spoiled)-1] ^= 1
	for name, spoil := range map[string]func() error{
		"one bit":   func() error { return os.WriteFile(path, spoiled, 0o600) },
		"cut short": func() error { return os.WriteFile(path, good[:len(good)-1], 0o600) },
		"longer":    func() error { return os.WriteFile(path, append(spoiled, 0), 0o600) },
		"empty":     func() error { return os.Truncate(path, 0) },
		"missing":   func() error { return os.Remove(path) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		_, err := g.Blob(p)
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if !strings.Contains(err.Error(), "profile web") || !strings.Contains(err.Error(), "policy apply") {
			t.Errorf("%s: error %q does not name the profile and what to do", name, err)
		}
		_ = os.WriteFile(path, good, 0o600)
	}
	if _, err := g.Blob(policy.Profile{Name: "other"}); err == nil {
		t.Error("a profile that was never compiled has a blob")
	}
}

func BenchmarkCurrentAndBlob(b *testing.B) {
	s := newStore(b)
	apply(b, s, "one")
	for b.Loop() {
		g, err := s.Current()
		if err != nil {
			b.Fatal(err)
		}
		p, _ := g.Index.Profile("web")
		if _, err := g.Blob(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCurrent(b *testing.B) {
	s := newStore(b)
	apply(b, s, "one")
	for b.Loop() {
		if _, err := s.Current(); err != nil {
			b.Fatal(err)
		}
	}
}

// What an apply saved that was then cut off, or changed nothing, the next apply removes, and a rollback never sees.
func TestSaveTextsRemovesWhatWasSavedBefore(t *testing.T) {
	s := newStore(t)
	g := apply(t, s, "one")
	l, err := s.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Unlock()
	if err := l.SaveTexts(g, map[string][]byte{"one": []byte("left"), "two": []byte("left")}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Dir+"/current/texts/.one.1", nil, 0o600); err != nil { // a write that was cut off
		t.Fatal(err)
	}
	if err := l.SaveTexts(g, map[string][]byte{"one": []byte("saved")}); err != nil {
		t.Fatal(err)
	}
	if text, err := l.SavedText(g, "one"); err != nil || string(text) != "saved" {
		t.Errorf("one: %q, %v", text, err)
	}
	if entries, err := os.ReadDir(s.Dir + "/current/texts"); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := l.SaveTexts(g, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := l.SavedText(g, "one"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after nothing was saved: %v", err)
	}
}
