package agent

import (
	"context"
	"errors"
	"time"
)

// How long a part waits after its first failure, and at most, before it tries again by itself.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// run watches and acts until ctx ends.
func (a *Agent) run(ctx context.Context, p paced) {
	changes := make(chan struct{}, 1)
	changed := func() {
		select {
		case changes <- struct{}{}:
		default:
		}
	}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		a.watch(ctx, p, changed)
	}()
	defer func() { <-watching }()
	r := &Reporter{a, p.Name()}
	first := true
	for tries := 0; ; {
		err := p.Act(ctx, r)
		if first { // it has read what it works with
			trim()
			first = false
		}
		if ctx.Err() != nil {
			return
		}
		acted := time.Now()
		var retry <-chan time.Time
		if err != nil {
			retry = time.After(backoff(tries))
			tries++
		} else {
			tries = 0
		}
		a.acted(p.Name(), err, tries)
		select {
		case <-ctx.Done():
			return
		case <-retry:
			continue
		case <-changes:
			tries = 0
		}
		if !settle(ctx, p.Pace, acted, changes) {
			return
		}
	}
}

// watch runs p.Watch again where it fails.
func (a *Agent) watch(ctx context.Context, p Part, changed func()) {
	for tries := 0; ; tries++ {
		began := time.Now()
		err := p.Watch(ctx, changed)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > lastRetry {
			tries = 0
		}
		a.unwatched(p.Name(), err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff(tries)):
		}
		changed() // nobody knows what changed meanwhile
	}
}

// backoff returns how long to wait before the next try after that many earlier ones.
func backoff(tries int) time.Duration { return min(firstRetry<<min(tries, 20), lastRetry) }

// settle waits until a part may act after a first change. It reports false if ctx has ended.
func settle(ctx context.Context, p Pace, acted time.Time, changes <-chan struct{}) bool {
	first := time.Now()
	last := first
	for {
		at := last.Add(p.Quiet)
		if end := first.Add(p.Most); p.Most > 0 && at.After(end) {
			at = end
		}
		if rested := acted.Add(p.Rest); at.Before(rested) {
			at = rested
		}
		wait := time.Until(at)
		if wait <= 0 {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
			return true
		case <-changes:
			timer.Stop()
			last = time.Now()
		}
	}
}

// acted writes down how a part's Act ended. An error is logged where it is another one than before.
func (a *Agent) acted(part string, err error, tries int) {
	was := a.State().part(part)
	now := was
	now.Name, now.Problem, now.Tries, now.Retry = part, "", 0, nil
	if err != nil {
		next := time.Now().Add(backoff(tries - 1)).UTC()
		now.Problem, now.Tries, now.Retry = line(err), tries, &next
	}
	a.report(part, was, now, was.Problem, now.Problem)
}

// unwatched writes down that a part's Watch has failed.
func (a *Agent) unwatched(part string, err error) {
	was := a.State().part(part)
	now := was
	if err == nil {
		err = errors.New("it has stopped to watch")
	}
	now.Name, now.Unwatched = part, line(err)
	a.report(part, was, now, was.Unwatched, now.Unwatched)
}

// watches writes down that a part watches again.
func (r *Reporter) watches() {
	if was := r.State().part(r.part); was.Unwatched != "" {
		now := was
		now.Unwatched = ""
		r.agent.report(r.part, was, now, was.Unwatched, "")
	}
}

func (a *Agent) report(part string, was, now PartState, before, after string) {
	if before != after {
		since := time.Now().UTC()
		now.Since = &since
		if after != "" {
			a.logf("%s: %s", part, after)
		} else {
			a.logf("%s: works again", part)
		}
	}
	if now != was {
		a.update(func(s *State) { s.setPart(now) })
	}
}
