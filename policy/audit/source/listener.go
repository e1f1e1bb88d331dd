package source

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
)

// A Listener is the audit socket, for who must know of each moment in which nothing came that nothing was there to come. Other
// sources do not serve: nobody can tell afterwards whether the journal or a log was written all the time.
//
// Prove provokes a denial of our own. The socket has one order, so that all that the kernel wrote before has been read when its
// record comes through Next, which Proof tells. What was dropped on the way Lost says.
type Listener struct {
	Source
	host   *Host
	canary string
	count  int
}

// Listen opens the audit socket. The kernel keeps backlog records until they are read, if it keeps fewer.
func Listen(ctx context.Context, backlog uint32) (*Listener, error) {
	return Node().Listen(ctx, backlog)
}

// Listen is the function Listen for a host.
func (h *Host) Listen(ctx context.Context, backlog uint32) (*Listener, error) {
	canary := canaryPrefix + strings.ToLower(rand.Text()) + "."
	s, err := h.Open(ctx, Multicast, Options{Follow: true, Backlog: backlog, canaries: canary})
	if err != nil {
		return nil, err
	}
	return &Listener{Source: s, host: h, canary: canary}, nil
}

// Prove has the kernel deny us something now. The error says why it cannot, and so why nobody knows whether it writes records.
func (l *Listener) Prove() error {
	if why := l.host.hopeless(Multicast); why != "" {
		return fmt.Errorf("the kernel writes no records: %s", why)
	}
	l.count++
	return l.host.deny(l.canary + strconv.Itoa(l.count))
}

// Proof reports whether a record is that of the last Prove.
func (l *Listener) Proof(r *audit.Record) bool {
	if !IsCanary(r) {
		return false
	}
	name, _ := r.Field("name")
	return string(name.Text) == l.canary+strconv.Itoa(l.count)
}

// A Proving is a source that can prove that nothing is missing up to now, as a Listener can.
type Proving interface {
	Source
	Prove() error
	Proof(r *audit.Record) bool
}

// Proved has a denial made, and reads until its record comes back: each gets what the kernel wrote before that. The error is that of
// Prove or Next, the cause of ctx, or says that the record did not come back within patience.
func Proved(ctx context.Context, p Proving, patience time.Duration, each func(e *Entry)) error {
	if err := p.Prove(); err != nil {
		return err
	}
	late := errors.New("late")
	until, stop := context.WithTimeoutCause(ctx, patience, late)
	defer stop()
	var e Entry
	for {
		err := p.Next(until, &e)
		switch {
		case err != nil && ctx.Err() == nil && errors.Is(context.Cause(until), late):
			return fmt.Errorf("a denial that was made on purpose did not come back within %v: the kernel, or a rule of its audit subsystem, "+
				"keeps records back (auditctl -l), or this runs in another network namespace than the node's", patience)
		case err != nil:
			return err
		case e.Kernel && p.Proof(&e.Record):
			return nil
		case e.Kernel:
			each(&e)
		}
	}
}
