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
		wired         bool
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
		{name: "a wired engine is broken", engine: tied{broken: errors.New("one.conf:3: no value")}, wired: true,
			ties: []string{"one is wired to them, and cannot be looked at: one.conf:3: no value"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, b := both(t)
			if c.wired {
				plans, err := Install(t.Context(), b, h, []string{"one"}, Choice{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Commit(b, plans); err != nil {
					t.Fatal(err)
				}
			}
			c.engine.plain = plain{"one"}
			table = []Engine{&c.engine}
			ties, unknown := Ties(t.Context(), b, h)
			if !slices.Equal(ties, c.ties) || !slices.Equal(unknown, c.unknown) {
				t.Errorf("they must stay because of %q, and %q is not known; want %q and %q", ties, unknown, c.ties, c.unknown)
			}
		})
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
		ties, unknown := Ties(t.Context(), b, h)
		if len(unknown) > 0 || (tie == "") != (len(ties) == 0) || tie != "" && !strings.Contains(ties[0], tie) {
			t.Errorf("the programs must stay because of %q, and %q is not known; want %q", ties, unknown, tie)
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
	do("uninstall") // of what the engine has never read
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
