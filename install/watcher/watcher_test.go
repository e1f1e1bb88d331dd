package watcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	records "github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
)

// made is a made-up socket.
type made struct {
	sync.Mutex
	lines  chan string
	lost   []source.Loss
	silent bool // no denial of ours comes back
	proofs int
	before func() // nil, or what happens before a denial of ours
}

func (m *made) Name() string { return source.Multicast }
func (m *made) Close() error { return nil }

func (m *made) Lost() []source.Loss {
	m.Lock()
	defer m.Unlock()
	return slices.Clone(m.lost)
}

func (m *made) Prove() error {
	m.Lock()
	defer m.Unlock()
	m.proofs++
	if m.before != nil {
		m.before()
	}
	if !m.silent {
		m.lines <- fmt.Sprintf(`apparmor="DENIED" operation="change_onexec" profile="unconfined" name="proof.%d"`, m.proofs)
	}
	return nil
}

func (m *made) Proof(r *records.Record) bool {
	m.Lock()
	defer m.Unlock()
	return r.Get("name") == fmt.Sprintf("proof.%d", m.proofs)
}

func (m *made) Next(ctx context.Context, e *source.Entry) error {
	select {
	case line := <-m.lines:
		if _, ok := e.Record.Parse([]byte(strings.TrimPrefix(line, "forged "))); !ok {
			return fmt.Errorf("no record: %s", line)
		}
		e.Kernel = !strings.HasPrefix(line, "forged ")
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watched runs a watcher of profile web, calls do while it runs, and returns what is shown then.
func watched(t *testing.T, do func(m *made, look func() *quiet.Profile)) {
	t.Helper()
	m := &made{lines: make(chan string, 100)}
	dir := quiet.Dir(filepath.Join(t.TempDir(), "quiet"))
	w := New(&node.Node{State: &status.Node{Quiet: dir}, Store: t.TempDir()}, func(sentence string) { t.Log(sentence) })
	w.joiner = nil
	w.Patience = 50 * time.Millisecond
	w.Listen = func(context.Context) (Listener, error) { return m, nil }
	w.Forget = func(context.Context) error { return nil }
	w.Look = func(context.Context) ([]quiet.Sight, time.Duration, error) {
		return []quiet.Sight{{Name: "web", Content: "1", Held: 1}}, 10 * time.Second, nil
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, ended := make(chan bool), make(chan error, 1)
	go func() { ended <- w.Run(ctx, func() error { close(ready); return nil }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	do(m, func() *quiet.Profile {
		s, err := dir.Read()
		if err != nil {
			return &quiet.Profile{Idle: err.Error()}
		}
		return s.Of("web", "1")
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := dir.Read(); err == nil {
		t.Error("what is shown counts without a watcher")
	}
}

func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

func denial(kind, profile string) string {
	return fmt.Sprintf(`apparmor=%q operation="open" class="file" profile=%q name="/srv/x" pid=7 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`, kind, profile)
}

func TestWatcher(t *testing.T) {
	t.Parallel()
	watched(t, func(m *made, look func() *quiet.Profile) {
		wait(t, "time to count", func() bool { return look().Quiet > 0 })
		for _, line := range []string{denial("ALLOWED", "shop"), denial("ALLOWED", "web2"), "forged " + denial("ALLOWED", "web"), denial("AUDIT", "web"),
			denial("STATUS", "web"), denial("ALLOWED", "web") + ` namespace="other"`} {
			m.lines <- line
		}
		was := look().Quiet
		wait(t, "more time", func() bool { return look().Quiet > was })
		if p := look(); p.Denial != nil || p.Anew != "" {
			t.Errorf("what is nobody's denial counts: %+v", p)
		}
		m.lines <- denial("ALLOWED", "floor//&web//null-/bin/sh")
		wait(t, "the denial", func() bool { return look().Denial != nil })
		if p := look(); p.Quiet != 0 || !strings.Contains(p.Denial.Record, `name="/srv/x"`) || !strings.Contains(p.Denial.Sentence, "/srv/x") {
			t.Errorf("%+v %+v", p, p.Denial)
		}
		wait(t, "time to count again", func() bool { return look().Quiet > 0 })
		m.Lock()
		m.lost = []source.Loss{{By: "somebody", Records: 1}}
		m.Unlock()
		wait(t, "the loss", func() bool { return strings.Contains(look().Idle, "records were lost: 1: somebody") })
	})
}

// What is logged of a profile during the first look at it is nobody's yet. So the time of that look does not count.
func TestWatcherLooksAtANewProfile(t *testing.T) {
	var logged time.Duration
	content := "1"
	m := &made{lines: make(chan string, 100)}
	m.before = func() {
		if m.proofs%2 == 0 { // the second look at a content
			return
		}
		time.Sleep(100 * time.Millisecond)
		m.lines <- denial("ALLOWED", "web")
		logged = quiet.Clock()
	}
	w := New(&node.Node{State: &status.Node{Quiet: quiet.Dir(t.TempDir())}}, func(sentence string) { t.Log(sentence) })
	w.told, w.joiner, w.waiting = make(map[string]string), nil, true
	w.Forget = func(context.Context) error { return nil }
	w.Look = func(context.Context) ([]quiet.Sight, time.Duration, error) {
		return []quiet.Sight{{Name: "web", Content: content, Held: content}}, 10 * time.Second, nil
	}
	for _, content = range []string{"1", "2"} {
		for range 2 {
			if _, err := w.look(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		if p := w.state.Of("web", content); p == nil || p.Quiet <= 0 || p.Quiet > quiet.Clock()-logged {
			t.Errorf("%+v, with a denial %v ago", p, quiet.Clock()-logged)
		}
	}
}

func TestWatcherOfASilentSocket(t *testing.T) {
	t.Parallel()
	watched(t, func(m *made, look func() *quiet.Profile) {
		wait(t, "time to count", func() bool { return look().Quiet > 0 })
		m.Lock()
		m.silent = true
		m.Unlock()
		wait(t, "the silence", func() bool { return strings.Contains(look().Idle, "did not come back") })
		m.Lock()
		m.silent = false
		m.Unlock()
		wait(t, "time to count again", func() bool { return look().Quiet > 0 })
		if p := look(); !strings.Contains(p.Anew, "did not come back") {
			t.Errorf("%+v", p)
		}
	})
}

// A watcher that cannot prove anything does not begin.
func TestWatcherThatCannotBegin(t *testing.T) {
	w := New(&node.Node{State: &status.Node{Quiet: quiet.Dir(filepath.Join(t.TempDir(), "quiet"))}}, func(string) {})
	w.Listen = func(context.Context) (Listener, error) { return nil, errors.New("no socket") }
	if err := w.Run(t.Context(), func() error { t.Error("ready"); return nil }); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Error(err)
	}
}

func TestCPUList(t *testing.T) {
	for list, want := range map[string]int{"0": 1, "0-3,5": 5, "0-": 0, "": 0, "3-1": 0, "a": 0, "0-9999999": 0} {
		if cpus, err := cpuList(list); len(cpus) != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %v, %v", list, cpus, err)
		}
	}
}

// The kernel is asked whatever the process's limits are: a thread without the capability is refused.
func TestACapabilityIsAskedForWhateverTheLimits(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NICE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NICE, &unix.Rlimit{Cur: 40, Max: 40}); err != nil { // every priority, to everyone
		t.Logf("the test runs with the limit of priorities that it has, %d: %v", limit.Cur, err)
	}
	t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_NICE, &limit) })
	refused := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends without its capabilities
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&header, &make([]unix.CapUserData, 2)[0]); err != nil {
			refused <- err
			return
		}
		refused <- askForCapability()
	}()
	if err := <-refused; !errors.Is(err, unix.EPERM) || !strings.Contains(fmt.Sprint(err), "prctl") {
		t.Errorf("without a capability: %v", err)
	}
	if err := askForCapability(); err != nil && os.Getuid() == 0 {
		t.Error(err)
	}
}
