package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/oci-apparmor/oci-apparmor/hook/programs"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// leaveUnit is the unit that takes ours off a node once no pod needs it any more.
const leaveUnit = "oci-apparmor-leave.service"

// again is how many seconds pass between two tries of leaveUnit.
const again = 10

// ErrNeeded is the error of Leave if pods of ours still run, and a unit of the node will go on when they have ended.
var ErrNeeded = errors.New("pods that were started by our runtime still run: it stays until they have ended")

// Leave takes ours off the node: first out of the engine, then the programs and all that Install has made. While containers of
// ours run, nothing is taken away, because they could not be executed in, restarted or removed any more. Then the error is
// ErrNeeded, and a unit of systemd tries again until they have ended, also after a reboot. It makes no difference whether an earlier
// call was cut off.
func (n *Node) Leave(ctx context.Context) error {
	return n.do(func() error {
		r, ok, err := n.read()
		if err != nil || !ok {
			return err
		}
		if r.Prefix != n.Prefix {
			n.Prefix = r.Prefix
		}
		err = n.run(ctx, n.program(), "removable", "--uninstall", "--bin", n.path(n.Prefix, "bin"))
		if err == nil {
			return n.remove(ctx, r)
		}
		if !n.systemd() {
			return fmt.Errorf("%w (no systemd is there to wait for that: run %s kubernetes leave on the node later): %w", ErrNeeded, n.program(), err)
		}
		return errors.Join(ErrNeeded, n.leaveByUnit(ctx))
	})
}

// LeaveSoon has a unit of the node do what Leave does, so that it goes on when this container ends. A node without systemd is left
// before this returns.
func (n *Node) LeaveSoon(ctx context.Context) error {
	if !n.systemd() {
		return n.Leave(ctx)
	}
	return n.do(func() error {
		if _, ok, err := n.read(); err != nil || !ok {
			return err
		}
		return n.leaveByUnit(ctx)
	})
}

// leaveByUnit has systemd call Leave until it succeeds. It does nothing where that unit is there: then this is its own call, or it
// waits already.
func (n *Node) leaveByUnit(ctx context.Context) error {
	at := n.path(units, leaveUnit)
	if _, err := os.Stat(at); err == nil {
		return nil
	}
	text := fmt.Sprintf(`[Unit]
Description=Takes oci-apparmor off this node once no pod needs it
After=containerd.service crio.service kubelet.service
StartLimitIntervalSec=0

[Service]
Type=simple
ExecStart=%s kubernetes leave
Restart=on-failure
RestartSec=%d

[Install]
WantedBy=multi-user.target
`, n.program(), again)
	return errors.Join(
		safefile.Replace(at, []byte(text), safefile.Options{Mode: 0o644, Sync: true}),
		n.run(ctx, "systemctl", "daemon-reload"),
		n.run(ctx, "systemctl", "--quiet", "enable", leaveUnit),
		n.run(ctx, "systemctl", "--no-block", "start", leaveUnit))
}

// stay stops the unit of leaveByUnit: the DaemonSet is there again.
func (n *Node) stay(ctx context.Context) {
	if _, err := os.Stat(n.path(units, leaveUnit)); err != nil {
		return
	}
	n.dropUnit(ctx, leaveUnit, "--now")
}

// dropUnit disables a unit and removes its file.
func (n *Node) dropUnit(ctx context.Context, name string, flags ...string) {
	at := n.path(units, name)
	if _, err := os.Lstat(at); err != nil {
		return
	}
	if n.systemd() {
		if err := n.run(ctx, "systemctl", append(append([]string{"--quiet", "disable"}, flags...), name)...); err != nil {
			n.say("%v", err)
		}
	}
	if err := os.Remove(at); err != nil {
		n.say("%v", err)
	}
	if n.systemd() {
		if err := n.run(ctx, "systemctl", "daemon-reload"); err != nil {
			n.say("%v", err)
		}
	}
}

// remove removes what Install has made, and what our programs have written since. The engine is without ours already.
// The record goes last.
func (n *Node) remove(ctx context.Context, r record) error {
	n.dropUnit(ctx, unitName)
	lib := n.path(r.Prefix, "lib/oci-apparmor")
	var errs []error
	for _, name := range programs.Names {
		errs = append(errs, gone(os.Remove(n.path(r.Prefix, "bin", name))))
	}
	errs = append(errs, gone(os.Remove(path.Join(lib, "current"))), os.RemoveAll(path.Join(lib, "programs")), os.RemoveAll(path.Join(lib, "incoming")))
	// These are loaded at boot by AppArmor's service. A line near their beginning says that they are ours (package apparmord).
	ours, _ := filepath.Glob(n.path("etc/apparmor.d/*.oci-apparmor"))
	for _, file := range ours {
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(append([]byte("\n"), text...), []byte("\n# oci-apparmor: {")) {
			errs = append(errs, os.Remove(file))
		}
	}
	if r.Policy {
		errs = append(errs, os.RemoveAll(n.path(mirrorDir)))
	}
	errs = append(errs, os.RemoveAll(n.path("run/oci-apparmor")))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// This may be what the unit runs, so it is only disabled, and stops by itself when this has succeeded.
	n.dropUnit(ctx, leaveUnit)
	if err := os.RemoveAll(n.path(store.Dir)); err != nil {
		return err
	}
	n.removeEmpty(r)
	return nil
}

// gone returns err, but not that there was no such file.
func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
