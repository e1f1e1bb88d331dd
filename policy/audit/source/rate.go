package source

import (
	"context"
	"time"
)

// To wake up for each record costs a reader several times as much as to read it. So who reads many a second reads them by
// tens: after the last one it rests, and what comes waits in the socket, which has room for what comes in a second.
const (
	many   = 20 // messages are so many that to wake up for each is too often, if they come
	within = 100 * time.Millisecond
	pause  = 10 * time.Millisecond // a process that ends meanwhile can still be known by its profile
)

// A rate tells whether messages come often.
type rate struct {
	n     int // since a moment
	since time.Time
	often bool // those before it did
}

// high counts a message, and reports whether they come often.
func (r *rate) high(now func() time.Time) bool {
	if r.n++; r.n >= many {
		at := now()
		r.often = at.Sub(r.since) < within
		r.n, r.since = 0, at
	}
	return r.often
}

// rest returns after a pause, or when ctx ends.
func rest(ctx context.Context) {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
