package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// ErrNoSystemd says that systemd does not run this machine.
var ErrNoSystemd = errors.New("systemd does not run here")

// systemctl runs systemctl.
func (h *Host) systemctl(ctx context.Context, args ...string) ([]byte, error) {
	return h.systemd(ctx, "systemctl", args...)
}

func (h *Host) systemd(ctx context.Context, name string, args ...string) ([]byte, error) {
	if info, err := os.Stat("/run/systemd/system"); err != nil || !info.IsDir() || !h.Live() { // sd_booted(3)
		return nil, ErrNoSystemd
	}
	program := h.Program(wire.NewDraft(h.Tree), name)
	if program == "" {
		return nil, fmt.Errorf("%s: %w", name, ErrNoProgram)
	}
	return h.Run(ctx, nil, program, args...)
}

// Detach has systemd run a program that outlives this process, as a service of the name.
func (h *Host) Detach(ctx context.Context, name, program string, args ...string) error {
	_, err := h.systemd(ctx, "systemd-run", append([]string{"--quiet", "--collect", "--unit=" + name, program}, args...)...)
	return err
}

// Unit is a service of systemd's.
type Unit struct {
	Name     string
	Main     int      // its main process
	Active   bool     // it is up
	Starting bool     // it is being started, also again after it has failed
	Stopping bool     // it is being stopped
	With     []string // units that systemd stops and starts with it

	killMode, group string
}

// Unit returns a service.
func (h *Host) Unit(ctx context.Context, name string) (*Unit, error) {
	const properties = "MainPID,ActiveState,KillMode,ControlGroup,RequiredBy,BoundBy,ConsistsOf"
	out, err := h.Systemctl(ctx, "show", "--property="+properties, name)
	if err != nil {
		return nil, err
	}
	u := &Unit{Name: name}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "MainPID":
			u.Main, _ = strconv.Atoi(value)
		case "ActiveState":
			u.Active = value == "active" || value == "reloading"
			u.Starting, u.Stopping = value == "activating", value == "deactivating"
		case "KillMode":
			u.killMode = value
		case "ControlGroup":
			u.group = value
		case "RequiredBy", "BoundBy", "ConsistsOf":
			for _, with := range strings.Fields(value) {
				if strings.HasSuffix(with, ".service") && !slices.Contains(u.With, with) {
					u.With = append(u.With, with)
				}
			}
		}
	}
	return u, nil
}

// UnitOf returns the service whose main process is the one given.
func (h *Host) UnitOf(ctx context.Context, p Process) (*Unit, error) {
	if _, err := h.Systemctl(ctx, "--version"); err != nil {
		return nil, err
	}
	groups, err := h.ReadProc(p.PID, "cgroup")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(groups)) {
		// HIERARCHY:CONTROLLERS:PATH (cgroups(7)). systemd's are in the one of version 2, or in one of its name.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || parts[1] != "" && parts[1] != "name=systemd" || !strings.HasSuffix(parts[2], ".service") {
			continue
		}
		u, err := h.Unit(ctx, path.Base(parts[2]))
		if err != nil {
			return nil, err
		}
		if u.Main == p.PID {
			return u, nil
		}
	}
	return nil, fmt.Errorf("process %d is the main process of no service of systemd's", p.PID)
}

// Supervisor is what starts a daemon that is no service's main process, and starts it again when it has ended.
type Supervisor struct {
	Title string   // as its makers write it
	Units []string // patterns of the names of its services (path.Match)
	Slow  bool     // such a service is up only when more than the daemon is

	// Follows is the time after which it has begun to start the daemon anew by itself when the daemon's files have changed; zero
	// for one that does not.
	Follows time.Duration
}

// maxAbove bounds how many processes may stand between a daemon and the main process of its service.
const maxAbove = 8

// UnitAbove returns the service whose main process is the one given, or has started it, directly or through others. Its name
// must match one of the patterns (path.Match): any shell that a user has logged in by is below a service, too.
func (h *Host) UnitAbove(ctx context.Context, p Process, patterns ...string) (*Unit, error) {
	if _, err := h.Systemctl(ctx, "--version"); err != nil {
		return nil, err
	}
	for pid, n := p.PID, 0; pid > 1 && n <= maxAbove; n++ {
		u, err := h.UnitOf(ctx, Process{PID: pid})
		if err == nil && slices.ContainsFunc(patterns, func(pattern string) bool {
			is, _ := path.Match(pattern, u.Name)
			return is
		}) {
			return u, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if _, pid, err = h.parent(pid); err != nil {
			break
		}
	}
	return nil, fmt.Errorf("process %d was started by no service of systemd's that is called %s", p.PID, strings.Join(patterns, " or "))
}

// parent returns the name of a process and its parent.
func (h *Host) parent(pid int) (name string, parent int, err error) {
	stat, err := h.ReadProc(pid, "stat") // PID (NAME) STATE PARENT, where the name may have blanks and brackets
	if err != nil {
		return "", 0, err
	}
	_, name, _ = strings.Cut(string(stat), "(")
	end := strings.LastIndexByte(name, ')')
	if end < 0 {
		return "", 0, fmt.Errorf("process %d has no name", pid)
	}
	rest := strings.Fields(name[end+1:])
	if len(rest) < 2 {
		return "", 0, fmt.Errorf("process %d has no parent", pid)
	}
	parent, err = strconv.Atoi(rest[1])
	return name[:end], parent, err
}

// Kills returns why a stop of the unit ends containers, whatever its daemon does: systemd kills what looks after them. That
// is what the daemon has started to outlive it, so that its parent is process 1. It is empty where systemd does not.
func (h *Host) Kills(u *Unit) string {
	if u.killMode != "control-group" && u.killMode != "mixed" {
		return ""
	}
	for _, n := range h.members(u) {
		name, parent, err := h.parent(n)
		if err != nil || n == u.Main || parent != 1 {
			continue
		}
		return fmt.Sprintf("%s has KillMode=%s, by which systemd kills process %d, %s, as well", u.Name, u.killMode, n, oneline.Name(name))
	}
	return ""
}

// Runs returns a process of a unit whose name fits, with its number; an empty string where there is none. Names are those that
// the kernel has, of 15 bytes at most.
func (h *Host) Runs(u *Unit, fits func(name string) bool) string {
	for _, n := range h.members(u) {
		if name, _, err := h.parent(n); err == nil && fits(name) {
			return fmt.Sprintf("its process %d, %s", n, oneline.Name(name))
		}
	}
	return ""
}

// members returns the processes of a unit's own control group.
func (h *Host) members(u *Unit) (all []int) {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd"} {
		pids, err := os.ReadFile(h.Tree.Real(path.Join(root, u.group, "cgroup.procs")))
		if err != nil || u.group == "" {
			continue
		}
		for pid := range strings.FieldsSeq(string(pids)) {
			if n, err := strconv.Atoi(pid); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// Restart restarts a unit, or starts it, however often it has failed before.
func (h *Host) Restart(ctx context.Context, u *Unit) error {
	if u.Starting || u.Stopping { // one that hangs in its start or its stop need not end by itself
		h.kill(ctx, u)
	}
	_, _ = h.Systemctl(ctx, "reset-failed", u.Name) // lest too many starts (StartLimitBurst=) count against this one
	began := time.Now()
	_, err := h.Systemctl(ctx, "restart", u.Name)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if said := h.lastSaid(ctx, u, began); said != "" {
		return fmt.Errorf("systemctl restart %s fails, and its last words are: %s", u.Name, said)
	}
	return fmt.Errorf("systemctl restart %s fails, and journalctl -u %s may say why", u.Name, u.Name)
}

// kill ends the processes of a unit that systemd waits for.
func (h *Host) kill(ctx context.Context, u *Unit) {
	for _, who := range []string{"main", "control"} { // there may be no such process
		_, _ = h.Systemctl(ctx, "kill", "--kill-who="+who, "--signal=SIGKILL", u.Name)
	}
}

// lastSaid returns the last line that a unit's own processes have written to the journal since a time; an empty string if
// that is not known.
func (h *Host) lastSaid(ctx context.Context, u *Unit, since time.Time) string {
	out, _ := h.systemd(ctx, "journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=1",
		fmt.Sprintf("--since=@%d", since.Unix()), "_SYSTEMD_UNIT="+u.Name)
	return oneline.Cut(oneline.Printable(strings.TrimSpace(string(out))), maxSaid)
}

// StartLater has systemd restart a unit, or start it, and does not wait for that. What hangs in its stop is killed, and what is
// being started, which may take long, is told to end.
func (h *Host) StartLater(ctx context.Context, u *Unit) error {
	if u.Stopping {
		h.kill(ctx, u)
	}
	_, _ = h.Systemctl(ctx, "reset-failed", u.Name)
	_, err := h.Systemctl(ctx, "restart", "--no-block", u.Name)
	return err
}

// Start starts a unit that does not run. The error says that it is not up after that.
func (h *Host) Start(ctx context.Context, name string) error {
	_, _ = h.Systemctl(ctx, "reset-failed", name)
	if _, err := h.Systemctl(ctx, "start", name); err != nil {
		return fmt.Errorf("systemctl start %s fails: %w", name, err)
	}
	u, err := h.Unit(ctx, name)
	if err == nil && !u.Active {
		err = fmt.Errorf("%s is not up after systemctl start %s, and journalctl -u %s may say why", name, name, name)
	}
	return err
}

// StartSoon has systemd start a unit that does not run, and does not wait for that.
func (h *Host) StartSoon(ctx context.Context, name string) error {
	_, _ = h.Systemctl(ctx, "reset-failed", name)
	_, err := h.Systemctl(ctx, "start", "--no-block", name)
	return err
}

// Reload has a unit's daemon read its files again. It does not wait for that.
func (h *Host) Reload(ctx context.Context, u *Unit) error {
	_, err := h.Systemctl(ctx, "reload", u.Name)
	return err
}

// ReloadLater has systemd reload a unit, and does not wait for that.
func (h *Host) ReloadLater(ctx context.Context, u *Unit) error {
	_, err := h.Systemctl(ctx, "reload", "--no-block", u.Name)
	return err
}

func readProc(pid int, file string) ([]byte, error) {
	return os.ReadFile(path.Join("/proc", strconv.Itoa(pid), file))
}
