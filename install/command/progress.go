package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// progress shows on stderr how a compilation goes on: on a terminal in one line that is overwritten, otherwise in one line
// for each profile. Close ends it.
type progress struct {
	*session
	quiet bool
	shown bool
}

func (p *progress) Report(s store.Progress) {
	if p.quiet {
		return
	}
	if p.live {
		p.shown = true
		fmt.Fprintf(p.stderr, "\r\x1b[Kcompiling profiles: %d of %d: %s", s.Done, s.Total, s.Name)
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
	fmt.Fprintf(p.stderr, "%d of %d: %s: %s\n", s.Done, s.Total, s.Name, outcome)
}

func (p *progress) Close() {
	if p.shown {
		fmt.Fprint(p.stderr, "\r\x1b[K")
	}
}
