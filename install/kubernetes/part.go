package kubernetes

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/agent"
)

// MirrorPace is how the copy follows the ConfigMap. The kubelet swaps one link.
var MirrorPace = agent.Pace{Quiet: 100 * time.Millisecond, Most: time.Second}

// Part returns the part of an agent that copies the ConfigMap to the policy's directory whenever it changes. From there on it is
// the node's policy, and the agent's part for that applies it.
func (m *Mirror) Part() agent.Part { return mirrorPart{m, mirrorDir} }

type mirrorPart struct {
	*Mirror
	dir string
}

func (mirrorPart) Name() string { return agent.ConfigMapName }

// Watch waits for names that change in the mounted directory. It is open, and has no path among the node's files, so package watch
// cannot follow it.
func (p mirrorPart) Watch(ctx context.Context, changed func()) error {
	dir, err := p.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	if _, err := unix.InotifyAddWatch(fd, fmt.Sprintf("/proc/self/fd/%d/.", dir.Fd()), unix.IN_MOVED_TO|unix.IN_CREATE|unix.IN_DELETE|unix.IN_CLOSE_WRITE); err != nil {
		return os.NewSyscallError("inotify_add_watch", err)
	}
	defer context.AfterFunc(ctx, func() { _ = events.SetReadDeadline(time.Now()) })()
	changed() // nobody watched before
	var buf [4096]byte
	for {
		if _, err := events.Read(buf[:]); err != nil {
			return err
		}
		changed()
	}
}

func (p mirrorPart) Act(_ context.Context, r *agent.Reporter) error {
	changed, err := p.to(p.dir)
	if err != nil {
		return fmt.Errorf("the policy's ConfigMap is not copied, and the node's copy stays: %w", err)
	}
	if changed {
		r.Logf("a new version is in %s", p.dir)
	}
	return nil
}
