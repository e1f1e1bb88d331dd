package audit

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/hook/notice/reader"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

// Query is which events are read.
type Query struct {
	Since     time.Time
	Follow    bool
	Kinds     []Kind // nil for Usual
	Untrusted bool   // also records that nobody vouches for
	Elsewhere bool   // the records are of another node: their containers are not looked for here
	Host      string // of this node: records that auditd says are another's are not looked for here
	Container string // see Container.Is, and Container.Begins
	Whole     bool   // Container is no beginning of an id
	Pod       string // see Container.InPod
	Policy    string
	InForce   bool   // the policy in force has Policy, or that is not known
	Profile   string // that decided, or its main profile

	Lost func(source.Loss) // is called for what is lost while events are followed; nil for nobody

	// Bare reports whether an event may be bare from now on: one of a record that is not known as another's repeat, of which only
	// is told what it is of, and what it would be a repeat of. nil stands for no.
	Bare func() bool

	pace pace // the zero one stands for usual
}

// pace is when it is looked at what is lost while events are followed.
type pace struct {
	pause   time.Duration // between two looks while something comes
	settles time.Duration // for how long after it that goes on: see source.Settles
}

var usual = pace{time.Second, source.Settles}

// Notices is where notices are read: a reader.Reader.
type Notices interface {
	Read(ctx context.Context, q reader.Query, each func(notice.Notice) error, warn func(string)) error
}

// Result says what reading has shown beside events.
type Result struct {
	Records   uint64   // that were read
	Untrusted uint64   // of these, those that were left out because nobody vouches for them
	Shown     uint64   // events that each was called with
	Denials   uint64   // of these, denials and what complain mode let pass
	Missing   []string // sentences about notices that could not be read

	Unplaced uint64 // events that were left out though they may be of a container that was asked for: theirs is not known
	Stranger bool   // nothing was shown, and no container or pod is known that was asked for
	NoPolicy bool   // nothing was shown, and neither the policy in force nor a container that is known has the policy that was asked for
}

// Read calls each with the events of a query in the order of their times, as far as that is known: with Follow, in the order
// in which they come. It returns at the end of the source or, with Follow, when the context ends, which is no error.
//
// src has been opened for the query's times. notices may be nil.
func Read(ctx context.Context, j *Joiner, src source.Source, notices Notices, q Query, each func(*Event) error) (Result, error) {
	r := reading{joiner: j, query: q, each: each}
	if q.Kinds == nil {
		r.query.Kinds = Usual
	}
	if !r.wants(Refusal) && !r.wants(Warning) || q.Profile != "" {
		notices = nil
	}
	var err error
	if q.Follow {
		err = r.follow(ctx, src, notices)
	} else {
		j.past = true
		err = r.all(ctx, src, notices)
		if r.result.Shown == 0 && !q.Elsewhere {
			r.result.Stranger = r.query.names() && !j.knows(r.query.of)
			r.result.NoPolicy = q.Policy != "" && !q.InForce && !j.knows(func(c *Container) bool { return c.Policy == q.Policy })
		}
	}
	return r.result, err
}

// reading is a run of Read.
type reading struct {
	joiner *Joiner
	query  Query
	each   func(*Event) error
	result Result
	shapes shapes
}

func (r *reading) wants(k Kind) bool { return slices.Contains(r.query.Kinds, k) }

// all reads what there is. Notices are few: they are read first, and come in where their time is.
func (r *reading) all(ctx context.Context, src source.Source, notices Notices) error {
	var noted []notice.Notice
	if notices != nil {
		err := notices.Read(ctx, reader.Query{Since: r.query.Since}, func(n notice.Notice) error {
			noted = append(noted, n)
			return nil
		}, r.missing)
		if err != nil {
			r.missing(err.Error())
		}
	}
	before := func(t time.Time, all bool) error {
		for len(noted) > 0 && (all || !t.IsZero() && !noted[0].Time.After(t)) {
			ev := eventOfNotice(noted[0])
			noted = noted[1:]
			if err := r.show(ev); err != nil {
				return err
			}
		}
		return nil
	}
	var e source.Entry
	for {
		err := src.Next(ctx, &e)
		if errors.Is(err, io.EOF) {
			return before(time.Time{}, true)
		}
		if err != nil {
			return err
		}
		if err := before(e.Record.Time, false); err != nil {
			return err
		}
		ev, sight, ok := r.see(&e)
		if !ok {
			continue
		}
		if err := r.join(ev, sight); err != nil {
			return err
		}
	}
}

func (r *reading) missing(sentence string) { r.result.Missing = append(r.result.Missing, sentence) }

// seen is an event whose container is still to be found, or a loss.
type seen struct {
	*Event
	Sight
	lost *source.Loss
}

// mostSeen is how many events wait for their containers, and mostSeenSize of how many bytes of records. Looking for one can take
// a second, in which more come.
const (
	mostSeen     = 1 << 14
	mostSeenSize = 16 << 20
)

// size is how much of mostSeenSize what was seen takes.
func (s seen) size() int64 {
	if s.Event == nil {
		return 0
	}
	return int64(min(len(s.content), mostSeenSize))
}

// follow reads what comes. It looks at the process of a record at once, and finds the container later.
func (r *reading) follow(ctx context.Context, src source.Source, notices Notices) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	events := make(chan seen, mostSeen)
	ended := make(chan error, 1)
	room := semaphore.NewWeighted(mostSeenSize)
	send := func(s seen) {
		if room.Acquire(ctx, s.size()) != nil {
			return
		}
		select {
		case events <- s:
		case <-ctx.Done():
		}
	}
	go func() { ended <- r.watch(ctx, src, send) }()
	silent := make(chan error, 1) // what reading notices ended with
	if notices != nil {
		go func() {
			silent <- notices.Read(ctx, reader.Query{Since: r.query.Since, Follow: true}, func(n notice.Notice) error {
				send(seen{Event: eventOfNotice(n)})
				return ctx.Err()
			}, func(string) {})
		}()
	}
	for {
		select {
		case s := <-events:
			room.Release(s.size())
			if err := r.take(s); err != nil {
				stop(err)
				<-ended
				return err
			}
		case err := <-silent:
			if err != nil && ctx.Err() == nil {
				r.missing(err.Error())
			}
		case err := <-ended:
			for len(events) > 0 {
				if err := r.take(<-events); err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// watch sends what a source brings until its end, whose error it returns, and what is lost, when it is known. What is lost is lost while
// something comes, be it a record or not. So it is looked at from then on until it is settled. After that no timer is left, and
// the source alone wakes anybody.
func (r *reading) watch(ctx context.Context, src source.Source, send func(seen)) error {
	if r.query.Lost == nil {
		return r.watchUntil(ctx, ctx, src, send, func() {})
	}
	var (
		pace  = cmp.Or(r.query.pace, usual)
		said  losses
		last  = time.Now() // when something came, as far as it is known after a look
		came  bool         // since then
		look  context.CancelFunc
		armed *time.Timer // that ends the wait for a look; nil if none is to be
	)
	arm := func() {
		if armed == nil {
			armed = time.AfterFunc(pace.pause, look)
		}
	}
	heard := func() {
		came = true
		arm()
	}
	source.Hear(src, heard)
	defer source.Hear(src, nil)
	for {
		var within context.Context
		within, look = context.WithCancel(ctx)
		if armed = nil; time.Since(last) <= pace.settles+pace.pause {
			arm()
		}
		err := r.watchUntil(ctx, within, src, send, heard)
		look()
		if armed != nil {
			armed.Stop()
		}
		if err != nil {
			return err
		}
		if came {
			last, came = time.Now(), false
		}
		for _, l := range src.Lost() {
			if said.news(l) {
				send(seen{lost: &l})
			}
		}
	}
}

// watchUntil is watch without losses until within ends, which is no error unless ctx has ended, too. It calls came with each record.
func (r *reading) watchUntil(ctx, within context.Context, src source.Source, send func(seen), came func()) error {
	var e source.Entry
	for within.Err() == nil {
		err := src.Next(within, &e)
		switch {
		case ctx.Err() == nil && source.Ended(within, err):
			return nil
		case err != nil:
			return err
		}
		came()
		if ev, sight, ok := r.see(&e); ok {
			send(seen{Event: ev, Sight: sight})
		}
	}
	return context.Cause(ctx)
}

// losses are those that were said.
type losses []source.Loss

// news notes a loss, and reports whether it is to be said: nobody has lost anything of that kind yet, or more is known to be lost. That more
// may be lost was said.
func (all *losses) news(l source.Loss) bool {
	i := slices.IndexFunc(*all, func(one source.Loss) bool { return one.By == l.By })
	if i < 0 {
		*all = append(*all, l)
		return true
	}
	before := (*all)[i]
	(*all)[i] = l
	return l.Records != before.Records || l.Unknown && !before.Unknown
}

// take does with what was seen what is to be done.
func (r *reading) take(s seen) error {
	if s.lost != nil {
		r.query.Lost(*s.lost)
		return nil
	}
	return r.join(s.Event, s.Sight)
}

// see makes an event of a record, and looks at its process. ok is false for a record that is not wanted.
func (r *reading) see(e *source.Entry) (ev *Event, s Sight, ok bool) {
	r.result.Records++
	kind := kinds[e.Record.Type]
	if !r.wants(kind) {
		return nil, s, false
	}
	if !e.Kernel && !r.query.Untrusted {
		r.result.Untrusted++
		return nil, s, false
	}
	ev = r.shapes.event(e, r.query.Bare != nil && r.query.Bare())
	if r.query.Profile != "" && !within(ev.Profile, r.query.Profile) {
		return nil, s, false
	}
	if r.here(e) {
		s = r.joiner.Look(ev.subject())
	} else {
		s = Sight{elsewhere: true}
	}
	return ev, s, true
}

// here reports whether a record's container is to be looked for on this node. What a container may have written names any
// pid and any profile.
func (r *reading) here(e *source.Entry) bool {
	host := string(e.Record.Host)
	return e.Kernel && !r.query.Elsewhere && (host == "" || host == r.query.Host)
}

func (r *reading) join(ev *Event, s Sight) error {
	if ev.Notice == nil && !s.elsewhere {
		ev.Joined = r.joiner.Join(ev.subject(), s)
	}
	return r.show(ev)
}

// show calls each with an event that passes the filter.
func (r *reading) show(ev *Event) error {
	if !r.wants(ev.Kind) || !r.passes(ev) {
		return nil
	}
	r.result.Shown++
	if ev.Kind.denies() {
		r.result.Denials++
	}
	return r.each(ev)
}
