// Package containerd starts a containerd and stops it, for the tests in guests and for the bench. It knows containerd's
// directories and the form of its configuration; what runs in it is left to them.
package containerd

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// The directories and the socket of a containerd. They are its defaults, since parts of it use no others.
const (
	State  = "/run/containerd"
	Root   = "/var/lib/containerd"
	Socket = State + "/containerd.sock"
)

// NoCRI is a line for Config. It leaves out the plugin by which the kubelet calls containerd.
const NoCRI = "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"

// Config returns the text of a containerd's main configuration file, whose format is of the version. keys are lines of
// TOML for its top level, tables are lines for its end.
func Config(version int, keys, tables string) string {
	text := fmt.Sprintf("version = %d\nroot = %q\nstate = %q\n%s[grpc]\naddress = %q\n", version, Root, State, keys, Socket)
	// It kills the shim that cleans up after a dead one in five seconds, which emulation may take.
	text += "[timeouts]\n"
	for _, name := range []string{"shim.cleanup", "shim.load", "shim.shutdown", "task.state"} {
		text += fmt.Sprintf("\"io.containerd.timeout.%s\" = \"60s\"\n", name)
	}
	return text + tables
}

// A Daemon is a containerd that can be started and stopped again. The fields stay as they are from the first start on.
type Daemon struct {
	Bin  string // directory of containerd and ctr
	File string // path of the main configuration file
	Log  string // path of the file to which it and its shims write
	Env  []string

	Profile string // AppArmor's, under which it runs; empty for that of its parent

	Patience time.Duration // how long a start or a stop may take

	cmd   *exec.Cmd
	ended chan struct{}
}

// Under returns a command that executes a program under an AppArmor profile, as a service of systemd is. An empty profile
// stands for that of this process.
func Under(profile, name string, args ...string) *exec.Cmd {
	if profile == "" {
		return exec.Command(name, args...)
	}
	return exec.Command("aa-exec", append([]string{"-p", profile, "--", name}, args...)...)
}

// Start starts containerd, and returns when it answers.
func (d *Daemon) Start() error {
	log, err := os.OpenFile(d.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	begins, err := log.Seek(0, 2)
	if err != nil {
		return err
	}
	cmd := Under(d.Profile, filepath.Join(d.Bin, "containerd"), "--config", d.File)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, d.Env
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	d.cmd, d.ended = cmd, ended
	go func() {
		cmd.Wait()
		close(ended)
	}()
	for deadline := time.Now().Add(d.Patience); !d.answers(begins); time.Sleep(50 * time.Millisecond) {
		select {
		case <-ended:
			return fmt.Errorf("containerd has ended: %s", cmd.ProcessState)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("containerd does not answer after %v", d.Patience)
		}
	}
	return nil
}

// answers reports whether containerd accepts connections, and has logged that it is ready after the offset since of its
// log.
func (d *Daemon) answers(since int64) bool {
	conn, err := net.Dial("unix", Socket)
	if err != nil {
		return false
	}
	conn.Close()
	said, err := os.ReadFile(d.Log)
	return err == nil && bytes.Contains(said[since:], []byte("containerd successfully booted"))
}

// Pid returns the process id of the containerd that was started last, and 0 before the first start.
func (d *Daemon) Pid() int {
	if d.cmd == nil {
		return 0
	}
	return d.cmd.Process.Pid
}

// Stop sends a signal to containerd, and returns when it has ended. Its shims and containers go on. Stop does nothing if
// containerd was never started.
func (d *Daemon) Stop(signal syscall.Signal) error {
	if d.cmd == nil {
		return nil
	}
	if err := d.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-d.ended:
		return nil
	case <-time.After(d.Patience):
		d.cmd.Process.Kill()
		return fmt.Errorf("containerd has not ended %v after signal %v", d.Patience, signal)
	}
}

// Ctr returns a command of ctr for this containerd. The caller runs it.
func (d *Daemon) Ctr(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(d.Bin, "ctr"), append([]string{"--address", Socket}, args...)...)
	cmd.Env = d.Env
	return cmd
}
