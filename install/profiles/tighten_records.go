package profiles

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/protect"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// A seen is what the kernel has a record of, once for each kind, profile and access.
type seen struct {
	kind    audit.Type // audit.Denied or audit.Audited
	profile string
	access  meaning.Access // nil for a denial of which no rule decides, or of which the record does not tell
	what    string         // the access in words
	program string
}

// like reports whether another record is of the same, whatever program it is of.
func (s seen) like(other seen) bool {
	return s.kind == other.kind && s.profile == other.profile && s.what == other.what
}

const (
	afterRun  = 50 * time.Millisecond // how long no record of a run must come, after it, for there to be no more of it
	mostAfter = 5 * time.Second       // how long the records of a run are waited for, after it, if they do not end
	mostSeen  = 10_000                // of each kind, in a run; a workload chooses how much it does
)

// watch does something, and returns what the kernel has recorded of the profile meanwhile, the first one first. missed says why
// denials may be missing there. With Tightening.Wholly the context of what it does ends at the first denial, because of errDenied.
func (t *tightening) watch(ctx context.Context, do func(context.Context)) (all []seen, missed error) {
	if t.Denials == nil {
		do(ctx)
		return nil, nil
	}
	before := &watch{tightening: t}
	before.until(context.WithTimeout(ctx, time.Millisecond))
	doing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := t.newWatch(cancel)
	w.miss(before.missed)
	running, ran := context.WithCancel(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		w.until(running, ran)
	}()
	do(doing)
	ran()
	<-read
	w.rest(ctx)
	w.miss(t.newlyLost())
	return w.all, w.missed
}

// begin notes what was lost before. The error says that the source can lose records and not know of it, or that none come.
func (t *tightening) begin(ctx context.Context) error {
	if t.Denials == nil && t.Wholly {
		return errors.New("what is denied cannot be known: the kernel's records cannot be read")
	}
	if t.Denials == nil {
		return nil
	}
	t.lost = t.Denials.Lost()
	for _, l := range t.lost {
		if t.Wholly && l.Unknown {
			return fmt.Errorf("what is denied cannot be known by the source %s: %s", oneline.Name(t.Denials.Name()), l.Sentence())
		}
	}
	if !t.Wholly {
		return nil
	}
	if _, err := t.Alive(ctx, t.Denials); err != nil { // what is missing up to now is of no run
		return cmp.Or(context.Cause(ctx), fmt.Errorf("what is denied cannot be known: %w", err))
	}
	return nil
}

// newlyLost returns an error if records were lost since the last time, or may have been: of what nobody counts, it is never known
// when.
func (t *tightening) newlyLost() (err error) {
	lost := t.Denials.Lost()
	for _, l := range lost {
		if err == nil && (l.Records == 0 || !slices.Contains(t.lost, l)) {
			err = errors.New(l.Sentence())
		}
	}
	t.lost = lost
	return err
}

// settle waits until it is known what was missing before now, and what else was denied in the last run. That nothing came is
// no silence unless a denial of our own comes.
func (t *tightening) settle(ctx context.Context) error {
	if !t.Wholly {
		return nil
	}
	w := t.newWatch(func(error) {})
	lost, err := t.Alive(ctx, t.Denials)
	if err != nil {
		return cmp.Or(context.Cause(ctx), unknown(err))
	}
	for _, l := range lost {
		w.miss(errors.New(l.Sentence()))
	}
	w.until(context.WithTimeout(ctx, source.Settles))
	for _, s := range w.all {
		if s.kind == audit.Denied {
			return fmt.Errorf("the workload does not do the same each time: after its last run, denied was %s", s.what)
		}
	}
	w.miss(t.newlyLost())
	return unknown(w.missed)
}

// unknown returns the error for a run of which it matters that denials may be missing.
func unknown(missed error) error {
	if missed == nil {
		return nil
	}
	return fmt.Errorf("whether anything was denied is not known: %w", missed)
}

// A watch reads records of a profile for a time.
type watch struct {
	*tightening
	denied func(error) // is called at each denial with Tightening.Wholly
	all    []seen
	had    map[string]bool // nil if nothing is kept
	kept   map[audit.Type]int
	missed error
	ended  time.Time // when the run ended; zero as long as it goes on
	more   bool      // the last record is of the run, or what is of the run may come behind it
}

func (t *tightening) newWatch(denied func(error)) *watch {
	return &watch{tightening: t, denied: denied, had: make(map[string]bool), kept: make(map[audit.Type]int)}
}

// miss notes why denials may be missing. The first reason is kept.
func (w *watch) miss(why error) { w.missed = cmp.Or(w.missed, why) }

// until reads until a context ends, or the records do.
func (w *watch) until(ctx context.Context, stop func()) {
	defer stop()
	for w.next(ctx) {
	}
}

// rest reads what there still is of a run that has ended. On a busy node others' records never end. So one of them is no reason
// to wait for more, unless it is of before the end of the run: then what is of the run may come behind it.
func (w *watch) rest(ctx context.Context) {
	w.ended = time.Now()
	all, stop := context.WithTimeout(ctx, mostAfter)
	defer stop()
	for w.more = true; w.more && all.Err() == nil; {
		w.more = false
		soon, stop := context.WithTimeout(all, afterRun)
		for !w.more && w.next(soon) {
		}
		stop()
	}
	if all.Err() != nil && ctx.Err() == nil {
		w.miss(fmt.Errorf("the records did not end within %s after a run: something else runs under profile %s, or more is recorded "+
			"than can be read", mostAfter, w.name))
	}
}

// next reads a record, and reports whether there was one.
func (w *watch) next(ctx context.Context) bool {
	var e source.Entry
	if err := w.Denials.Next(ctx, &e); err != nil {
		if !source.Ended(ctx, err) {
			w.miss(err)
		}
		return false
	}
	if w.had == nil || !e.Kernel {
		return true
	}
	by, _ := e.Record.Profile()
	own := by == w.name || strings.HasPrefix(by, w.name+"//")
	w.more = own || !e.Record.Time.IsZero() && e.Record.Time.Before(w.ended)
	if !own {
		return true
	}
	one := seen{kind: e.Record.Type, profile: by, program: e.Record.Get("comm")}
	switch one.kind {
	case audit.Killed: // a child of the profile can have another mode
		one.kind = audit.Denied
	case audit.Denied, audit.Audited:
	case audit.Unknown:
		w.miss(errors.New("the kernel's records do not say what was denied (see its parameter apparmor.audit_header)"))
		return true
	default:
		return true
	}
	asked, err := e.Record.Asked()
	switch {
	case err == nil && len(asked.Accesses) > 0:
		one.access = asked.Accesses[0]
		one.what = access.Format(one.access)
	case one.kind == audit.Audited:
		return true // it says nothing that a rule could be about
	default:
		one.what = fmt.Sprintf("%s (%v)", oneline.Word(e.Record.Get("operation")), err)
	}
	w.keep(one)
	if w.Wholly && one.kind == audit.Denied {
		w.denied(errDenied)
	}
	return true
}

// keep keeps what was seen, but for what is there already.
func (w *watch) keep(one seen) {
	key := fmt.Sprint(one.kind, one.profile, " ", one.what)
	switch {
	case w.had[key]:
		return
	case w.kept[one.kind] < mostSeen:
	case one.kind == audit.Denied:
		w.miss(fmt.Errorf("more was denied than is kept (%d accesses)", mostSeen))
		return
	default:
		return // rules are then not known to be used, which takes more runs
	}
	w.had[key] = true
	w.kept[one.kind]++
	w.all = append(w.all, one)
}

// used returns a function that reports whether the workload uses what a rule allows. For that it has the kernel record all
// that is used: by a text with the same rules, each of which asks for a record. The function is nil if that cannot be known.
func (t *tightening) used(ctx context.Context) (func(syntax.Rule) bool, error) {
	if t.Denials == nil {
		return nil, nil
	}
	read := syntax.Read(string(t.file.Text))
	audited, rules := read.Audited()
	o, err := t.try(ctx, audited)
	if err != nil || !o.Works || len(rules) == 0 {
		return nil, context.Cause(ctx) // without this all goes the slower way; and whether the workload works is asked again
	}
	var texts []string
	for _, r := range rules {
		texts = append(texts, strings.ReplaceAll(read.Source(r), "@{profile_name}", ruletext.Literal(t.name)))
	}
	text, names := protect.Alone(read.Head(), texts)
	data, err := t.compiler.CompileSeveral(ctx, t.File, []byte(text))
	if err != nil {
		return nil, context.Cause(ctx)
	}
	compiled, err := meaning.ReadFor(data, t.compiler)
	if err != nil {
		return nil, context.Cause(ctx)
	}
	uses := make(map[int]bool) // by their lines
	for i, r := range rules {
		n := slices.IndexFunc(compiled, func(p *meaning.Profile) bool { return p.Name == names[i] })
		uses[r.Line] = uses[r.Line] || n < 0 || slices.ContainsFunc(t.seen, func(s seen) bool {
			return s.kind == audit.Audited && compiled[n].Decide(s.access).Allowed
		})
	}
	return func(r syntax.Rule) bool {
		used, asked := uses[r.Line]
		return used || !asked
	}, nil
}
