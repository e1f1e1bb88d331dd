package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/programs"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// leaveUnit is the unit that takes ours off a node once no pod needs it any more. It has the variable leaving set.
const (
	leaveUnit = "oci-apparmor-leave.service"
	leaving   = "OCI_APPARMOR_LEAVING"
)

// again is how many seconds pass between two tries of leaveUnit.
const again = 10

// Needed is the exit code of "oci-apparmor removable" and of "oci-apparmor kubernetes leave" while containers of ours run, and
// nothing else is in the way.
const Needed = exit.Refused

// ErrNeeded is the error of Leave if pods of ours still run, and a unit of the node will go on when they have ended.
var ErrNeeded = errors.New("pods that were started by our runtime still run: it stays until they have ended")

// Leave takes ours off the node: first out of the engine, then the programs and all that Install has made. While containers of
// ours run, nothing is taken away, because they could not be executed in, restarted or removed any more. Then the error is
// ErrNeeded, and a unit of systemd tries again until they have ended, also after a reboot. After any other error nobody tries
// again by himself. It makes no difference whether an earlier call was cut off.
func (n *Node) Leave(ctx context.Context) error {
	return n.do(func() error {
		r, ok, err := n.read()
		if err != nil || !ok {
			return err
		}
		n.Prefix = r.Prefix
		err = n.run(ctx, n.program(), "removable", "--uninstall", "--bin", n.path(n.Prefix, "bin"))
		var ended *exec.ExitError
		switch {
		case err == nil:
			return n.remove(ctx, r)
		case !errors.As(err, &ended) || ended.ExitCode() != Needed:
			return err
		case !n.systemd():
			return fmt.Errorf("%w (no systemd is there to wait for that: run %s kubernetes leave on the node later)", ErrNeeded, n.program())
		}
		return errors.Join(ErrNeeded, n.leaveByUnit(ctx, 0))
	})
}

// LeaveSoon has a unit of the node do what Leave does, after some time, so that it goes on when this container ends. An Install
// before that stops the unit. A node without systemd is left at once, and stays as it is where there is a time to wait.
func (n *Node) LeaveSoon(ctx context.Context, after time.Duration) error {
	return n.do(func() error {
		_, ok, err := n.read()
		if err != nil || !ok {
			return err
		}
		if n.systemd() {
			return n.leaveByUnit(ctx, after)
		}
		if after > 0 {
			return fmt.Errorf("no systemd is there to wait: run %s kubernetes leave on the node if the DaemonSet is gone", n.program())
		}
		return n.Leave(ctx)
	})
}

// Needed reports whether containers that were started by our runtime still run.
func (n *Node) Needed(ctx context.Context) (needed bool, err error) {
	err = n.do(func() error {
		err := n.run(ctx, n.program(), "removable", "--bin", n.path(n.Prefix, "bin"))
		var ended *exec.ExitError
		if errors.As(err, &ended) {
			needed = ended.ExitCode() == Needed
			return nil // other reasons are engines that are wired
		}
		return err
	})
	return needed, err
}

// leaveByUnit has systemd call Leave until it succeeds. It does nothing where this is that unit's own call.
//
// After a reboot it comes before the kubelet, which would start pods of ours anew; but not where it is to wait for a pod of the
// DaemonSet, which the kubelet starts. It does not start where the program is gone, which is removed last.
func (n *Node) leaveByUnit(ctx context.Context, after time.Duration) error {
	if os.Getenv(leaving) != "" {
		return nil
	}
	order := "Before=kubelet.service\n"
	if after > 0 {
		order = ""
	}
	text := fmt.Sprintf(`[Unit]
Description=Takes oci-apparmor off this node once no pod needs it
ConditionFileIsExecutable=%[1]s
After=containerd.service crio.service
%[5]sStartLimitIntervalSec=0

[Service]
Type=oneshot
Environment=%[2]s=yes
ExecStart=%[1]s kubernetes leave --after=%[3]s
TimeoutStartSec=infinity
Restart=on-failure
RestartSec=%[4]d
RestartPreventExitStatus=%[6]d %[7]d %[8]d

[Install]
WantedBy=multi-user.target
`, n.program(), leaving, after, again, order, exit.BadPolicy, exit.Usage, exit.Cannot)
	return errors.Join(
		safefile.Replace(n.path(units, leaveUnit), []byte(text), safefile.Options{Mode: 0o644, Sync: true}),
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

// remove removes what Install has made, and what our programs have written since. The engine is without ours already. The
// program comes last of what is on the node's way to call this again, then the unit that calls it, and then the record.
func (n *Node) remove(ctx context.Context, r record) error {
	n.dropUnit(ctx, unitName)
	var errs []error
	// These are loaded at boot by AppArmor's service. A line near their beginning says that they are ours (package apparmord).
	ours, _ := filepath.Glob(n.path("etc/apparmor.d/*.oci-apparmor"))
	for _, file := range ours {
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(append([]byte("\n"), text...), []byte("\n# oci-apparmor: {")) {
			errs = append(errs, os.Remove(file))
		}
	}
	if _, err := os.Lstat(n.path(mirrorDir, mirrorMark)); err == nil { // else it is the node's own
		errs = append(errs, os.RemoveAll(n.path(mirrorDir)))
	}
	errs = append(errs, os.RemoveAll(n.path(besides(mirrorDir))), os.RemoveAll(n.path("run/oci-apparmor")))
	if r.made(store.Dir) { // else the node had ours before, and what was kept of that stays
		entries, err := os.ReadDir(n.path(store.Dir))
		errs = append(errs, gone(err))
		for _, e := range entries {
			if e.Name() != recordName {
				errs = append(errs, os.RemoveAll(n.path(store.Dir, e.Name())))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	lib := n.path(r.Prefix, "lib/oci-apparmor")
	for _, name := range slices.Backward(programs.Names) { // the first is what the unit calls
		errs = append(errs, gone(os.Remove(n.path(r.Prefix, "bin", name))))
	}
	errs = append(errs, gone(os.Remove(path.Join(lib, "current"))), os.RemoveAll(path.Join(lib, "programs")), os.RemoveAll(path.Join(lib, "incoming")))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// This may be that unit's call, so it is only disabled, and stops by itself when this has succeeded.
	n.dropUnit(ctx, leaveUnit)
	if err := gone(os.Remove(n.recordPath())); err != nil {
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
