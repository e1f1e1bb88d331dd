package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

func TestApplyPutsInForce(t *testing.T) {
	s := newStore(t)
	g, changed, err := s.Apply(t.Context(), twoProfiles("one"), &parser{version: "1"},
		Manifest{Version: "0.1", Parser: "4.1.0", Kernel: "6.12"}, nil)
	if err != nil || !changed || g.Number != 1 {
		t.Fatalf("generation %v, changed %v, %v", g, changed, err)
	}
	checkInForce(t, s, "one")
	apply(t, s, "two")
	checkInForce(t, s, "two")

	m, err := g.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if m.Version != "0.1" || m.Parser != "4.1.0" || m.Kernel != "6.12" || time.Since(m.Applied) > time.Minute {
		t.Errorf("manifest %+v", m)
	}
	if len(m.Profiles) != 2 || m.Profiles[1].Name != "web" || m.Profiles[1].Source != "profiles/web" ||
		!strings.HasPrefix(m.Profiles[1].Text, "7692c3ad") { // printf one | sha256sum
		t.Errorf("manifest of the profiles: %+v", m.Profiles)
	}
}

func TestStoreIsClosedToOthers(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	s := newStore(t)
	apply(t, s, "one")
	err := filepath.WalkDir(s.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := os.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if d.Type() != os.ModeSymlink && info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o, want %04o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestApplyTellsAllErrorsAndWritesNothing(t *testing.T) {
	p := twoProfiles("bad")
	p.Profiles[0].Text = []byte("bad")
	for _, before := range []string{"", "one"} {
		s := newStore(t)
		if before != "" {
			apply(t, s, before)
		} else if l, err := s.Lock(t.Context()); err != nil {
			t.Fatal(err)
		} else {
			l.Unlock() // makes the directories
		}
		files := tree(t, s)
		_, _, err := s.Apply(t.Context(), p, &parser{version: "1"}, Manifest{}, nil)
		if err == nil {
			t.Fatal("no error")
		}
		for _, name := range []string{"profile base (profiles/base)", "profile web (profiles/web)"} {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("error %q does not name %s", err, name)
			}
		}
		if d := differences(tree(t, s), files); d != nil {
			t.Errorf("the store changed: %q", d)
		}
		checkInForce(t, s, before)
	}
}

func TestIdenticalOutcomeKeepsTheGeneration(t *testing.T) {
	s := newStore(t)
	apply(t, s, "one")
	compiler := &parser{version: "1"}
	g, changed, err := s.Apply(t.Context(), twoProfiles("one"), compiler, Manifest{Kernel: "newer"}, nil)
	if err != nil || changed || g.Number != 1 {
		t.Errorf("generation %v, changed %v, %v", g, changed, err)
	}
	if n := compiler.calls.Load(); n != 2 {
		t.Errorf("%d profiles were compiled, want all 2", n)
	}
	if m, err := g.Manifest(); err != nil || m.Kernel != "newer" {
		t.Errorf("the manifest does not tell of the kernel that gave the same: %+v, %v", m, err)
	}
	checkInForce(t, s, "one")
}

func TestAnotherParserMakesAnotherGeneration(t *testing.T) {
	s := newStore(t)
	apply(t, s, "one")
	g, changed, err := s.Apply(t.Context(), twoProfiles("one"), &parser{version: "2"}, Manifest{}, nil)
	if err != nil || !changed || g.Number != 2 {
		t.Fatalf("generation %v, changed %v, %v", g, changed, err)
	}
	p, _ := g.Index.Profile("web")
	if data, err := g.Blob(p); err != nil || !strings.Contains(string(data), "2 web") {
		t.Errorf("blob %q, %v: not the new parser's", data, err)
	}
}

func TestApplyRepairsTheStore(t *testing.T) {
	for name, spoil := range map[string]func(s Store, g *Generation) error{
		"blob damaged": func(s Store, g *Generation) error {
			p, _ := g.Index.Profile("web")
			return os.WriteFile(filepath.Join(s.Dir, blobPath(p.Blob)), []byte("x"), 0o600)
		},
		"index damaged": func(s Store, g *Generation) error {
			return os.WriteFile(filepath.Join(s.Dir, "generations/1/index"), []byte("x"), 0o600)
		},
		"manifest missing":   func(s Store, g *Generation) error { return os.Remove(s.Dir + "/generations/1/manifest.json") },
		"generation missing": func(s Store, g *Generation) error { return os.RemoveAll(s.Dir + "/generations/1") },
		"link missing":       func(s Store, g *Generation) error { return os.Remove(s.Dir + "/current") },
		"link to elsewhere":  func(s Store, g *Generation) error { return relink("/")(s) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if err := spoil(s, apply(t, s, "one")); err != nil {
				t.Fatal(err)
			}
			apply(t, s, "one")
			checkInForce(t, s, "one")
		})
	}
}

// A start that read the index two applies ago still finds its blobs; what is older is gone.
func TestOldGenerationsAndBlobsGo(t *testing.T) {
	s := newStore(t)
	var all []*Generation
	for i := range 6 {
		all = append(all, apply(t, s, fmt.Sprint("text", i)))
		for j, g := range all {
			p, _ := g.Index.Profile("web")
			_, err := g.Blob(p)
			if recent := j > i-maxGenerations; recent != (err == nil) {
				t.Errorf("after apply %d: the blob of generation %d: %v", i+1, j+1, err)
			}
		}
	}
	var names []string
	for _, dir := range []string{"generations", "blobs"} {
		entries, err := os.ReadDir(filepath.Join(s.Dir, dir))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprint(len(entries), " ", dir))
	}
	// base is the same in all generations.
	if got, want := strings.Join(names, ", "), "3 generations, 4 blobs"; got != want {
		t.Errorf("on disk are %s, want %s", got, want)
	}
}

func TestStartsDuringAppliesSeeOneWholePolicy(t *testing.T) {
	s := newStore(t)
	apply(t, s, "text0")
	ctx, stop := context.WithCancel(t.Context())
	var starts sync.WaitGroup
	var seen atomic.Int32
	for range 4 {
		starts.Go(func() {
			for ctx.Err() == nil {
				before, _ := s.Current()
				text, err := inForce(s)
				after, _ := s.Current()
				if before == nil || after == nil {
					t.Error("no policy is in force")
					return
				}
				if before.Number+maxGenerations <= after.Number {
					continue // this goroutine slept through so many applies that its blobs may be gone
				}
				if err != nil || !strings.HasPrefix(text, "text") {
					t.Errorf("in force is %q, %v", text, err)
					return
				}
				seen.Add(1)
			}
		})
	}
	var applies sync.WaitGroup
	for i := range 2 {
		applies.Go(func() {
			for j := range 10 {
				if _, _, err := s.Apply(ctx, twoProfiles(fmt.Sprintf("text%d-%d", i, j)), &parser{version: "1"}, Manifest{},
					nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	applies.Wait()
	stop()
	starts.Wait()
	if seen.Load() == 0 {
		t.Error("no start saw anything")
	}
	if g, err := s.Current(); err != nil || g.Number != 21 {
		t.Errorf("generation %v, %v, want 21: one for each apply", g, err)
	}
}

func TestLockIsHeldByOne(t *testing.T) {
	s := newStore(t)
	l, err := s.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Millisecond, errors.New("still so"))
	defer cancel()
	if _, err := s.Lock(ctx); err == nil || !strings.Contains(err.Error(), s.Dir+"/lock: still so") {
		t.Errorf("a second lock: %v", err)
	}
	l.Unlock()
	l, err = s.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.Unlock()
}

func TestLockRefusesAnUnsafeStore(t *testing.T) {
	for _, dir := range []string{".", "blobs", "generations"} {
		s := newStore(t)
		apply(t, s, "one")
		if err := os.Chmod(filepath.Join(s.Dir, dir), 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lock(t.Context()); err == nil || !strings.Contains(err.Error(), "mode 0777") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestProgress(t *testing.T) {
	s := newStore(t)
	p := twoProfiles("bad")
	var seen []string
	_, _, err := s.Apply(t.Context(), p, &parser{version: "1"}, Manifest{}, func(p Progress) {
		seen = append(seen, fmt.Sprint(p.Done, "/", p.Total, " ", p.Name, " ", p.Err == nil))
	})
	if err == nil {
		t.Error("no error")
	}
	got := strings.Join(seen, ", ")
	if got != "1/2 base true, 2/2 web false" && got != "1/2 web false, 2/2 base true" {
		t.Errorf("progress %s", got)
	}
}

// meeting compiles a profile only while another one is being compiled.
type meeting struct {
	parser
	others chan struct{}
}

func (c *meeting) Compile(ctx context.Context, name string, mode profile.Mode, source string, text []byte) (profile.Blob,
	error) {
	select {
	case c.others <- struct{}{}:
	case <-c.others:
	case <-time.After(10 * time.Second):
		return profile.Blob{}, fmt.Errorf("profile %s is compiled alone", name)
	}
	return c.parser.Compile(ctx, name, mode, source, text)
}

func TestProfilesAreCompiledInParallel(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	c := &meeting{parser: parser{version: "1"}, others: make(chan struct{})}
	if _, err := Compile(t.Context(), twoProfiles("one"), c, nil, nil); err != nil {
		t.Error(err)
	}
}

func TestApplyEndsWithItsContext(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := s.Apply(ctx, twoProfiles("one"), &parser{version: "1"}, Manifest{}, func(Progress) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	checkInForce(t, s, "")
}

func TestPolicyWithoutProfiles(t *testing.T) {
	s := newStore(t)
	p := &policy.Config{
		Policies:    []policy.Policy{{Name: "hands-off", Profile: policy.Keep}},
		Assignments: []policy.Assignment{{Policy: "hands-off"}},
	}
	g, _, err := s.Apply(t.Context(), p, &parser{}, Manifest{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := g.Index.Decide(policy.Facts{}); err != nil || !d.Keep {
		t.Errorf("decision %+v, %v", d, err)
	}
}
