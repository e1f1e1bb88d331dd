// Package kubernetes puts the programs of a container image on the node that the container runs on, connects the node's engine,
// and takes all of it back. The manifests beside it, the chart and the image are what a cluster's administrator applies.
//
// A container of the DaemonSet is privileged and sees the node's processes (hostPID). It needs no other piece of the node: what
// is done on the node is done in the mount namespace of process 1, with the node's own shell, parser and systemd. So the image
// has our programs and nothing else, and paths are the node's.
package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Node is the node that a container of the DaemonSet runs on.
type Node struct {
	Image  string    // directory of the image's files, in the container: the programs, place.sh and oci-apparmor.service
	Proc   string    // the container's /proc, which shows the node's processes
	Prefix string    // where the programs go on the node, as /usr/local
	Out    io.Writer // what is done goes there, and what the node's programs print

	root string // the node's root directory for tests that have no node; empty for the node's own
}

// nodePath is where the node's programs are.
const nodePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// do runs f among the node's files. In a container f runs on a thread of its own, which is in the node's namespaces, and so are
// the programs that f starts. f must start no goroutine that uses files.
func (n *Node) do(f func() error) error {
	here, err := n.here()
	if err != nil || here {
		return errors.Join(err, f())
	}
	done := make(chan error)
	go func() {
		// The thread ends with the goroutine, because it is never unlocked.
		runtime.LockOSThread()
		err := n.enter()
		if err == nil { // the container's has nothing but our programs
			err = os.Setenv("PATH", nodePath)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// here reports whether this process is among the node's files already.
func (n *Node) here() (bool, error) {
	if n.root != "" {
		return true, nil
	}
	one, err := os.Readlink(path.Join(n.Proc, "1/ns/mnt"))
	if err != nil {
		return false, fmt.Errorf("the node's process 1 cannot be seen: the container must be privileged, and its pod have hostPID: true: %w", err)
	}
	self, err := os.Readlink(path.Join(n.Proc, "self/ns/mnt"))
	return one == self, err
}

// enter takes this thread into the node's namespaces of mounts, control groups and host name. The network stays the pod's.
func (n *Node) enter() error {
	comm, err := os.ReadFile(path.Join(n.Proc, "1/comm"))
	if err != nil {
		return err
	}
	if p := strings.TrimSpace(string(comm)); p == "pause" || p == "oci-apparmor" {
		return fmt.Errorf("process 1 is %s, and not the node's: the pod must have hostPID: true", oneline.Quote(p))
	}
	// A thread that shares its root directory with others cannot go to another mount namespace (setns(2)).
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	var fds []int
	names := []string{"cgroup", "uts", "mnt"} // once mnt has changed, the paths of the others mean the node's
	for _, name := range names {
		fd, err := unix.Open(path.Join(n.Proc, "1/ns", name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("the namespace %s of process 1: %w", name, err)
		}
		defer unix.Close(fd)
		fds = append(fds, fd)
	}
	for i, fd := range fds {
		if err := unix.Setns(fd, 0); err != nil {
			return fmt.Errorf("the namespace %s of process 1 cannot be entered: the container must be privileged: %w", names[i], err)
		}
	}
	return nil
}

// path returns a path of the node.
func (n *Node) path(elem ...string) string {
	return filepath.Join(append([]string{"/" + n.root}, elem...)...)
}

// program returns the path by which the node calls our program for the operator.
func (n *Node) program() string { return n.path(n.Prefix, "bin/oci-apparmor") }

// run runs a program of the node. What it prints goes to Out.
func (n *Node) run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	// A node's systemctl must not take the thread's namespaces for a chroot, in which it does nothing.
	cmd.Env = []string{"PATH=" + nodePath, "SYSTEMD_IGNORE_CHROOT=1", "LC_ALL=C.UTF-8"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = n.Out, n.Out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// systemd reports whether systemd runs the node.
func (n *Node) systemd() bool {
	_, err := os.Stat(n.path("run/systemd/system"))
	return err == nil
}

// say writes a line to Out.
func (n *Node) say(format string, args ...any) {
	fmt.Fprintf(n.Out, "oci-apparmor: "+format+"\n", args...)
}
