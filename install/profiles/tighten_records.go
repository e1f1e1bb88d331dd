package profiles

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
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
// Tightening.Wholly the context of what it does ends at the first denial, because of errDenied.
func (t *tightening) watch(ctx context.Context, do func(context.Context)) (all []seen) {
	if t.Denials == nil {
		do(ctx)
		return nil
	}
	end := func(error) {}
	had := make(map[string]bool)
	next := func(ctx context.Context) error {
		var e source.Entry
		err := t.Denials.Next(ctx, &e)
		if err != nil || !e.Kernel || len(all) >= mostSeen {
			return err
		}
		by, _ := e.Record.Profile()
		if by != t.name && !strings.HasPrefix(by, t.name+"//") || e.Record.Type != audit.Denied && e.Record.Type != audit.Audited {
			return nil
		}
		asked, err := e.Record.Asked()
		if err != nil || len(asked.Accesses) == 0 {
			return nil // it says nothing that a rule could be about
		}
		one := seen{e.Record.Type, by, asked.Accesses[0], e.Record.Get("comm")}
		if key := fmt.Sprint(one.kind, by, " ", access.Format(one.access)); !had[key] {
			had[key] = true
			all = append(all, one)
		}
		if t.Wholly && one.kind == audit.Denied {
			end(errDenied)
		}
		return nil
	}
	for ctx, stop := context.WithTimeout(ctx, time.Millisecond); ; { // of before
		if next(ctx) != nil {
			stop()
			break
		}
	}
	all, had = nil, make(map[string]bool)
	doing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	end = cancel // not before: a denial of then ends nothing
	running, ran := context.WithCancel(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for next(running) == nil {
		}
	}()
	do(doing)
	ran()
	<-read
	for {
		soon, stop := context.WithTimeout(ctx, afterRun)
		err := next(soon)
		stop()
		if err != nil {
			return all
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
