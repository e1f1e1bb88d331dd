package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// progress shows on stderr how a compilation goes on: on a terminal in one line that is written over, else one line per
// profile. Close ends it.
type progress struct {
	node  *node
	quiet bool
	shown bool
}

func (p *progress) report(s store.Progress) {
	if p.quiet {
		return
	}
	if p.node.live {
		p.shown = true
		fmt.Fprintf(p.node.stderr, "\r\x1b[Kcompiling profiles: %d of %d: %s", s.Done, s.Total, s.Name)
		return
	}
	outcome := "compiled in " + s.Took.Round(time.Millisecond).String()
	switch {
	case errors.Is(s.Err, context.Canceled):
		outcome = "stopped"
	case errors.Is(s.Err, profile.ErrRefused):
		outcome = "refused"
	case s.Err != nil:
		outcome = "does not compile"
	}
	fmt.Fprintf(p.node.stderr, "%d of %d: %s: %s\n", s.Done, s.Total, s.Name, outcome)
}

func (p *progress) close() {
	if p.shown {
		fmt.Fprint(p.node.stderr, "\r\x1b[K")
	}
}

// notCompiled is the failure of a policy that was not compiled: as its profiles do not compile, or as this was stopped.
func notCompiled(err error) error {
	var bad *store.CompileError
	switch {
	case errors.Is(err, context.Canceled):
		return &failure{cannot, errors.New("stopped by a signal, before all profiles were compiled")}
	case errors.As(err, &bad):
		return &failure{badPolicy, err}
	}
	return asRoot(err)
}
