package watcher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// compiler makes blobs that have nothing but the profile's name.
type compiler struct{}

func (compiler) Compile(_ context.Context, name string, mode profile.Mode, _ string, _ []byte) (profile.Blob, error) {
	b, err := profile.Parse(kerneltest.Blob("", name))
	if err != nil {
		return b, err
	}
	return b.WithMode(mode)
}

// waiting returns a watcher of a policy in force with a profile that waits a millisecond, what it says, and the content.
func waiting(t *testing.T) (w *Watcher, said *[]string, content [sha256.Size]byte) {
	t.Helper()
	dir := t.TempDir()
	web := policy.Profile{Name: "web", Mode: profile.Complain, EnforceAfter: time.Millisecond, Source: "profiles/web", Text: []byte("web")}
	g, _, err := store.Store{Dir: dir}.Apply(t.Context(), &policy.Config{Profiles: []policy.Profile{web}}, compiler{}, store.Manifest{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := g.Config()
	if err != nil {
		t.Fatal(err)
	}
	said = new([]string)
	w = New(&node.Node{State: &status.Node{Quiet: quiet.Dir(t.TempDir())}, Store: dir}, func(sentence string) { *said = append(*said, sentence) })
	w.told, w.joiner, w.waiting = make(map[string]string), nil, true
	w.Forget = func(context.Context) error { return nil }
	return w, said, c.Profiles[0].Blob
}

// A look that takes longer than its proof counts enforces nothing: the next one does.
func TestWatcherEnforcesByARecentProof(t *testing.T) {
	t.Parallel()
	w, said, content := waiting(t)
	var takes time.Duration
	w.Look = func(context.Context) ([]quiet.Sight, time.Duration, error) {
		time.Sleep(takes)
		return []quiet.Sight{{Name: "web", Content: hex.EncodeToString(content[:]), Held: 1}}, time.Millisecond, nil
	}
	var enforced []apply.Quiet
	w.Enforce = func(_ context.Context, due []apply.Quiet, _ func(context.Context) error) error {
		enforced = due
		return nil
	}
	look := func() {
		t.Helper()
		if _, err := w.look(t.Context(), &made{lines: make(chan string, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	look()
	time.Sleep(2 * time.Millisecond)
	takes = 2*oftenest + 10*time.Millisecond
	look()
	if len(enforced) > 0 || !strings.Contains(strings.Join(*said, "; "), "too old to enforce") {
		t.Errorf("in a slow look: enforced %+v, said %q", enforced, *said)
	}
	takes = 0
	look()
	if len(enforced) != 1 || enforced[0] != (apply.Quiet{Profile: "web", Blob: content, After: time.Millisecond}) {
		t.Errorf("in the next one: enforced %+v, said %q", enforced, *said)
	}
}

// The watcher reads nothing while it compiles. So before it enforces, it reads what has come since, and looks again.
func TestWatcherLooksAgainOnceCompiled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		compile func(m *made, w *Watcher) // what happens meanwhile
		says    string
		ends    bool // nothing is shown any more
	}{
		"nothing":         {func(*made, *Watcher) {}, "", false},
		"a denial":        {func(m *made, _ *Watcher) { m.lines <- denial("ALLOWED", "web") }, "as something would have been denied", false},
		"another's":       {func(m *made, _ *Watcher) { m.lines <- denial("ALLOWED", "shop") }, "", false},
		"lost records":    {func(m *made, _ *Watcher) { m.lost = []source.Loss{{By: "somebody", Records: 1}} }, "records were lost", true},
		"a silent socket": {func(m *made, _ *Watcher) { m.silent = true }, "did not come back", true},
		"no container": {func(_ *made, w *Watcher) {
			was := w.Look
			w.Look = func(ctx context.Context) ([]quiet.Sight, time.Duration, error) {
				sights, shortest, err := was(ctx)
				sights[0].Idle = "no container runs under it"
				return sights, shortest, err
			}
		}, "no container runs under it", false},
	} {
		t.Run(name, func(t *testing.T) {
			w, said, content := waiting(t)
			w.Patience = 50 * time.Millisecond
			w.Look = func(context.Context) ([]quiet.Sight, time.Duration, error) {
				return []quiet.Sight{{Name: "web", Content: hex.EncodeToString(content[:]), Held: 1}}, time.Millisecond, nil
			}
			m := &made{lines: make(chan string, 2)}
			if _, err := w.look(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Millisecond)
			compiled, enforced := false, false
			w.Enforce = func(ctx context.Context, _ []apply.Quiet, still func(context.Context) error) error {
				compiled = true
				c.compile(m, w)
				err := still(ctx)
				enforced = err == nil
				return err
			}
			_, err := w.look(t.Context(), m)
			all := strings.Join(*said, "; ")
			if !compiled || enforced != (c.says == "") || (err != nil) != c.ends || !strings.Contains(all, c.says) {
				t.Errorf("compiled %v, enforced %v, said %q: %v", compiled, enforced, all, err)
			}
		})
	}
}

// A proof that is older than two looks serves no decision. A new one that comes while it is waited for does.
func TestProven(t *testing.T) {
	boot, err := quiet.Boot()
	if err != nil {
		t.Fatal(err)
	}
	d := quiet.Dir(t.TempDir())
	release, err := d.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	prove := func(age time.Duration) {
		if err := d.Write(&quiet.State{Boot: boot, PID: 7, Every: time.Minute, Proved: quiet.Clock() - age}); err != nil {
			t.Error(err)
		}
	}
	if _, err := proven(t.Context(), d, 0); !errors.Is(err, quiet.ErrNobody) {
		t.Errorf("without a state: %v", err)
	}
	prove(2*time.Minute - time.Second)
	if s, err := proven(t.Context(), d, 0); s == nil || err != nil {
		t.Errorf("with a recent proof: %v", err)
	}
	const old = 2*time.Minute + time.Second // and not so old that nothing is said
	prove(old)
	if _, err := d.Read(); err != nil {
		t.Errorf("what is shown is not said: %v", err)
	}
	if _, err := proven(t.Context(), d, time.Millisecond); !errors.Is(err, quiet.ErrOld) {
		t.Errorf("with an old proof: %v", err)
	}
	go func() {
		time.Sleep(10 * time.Millisecond)
		prove(0)
	}()
	if s, err := proven(t.Context(), d, time.Minute); s == nil || err != nil {
		t.Errorf("with a proof that comes meanwhile: %v", err)
	}
}
