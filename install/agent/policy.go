package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/agent/watch"
	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// PolicyPace is how the policy follows its files. Editors and git change several files in a moment, and the kubelet some
// more.
var PolicyPace = Pace{Quiet: 300 * time.Millisecond, Most: 5 * time.Second}

// policyPart applies the policy when its files change.
type policyPart struct {
	config, store string
	child         Child
	files         *watch.Watch
	known         []string // files besides the policy's own that decide what it compiles to
	started       bool     // it has acted before
}

// NewPolicy returns the part that applies the policy in the directory config to a store. What is applied is what the files
// are after a quiet moment, as by policy apply.
func NewPolicy(config, store string, child Child) (Part, error) {
	w, err := watch.New()
	if err != nil {
		return nil, err
	}
	return &policyPart{config: config, store: store, child: child, files: w}, nil
}

func (*policyPart) Name() string { return policyName }

func (p *policyPart) Watch(ctx context.Context, changed func()) error {
	for {
		if err := p.files.Wait(ctx); err != nil {
			return fmt.Errorf("changes of the policy's files are not seen: %w", err)
		}
		changed()
	}
}

// ApplyAnswer is what the child says that applies.
type ApplyAnswer struct {
	Apply
	Inputs []string `json:"inputs"` // see apply.Options.Inputs
}

// maxLooks is how often Act looks again because there are files that it did not watch before.
const maxLooks = 4

func (p *policyPart) Act(ctx context.Context, r *Reporter) error {
	first := !p.started
	p.started = true
	for range maxLooks {
		if _, err := p.files.Set(p.paths()...); err != nil {
			r.Logf("some changes of the policy's files will not be seen: %v", err)
		}
		if first && p.rolledBack() {
			r.Logf("generation %d was put in force by a rollback, and stays so until the policy's files change", p.current().Number)
			return nil
		}
		if _, err := os.Stat(p.config); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is gone: %s", p.config, p.stays())
		}
		var answer ApplyAnswer
		if err := ask(ctx, p.child, r, &answer, "apply", "--config", p.config, "--store", p.store); err != nil {
			return fmt.Errorf("the policy is not applied: %w", err)
		}
		// What was not watched may have changed since it was read.
		more := len(answer.Inputs) > 0 && !slices.Equal(p.known, answer.Inputs)
		if more {
			p.known = answer.Inputs
		}
		p.report(r, &answer.Apply)
		if answer.Outcome == Failed {
			return errors.New(answer.Errors[0])
		}
		if !more {
			return nil
		}
	}
	return nil
}

// paths returns what is watched.
func (p *policyPart) paths() []string {
	paths := []string{p.config}
	for _, dir := range []string{"policy.d", "profiles", "tests.d"} {
		paths = append(paths, filepath.Join(p.config, dir))
	}
	if len(p.known) == 0 { // no profile was ever compiled: perhaps for want of a parser
		paths = append(paths, "/usr/sbin/apparmor_parser", "/sbin/apparmor_parser")
	}
	return append(paths, p.known...)
}

func (p *policyPart) current() *store.Generation {
	g, err := store.Store{Dir: p.store}.Current()
	if err != nil {
		return nil
	}
	return g
}

// readStore returns the policy in force; nil if there is none.
func readStore(s store.Store) (*store.Generation, error) {
	g, err := s.Current()
	if errors.Is(err, store.ErrNone) && !errors.Is(err, store.ErrLost) {
		return nil, nil
	}
	return g, err
}

// rolledBack reports whether somebody has put the policy in force by a rollback. An agent that starts anew leaves that.
func (p *policyPart) rolledBack() bool {
	g := p.current()
	if g == nil {
		return false
	}
	b, err := g.Brief()
	return err == nil && b.RollbackOf > 0
}

// inForce writes down which generation is in force; nil for none.
func inForce(r *Reporter, g *store.Generation) {
	now := Policy{Known: true}
	if g != nil {
		now.Generation = g.Number
		if b, err := g.Brief(); err == nil {
			now.Applied = b.Applied
			if b.Digest != "" {
				now.Digest = "sha256:" + b.Digest
			}
		}
	}
	if was := r.State().Policy; !was.Known || was.Generation != now.Generation || was.Digest != now.Digest || !was.Applied.Equal(now.Applied) {
		r.Update(func(s *State) {
			now.Last = s.Policy.Last
			s.Policy = now
		})
	}
}

// stays says what stays in force.
func (p *policyPart) stays() string {
	if g := p.current(); g != nil {
		return fmt.Sprintf("the last good policy (generation %d) stays in force", g.Number)
	}
	return "no policy is in force"
}

// report writes down what came of an apply. Errors that stand there already are not said again.
func (p *policyPart) report(r *Reporter, a *Apply) {
	if g, err := readStore(store.Store{Dir: p.store}); err == nil { // else it stays as it was, and another part says why
		inForce(r, g)
	}
	last := r.State().Policy.Last
	r.Update(func(s *State) { s.Policy.Last = a })
	switch a.Outcome {
	case Applied:
		r.Logf("generation %d is in force", a.Generation)
	case Unchanged:
		if last != nil && last.Outcome != Applied && last.Outcome != Unchanged {
			r.Logf("the files mean what generation %d has, which is in force", a.Generation)
		}
	case Refused:
		if last == nil || !slices.Equal(last.Errors, a.Errors) {
			for _, text := range a.Errors {
				r.Warnf("%s", text)
			}
		}
	}
	if last == nil || !slices.Equal(last.Warnings, a.Warnings) {
		for _, text := range a.Warnings {
			r.Logf("%s", text)
		}
	}
}

// DoApply is what the child does that applies.
func DoApply(ctx context.Context, n *node.Node, config, dir string) ApplyAnswer {
	var answer ApplyAnswer
	a, err := apply.Apply(ctx, n, apply.Options{Config: config, Store: dir, Progress: apply.Silent{},
		Inputs: func(paths []string) { answer.Inputs = paths }})
	answer.Time = time.Now().UTC()
	if err != nil {
		code, bare := exit.Split(err)
		answer.Outcome = Failed
		if code == exit.BadPolicy {
			answer.Outcome = Refused
		}
		answer.Errors = bounds(exit.Lines(bare))
		if g, err := (store.Store{Dir: dir}).Current(); err == nil {
			answer.Generation = g.Number
		}
		return answer
	}
	answer.Outcome, answer.Generation = Unchanged, a.Generation.Number
	if a.Changed {
		answer.Outcome = Applied
	}
	answer.Warnings = bounds(append(a.Warnings, a.Refused()...))
	return answer
}

// bounds makes lines fit for the state.
func bounds(lines []string) []string {
	var all []string
	for _, text := range lines[:min(len(lines), maxLines)] {
		all = append(all, clean(strings.TrimPrefix(text, "oci-apparmor: ")))
	}
	if n := len(lines) - maxLines; n > 0 {
		all = append(all, fmt.Sprintf("and %d more lines: oci-apparmor policy check has them all", n))
	}
	return all
}
