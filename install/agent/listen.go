package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/agent/watch"
)

// CheckListen returns an error if an address is none to listen at. Unless public is set, only this machine may reach it:
// what is served there is about the node, and nobody who asks for it is asked who he is.
func CheckListen(at string, public bool) error {
	if path, ok := strings.CutPrefix(at, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("%q: the path of a socket is absolute: unix:%s/agent.sock", at, Dir)
		}
		return nil
	}
	address, err := netip.ParseAddrPort(at)
	if err != nil {
		return fmt.Errorf("%q is neither unix:PATH nor an address with a port, as 127.0.0.1:9470", at)
	}
	if !public && !address.Addr().IsLoopback() {
		return fmt.Errorf("%q is neither unix:PATH nor a loopback address with a port, as 127.0.0.1:9470; other machines may reach it "+
			"only with --public", at)
	}
	return nil
}

// listener is the part that serves the state and what else is to be served. It needs nothing of the other parts, and they go
// on where it fails: what looks after the node does not end because nobody can ask about it.
type listener struct{ agent *Agent }

func (listener) Name() string { return "listen" }

func (listener) Act(context.Context, *Reporter) error { return nil }

// Watch serves until ctx ends. It takes the place of a socket that nobody listens at, and refuses one at which somebody does.
func (p listener) Watch(ctx context.Context, _ func()) error {
	a := p.agent
	l, err := listenAt(a.o.Listen)
	if err != nil {
		return fmt.Errorf("nothing is served at %s: %w", a.o.Listen, err)
	}
	(&Reporter{a, p.Name()}).watches()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", a.serveState)
	for path, h := range a.o.Serve {
		mux.Handle(path, h)
	}
	// A client that says nothing, or reads nothing, is not kept.
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		ending, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ending) != nil {
			server.Close()
		}
	})
	watching, watched := context.WithCancel(ctx)
	lost := make(chan error, 1)
	go func() {
		err := (&Reporter{a, p.Name()}).lostSocket(watching, l)
		if err != nil {
			server.Close()
		}
		lost <- err
	}()
	err = server.Serve(l)
	watched()
	if !stop() {
		<-stopped
	}
	if gone := <-lost; gone != nil {
		err = gone
	}
	return fmt.Errorf("nothing is served at %s any more: %w", a.o.Listen, err)
}

func listenAt(at string) (net.Listener, error) {
	path, ok := strings.CutPrefix(at, "unix:")
	if !ok {
		return net.Listen("tcp", at)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is there and no socket: remove it, or give --listen another path", path)
	default:
		// Only this error says that nobody listens. There are others where somebody does, as EAGAIN while many wait for him.
		switch c, err := net.DialTimeout("unix", path, time.Second); {
		case err == nil:
			c.Close()
			return nil, fmt.Errorf("somebody else listens at %s (ss -xlp names him): give --listen another path", path)
		case !errors.Is(err, unix.ECONNREFUSED):
			return nil, fmt.Errorf("whether somebody else listens at %s (ss -xlp names him) cannot be told: %w", path, err)
		}
		if err := os.Remove(path); err != nil { // of an agent that was killed
			return nil, err
		}
	}
	// The file is made by bind(2) with the mode that the socket has, so nobody else can ever connect. The umask is the whole process's.
	only := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) }); err != nil {
			return err
		}
		return failed
	}}
	l, err := only.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	return ownSocket(l.(*net.UnixListener), path), nil
}

// ownSocket returns a listener that removes its socket when it is closed, but no other that somebody has put in its place.
func ownSocket(l *net.UnixListener, path string) net.Listener {
	l.SetUnlinkOnClose(false)
	made, err := os.Lstat(path)
	if err != nil {
		made = nil
	}
	return &socket{UnixListener: l, path: path, made: made}
}

type socket struct {
	*net.UnixListener
	path string
	made os.FileInfo // nil if somebody was quicker to remove it
	once sync.Once
}

func (s *socket) Close() error {
	s.once.Do(func() {
		if now, err := os.Lstat(s.path); err == nil && s.made != nil && os.SameFile(now, s.made) {
			_ = os.Remove(s.path)
		}
	})
	return s.UnixListener.Close()
}

// lostSocket waits until a socket has lost its path, so that nobody reaches it, and returns that as an error. It returns nil when ctx ends.
func (r *Reporter) lostSocket(ctx context.Context, l net.Listener) error {
	s, is := l.(*socket)
	if !is {
		<-ctx.Done()
		return nil
	}
	blind := func(err error) error {
		if ctx.Err() == nil {
			r.Logf("where the socket %s is removed, that is not seen: %v", s.path, err)
			<-ctx.Done()
		}
		return nil
	}
	w, err := watch.New()
	if err != nil {
		return blind(err)
	}
	defer w.Close()
	for {
		unseen := w.SetFile(s.path)
		now, err := os.Lstat(s.path)
		switch {
		case errors.Is(err, fs.ErrNotExist) || s.made == nil:
			return errors.New("the socket was removed")
		case err == nil && !os.SameFile(now, s.made):
			return errors.New("something else is in the socket's place")
		case unseen != nil:
			return blind(unseen)
		}
		if err := w.Wait(ctx); err != nil {
			return blind(err)
		}
	}
}

func (a *Agent) serveState(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	s := a.State()
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(&s) // whoever asked has gone
}
