package profiles

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// A guard is a process of its own session that has a compiled profile. Its standard input is a pipe from who started it:
// the length of the profile in four bytes, the profile, and one byte more as soon as the guard is not needed. If the pipe
// ends before that byte, whoever had it is gone, and the guard loads the profile.

// dismissed is the byte by which a guard is not needed any more.
const dismissed = '.'

// maxGuarded is the greatest size of a profile for a guard.
const maxGuarded = 64 << 20

type guard struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
	done chan struct{}
	err  error
}

// startGuard starts a command that calls PutBack, and waits until it is ready.
func startGuard(command []string, blob []byte) (*guard, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no signal to our group is one to it
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	g := &guard{cmd: cmd, pipe: pipe, done: make(chan struct{})}
	_, err = pipe.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(blob))), blob...))
	if err == nil {
		_, err = bufio.NewReader(out).ReadString('\n')
	}
	go func() {
		g.err = cmd.Wait()
		close(g.done)
	}()
	if err != nil {
		pipe.Close()
		<-g.done
		return nil, errors.Join(err, g.err)
	}
	return g, nil
}

// wait waits until the guard has ended.
func (g *guard) wait() error {
	<-g.done
	return g.err
}

// dismiss ends the guard before it does anything.
func (g *guard) dismiss() error {
	if _, err := g.pipe.Write([]byte{dismissed}); err != nil {
		return err
	}
	_ = g.pipe.Close() // which wait may have done
	return g.wait()
}

// PutBack is a guard: it loads the profile that it reads from in, if in then ends without a word. It says on out that it is
// ready. Signals by which people end programs do not end it.
func PutBack(n *node.Node, in io.Reader, out io.Writer) error {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(size[:])
	if length > maxGuarded {
		return fmt.Errorf("a profile of %d bytes", length)
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(in, data); err != nil {
		return err
	}
	blob, err := profile.Parse(data)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	var last [1]byte
	if _, err := io.ReadFull(in, last[:]); err == nil && last[0] == dismissed {
		return nil
	}
	name := blob.Profiles[0].Name
	_, err = n.Kernel.Ensure(context.Background(), []kernel.Profile{{Name: name, Compiled: blob.Profiles,
		Blob: func() ([]byte, error) { return data, nil }}})
	if err != nil {
		return fmt.Errorf("profile %s could not be put back: %w", name, err)
	}
	n.Warnf("profile %s was put back, because the command that tightened it has ended", name)
	return nil
}
