package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/install/agent/watch"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// DriftPace is how the kernel's changes are followed. Others may load thousands of profiles in a row: the rest bounds what
// looking at ours takes of a processor meanwhile.
var DriftPace = Pace{Quiet: 10 * time.Millisecond, Most: 50 * time.Millisecond, Rest: 250 * time.Millisecond}

// How often a profile is put right in a row, and after how long once more. Somebody who loads his own again and again is
// not answered each time.
const (
	mostRepairs = 5
	moreRepairs = 10 * time.Second
)

// driftPart looks after the kernel's profiles: those of the policy in force have its content. A profile that is not loaded
// yet is not loaded by it: the start that needs it does that.
type driftPart struct {
	kernel *kernel.Kernel
	store  store.Store
	stale  func(profiles ...string) string // says which containers stay behind after replacements; see hook.Host.StaleAfter
	link   *watch.Watch
	counts *counts.Table

	generation *store.Generation
	stamp      store.Stamp // of generation
	ours       []*owned
	track      *kernel.Track
	looked     int64 // the kernel's revision at the last look that all were well looked at; 0 for none
}

// owned is a profile of the policy in force.
type owned struct {
	policy.Profile
	seen     bool   // the kernel had its content, as this generation has it
	dir      string // directory below policy/profiles that it was last in; empty if it was in none that counts
	absent   bool   // it was missing, and the kernel had not had it before
	standing *Drifted
	what     string // that was found last
	repairs  []time.Time
}

// NewDrift returns the part that looks after the kernel's profiles.
func NewDrift(k *kernel.Kernel, dir string, stale func(profiles ...string) string, t *counts.Table) (Part, error) {
	w, err := watch.New()
	if err != nil {
		return nil, err
	}
	return &driftPart{kernel: k, store: store.Store{Dir: dir}, stale: stale, link: w, counts: t, track: k.Track()}, nil
}

func (*driftPart) Name() string { return driftName }

// Watch waits for the kernel and for another policy in force.
func (p *driftPart) Watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var link sync.WaitGroup
	defer link.Wait()
	defer cancel()
	failed := make(chan error, 1)
	link.Go(func() {
		for {
			if err := p.link.Wait(ctx); err != nil {
				failed <- fmt.Errorf("another policy in force is not seen: %w", err)
				cancel()
				return
			}
			changed()
		}
	})
	err := p.watchKernel(ctx, changed)
	select {
	case other := <-failed:
		if ctx.Err() == nil || err == nil {
			return other
		}
	default:
	}
	return fmt.Errorf("what others load into the kernel is not seen: %w", err)
}

func (p *driftPart) watchKernel(ctx context.Context, changed func()) error {
	revisions, err := p.kernel.Revisions()
	if err != nil {
		return err
	}
	defer revisions.Close()
	for {
		if _, err := revisions.Wait(ctx); err != nil {
			return err
		}
		changed()
	}
}

func (p *driftPart) Act(ctx context.Context, r *Reporter) error {
	if err := p.read(r); err != nil {
		return err
	}
	if len(p.ours) == 0 {
		p.tellStanding(r)
		return nil
	}
	revision, err := p.kernel.Revision() // before the looks: what comes later counts the next time
	if err != nil {
		return err
	}
	p.track.Begin()
	l := looks{part: p, r: r}
	names, all := p.kernel.LoadedBetween(p.looked, revision)
	if all = all && p.looked > 0; all {
		l.at(ctx, func(o *owned) bool { return o.standing != nil || slices.Contains(names, o.Name) })
	} else if err := p.lookAtAll(ctx, &l); err != nil {
		return err
	}
	p.looked = revision
	if len(l.errs) > 0 || ctx.Err() != nil {
		p.looked = 0
	}
	p.tellStanding(r)
	if len(l.replaced) > 0 {
		if said := p.stale(l.replaced...); said != "" {
			r.Warnf("%s", said)
		}
	}
	for _, o := range p.ours {
		if o.standing != nil && o.standing.Problem == again {
			return errors.New(again)
		}
	}
	return errors.Join(l.errs...)
}

// lookAtAll looks at those of all profiles that are not as they were. What was removed is found by one list, and comes first, as what ran
// under it is free.
func (p *driftPart) lookAtAll(ctx context.Context, l *looks) error {
	gone, err := p.track.Gone()
	if err != nil {
		return err
	}
	if len(gone) > 0 {
		l.at(ctx, func(o *owned) bool { return gone[o.Name] })
	}
	same := p.track.Unchanged(func(yield func(string) bool) {
		for _, o := range p.ours {
			if o.standing == nil && !yield(o.Name) {
				return
			}
		}
	})
	l.at(ctx, func(o *owned) bool { return !same[o.Name] })
	return nil
}

// looks are looks at profiles, and what has come of them.
type looks struct {
	part     *driftPart
	r        *Reporter
	replaced []string
	errs     []error
}

// at looks at those of the policy's profiles that are wanted.
func (l *looks) at(ctx context.Context, wanted func(o *owned) bool) {
	for _, o := range l.part.ours {
		if !wanted(o) {
			continue
		}
		done, err := l.part.look(ctx, l.r, o)
		if err != nil {
			l.errs = append(l.errs, fmt.Errorf("profile %s: %w", o.Name, err))
			var notReady *kernel.NotReadyError
			if errors.As(err, &notReady) || ctx.Err() != nil {
				return // it is the same for all others
			}
		}
		if done == kernel.Replaced {
			l.replaced = append(l.replaced, o.Name)
		}
	}
}

// tellStanding puts into the state which profiles have drifted and stand so. A look is not all that ends that: another policy in force may
// have no such profile.
func (p *driftPart) tellStanding(r *Reporter) {
	var all []Drifted
	for _, o := range p.ours {
		if o.standing != nil && len(all) < maxStanding {
			all = append(all, *o.standing)
		}
	}
	if !slices.Equal(all, r.State().Drift.Standing) {
		r.Update(func(s *State) { s.Drift.Standing = all })
	}
}

// read reads the policy in force, if it is another one. A policy of thousands of profiles takes long to read, and each load by anybody
// is a moment to look.
func (p *driftPart) read(r *Reporter) error {
	if _, err := p.link.Set(filepath.Join(p.store.Dir, "current")); err != nil {
		r.Logf("another policy in force may not be seen: %v", err)
	}
	stamp, err := p.store.Stamp()
	if err == nil && p.generation != nil && p.stamp == stamp {
		return nil
	}
	g, err := readStore(p.store)
	if err != nil {
		return err
	}
	inForce(r, g)
	if g == nil {
		p.generation, p.ours = nil, nil
		return nil
	}
	config, err := g.Index.Config()
	if err != nil {
		return err
	}
	before := make(map[string]*owned, len(p.ours))
	for _, o := range p.ours {
		before[o.Name] = o
	}
	var all []*owned
	for _, one := range config.Profiles {
		o := &owned{Profile: one}
		if was := before[one.Name]; was != nil && was.Blob == one.Blob && was.OnDrift == one.OnDrift {
			o = was
		} else {
			p.track.Forget(one.Name)
		}
		all = append(all, o)
	}
	p.generation, p.stamp, p.ours, p.looked = g, stamp, all, 0
	return nil
}

func (p *driftPart) profile(o *owned) kernel.Profile {
	return kernel.Profile{Name: o.Name, Compiled: o.Compiled, OnDrift: o.OnDrift,
		Blob:    func() ([]byte, error) { return p.generation.Blob(o.Profile) },
		Earlier: func() [][]profile.Compiled { return p.store.EarlierOf(o.Name) },
	}
}

// look checks a profile, and puts it right if that is wanted.
func (p *driftPart) look(ctx context.Context, r *Reporter, o *owned) (kernel.Done, error) {
	ours := p.profile(o)
	found, err := p.track.Check(ours)
	if err != nil {
		return 0, err
	}
	if found.Status == kernel.Missing {
		return p.missing(ctx, r, o, ours)
	}
	if o.dir != "" && found.Dir != o.dir { // it was removed and loaded again
		byUs, err := p.kernel.RemovedByUs(ctx, o.Name, o.dir)
		if err != nil {
			return 0, err
		}
		if !byUs {
			p.news(r, o, Drifted{Time: time.Now().UTC(), Profile: o.Name, What: "somebody has removed it, and it has been loaded again",
				Problem: free}, true)
		}
		o.dir = found.Dir
	}
	if found.Status == kernel.Matches {
		if o.standing != nil {
			r.Logf("profile %s has the policy's content again, by somebody else", o.Name)
		}
		o.seen, o.dir, o.standing, o.what = true, found.Dir, nil, ""
		return 0, nil
	}
	if !o.seen {
		if _, had := p.kernel.Had(ours); !had && p.earlier(ours) {
			return 0, nil // of an earlier policy: the next start that needs it replaces it
		}
	}
	o.dir = found.Dir
	return p.found(ctx, r, o, ours, "it was loaded with other content than the policy's: "+found.String())
}

// free is what a removal does, whatever is loaded after it.
const free = "what ran under it is unconfined until it is started anew"

// missing deals with a profile that the kernel has not. It was removed if the kernel had it.
func (p *driftPart) missing(ctx context.Context, r *Reporter, o *owned, ours kernel.Profile) (kernel.Done, error) {
	dir, seen := o.dir, o.seen
	if !seen && !o.absent { // a question for the first look: later ones see what comes
		dir, seen = p.kernel.Had(ours)
	}
	if !seen {
		o.absent, o.standing, o.what = true, nil, ""
		return 0, nil
	}
	byUs, err := p.kernel.RemovedByUs(ctx, o.Name, dir) // which waits for one that is at it
	if err != nil {
		return 0, err
	}
	if byUs {
		o.seen, o.dir, o.standing, o.what = false, "", nil, ""
		return 0, nil
	}
	done, err := p.found(ctx, r, o, ours, "somebody has removed it from the kernel: "+free)
	if o.seen = true; o.standing != nil {
		o.dir = "" // what is loaded there is another one, and this was told
	}
	return done, err
}

// earlier reports whether the kernel has the content of an earlier generation.
func (p *driftPart) earlier(ours kernel.Profile) bool {
	return slices.ContainsFunc(p.store.EarlierOf(ours.Name), func(c []profile.Compiled) bool {
		found, err := p.kernel.Check(kernel.Profile{Name: ours.Name, Compiled: c})
		return err == nil && found.Status == kernel.Matches
	})
}

// again is the problem of a profile that is not put right for a while.
const again = "somebody loads it again and again, so that it is put right only now and then: find out who does (journalctl -k, operation=\"profile_replace\")"

// found deals with a profile that has drifted.
func (p *driftPart) found(ctx context.Context, r *Reporter, o *owned, ours kernel.Profile, what string) (done kernel.Done, err error) {
	d := Drifted{Time: time.Now().UTC(), Profile: o.Name, What: clean(what)}
	fresh := o.standing == nil || o.what != d.What
	if !fresh {
		d = *o.standing
		d.Problem = ""
	}
	o.what = d.What
	repair := o.OnDrift != profile.RefuseDrift
	switch {
	case !repair:
		d.Problem = "the policy says onDrift: refuse, so that it stays, and containers that need it do not start"
	case !o.mayRepair(d.Time):
		d.Problem = again
	default:
		var loaded []kernel.Loaded
		if loaded, err = p.kernel.Ensure(ctx, []kernel.Profile{ours}); err != nil {
			d.Problem = strings.TrimPrefix(line(err), "profile "+o.Name+": ")
			break
		}
		done, d.Repaired = loaded[0].Done, true
		o.repairs = append(o.repairs, d.Time)
		o.dir = loaded[0].Dir
		p.track.Loaded(loaded[0])
	}
	p.report(r, o, d, fresh)
	if errors.Is(err, kernel.ErrDrift) {
		err = nil // it stands, and a try in some seconds would find the same
	}
	return done, err
}

// mayRepair reports whether a profile may be put right once more.
func (o *owned) mayRepair(now time.Time) bool {
	o.repairs = slices.DeleteFunc(o.repairs, func(at time.Time) bool { return now.Sub(at) >= mostRepairs*moreRepairs })
	if len(o.repairs) < mostRepairs {
		return true
	}
	return now.Sub(o.repairs[len(o.repairs)-1]) >= moreRepairs
}

// report says a drift where it is news, and keeps whether it stands.
func (p *driftPart) report(r *Reporter, o *owned, d Drifted, fresh bool) {
	was := o.standing
	o.standing = nil
	if !d.Repaired {
		if was == nil || *was != d {
			o.standing = &d
		} else {
			o.standing = was
		}
	}
	if !fresh && !d.Repaired && was != nil && was.Problem == d.Problem {
		return
	}
	p.news(r, o, d, fresh)
}

// news writes down a drift, and says it.
func (p *driftPart) news(r *Reporter, o *owned, d Drifted, fresh bool) {
	r.Update(func(s *State) {
		if fresh {
			s.Drift.Found++
		}
		if d.Repaired {
			s.Drift.Repaired++
		}
		last := slices.Clone(s.Drift.Last)
		if !fresh {
			last = slices.DeleteFunc(last, func(l Drifted) bool { return l.Profile == d.Profile && l.Time.Equal(d.Time) })
		}
		last = slices.Insert(last, 0, d)
		s.Drift.Last = last[:min(len(last), maxDrifted)]
	})
	if d.Repaired {
		p.counts.Add(counts.Drifts.With(counts.ByAgent, counts.Replaced))
	} else if fresh {
		p.counts.Add(counts.Drifts.With(counts.ByAgent, counts.Left))
	}
	switch {
	case d.Repaired && len(o.repairs) > mostRepairs: // was said
	case d.Repaired:
		r.Warnf("profile %s: %s; the policy's has been loaded again", d.Profile, d.What)
	default:
		r.Warnf("profile %s: %s; %s", d.Profile, d.What, d.Problem)
	}
}
