package engines

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// tied is an engine with containers, and with files that may be broken.
type tied struct {
	plain
	then   string
	need   host.Need
	err    error // of Needed
	broken error // of Clear
}

func (e *tied) Then() string                                             { return e.then }
func (e *tied) Needed(context.Context, *host.Host) (host.Need, error)    { return e.need, e.err }
func (e *tied) Clear(*host.Host, *wire.Draft) (f host.Former, err error) { return f, e.broken }

func TestTies(t *testing.T) {
	for _, c := range []struct {
		name          string
		engine        tied
		wired, left   bool
		ties, unknown []string
	}{
		{name: "nothing is ours"},
		{name: "an engine is wired", wired: true, ties: []string{"one is wired to them: run oci-apparmor uninstall one first"}},
		{name: "an engine that must be restarted is wired", engine: tied{then: "systemctl restart one"}, wired: true,
			ties: []string{"one is wired to them: run oci-apparmor uninstall one first, and then systemctl restart one"}},
		{name: "containers need them", engine: tied{need: host.Need{Containers: []string{"a", "b"}, Why: "run by our runtime"}},
			ties: []string{"one: these containers run by our runtime: remove a and b first"}},
		{name: "whether containers need them is not known",
			engine:  tied{need: host.Need{Unknown: []string{"no permission"}}, err: errors.New("no answer")},
			unknown: []string{"one: no permission", "one: no answer"}},
		{name: "an engine of others is broken", engine: tied{broken: errors.New("one.conf:3: no value")},
			unknown: []string{"one: one.conf:3: no value"}},
		{name: "an engine of which links have stayed is broken", engine: tied{broken: errors.New("one.conf:3: no value")}, left: true,
			ties: []string{"one may go on with ours, and cannot be looked at: one.conf:3: no value"}},
		{name: "a wired engine is broken", engine: tied{broken: errors.New("one.conf:3: no value")}, wired: true,
			ties: []string{"one is wired to them, and cannot be looked at: one.conf:3: no value"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, b := both(t)
			if c.wired || c.left {
				plans, err := Install(t.Context(), b, h, []string{"one"}, Choice{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Commit(b, plans); err != nil {
					t.Fatal(err)
				}
			}
			if c.left {
				table = []Engine{&tied{plain: plain{"one"}, need: host.Need{Containers: []string{"a"}}}}
				plans, err := Uninstall(t.Context(), b, h, []string{"one"})
				if err == nil {
					_, err = Commit(b, plans)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			c.engine.plain = plain{"one"}
			table = []Engine{&c.engine}
			ties := FindTies(t.Context(), b, h)
			if !slices.Equal(ties.All(), c.ties) || !slices.Equal(ties.Unknown, c.unknown) {
				t.Errorf("they must stay because of %+v; want %q and %q", ties, c.ties, c.unknown)
			}
		})
	}
}

// illegible is an engine whose files are broken.
type illegible struct{ served }

func (illegible) Clear(*host.Host, *wire.Draft) (f host.Former, err error) {
	return f, errors.New("one.conf:3: no value")
}

// byPath is an engine that calls us without a link.
type byPath struct{ served }

func (e byPath) Wire(_ context.Context, _ *host.Host, d *wire.Draft, _ wire.Options) (*host.Outcome, error) {
	return &host.Outcome{Via: "wrapper"}, d.WriteFile(e.file(), []byte("/usr/local/bin/ours"))
}

// After an uninstall, an engine that was not restarted goes on with ours, also where its files cannot be read any more.
func TestTiesOfWhatCannotBeRead(t *testing.T) {
	m, h := newMachine(t, t.TempDir(), false)
	one := table[0].(served)
	table = []Engine{byPath{one}}
	if _, err := call(t, h, "install", m.works); err != nil {
		t.Fatal(err)
	}
	removes(t, h)
	table = []Engine{illegible{one}}
	const tie = "one may go on with ours, and cannot be looked at: one.conf:3: no value"
	for _, restarted := range []bool{false, true} {
		if restarted {
			m.systemctl(t.Context(), "restart")
		}
		b, err := wire.Look(h.Tree)
		if err != nil {
			t.Fatal(err)
		}
		want, unknown := []string{tie}, []string(nil)
		if restarted {
			want, unknown = nil, []string{"one: one.conf:3: no value"}
		}
		if ties := FindTies(t.Context(), b, h); !slices.Equal(ties.All(), want) || !slices.Equal(ties.Unknown, unknown) {
			t.Errorf("restarted %v: they must stay because of %+v", restarted, ties)
		}
	}
}

// An engine goes on with ours until it is restarted, after an uninstall as well: its links stay so long, and our programs must.
func TestLinksStayForADaemon(t *testing.T) {
	m, h := newMachine(t, t.TempDir(), false)
	before := below(t, h.Tree.Root)
	link := h.Tree.Real(h.Lib() + "/one/runc")
	do := func(verb string) (notes string) {
		t.Helper()
		b, err := wire.Open(t.Context(), h.Tree)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		var plans []*Plan
		if verb == "install" {
			plans, err = Install(t.Context(), b, h, []string{"one"}, Choice{})
		} else {
			plans, err = Uninstall(t.Context(), b, h, []string{"one"})
		}
		if err == nil {
			_, err = Commit(b, plans)
		}
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(plans[0].Notes, "\n")
	}
	want := func(tie, fault string) {
		t.Helper()
		b, err := wire.Look(h.Tree)
		if err != nil {
			t.Fatal(err)
		}
		ties := FindTies(t.Context(), b, h)
		if len(ties.Unknown) > 0 || (tie == "") != (len(ties.All()) == 0) || tie != "" && !strings.Contains(ties.All()[0], tie) {
			t.Errorf("the programs must stay because of %+v; want %q", ties, tie)
		}
		s := Look(t.Context(), b, h)[0]
		if s.Err != nil || s.Unseen != nil || (fault == "") != (len(s.Faults) == 0) || fault != "" && (s.Faults[0].What != fault ||
			s.Faults[0].Kind != host.NotTaken || !strings.HasPrefix(s.Faults[0].Do, "Run systemctl restart one")) {
			t.Errorf("it stands: %+v; want %q", s, fault)
		}
	}
	const older = "it goes on with what its files had before"
	restart := func() { m.systemctl(t.Context(), "restart") }

	do("install")
	want("one is wired to them", older)
	if r, err := call(t, h, "uninstall", m.works); r != nil || err != nil { // of what the engine has never read
		t.Errorf("uninstall --restart: %+v, %v", r, err)
	}
	if after := below(t, h.Tree.Root); !maps.Equal(before, after) {
		t.Errorf("there is %v, and was %v", after, before)
	}
	want("", "")

	do("install")
	restart()
	want("one is wired to them", "")
	m.put("stops", "yes")
	for range 2 {
		notes := do("uninstall")
		if !strings.Contains(notes, h.Lib()+"/one/runc stays, as the engine calls it until it is restarted by systemctl restart one: run this again") {
			t.Errorf("it says %s", notes)
		}
		if _, err := os.Lstat(link); err != nil || m.config() != "" {
			t.Errorf("%v, and the engine's file has %q", err, m.config())
		}
		want("one is not wired to them any more, and calls them until it is restarted by systemctl restart one, and one.service stops", older)
	}
	os.Remove(m.at("stops"))
	restart()
	want("one needs no more what the last uninstall has left for it: run oci-apparmor uninstall one first", "")
	if notes := do("uninstall"); strings.Contains(notes, "stays") {
		t.Errorf("it says %s", notes)
	}
	if after := below(t, h.Tree.Root); !maps.Equal(before, after) {
		t.Errorf("there is %v, and was %v", after, before)
	}

	// With --restart it is all one.
	for _, verb := range []string{"install", "uninstall"} {
		if r, err := call(t, h, verb, m.works); err != nil || r.Outcome != TakenOver {
			t.Errorf("%s: %+v, %v", verb, r, err)
		}
	}
	if after := below(t, h.Tree.Root); !maps.Equal(before, after) {
		t.Errorf("there is %v, and was %v", after, before)
	}
	want("", "")

	// One that does not run calls nothing.
	do("install")
	restart()
	os.Remove(m.at("pid"))
	do("uninstall")
	if after := below(t, h.Tree.Root); !maps.Equal(before, after) {
		t.Errorf("there is %v, and was %v", after, before)
	}
}

// unsound is an engine whose own check does not take what would be left.
type unsound struct{ served }

func (unsound) Check(context.Context, *host.Host, *wire.Draft) error {
	return errors.New("one.conf:1: no")
}

// Where nothing is lost by it, ours is taken out of engines that the programs can be removed: all of them, or none.
func TestPlanRemoval(t *testing.T) {
	for _, c := range []struct {
		name    string
		byHand  bool
		before  func(m *machine, h *host.Host) // after it is wired, and the engine restarted
		restart bool
		tie     string // why it cannot be; empty where it can
		none    bool   // there is nothing to do
	}{
		{name: "by a restart", restart: true},
		{name: "of what was never read", before: func(m *machine, _ *host.Host) { m.put("read", "") }},
		{name: "of an engine that does not run", before: func(m *machine, _ *host.Host) { os.Remove(m.at("pid")) }},
		{name: "after an uninstall", before: func(_ *machine, h *host.Host) { removes(t, h) }, restart: true},
		{name: "after an uninstall and a restart", before: func(m *machine, h *host.Host) {
			removes(t, h)
			m.systemctl(t.Context(), "restart")
		}},
		{name: "its containers stop", before: func(m *machine, _ *host.Host) { m.put("stops", "yes") },
			tie: "one is wired to them: run oci-apparmor uninstall one first, and then systemctl restart one (this is not done here, as one.service stops"},
		{name: "its containers would stop, and none run", before: func(m *machine, _ *host.Host) {
			m.put("stops", "yes")
			m.put("containers", "")
		}, restart: true},
		{name: "another unit is restarted with it", before: func(m *machine, h *host.Host) { required(m, h) },
			tie: "(this is not done here, as systemd would restart kubelet.service with it)"},
		{name: "it is no service", before: func(_ *machine, h *host.Host) {
			h.ReadProc = func(int, string) ([]byte, error) { return []byte("0::/user.slice/x.scope\n"), nil }
		}, tie: "is the main process of no service"},
		{name: "its check does not take what is left", before: func(m *machine, _ *host.Host) {
			table[0] = unsound{table[0].(served)}
		}, tie: "the engine's own check does not take what would be left"},
		{name: "containers need them", before: func(m *machine, _ *host.Host) {
			table = append(table, &tied{plain: plain{"two"}, need: host.Need{Containers: []string{"shop"}, Why: "need it"}})
		}, restart: true, tie: "two: these containers need it: remove shop first"},
		{name: "by hand", byHand: true, tie: "one is wired to them: run oci-apparmor uninstall one first"},
		{name: "nothing is ours", before: func(m *machine, h *host.Host) {
			if _, err := call(t, h, "uninstall", m.works); err != nil {
				t.Fatal(err)
			}
		}, none: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, h := newMachine(t, t.TempDir(), false)
			before := below(t, h.Tree.Root)
			if c.byHand {
				table = []Engine{handWired{table[0].(served)}}
				if err := os.WriteFile(h.Tree.Real("/etc/one.conf"), []byte("/usr/local/lib/oci-apparmor/one/runc\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if _, err := call(t, h, "install", m.works); err != nil {
				t.Fatal(err)
			}
			if c.before != nil {
				c.before(m, h)
			}
			b, err := wire.Open(t.Context(), h.Tree)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			plans, ties := PlanRemoval(t.Context(), b, h)
			if all := strings.Join(ties.All(), "\n"); (all == "") != (c.tie == "") || !strings.Contains(all, c.tie) {
				t.Errorf("in the way is %q, want %q", all, c.tie)
			}
			if len(plans) > 0 && (plans[0].Restart != nil) != c.restart || len(plans) == 0 && (c.restart || c.tie == "" && !c.none) {
				t.Errorf("the plans are %+v", plans)
			}
			if c.tie != "" || c.none {
				return
			}
			if _, err := Try(t.Context(), b, h, plans, m.works); err != nil {
				t.Error(err)
			}
			if after := FindTies(t.Context(), b, h); len(after.All())+len(after.Unknown) > 0 {
				t.Errorf("afterwards they must stay because of %+v", after)
			}
			if now := below(t, h.Tree.Root); !maps.Equal(before, now) {
				t.Errorf("there is %v, and was %v", now, before)
			}
		})
	}
}

// removes uninstalls, and does not restart the engine.
func removes(t *testing.T, h *host.Host) {
	t.Helper()
	b, err := wire.Open(t.Context(), h.Tree)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	plans, err := Uninstall(t.Context(), b, h, nil)
	if err == nil {
		_, err = Commit(b, plans)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// handWired is an engine whose file may have ours without a record.
type handWired struct{ served }

func (e handWired) Clear(h *host.Host, d *wire.Draft) (f host.Former, err error) {
	return host.Former{Files: []string{e.file()}}, d.Remove(e.file())
}

// Where the second engine does not come back, the first one is without ours, and that is said with the way back.
func TestRemovalThatFailsHalfway(t *testing.T) {
	for isDefault, want := range map[bool]string{false: "--via wrapper one", true: "--via wrapper --default one"} {
		m, h := newMachine(t, t.TempDir(), false)
		b, err := wire.Open(t.Context(), h.Tree)
		if err != nil {
			t.Fatal(err)
		}
		plans, err := Install(t.Context(), b, h, []string{"one"}, Choice{Default: &isDefault})
		if err == nil {
			_, err = Commit(b, plans)
		}
		if err != nil {
			t.Fatal(err)
		}
		m.systemctl(t.Context(), "restart")
		plans, ties := PlanRemoval(t.Context(), b, h)
		if len(plans) != 1 || len(ties.All()) > 0 {
			t.Fatalf("%+v, %+v", plans, ties)
		}
		broken := &Plan{Engine: "two", engine: plain{"two"}, draft: wire.NewDraft(h.Tree), options: &wire.Options{}, again: func() (*Plan, error) {
			return nil, errors.New("no container starts")
		}}
		done, err := Try(t.Context(), b, h, append(plans, broken), m.works)
		if len(done) != 1 || err == nil {
			t.Fatalf("%+v, %v", done, err)
		}
		err = Halfway(done, err)
		if _, wired := b.Wiring("one"); wired || !strings.HasPrefix(err.Error(), "two: no container starts\none has nothing of ours any more") ||
			!strings.HasSuffix(err.Error(), "run oci-apparmor install --restart "+want) {
			t.Errorf("wired %v: %v", wired, err)
		}
		b.Close()
	}
}
