package engines

import (
	"context"
	"errors"
	"slices"
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
