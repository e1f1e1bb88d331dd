package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// acting is a part that a test moves.
type acting struct {
	watch func(ctx context.Context, changed func()) error
	act   func(r *Reporter) error
}

func (acting) Name() string { return "acting" }

func (p acting) Watch(ctx context.Context, changed func()) error {
	if p.watch != nil {
		return p.watch(ctx, changed)
	}
	<-ctx.Done()
	return nil
}

func (p acting) Act(_ context.Context, r *Reporter) error { return p.act(r) }

// lines are what an agent logs.
type lines struct {
	sync.Mutex
	all []string
}

func (l *lines) log(line string) {
	l.Lock()
	defer l.Unlock()
	l.all = append(l.all, line)
}

func (l *lines) has(part string) bool {
	l.Lock()
	defer l.Unlock()
	return slices.ContainsFunc(l.all, func(s string) bool { return strings.Contains(s, part) })
}

// start runs an agent and returns what ends it.
func start(t *testing.T, a *Agent) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A part acts at the start, after a quiet moment, and after the longest wait if it never gets quiet. Its failures are tried
// again, later and later, and are logged once.
func TestPace(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var log lines
		a := New(Options{Dir: dir, Log: log.log})
		began := time.Now()
		var acts []time.Duration
		var fails error
		var changed func()
		ready := make(chan struct{})
		a.Add(acting{
			watch: func(ctx context.Context, f func()) error {
				changed = f
				close(ready)
				<-ctx.Done()
				return nil
			},
			act: func(*Reporter) error {
				acts = append(acts, time.Since(began))
				return fails
			},
		}, Pace{Quiet: time.Second, Most: 5 * time.Second, Rest: 2 * time.Second})
		end := start(t, a)
		defer end()
		<-ready
		time.Sleep(10 * time.Second)
		changed()
		time.Sleep(500 * time.Millisecond)
		changed()
		time.Sleep(20 * time.Second) // acts at 11.5
		for range 40 {               // from 30.5 on, never quiet: acts at 35.5, then after a rest, and so on
			changed()
			time.Sleep(300 * time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		want := []time.Duration{0, 11500 * time.Millisecond, 35500 * time.Millisecond}
		if len(acts) < 5 || !slices.Equal(acts[:3], want) || acts[len(acts)-1] > 45*time.Second {
			t.Errorf("acts at %v", acts)
		}

		n, from := len(acts), time.Since(began)
		fails = errors.New("no disk")
		changed()
		time.Sleep(time.Minute)
		fails = nil
		if tried := acts[n:]; len(tried) != 6 || tried[5]-from != 32*time.Second {
			t.Errorf("after a failure at %v, acts at %v", from, tried)
		}
		if s := a.State().part("acting"); s.Problem != "no disk" || s.Tries != 6 || s.Retry == nil {
			t.Errorf("state %+v", s)
		}
		changed()
		time.Sleep(time.Minute)
		if s := a.State().part("acting"); s.Problem != "" || s.Tries != 0 || s.Retry != nil {
			t.Errorf("state %+v", s)
		}
		if said := strings.Count(strings.Join(log.all, "\n"), "acting: no disk"); said != 1 || !log.has("acting: works again") {
			t.Errorf("log: %q", log.all)
		}
	})
}

// A watch that fails is begun again, and what it may have missed counts as a change.
func TestWatchFails(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var log lines
		a := New(Options{Dir: dir, Log: log.log})
		acts, watches := 0, 0
		a.Add(acting{
			watch: func(ctx context.Context, _ func()) error {
				if watches++; watches < 3 {
					return errors.New("no more watches")
				}
				<-ctx.Done()
				return nil
			},
			act: func(*Reporter) error { acts++; return nil },
		}, Pace{})
		end := start(t, a)
		defer end()
		time.Sleep(time.Minute)
		if watches != 3 || acts != 3 || !log.has("acting: no more watches") {
			t.Errorf("%d watches, %d acts, %q", watches, acts, log.all)
		}
	})
}

// A second agent is refused, with the number of the first one's process; after its end another one starts, also over the
// files of one that was killed.
func TestOneAgent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	socket := filepath.Join(dir, "s")
	var log lines
	first := New(Options{Dir: dir, Listen: "unix:" + socket, Log: log.log, Serve: map[string]http.Handler{
		"/more": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "more") })}})
	first.Add(acting{act: func(r *Reporter) error {
		r.Update(func(s *State) { s.Policy.Generation = 7 })
		return nil
	}}, Pace{})
	end := start(t, first)
	defer end()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	get := func(path string) string {
		var err error
		for range 100 {
			var r *http.Response
			if r, err = client.Get("http://agent" + path); err == nil {
				defer r.Body.Close()
				b, err := io.ReadAll(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatal(err)
		return ""
	}
	var s State
	if err := json.Unmarshal([]byte(get("/state")), &s); err != nil || s.PID != os.Getpid() {
		t.Errorf("%+v, %v", s, err)
	}
	if get("/more") != "more" {
		t.Error("what else is to be served is not")
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	for range 100 {
		if s, runs, err := Read(dir); err == nil && runs && s.Policy.Generation == 7 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if s, runs, err := Read(dir); err != nil || !runs || s.Policy.Generation != 7 {
		t.Errorf("%+v, %t, %v", s, runs, err)
	}
	second := New(Options{Dir: dir, Log: log.log})
	if err := second.Run(t.Context()); !errors.Is(err, ErrRuns) || !strings.Contains(err.Error(), "process ") {
		t.Errorf("a second agent: %v", err)
	}
	end()
	if _, _, err := Read(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state of an agent that has ended: %v", err)
	}

	// What one leaves that was killed: its state, its lock without a holder, its socket without a listener.
	if err := second.state.write(dir); err != nil {
		t.Fatal(err)
	}
	if _, runs, err := Read(dir); err != nil || runs {
		t.Errorf("the state of one that was killed: %t, %v", runs, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	third := New(Options{Dir: dir, Listen: "unix:" + socket, Log: log.log})
	defer start(t, third)()
	get("/state")
}

// Where it cannot listen, or cannot write its state, the agent goes on, and says so.
func TestGoesOn(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var log lines
	acted := make(chan struct{}, 10)
	a := New(Options{Dir: dir, Listen: "unix:" + socket, Log: log.log})
	a.Add(acting{act: func(r *Reporter) error {
		r.Update(func(*State) {})
		acted <- struct{}{}
		return nil
	}}, Pace{})
	if err := os.Mkdir(filepath.Join(dir, stateFile), 0o700); err != nil { // nothing can be renamed to it
		t.Fatal(err)
	}
	end := start(t, a)
	<-acted
	for range 200 {
		if log.has("somebody else listens at " + socket) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	end()
	for _, want := range []string{"somebody else listens at " + socket, "state cannot be written"} {
		if !log.has(want) {
			t.Errorf("does not say %q: %q", want, log.all)
		}
	}
}

// A state that could not be written is written once that is possible, without a change, and this is said once each. A socket that
// somebody has put in the place of the agent's stays.
func TestWritesAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	var log lines
	a := New(Options{Dir: dir, Listen: "unix:" + path, Log: log.log})
	a.Add(acting{act: func(r *Reporter) error {
		for range 20 {
			r.Update(func(*State) {})
		}
		return nil
	}}, Pace{})
	blocked := filepath.Join(dir, stateFile)
	if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o700); err != nil { // nothing can be renamed to it
		t.Fatal(err)
	}
	end := start(t, a)
	until := func(what string, is func() bool) {
		t.Helper()
		for late := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("waited a minute for %s: %q", what, log.all)
			}
		}
	}
	until("the agent to say that it cannot write", func() bool { return log.has("state cannot be written") })
	until("the socket", func() bool { _, err := os.Lstat(path); return err == nil })
	if err := errors.Join(os.RemoveAll(blocked), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	until("the state", func() bool { _, runs, err := Read(dir); return err == nil && runs })
	until("the agent to say so", func() bool { return log.has("is written again") })
	end()
	if _, err := os.Lstat(blocked); err == nil {
		t.Error("the state stays when the agent has ended")
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the other's socket is gone: %v", err)
	} else {
		c.Close()
	}
	log.Lock()
	defer log.Unlock()
	said := 0
	for _, line := range log.all {
		if strings.Contains(line, "state cannot be written") {
			said++
		}
	}
	if said != 1 {
		t.Errorf("it is said %d times: %q", said, log.all)
	}
}

// Where the socket of an agent that runs is removed, or something else is put in its place, the agent says so, and listens again once it may.
func TestListensAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var log lines
	a := New(Options{Dir: t.TempDir(), Listen: "unix:" + path, Log: log.log})
	defer start(t, a)()
	served := func() bool {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial("unix", path)
		}}}
		answer, err := client.Get("http://agent/state")
		if err == nil {
			answer.Body.Close()
		}
		return err == nil && answer.StatusCode == http.StatusOK
	}
	eventually(t, "it is served", served)
	if err := os.Chmod(path, 0o640); err != nil { // which is no loss
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is served again", served)
	if !log.has("the socket was removed") {
		t.Errorf("it says %q", log.all)
	}
	other := filepath.Join(t.TempDir(), "other")
	l, err := net.Listen("unix", other)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that is said", func() bool {
		return log.has("something else is in the socket's place") && log.has("somebody else listens at "+path)
	})
	l.Close()
	eventually(t, "it is served in the place of a socket that nobody listens at", served)
}

// The socket of somebody who listens is left to him, also while he takes no more connections.
func TestListenBesideAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	socketAt := func(kind int) int {
		t.Helper()
		fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	at := &unix.SockaddrUnix{Name: path}
	other := socketAt(unix.SOCK_STREAM)
	if err := errors.Join(unix.Bind(other, at), unix.Listen(other, 0)); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := unix.Connect(socketAt(unix.SOCK_STREAM), at); errors.Is(err, unix.EAGAIN) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	refuses := func() {
		t.Helper()
		if l, err := listenAt("unix:" + path); err == nil {
			l.Close()
			t.Error("it listens in the place of another")
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%v names no path", err)
		}
	}
	refuses()
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Errorf("the other's socket: %v, %v", info, err)
	}
	if err := errors.Join(os.Remove(path), unix.Bind(socketAt(unix.SOCK_DGRAM), at)); err != nil {
		t.Fatal(err)
	}
	refuses()
}

func TestCheckListen(t *testing.T) {
	for at, ok := range map[string]bool{
		"unix:/run/x": true, "127.0.0.1:9470": true, "[::1]:1": true,
		"unix:x": false, "0.0.0.0:9470": false, ":9470": false, "localhost:1": false, "192.0.2.1:1": false, "127.0.0.1": false, "": false,
	} {
		if err := CheckListen(at, false); (err == nil) != ok {
			t.Errorf("%q: %v", at, err)
		}
	}
	for at, ok := range map[string]bool{"0.0.0.0:9470": true, "192.0.2.1:9470": true, "unix:/x": true, "x": false, "unix:x": false} {
		if err := CheckListen(at, true); (err == nil) != ok {
			t.Errorf("%q, for all: %v", at, err)
		}
	}
}
