package engines

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// machine is one that systemd and an engine run on: all that runs is files of a directory, so that they outlive this process.
//
//	pid         the engine's process, if it runs
//	read        what its process has read of its configuration
//	containers  what runs in it
//	stops       the engine stops these when it ends
//	refuses     its start refuses a configuration that has this text; "nothing" for one without ours
//	deaf        a reload keeps what has been read
type machine struct {
	dir  string
	step func(what string) error
}

func (m machine) at(name string) string { return filepath.Join(m.dir, name) }

func (m machine) get(name string) string {
	data, _ := os.ReadFile(m.at(name))
	return string(data)
}

func (m machine) put(name, text string) {
	if err := os.WriteFile(m.at(name), []byte(text), 0o644); err != nil {
		panic(err)
	}
}

// base is a PID that no process has.
const base = 1 << 30

// config returns what the engine's file has.
func (m machine) config() string {
	data, _ := os.ReadFile(m.at("root/etc/one.conf"))
	return string(data)
}

// systemctl does what systemd would.
func (m machine) systemctl(_ context.Context, args ...string) ([]byte, error) {
	switch args[0] {
	case "show":
		pid := m.get("pid")
		if pid == "" {
			pid = "0"
		}
		return []byte("MainPID=" + pid + "\nActiveState=active\nKillMode=process\nWantedBy=x.target\n"), nil
	case "restart":
		if err := m.step("stop"); err != nil {
			return nil, err
		}
		os.Remove(m.at("pid"))
		if m.get("stops") != "" {
			m.put("containers", "")
		}
		if err := m.step("start"); err != nil {
			return nil, err
		}
		if refuses := m.get("refuses"); refuses != "" && (refuses == "nothing" && m.config() == "" || strings.Contains(m.config(), refuses)) {
			return nil, errors.New("Job for one.service failed")
		}
		n, _ := strconv.Atoi(m.get("starts"))
		m.put("starts", strconv.Itoa(n+1))
		m.put("read", m.config())
		m.put("pid", strconv.Itoa(base+n))
	case "reload":
		if err := m.step("reload"); err != nil {
			return nil, err
		}
		if m.get("deaf") == "" {
			m.put("read", m.config())
		}
	}
	return nil, nil
}

// served is an engine of a machine.
type served struct {
	plain
	m      *machine
	reload bool
}

func (served) Then() string { return "systemctl restart one" }

func (s served) Wire(ctx context.Context, h *host.Host, d *wire.Draft, o wire.Options) (*host.Outcome, error) {
	out, err := s.plain.Wire(ctx, h, d, o)
	out.Reload = s.reload
	return out, err
}

func (s served) Main(*host.Host) (host.Process, bool) {
	pid, err := strconv.Atoi(s.m.get("pid"))
	return host.Process{PID: pid}, err == nil
}

func (s served) Taken(context.Context, *host.Host, host.Process, wire.Changes) (t host.Taken, err error) {
	t.Ours = s.m.get("read") != ""
	if s.m.get("read") != s.m.config() {
		t.Older = "it goes on with what its files had before"
	}
	return t, nil
}

func (s served) Works(context.Context, *host.Host) error {
	if s.m.get("pid") == "" {
		return errors.New("it does not answer")
	}
	return nil
}

func (s served) Running(context.Context, *host.Host) ([]string, error) {
	return strings.Fields(s.m.get("containers")), nil
}

func (s served) Stops(context.Context, *host.Host) (bool, error) { return s.m.get("stops") != "", nil }

// newMachine makes a machine whose engine runs three containers, and makes that engine the one that can be wired.
func newMachine(t *testing.T, dir string, reload bool) (*machine, *host.Host) {
	t.Helper()
	kept := table
	t.Cleanup(func() { table = kept })
	m := &machine{dir: dir, step: func(string) error { return nil }}
	table = []Engine{served{plain{"one"}, m, reload}}
	h := host.New(m.at("root"), "/usr/local/bin")
	h.Systemctl = func(ctx context.Context, args ...string) ([]byte, error) { return m.systemctl(ctx, args...) }
	h.ReadProc = func(int, string) ([]byte, error) { return []byte("0::/system.slice/one.service\n"), nil }
	h.Tree.Step = func(what string) error { return m.step(what) }
	if _, err := os.Stat(m.at("root")); err != nil {
		for _, err := range []error{os.MkdirAll(m.at("root/etc"), 0o755), os.MkdirAll(m.at("root/var/lib"), 0o755)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		m.put("containers", "a b c")
		if _, err := m.systemctl(t.Context(), "restart"); err != nil {
			t.Fatal(err)
		}
	}
	return m, h
}

// works is a probe of an engine whose containers start.
func (m machine) works(context.Context, Engine, string, bool) error { return m.step("probe") }

// call does what install --restart or uninstall --restart does.
func call(t *testing.T, h *host.Host, verb string, probe Probe) (*Restart, error) {
	t.Helper()
	b, err := wire.Open(t.Context(), h.Tree)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if _, err := Settle(t.Context(), b, h); err != nil {
		return nil, err
	}
	var plans []*Plan
	if verb == "install" {
		plans, err = Install(t.Context(), b, h, nil, Choice{})
	} else {
		plans, err = Uninstall(t.Context(), b, h, []string{"one"})
	}
	if err == nil {
		err = PlanRestarts(t.Context(), b, h, plans)
	}
	if err != nil {
		return nil, err
	}
	_, err = Try(t.Context(), b, h, plans, probe)
	return plans[0].Restart, err
}

// planned opens the book of a host, and plans to install and to restart what there is.
func planned(t *testing.T, h *host.Host) (*wire.Book, []*Plan) {
	t.Helper()
	b, err := wire.Open(t.Context(), h.Tree)
	if err != nil {
		t.Fatal(err)
	}
	plans, err := Install(t.Context(), b, h, nil, Choice{})
	if err == nil {
		err = PlanRestarts(t.Context(), b, h, plans)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b, plans
}

// wantUp fails unless the engine runs with what its file has, and its containers run.
func (m machine) wantUp(t *testing.T, what string) {
	t.Helper()
	if m.get("pid") == "" || m.get("read") != m.config() || m.get("containers") != "a b c" {
		t.Errorf("%s: the engine is process %q, has read %q, its file has %q, its containers are %q", what, m.get("pid"), m.get("read"),
			m.config(), m.get("containers"))
	}
}

func TestRestart(t *testing.T) {
	broken := func(context.Context, Engine, string, bool) error { return errors.New("no container starts") }
	for _, c := range []struct {
		name    string
		verb    string
		reload  bool
		probe   Probe // nil for one that works
		before  func(*machine)
		starts  string // of the engine in all
		outcome Outcome
		err     string // part of it
	}{
		{name: "install", verb: "install", starts: "2", outcome: TakenOver},
		{name: "install by a reload", verb: "install", reload: true, starts: "1", outcome: TakenOver},
		{name: "uninstall", verb: "uninstall", starts: "3", outcome: TakenOver},
		{name: "its start refuses", verb: "install", before: func(m *machine) { m.put("refuses", "runc") }, starts: "2", outcome: TakenBack,
			err: "systemctl restart one.service fails, and journalctl -u one.service may say why: everything has been taken back, and it has been started again as it was"},
		{name: "its start refuses what was there before", verb: "uninstall", before: func(m *machine) { m.put("refuses", "nothing") }, starts: "3",
			outcome: TakenBack, err: "everything has been taken back"},
		{name: "no container starts", verb: "install", probe: broken, starts: "3", outcome: TakenBack, err: "no container starts: everything"},
		{name: "no container starts after a reload", verb: "install", reload: true, probe: broken, starts: "1", outcome: TakenBack, err: "no container starts"},
		{name: "a reload does nothing", verb: "install", reload: true, before: func(m *machine) { m.put("deaf", "yes") }, starts: "1",
			outcome: TakenBack, err: "it is not back after 1m0s: it goes on with what its files had before: everything"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, h := newMachine(t, t.TempDir(), c.reload)
				if c.probe == nil {
					c.probe = m.works
				}
				if c.verb == "uninstall" {
					if _, err := call(t, h, "install", m.works); err != nil {
						t.Fatal(err)
					}
				}
				if c.before != nil {
					c.before(m)
				}
				before := below(t, h.Tree.Root)
				r, err := call(t, h, c.verb, c.probe)
				if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || r.Outcome != c.outcome ||
					!slices.Equal(r.Running, r.After) || len(r.After) != 3 {
					t.Errorf("%+v, %v", r, err)
				}
				m.wantUp(t, c.name)
				if starts := m.get("starts"); starts != c.starts {
					t.Errorf("the engine was started %s times, want %s", starts, c.starts)
				}
				if after := below(t, h.Tree.Root); maps.Equal(before, after) != (c.outcome == TakenBack) {
					t.Errorf("there is %v, and was %v", after, before)
				}
				if c.outcome == TakenOver {
					if r, err := call(t, h, c.verb, c.probe); r != nil || err != nil {
						t.Errorf("once more: %+v, %v", r, err)
					}
				}
			})
		})
	}
}

// What an earlier install has written and the engine has not read is tried, and taken back to what was there before that.
func TestRestartOfWhatIsWritten(t *testing.T) {
	m, h := newMachine(t, t.TempDir(), false)
	before := below(t, h.Tree.Root)
	b, err := wire.Open(t.Context(), h.Tree)
	if err != nil {
		t.Fatal(err)
	}
	plans, err := Install(t.Context(), b, h, nil, Choice{})
	if err == nil {
		_, err = Commit(b, plans)
	}
	if b.Close(); err != nil || m.config() == m.get("read") {
		t.Fatalf("%q, %v", m.config(), err)
	}
	m.put("refuses", "runc")
	if r, err := call(t, h, "install", m.works); err == nil || r.Outcome != TakenBack {
		t.Errorf("%+v, %v", r, err)
	}
	m.wantUp(t, "taken back")
	if after := below(t, h.Tree.Root); !maps.Equal(before, after) {
		t.Errorf("there is %v, and was %v", after, before)
	}
}

// After a power failure in a trial, an engine that runs with the change since the boot goes on so. One that does not come up gets
// its files back.
func TestRestartAndAnotherBoot(t *testing.T) {
	kept := bootID
	defer func() { bootID = kept }()
	for name, comesUp := range map[string]bool{"it comes up": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bootID = kept
				m, h := newMachine(t, t.TempDir(), false)
				b, err := wire.Open(t.Context(), h.Tree)
				if err != nil {
					t.Fatal(err)
				}
				plans, err := Install(t.Context(), b, h, nil, Choice{})
				if err != nil {
					t.Fatal(err)
				}
				if err := b.Try(wire.Trial{Engine: "one", Unit: "one.service", Boot: bootID(), PID: base}, plans[0].options, plans[0].draft,
					plans[0].without); err != nil {
					t.Fatal(err)
				}
				b.Close()
				bootID = func() string { return "another" }
				os.Remove(m.at("pid"))
				if comesUp {
					m.systemctl(t.Context(), "restart")
				} else {
					m.put("refuses", "runc")
				}
				if b, err = wire.Open(t.Context(), h.Tree); err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				if said, err := Settle(t.Context(), b, h); err != nil || said == "" {
					t.Errorf("%q, %v", said, err)
				}
				m.wantUp(t, name)
				if _, wired := b.Wiring("one"); wired != comesUp || m.get("starts") != "2" {
					t.Errorf("wired: %v, started %s times", wired, m.get("starts"))
				}
			})
		})
	}
}

// An engine without a daemon is only probed.
func TestRestartOfNoDaemon(t *testing.T) {
	kept := table
	defer func() { table = kept }()
	table = []Engine{plain{"one"}}
	h := host.New(t.TempDir(), "/usr/local/bin")
	before := below(t, h.Tree.Root)
	probed := 0
	probe := func(_ context.Context, e Engine, via string, stock bool) error {
		if probed++; e.Name() != "one" || via != "wrapper" || stock {
			t.Errorf("%s by %s, stock: %v", e.Name(), via, stock)
		}
		if probed == 1 {
			return errors.New("no container starts")
		}
		return nil
	}
	if r, err := call(t, h, "install", probe); err == nil || r.Outcome != TakenBack || !maps.Equal(before, below(t, h.Tree.Root)) {
		t.Errorf("%+v, %v; there is %v", r, err, below(t, h.Tree.Root))
	}
	if r, err := call(t, h, "install", probe); err != nil || r.Outcome != TakenOver || probed != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRestartThatCannotBe(t *testing.T) {
	m, h := newMachine(t, t.TempDir(), false)
	for name, c := range map[string]struct {
		change func()
		err    string // empty for one that goes on
		stops  string
	}{
		"nothing is wrong":   {func() {}, "", ""},
		"its containers end": {func() { m.put("stops", "yes") }, "", "one.service stops its containers when it ends"},
		"no unit": {func() {
			h.ReadProc = func(int, string) ([]byte, error) { return []byte("0::/user.slice/x.scope\n"), nil }
		}, "process 1073741824 is the main process of no service", ""},
		"no systemd": {func() {
			h.Systemctl = func(context.Context, ...string) ([]byte, error) { return nil, host.ErrNoSystemd }
		}, "systemd does not run here", ""},
		"another's unit": {func() {
			h.Systemctl = func(context.Context, ...string) ([]byte, error) { return []byte("MainPID=1\n"), nil }
		}, "is the main process of no service", ""},
	} {
		t.Run(name, func(t *testing.T) {
			kept := *h
			defer func() { *h = kept; os.Remove(m.at("stops")) }()
			c.change()
			b, err := wire.Look(h.Tree)
			if err != nil {
				t.Fatal(err)
			}
			plans, err := Install(t.Context(), b, h, nil, Choice{})
			if err != nil {
				t.Fatal(err)
			}
			err = PlanRestarts(t.Context(), b, h, plans)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %q", err, c.err)
			}
			if err == nil && plans[0].Restart.Stops != c.stops {
				t.Errorf("it stops containers: %q", plans[0].Restart.Stops)
			}
		})
	}
	// A container is started between the plan and what is done.
	m.put("stops", "yes")
	m.put("containers", "")
	b, plans := planned(t, h)
	m.put("containers", "a b c")
	if _, err := Try(t.Context(), b, h, plans, m.works); err == nil || !strings.Contains(err.Error(), "nothing was changed: a container has been started") {
		t.Error(err)
	}
	b.Close()
	m.wantUp(t, "a container that was started meanwhile")
	table = append(table, plain{"two"})
	os.Remove(m.at("pid"))
	if r, err := call(t, h, "install", m.works); r != nil || err != nil {
		t.Errorf("an engine that does not run: %+v, %v", r, err)
	}
}

// A reload that does not take a change back is followed by a restart. What stops with the engine by that is up again, also where
// the first start fails.
func TestRestartAfterAReloadStartsWhatStoppedWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, h := newMachine(t, t.TempDir(), true)
		up, _ := required(m, h)
		failed := false
		m.step = func(what string) error {
			if what == "start" && !failed {
				failed = true
				return errors.New("what the last start has left is in its way")
			}
			return nil
		}
		broken := func(context.Context, Engine, string, bool) error {
			m.put("deaf", "yes")
			return errors.New("no container starts")
		}
		if r, err := call(t, h, "install", broken); err == nil || r.Outcome != TakenBack || !failed || !up() {
			t.Errorf("up: %v, %+v, %v", up(), r, err)
		}
		m.wantUp(t, "taken back")
	})
}

// An engine that does not answer may be stopped by uninstall, which says what becomes of its containers, or that nobody knows.
type mute struct {
	served
	asks, running, halts error // what asking for each says
}

func (e mute) Works(context.Context, *host.Host) error               { return e.asks }
func (e mute) Running(context.Context, *host.Host) ([]string, error) { return nil, e.running }
func (e mute) Stops(context.Context, *host.Host) (bool, error) {
	return e.m.get("stops") != "", e.halts
}

func TestRestartOfWhatDoesNotAnswer(t *testing.T) {
	m, h := newMachine(t, t.TempDir(), false)
	up, _ := required(m, h)
	if _, err := call(t, h, "install", m.works); err != nil || !up() {
		t.Fatal(up(), err)
	}
	silent := errors.New("it does not answer")
	for name, c := range map[string]struct {
		mute
		stops string
		ends  bool
		want  string // part of Stops
	}{
		"nothing is known":      {mute{asks: silent, running: silent, halts: silent}, "", true, "one.service may stop its containers when it ends: whether it does is not known: it does"},
		"its file says it does": {mute{asks: silent, running: silent}, "yes", true, "one.service stops its containers when it ends"},
		"its file says not":     {mute{asks: silent, running: silent}, "", false, ""},
		"none run":              {mute{asks: silent}, "yes", false, "one.service stops"},
	} {
		t.Run(name, func(t *testing.T) {
			m.put("stops", c.stops)
			c.served = served{plain{"one"}, m, false}
			table = []Engine{c.mute}
			b, err := wire.Look(h.Tree)
			if err != nil {
				t.Fatal(err)
			}
			plans, err := Uninstall(t.Context(), b, h, nil)
			if err == nil {
				err = PlanRestarts(t.Context(), b, h, plans)
			}
			if err != nil {
				t.Fatal(err)
			}
			r := plans[0].Restart
			if r.Ends() != c.ends || (r.Unknown != "") != (c.running != nil) || !strings.HasPrefix(r.Stops, c.want) || (r.Stops == "") != (c.want == "") ||
				!slices.Equal(r.With, []string{"kubelet.service"}) {
				t.Errorf("%+v", r)
			}
		})
	}
	table = []Engine{mute{served: served{plain{"one"}, m, false}, asks: fmt.Errorf("no docker: %w", host.ErrNoProgram)}}
	b, err := wire.Look(h.Tree)
	if err != nil {
		t.Fatal(err)
	}
	for what, plan := range map[string]func() ([]*Plan, error){
		"install":   func() ([]*Plan, error) { return Install(t.Context(), b, h, nil, Choice{}) },
		"uninstall": func() ([]*Plan, error) { return Uninstall(t.Context(), b, h, nil) },
	} {
		plans, err := plan()
		if err == nil {
			err = PlanRestarts(t.Context(), b, h, plans)
		}
		if err == nil || !strings.Contains(err.Error(), "one: --restart cannot be done: it cannot be asked which containers run") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// stopping is an engine whose containers stop with it.
type stopping struct{ plain }

func (stopping) Main(*host.Host) (host.Process, bool)    { return host.Process{PID: 5}, true }
func (stopping) Works(context.Context, *host.Host) error { return nil }
func (stopping) Taken(context.Context, *host.Host, host.Process, wire.Changes) (host.Taken, error) {
	return host.Taken{}, nil
}
func (stopping) Running(context.Context, *host.Host) ([]string, error) {
	return []string{"theirs"}, nil
}
func (stopping) Stops(context.Context, *host.Host) (stops bool, err error) { return true, nil }

// systemd restarts a service that requires the engine's, as some make of docker.service: its containers count as well.
func TestRestartThatRestartsOthers(t *testing.T) {
	m, h := newMachine(t, t.TempDir(), false)
	table = append(table, stopping{plain{"two"}})
	show := h.Systemctl
	h.Systemctl = func(ctx context.Context, args ...string) ([]byte, error) {
		out, err := show(ctx, args...)
		switch {
		case args[0] != "show":
		case args[len(args)-1] == "one.service":
			out = append(out, "RequiredBy=two.service off.service\n"...)
		case args[len(args)-1] == "two.service":
			out = []byte("MainPID=5\n")
		default:
			out = []byte("MainPID=0\n")
		}
		return out, err
	}
	b, err := wire.Look(h.Tree)
	if err != nil {
		t.Fatal(err)
	}
	plans, err := Install(t.Context(), b, h, []string{"one"}, Choice{})
	if err == nil {
		err = PlanRestarts(t.Context(), b, h, plans)
	}
	if err != nil {
		t.Fatal(err)
	}
	const want = "systemd restarts two.service with it, and two.service stops its containers when it ends"
	if r := plans[0].Restart; r.Stops != want || !slices.Equal(r.With, []string{"two.service"}) || !slices.Equal(r.Running, []string{"a", "b", "c", "theirs"}) {
		t.Errorf("%+v", r)
	}
	m.wantUp(t, "planned")
}

// A service that requires the engine's may run a container by a client: that ends with the client, whatever the engine's do.
func TestRestartThatRestartsAContainersUnit(t *testing.T) {
	m, h := newMachine(t, t.TempDir(), false)
	required(m, h)
	show := h.Systemctl
	h.Systemctl = func(ctx context.Context, args ...string) ([]byte, error) {
		out, err := show(ctx, args...)
		if args[0] == "show" && args[len(args)-1] == "kubelet.service" {
			out = append(out, "ControlGroup=/system.slice/kubelet.service\n"...)
		}
		return out, err
	}
	procs := h.Tree.Real("/sys/fs/cgroup/system.slice/kubelet.service/cgroup.procs")
	if err := os.MkdirAll(filepath.Dir(procs), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(procs, []byte("6\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	group := h.ReadProc
	for client, stops := range map[string]bool{"docker": true, "containerd-shim": true, "sleep": false} {
		h.ReadProc = func(pid int, file string) ([]byte, error) {
			if pid == 6 && file == "stat" {
				return []byte("6 (" + client + ") S 1 6 6 0"), nil
			}
			return group(pid, file)
		}
		b, plans := planned(t, h)
		b.Close()
		want := ""
		if stops {
			want = "systemd restarts kubelet.service with it, and with its process 6, " + client + ", a container may stop"
		}
		if r := plans[0].Restart; r.Stops != want || r.Ends() != stops {
			t.Errorf("%s: %+v", client, r)
		}
	}
}

// required has a service require the engine's, as kubelet's does. Systemd stops that with it, and starts it again only after a start
// that works. up reports whether it is up; broken has each of its starts fail.
func required(m *machine, h *host.Host) (up func() bool, broken *bool) {
	broken = new(bool)
	show := h.Systemctl
	m.put("kubelet", "up")
	up = func() bool { return m.get("kubelet") != "" }
	h.Systemctl = func(ctx context.Context, args ...string) ([]byte, error) {
		name := args[len(args)-1]
		switch {
		case name == "kubelet.service" && args[0] == "show" && up():
			return []byte("MainPID=6\nActiveState=active\n"), nil
		case name == "kubelet.service" && args[0] == "show":
			return []byte("MainPID=0\nActiveState=inactive\n"), nil
		case name == "off.service":
			return []byte("MainPID=0\nActiveState=inactive\n"), nil
		case name == "kubelet.service" && args[0] == "start":
			if *broken {
				return nil, errors.New("it fails")
			}
			m.put("kubelet", "up")
			return nil, nil
		case name == "kubelet.service":
			return nil, nil
		}
		was := up()
		if args[0] == "restart" {
			m.put("kubelet", "")
		}
		out, err := show(ctx, args...)
		switch {
		case args[0] == "show":
			out = append(out, "RequiredBy=kubelet.service off.service\n"...)
		case args[0] == "restart" && err == nil && was && !*broken:
			m.put("kubelet", "up")
		}
		return out, err
	}
	return up, broken
}

// What systemd stops with an engine is up again after a change is taken back, also by the call after one that was killed.
func TestRestartStartsWhatStoppedWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, stops := range []string{"", "yes"} {
			m, h := newMachine(t, t.TempDir(), false)
			up, broken := required(m, h)
			m.put("refuses", "runc")
			m.put("stops", stops)
			if r, err := call(t, h, "install", m.works); err == nil || r.Outcome != TakenBack || !up() || !slices.Equal(r.With, []string{"kubelet.service"}) {
				t.Errorf("up: %v, %+v, %v", up(), r, err)
			}
			*broken = true
			if r, err := call(t, h, "install", m.works); err == nil || r.Outcome != Down || !strings.Contains(err.Error(), "systemctl start kubelet.service fails") {
				t.Errorf("%+v, %v", r, err)
			}
			*broken = false
			m.put("kubelet", "up")

			b, plans := planned(t, h)
			trial := wire.Trial{Engine: "one", Unit: "one.service", Boot: bootID(), With: plans[0].Restart.With}
			if err := b.Try(trial, plans[0].options, plans[0].draft, plans[0].without); err != nil {
				t.Fatal(err)
			}
			h.Systemctl(t.Context(), "restart", "one.service") // and the call is killed
			b.Close()
			if m.get("kubelet") != "" {
				t.Fatal("it was not killed")
			}
			b, err := wire.Open(t.Context(), h.Tree)
			if err != nil {
				t.Fatal(err)
			}
			if said, err := Settle(t.Context(), b, h); err != nil || said == "" || !up() {
				t.Errorf("up: %v, %q, %v", up(), said, err)
			}
			b.Close()
		}
	})
}

// An engine whose stop hangs is still the same process when its files are taken back, and is about to end: what hangs is killed,
// and it is started as it was.
func TestRestartOfAStopThatHangs(t *testing.T) {
	for name, slow := range map[string]bool{"systemd says when it has ended": false, "nobody waits for its service": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, h := newMachine(t, t.TempDir(), false)
				if slow {
					m, h, _ = newSupervised(t, host.Supervisor{Title: "One", Units: []string{"one-*.service"}, Slow: true})
				}
				run, hangs, stopping := h.Systemctl, true, false
				h.Systemctl = func(ctx context.Context, args ...string) ([]byte, error) {
					switch {
					case args[0] == "kill":
						hangs = false
					case args[0] == "restart" && hangs:
						if stopping = true; slices.Contains(args, "--no-block") {
							return nil, nil
						}
						<-ctx.Done()
						return nil, context.Cause(ctx)
					case args[0] == "show" && stopping:
						out, err := run(ctx, args...)
						return []byte(strings.Replace(string(out), "ActiveState=active", "ActiveState=deactivating", 1)), err
					case args[0] == "restart":
						stopping = false
					}
					return run(ctx, args...)
				}
				before := m.get("pid")
				r, err := call(t, h, "install", m.works)
				if err == nil || r.Outcome != TakenBack || hangs || m.get("pid") == before {
					t.Errorf("%+v, %v; what hangs is killed: %v", r, err, !hangs)
				}
				m.wantUp(t, "taken back")
			})
		})
	}
}

// Where nobody waits for a service, its daemon is back only as another process: the old one answers until it ends.
func TestTakeBackAwaitsAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, h, _ := newSupervised(t, host.Supervisor{Title: "One", Units: []string{"one-*.service"}, Slow: true})
		run := h.Systemctl
		h.Systemctl = func(ctx context.Context, args ...string) ([]byte, error) {
			if args[0] == "restart" { // which never comes to an end, nor to a kill
				return nil, nil
			}
			if out, err := run(ctx, args...); args[0] == "show" {
				return []byte(strings.Replace(string(out), "ActiveState=active", "ActiveState=deactivating", 1)), err
			}
			return nil, nil
		}
		before := m.get("pid")
		r, err := call(t, h, "install", m.works)
		if err == nil || r.Outcome != Down || strings.Contains(err.Error(), "started again") || m.get("pid") != before || m.config() != "" {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// However long each part takes, all of it ends in time, and the engine is told to start as it was.
func TestRestartEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, h := newMachine(t, t.TempDir(), false)
		run, restarts := h.Systemctl, 0
		h.Systemctl = func(ctx context.Context, args ...string) ([]byte, error) {
			if args[0] == "restart" {
				if restarts++; restarts > 1 { // the way back hangs
					<-ctx.Done()
					return nil, context.Cause(ctx)
				}
			}
			return run(ctx, args...)
		}
		hangs := func(ctx context.Context, _ Engine, _ string, _ bool) error {
			<-ctx.Done()
			time.Sleep(30 * time.Second) // as what it has made is removed
			return context.Cause(ctx)
		}
		began := time.Now()
		r, err := call(t, h, "install", hangs)
		if err == nil || r.Outcome != Down || restarts != 2 || !strings.Contains(err.Error(), "it is not back in time") {
			t.Errorf("%d restarts, %+v, %v", restarts, r, err)
		}
		if took := time.Since(began); took > patience+30*time.Second+leastTime {
			t.Errorf("it took %v", took)
		}
		if m.config() != "" {
			t.Errorf("its file has %q", m.config())
		}
	})
}

// Our unit, for which starts of engines wait, waits for none of them: systemd does later what is to be done.
func TestSettleSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, reload := range []bool{false, true} {
			m, h := newMachine(t, t.TempDir(), reload)
			b, err := wire.Open(t.Context(), h.Tree)
			if err != nil {
				t.Fatal(err)
			}
			plans, err := Install(t.Context(), b, h, nil, Choice{})
			if err != nil {
				t.Fatal(err)
			}
			trial := wire.Trial{Engine: "one", Unit: "one.service", Boot: bootID(), Reload: reload, With: []string{"kubelet.service"}}
			if err := b.Try(trial, plans[0].options, plans[0].draft, plans[0].without); err != nil {
				t.Fatal(err)
			}
			if _, err := wire.OpenFree(h.Tree); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("while a call goes on: %v", err)
			}
			b.Close()
			if b, err = wire.OpenFree(h.Tree); err != nil {
				t.Fatal(err)
			}
			var asked []string
			run := h.Systemctl
			h.Systemctl = func(ctx context.Context, args ...string) ([]byte, error) {
				if verb := args[0]; verb != "show" && verb != "reset-failed" {
					asked = append(asked, strings.Join(args, " "))
				}
				return run(ctx, args...)
			}
			want := []string{"restart --no-block one.service", "start --no-block kubelet.service"}
			if reload {
				want[0] = "reload --no-block one.service"
			}
			if said, err := SettleSoon(t.Context(), b, h); err != nil || said == "" || !slices.Equal(asked, want) || m.config() != "" {
				t.Errorf("%q, %v, asked systemd for %q", said, err, asked)
			}
			b.Close()
		}
	})
}

// unparsed is an engine that cannot take ours out of a file that somebody has changed.
type unparsed struct{ served }

func (u unparsed) Strip(string, *wire.Entry, *wire.Entry) ([]byte, error) {
	return nil, errors.New("/etc/one.conf:2: no value")
}

// Somebody changes a file while the engine is restarted. What the start refuses is taken out all the same, where the engine can.
func TestRestartWhileSomebodyChangesAFile(t *testing.T) {
	for name, c := range map[string]struct {
		verb, refuses string
		unparsed      bool
		outcome       Outcome
		said          string
		wired         bool
	}{
		"install":          {"install", "runc", false, TakenBack, "so that ours is taken out of them and all else stays", false},
		"not to be parsed": {"install", "runc", true, Down, "so that they stay as they are, because /etc/one.conf:2: no value", true},
		"uninstall":        {"uninstall", "theirs", false, TakenBack, "so that ours is in them as before and all else stays", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, h := newMachine(t, t.TempDir(), false)
				if c.verb == "uninstall" {
					if _, err := call(t, h, "install", m.works); err != nil {
						t.Fatal(err)
					}
				}
				if c.unparsed {
					table = []Engine{unparsed{served{plain{"one"}, m, false}}}
				}
				m.put("refuses", c.refuses)
				stopped := false
				m.step = func(what string) error {
					if what != "stop" || stopped {
						return nil
					}
					stopped = true
					return os.WriteFile(m.at("root/etc/one.conf"), []byte("theirs\n"+m.config()), 0o644)
				}
				r, err := call(t, h, c.verb, m.works)
				if err == nil || r.Outcome != c.outcome || !strings.Contains(err.Error(), c.said) {
					t.Errorf("%+v, %v", r, err)
				}
				if c.outcome == TakenBack {
					m.wantUp(t, name)
				}
				b, err := wire.Open(t.Context(), h.Tree)
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				if _, wired := b.Wiring("one"); wired != c.wired || b.Trial() != nil || c.verb == "install" && !strings.HasPrefix(m.config(), "theirs\n") {
					t.Errorf("wired: %v, its file has %q", wired, m.config())
				}
			})
		})
	}
}

// At each step of the change, of systemd's work and of the probe there is a fault, or this process is killed as by kill -9. Then,
// or after the next call, there is the old tree or the new one, and the engine runs with it.
func TestRestartFaultAtEveryStep(t *testing.T) {
	if at := os.Getenv("RESTART_TEST_KILL"); at != "" {
		n, err := strconv.Atoi(at)
		if err != nil {
			t.Fatal(err)
		}
		m, h := newMachine(t, os.Getenv("RESTART_TEST_DIR"), os.Getenv("RESTART_TEST_RELOAD") != "")
		count := 0
		m.step = func(string) error {
			if count++; count == n {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // until it arrives
			}
			return nil
		}
		_, err = call(t, h, os.Getenv("RESTART_TEST_VERB"), m.works)
		if (err != nil) != (m.get("refuses") != "") {
			t.Fatal(err)
		}
		return
	}
	fault := errors.New("pulled the plug")
	for _, c := range []struct {
		verb, refuses string
		reload        bool
	}{{"install", "", false}, {"install", "runc", false}, {"install", "", true}, {"uninstall", "", false}, {"uninstall", "nothing", false}} {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%+v, killed %v", c, killed), func(t *testing.T) {
				for n, more := 1, true; more; n++ {
					dir, err := os.MkdirTemp("/dev/shm", "restart-") // in memory: every step waits for the disk
					if err != nil {
						dir = t.TempDir()
					}
					m, h := newMachine(t, dir, c.reload)
					old := below(t, h.Tree.Root)
					if c.verb == "uninstall" {
						if _, err := call(t, h, "install", m.works); err != nil {
							t.Fatal(err)
						}
						old = below(t, h.Tree.Root)
					}
					m.put("refuses", c.refuses)
					what := fmt.Sprintf("%+v, step %d", c, n)
					if killed {
						cmd := exec.Command(os.Args[0], "-test.run=^TestRestartFaultAtEveryStep$")
						cmd.Env = append(os.Environ(), "RESTART_TEST_KILL="+strconv.Itoa(n), "RESTART_TEST_DIR="+dir, "RESTART_TEST_VERB="+c.verb)
						if c.reload {
							cmd.Env = append(cmd.Env, "RESTART_TEST_RELOAD=yes")
						}
						out, err := cmd.CombinedOutput()
						var exit *exec.ExitError
						more = errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
						if !more && err != nil {
							t.Fatalf("%s: %v\n%s", what, err, out)
						}
						b, err := wire.Open(t.Context(), h.Tree)
						if err != nil {
							t.Fatal(err)
						}
						if _, err := Settle(t.Context(), b, h); err != nil {
							t.Errorf("%s: %v", what, err)
						}
						b.Close()
					} else {
						count := 0
						m.step = func(string) error {
							if count++; count == n {
								return fault
							}
							return nil
						}
						_, err := call(t, h, c.verb, m.works)
						more = count >= n
						m.step = func(string) error { return nil }
						if more && err == nil && c.refuses != "" {
							t.Errorf("%s: no error", what)
						}
						if b, err := wire.Open(t.Context(), h.Tree); err != nil {
							t.Errorf("%s: %v", what, err)
						} else {
							_, err = Settle(t.Context(), b, h) // where the fault was in taking it back
							if b.Close(); err != nil {
								t.Errorf("%s: %v", what, err)
							}
						}
					}
					m.wantUp(t, what)
					now := below(t, h.Tree.Root)
					if c.refuses != "" && !maps.Equal(now, old) {
						t.Errorf("%s: there is %v, and was %v", what, now, old)
					}
					m.put("refuses", "")
					if _, err := call(t, h, "install", m.works); err != nil {
						t.Errorf("%s, then install: %v", what, err)
					}
					if _, err := call(t, h, "uninstall", m.works); err != nil {
						t.Errorf("%s, then uninstall: %v", what, err)
					}
					m.wantUp(t, what+", then uninstalled")
					if m.config() != "" {
						t.Errorf("%s, then uninstalled: %q", what, m.config())
					}
					os.RemoveAll(dir)
					if !more && n < 10 {
						t.Errorf("it took %d steps", n)
					}
				}
			})
		}
	}
}
