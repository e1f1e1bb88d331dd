package guesttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/containerd"
)

// A process is an engine's daemon that a test can stop and start again.
type process struct {
	profile string // under which it runs; empty for the test's
	name    string
	args    []string
	env     []string
	log     string                  // path of the file to which it and its children write
	answers func(t testing.TB) bool // whether it is ready
	cmd     *exec.Cmd               // the one that was started last
	ended   chan struct{}           // closed when that has ended
}

// startProcess starts a daemon, and returns when it answers. At the end of the test it kills the daemon, and shows its log
// if the test has failed.
func startProcess(t testing.TB, env []string, answers func(t testing.TB) bool, name string, args ...string) *process {
	t.Helper()
	return startProcessUnder(t, "", env, answers, name, args...)
}

// startProcessUnder is startProcess for a daemon that runs under an AppArmor profile.
func startProcessUnder(t testing.TB, profile string, env []string, answers func(t testing.TB) bool, name string, args ...string) *process {
	t.Helper()
	p := &process{profile: profile, name: name, args: args, env: env, log: filepath.Join(t.TempDir(), "log"), answers: answers}
	t.Cleanup(func() {
		p.stop(t, syscall.SIGKILL)
		if t.Failed() {
			said, _ := os.ReadFile(p.log)
			t.Logf("%s said:\n%s", name, said)
		}
	})
	p.start(t)
	return p
}

func (p *process) start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd, ended := containerd.Under(p.profile, p.name, p.args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, p.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.cmd, p.ended = cmd, ended
	go func() {
		cmd.Wait()
		close(ended)
	}()
	for deadline := time.Now().Add(patience); !p.answers(t); time.Sleep(200 * time.Millisecond) {
		select {
		case <-ended:
			t.Fatalf("%s has ended: %s", p.name, cmd.ProcessState)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer after %v", p.name, patience)
		}
	}
}

// stop sends a signal to the daemon, and returns when it has ended. It does nothing if the daemon has never been started.
func (p *process) stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Signal(signal)
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%s has not ended %v after signal %v", p.name, patience, signal)
	}
}

// restart stops the daemon as systemd does, and starts it again.
func (p *process) restart(t testing.TB) {
	t.Helper()
	p.stop(t, syscall.SIGTERM)
	p.start(t)
}
