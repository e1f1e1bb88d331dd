package profiles

import (
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
	kind    audit.Type
	profile string
	access  meaning.Access
	program string
}

// like reports whether another record is of the same, whatever program it is of.
func (s seen) like(other seen) bool {
	return s.kind == other.kind && s.profile == other.profile && access.Format(s.access) == access.Format(other.access)
}

const (
	afterRun = 50 * time.Millisecond // how long no record must come, after a run, for there to be no more of it
	mostSeen = 10_000                // records of a run that are kept; a workload chooses how much it does
)

// watch does something, and returns what the kernel has recorded of the profile meanwhile, the first one first. With
// Tightening.Wholly the context of what it does ends at the first denial, because of errDenied, and the error says that a denial
// may have been missed.
func (t *tightening) watch(ctx context.Context, do func(context.Context)) (all []seen, err error) {
	if t.Denials == nil {
		do(ctx)
		return nil, nil
	}
	before := watching{tightening: t}
	failed := before.until(context.WithTimeout(ctx, time.Millisecond))
	w := watching{tightening: t, had: make(map[string]bool)}
	doing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.denied = cancel
	running, ran := context.WithCancel(ctx)
	read := make(chan error)
	go func() { read <- w.until(running, ran) }()
	do(doing)
	ran()
	failed = errors.Join(failed, <-read)
	for more := true; more && failed == nil; {
		soon, stop := context.WithTimeout(ctx, afterRun)
		if failed = w.next(soon); source.Ended(soon, failed) {
			more, failed = false, nil
		}
		stop()
	}
	if t.Wholly {
		err = t.missed(failed)
	}
	return w.all, err
}

// watching is what watch has read.
type watching struct {
	*tightening
	all    []seen
	had    map[string]bool // nil if nothing is kept
	denied func(error)     // is called at each denial with Tightening.Wholly
}

// until reads until a context ends, which is no error.
func (w *watching) until(ctx context.Context, stop func()) error {
	defer stop()
	for {
		if err := w.next(ctx); source.Ended(ctx, err) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// next reads a record.
func (w *watching) next(ctx context.Context) error {
	var e source.Entry
	err := w.Denials.Next(ctx, &e)
	if err != nil || w.had == nil || !e.Kernel || len(w.all) >= mostSeen {
		return err
	}
	by, _ := e.Record.Profile()
	if by != w.name && !strings.HasPrefix(by, w.name+"//") || e.Record.Type != audit.Denied && e.Record.Type != audit.Audited {
		return nil
	}
	asked, err := e.Record.Asked()
	if err != nil || len(asked.Accesses) == 0 {
		return nil // it says nothing that a rule could be about
	}
	one := seen{e.Record.Type, by, asked.Accesses[0], e.Record.Get("comm")}
	if key := fmt.Sprint(one.kind, by, " ", access.Format(one.access)); !w.had[key] {
		w.had[key] = true
		w.all = append(w.all, one)
	}
	if w.Wholly && one.kind == audit.Denied {
		w.denied(errDenied)
	}
	return nil
}

// begin notes what was lost before. The error says that the source can lose records and not know of it.
func (t *tightening) begin() error {
	if !t.Wholly {
		return nil
	}
	if t.Denials == nil {
		return errors.New("what is denied cannot be known: the kernel's records cannot be read")
	}
	t.lost = t.Denials.Lost()
	for _, l := range t.lost {
		if l.Unknown {
			return fmt.Errorf("what is denied cannot be known by the source %s: %s", oneline.Name(t.Denials.Name()), l.Sentence())
		}
	}
	return nil
}

// missed returns an error if denials may have been missed since the beginning.
func (t *tightening) missed(failed error) error {
	if failed != nil {
		return fmt.Errorf("whether anything was denied is not known: %w", failed)
	}
	for _, l := range t.Denials.Lost() {
		if !slices.Contains(t.lost, l) {
			return fmt.Errorf("whether anything was denied is not known: %s", l.Sentence())
		}
	}
	return nil
}

// settle waits until it is known what was missing before now.
func (t *tightening) settle(ctx context.Context) error {
	if !t.Wholly {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, source.Settles)
	defer stop()
	var e source.Entry
	for {
		if err := t.Denials.Next(ctx, &e); source.Ended(ctx, err) {
			return t.missed(nil)
		} else if err != nil {
			return t.missed(err)
		}
	}
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
