package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A process's unit is that whose main process it is, in either version of control groups.
func TestUnitOf(t *testing.T) {
	h := New(t.TempDir(), "/usr/local/bin")
	groups := map[int]string{
		1: "0::/system.slice/docker.service\n",
		2: "12:pids:/other.service\n1:name=systemd:/system.slice/docker.service\n0::/\n",
		3: "0::/system.slice/docker.service\n", // dockerd's own containerd
		4: "0::/user.slice/session-1.scope\n",
	}
	h.ReadProc = func(pid int, file string) ([]byte, error) {
		if groups[pid] == "" || file != "cgroup" {
			return nil, fs.ErrNotExist
		}
		return []byte(groups[pid]), nil
	}
	main := "1"
	h.Systemctl = func(_ context.Context, args ...string) ([]byte, error) {
		if args[0] == "show" && args[2] != "docker.service" {
			t.Errorf("asked for %q", args)
		}
		return []byte("MainPID=" + main + "\nActiveState=activating\nRequiredBy=a.service b.target\nBoundBy=\nConsistsOf=a.service c.service\n"), nil
	}
	for pid, is := range map[int]bool{1: true, 2: true, 3: false, 4: false, 5: false} {
		if main = "1"; pid == 2 {
			main = "2"
		}
		u, err := h.UnitOf(t.Context(), Process{PID: pid})
		if (err == nil) != is {
			t.Errorf("process %d: %+v, %v", pid, u, err)
		}
		if is && (u.Name != "docker.service" || !u.Starting || u.Stopping || !slices.Equal(u.With, []string{"a.service", "c.service"})) {
			t.Errorf("process %d: %+v", pid, u)
		}
	}
	h = New(t.TempDir(), "/usr/local/bin")
	if _, err := h.UnitOf(t.Context(), Process{PID: 1}); !errors.Is(err, ErrNoSystemd) {
		t.Errorf("an image: %v", err)
	}
}

// A daemon that another program has started is restarted with the service of that, and only with one of a name that is known.
func TestUnitAbove(t *testing.T) {
	h := New(t.TempDir(), "/usr/local/bin")
	parents := map[int]int{9: 8, 8: 7, 7: 1, 20: 19, 19: 18, 18: 1} // k3s: 7 is the service's, 8 writes its log; sshd: 18
	h.ReadProc = func(pid int, file string) ([]byte, error) {
		switch {
		case parents[pid] == 0:
			return nil, fs.ErrNotExist
		case file == "stat":
			return fmt.Appendf(nil, "%d (k3s) server) S %d 1 1 0", pid, parents[pid]), nil
		case pid < 10:
			return []byte("0::/system.slice/k3s-agent.service\n"), nil
		}
		return []byte("0::/system.slice/ssh.service\n"), nil
	}
	h.Systemctl = func(_ context.Context, args ...string) ([]byte, error) {
		return []byte(map[string]string{"k3s-agent.service": "MainPID=7\n", "ssh.service": "MainPID=18\n"}[args[len(args)-1]]), nil
	}
	for pid, want := range map[int]string{9: "k3s-agent.service", 7: "k3s-agent.service", 20: "", 30: ""} {
		u, err := h.UnitAbove(t.Context(), Process{PID: pid}, "rke2-*.service", "k3s*.service")
		if (err == nil) != (want != "") || err == nil && u.Name != want {
			t.Errorf("process %d: %+v, %v", pid, u, err)
		}
		if err != nil && !strings.Contains(err.Error(), "was started by no service of systemd's that is called rke2-*.service or k3s*.service") {
			t.Error(err)
		}
	}
}

// Where systemd kills the whole control group, a restart ends what looks after containers.
func TestKills(t *testing.T) {
	h := New(t.TempDir(), "/usr/local/bin")
	procs := h.Tree.Real("/sys/fs/cgroup/system.slice/x.service/cgroup.procs")
	if err := os.MkdirAll(filepath.Dir(procs), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(procs, []byte("7\n8\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stats := map[int]string{7: "7 (daemon) S 1 7 7 0"}
	h.ReadProc = func(pid int, _ string) ([]byte, error) { return []byte(stats[pid]), nil }
	for _, c := range []struct{ mode, stat, want string }{
		{"process", "8 (monitor) S 1 8 8 0", ""}, {"control-group", "8 (proxy) S 7 8 8 0", ""}, {"control-group", "", ""},
		{"control-group", "8 (monitor) S 1 8 8 0", "x.service has KillMode=control-group, by which systemd kills process 8, monitor, as well"},
		{"mixed", "8 (a) (b) S 1 8 8 0", `x.service has KillMode=mixed, by which systemd kills process 8, "a) (b", as well`},
	} {
		stats[8] = c.stat
		got := h.Kills(&Unit{Name: "x.service", Main: 7, killMode: c.mode, group: "/system.slice/x.service"})
		if (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// A start that has failed too often, and one that hangs, are in no restart's way.
func TestRestartOfAUnit(t *testing.T) {
	h := New(t.TempDir(), "/usr/local/bin")
	var asked []string
	h.Systemctl = func(_ context.Context, args ...string) ([]byte, error) {
		asked = append(asked, strings.Join(args, " "))
		if args[0] == "restart" {
			return nil, nil
		}
		return nil, errors.New("nothing to do")
	}
	kill := []string{"kill --kill-who=main --signal=SIGKILL x.service", "kill --kill-who=control --signal=SIGKILL x.service"}
	for _, c := range []struct {
		unit  Unit
		kills bool
		later bool // which one that is slow to start is given time for
	}{
		{unit: Unit{Starting: true}, kills: true}, {unit: Unit{Stopping: true}, kills: true}, {unit: Unit{}},
		{unit: Unit{Starting: true}, later: true}, {unit: Unit{Stopping: true}, kills: true, later: true}, {unit: Unit{}, later: true},
	} {
		asked, c.unit.Name = nil, "x.service"
		restart, want := h.Restart, []string{"reset-failed x.service", "restart x.service"}
		if c.later {
			restart, want[1] = h.StartLater, "restart --no-block x.service"
		}
		if err := restart(t.Context(), &c.unit); err != nil {
			t.Error(err)
		}
		if c.kills {
			want = append(slices.Clone(kill), want...)
		}
		if !slices.Equal(asked, want) {
			t.Errorf("%+v: %q, want %q", c, asked, want)
		}
	}
	for state, want := range map[string]Unit{"active": {Active: true}, "deactivating": {Stopping: true}, "activating": {Starting: true}, "inactive": {}} {
		h.Systemctl = func(context.Context, ...string) ([]byte, error) { return []byte("ActiveState=" + state + "\n"), nil }
		if u, err := h.Unit(t.Context(), "x.service"); err != nil || u.Active != want.Active || u.Starting != want.Starting || u.Stopping != want.Stopping {
			t.Errorf("%s: %+v, %v", state, u, err)
		}
	}
	h.Systemctl = func(context.Context, ...string) ([]byte, error) { return nil, errors.New("failed") }
	if err := h.Restart(t.Context(), &Unit{Name: "x.service"}); err == nil || !strings.Contains(err.Error(), "journalctl -u x.service") {
		t.Error(err)
	}
}
