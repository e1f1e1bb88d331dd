package engines

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
)

const follows = 50 * time.Millisecond

// supervised is an engine of a machine whose daemon is started by another program.
type supervised struct {
	served
	of host.Supervisor
}

func (s supervised) Supervisor() host.Supervisor { return s.of }

// Main returns the daemon's process. A supervisor that follows has started it anew by now, if it has ended or its files have
// changed; one that is stuck has not.
func (s supervised) Main(h *host.Host) (host.Process, bool) {
	if s.of.Follows > 0 && s.m.get("stuck") == "" && (s.m.get("pid") == "" || s.m.get("read") != s.m.config()) {
		_, _ = s.m.systemctl(context.Background(), "restart")
	}
	return s.served.Main(h)
}

// newSupervised makes a machine whose engine is supervised, and returns what systemctl is asked for, but to show.
func newSupervised(t *testing.T, of host.Supervisor) (*machine, *host.Host, *[]string) {
	t.Helper()
	m, h := newMachine(t, t.TempDir(), false)
	table = []Engine{supervised{served{plain{"one"}, m, false}, of}}
	asked := new([]string)
	h.Systemctl = func(ctx context.Context, args ...string) ([]byte, error) {
		switch args[0] {
		case "show": // the daemon is below the service's main process
			return []byte("MainPID=7\nActiveState=active\nKillMode=process\n"), nil
		case "restart", "reload":
			*asked = append(*asked, strings.Join(args, " "))
		}
		out, err := m.systemctl(ctx, args...)
		if args[0] == "restart" && slices.Contains(args, "--no-block") {
			err = nil
		}
		return out, err
	}
	h.ReadProc = func(pid int, file string) ([]byte, error) {
		if file == "stat" {
			return fmt.Appendf(nil, "%d (daemon) S 7 1 1 0", pid), nil
		}
		return []byte("0::/system.slice/one-server.service\n"), nil
	}
	return m, h, asked
}

// A daemon that another program starts is restarted with the service of that, for which nobody waits: what counts is that the
// daemon is back.
func TestRestartOfASupervisedDaemon(t *testing.T) {
	units := host.Supervisor{Title: "One", Units: []string{"one-*.service"}, Slow: true}
	for _, c := range []struct {
		name    string
		of      host.Supervisor
		refuses string // what its start refuses
		stuck   bool   // its supervisor does not follow
		broken  bool   // no container starts
		outcome Outcome
		unit    string
		by      string
		asked   int // how often systemd has been asked for a restart
		err     string
	}{
		{name: "by its service", of: units, outcome: TakenOver, unit: "one-server.service", asked: 1},
		{name: "by its service, which refuses", of: units, refuses: "runc", outcome: TakenBack, unit: "one-server.service", asked: 2,
			err: "it is not back after 1m0s: its process has not ended, or no new one runs: everything has been taken back, and it has been started again as it was"},
		{name: "by its service, and no container starts", of: units, broken: true, outcome: TakenBack, unit: "one-server.service", asked: 2,
			err: "no container starts: everything has been taken back, and it has been started again as it was"},
		{name: "by itself", of: host.Supervisor{Title: "One", Follows: follows}, outcome: TakenOver, by: "One"},
		{name: "by itself, and it refuses", of: host.Supervisor{Title: "One", Follows: follows}, refuses: "runc", outcome: TakenBack, by: "One",
			err: "it is not back after 1m0s: its process has not ended, or no new one runs: everything has been taken back, and it has been started again as it was"},
		{name: "by itself, and no container starts", of: host.Supervisor{Title: "One", Follows: follows}, broken: true, outcome: TakenBack, by: "One",
			err: "no container starts: everything has been taken back, and it has been started again as it was"},
		{name: "by itself, which it does not", of: host.Supervisor{Title: "One", Follows: follows}, stuck: true, outcome: TakenBack, by: "One",
			err: "it is not back after 1m0s: its process has not ended, or no new one runs: everything has been taken back, and One starts it again by itself"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, h, asked := newSupervised(t, c.of)
				m.put("refuses", c.refuses)
				if c.stuck {
					m.put("stuck", "yes")
				}
				before := below(t, h.Tree.Root)
				probe := m.works
				if c.broken {
					probe = func(context.Context, Engine, string, bool) error { return errors.New("no container starts") }
				}
				r, err := call(t, h, "install", probe)
				if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%+v, %v", r, err)
				}
				if r.Outcome != c.outcome || r.Unit != c.unit || r.By != c.by || !slices.Equal(r.Running, r.After) || len(r.After) != 3 {
					t.Errorf("%+v", r)
				}
				for _, said := range *asked {
					if said != "restart --no-block one-server.service" {
						t.Errorf("systemctl %s", said)
					}
				}
				if len(*asked) != c.asked {
					t.Errorf("systemctl is asked for %q", *asked)
				}
				m.wantUp(t, c.name)
				if after := below(t, h.Tree.Root); maps.Equal(before, after) != (c.outcome == TakenBack) {
					t.Errorf("there is %v, and was %v", after, before)
				}
			})
		})
	}
}

// Where no service is found that starts the daemon, nothing is changed, and that is said.
func TestSupervisedDaemonOfNoService(t *testing.T) {
	m, h, _ := newSupervised(t, host.Supervisor{Title: "One", Units: []string{"other-*.service"}})
	before := below(t, h.Tree.Root)
	r, err := call(t, h, "install", m.works)
	if r != nil || err == nil || !strings.Contains(err.Error(), "was started by no service of systemd's that is called other-*.service: leave it away") {
		t.Errorf("%+v, %v", r, err)
	}
	if after := below(t, h.Tree.Root); !maps.Equal(before, after) {
		t.Errorf("there is %v, and was %v", after, before)
	}
}

// The call that comes after a killed one has the supervisor's daemon run with the files as they were.
func TestKilledCallOfASupervisor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, h, _ := newSupervised(t, host.Supervisor{Title: "One", Follows: follows})
		before := below(t, h.Tree.Root)
		killed := errors.New("killed")
		m.step = func(what string) error {
			if what == "probe" {
				panic(killed)
			}
			return nil
		}
		func() {
			defer func() {
				if recover() != killed {
					t.Fatal("it was not killed")
				}
			}()
			_, _ = call(t, h, "install", m.works)
		}()
		m.step = func(string) error { return nil }
		if _, err := call(t, h, "uninstall", m.works); err != nil {
			t.Error(err)
		}
		m.wantUp(t, "after the next call")
		if after := below(t, h.Tree.Root); !maps.Equal(before, after) {
			t.Errorf("there is %v, and was %v", after, before)
		}
	})
}

// Each distribution's containerd is asked by the ctr that it brings along, and is started anew by what starts it.
func TestSupervisorsOfDistributions(t *testing.T) {
	for name, want := range map[string]struct {
		of  host.Supervisor
		ctr string
	}{
		"k3s":      {host.Supervisor{Title: "K3s", Units: []string{"k3s*.service"}, Slow: true}, "/var/lib/rancher/k3s/data/current/bin/ctr"},
		"rke2":     {host.Supervisor{Title: "RKE2", Units: []string{"rke2-*.service"}, Slow: true}, "/var/lib/rancher/rke2/bin/ctr"},
		"k0s":      {host.Supervisor{Title: "k0s", Follows: 5 * time.Second}, "/usr/local/bin/k0s ctr"},
		"microk8s": {host.Supervisor{Title: "MicroK8s", Units: []string{"snap.microk8s.daemon-containerd.service"}}, "/snap/microk8s/current/bin/ctr"},
	} {
		h := newNode(t, tree{of: name, name: "fresh"})
		if beside := h.Tree.Real(want.ctr); want.of.Follows == 0 {
			if err := os.WriteFile(beside, nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		var asked string
		h.Run = func(_ context.Context, _ []string, program string, args ...string) ([]byte, error) {
			asked = program + " " + strings.Join(args, " ")
			return []byte("io.containerd.grpc.v1 cri linux/amd64 ok\n"), nil
		}
		e, err := named(name)
		if err != nil {
			t.Fatal(err)
		}
		d, is := serves(e, h, nil)
		if !is || !reflect.DeepEqual(d.supervisor(), want.of) {
			t.Errorf("%s is supervised by %+v", name, d.supervisor())
		}
		if err := d.Works(t.Context(), h); err != nil || asked != want.ctr+" plugins ls" {
			t.Errorf("%s is asked by %s: %v", name, asked, err)
		}
	}
	if d, _ := serves(table[0], host.New(t.TempDir(), "/bin"), nil); !reflect.DeepEqual(d.supervisor(), host.Supervisor{}) {
		t.Errorf("the node's own containerd is supervised by %+v", d.supervisor())
	}
}
