package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Compiler compiles a profile's text. *profile.Compiler is one. It is called from several goroutines.
type Compiler interface {
	Compile(ctx context.Context, name string, mode profile.Mode, source string, text []byte) (profile.Blob, error)
}

// Keyer is a Compiler that tells profiles which compile to the same from others, without compiling them.
type Keyer interface {
	Compiler
	// Key gives the same for profiles that compile to the same, with no error now or then, and of which this very program says
	// the same: that of another version is another. ok is false where it cannot tell. It is called from several goroutines.
	Key(p *policy.Profile) (key [sha256.Size]byte, ok bool)
	// Said gives what there is to say to a person of a profile that Compile has compiled, in lines.
	Said(name string) []string
	// Kept takes what Said gave, for a profile that is not compiled again.
	Kept(name string, said []string)
}

// Progress tells of one profile whose compilation has ended.
type Progress struct {
	Name        string
	Done, Total int // profiles that are compiled
	Took        time.Duration
	Err         error // nil when it compiled
}

// CompileError is the error of a policy whose profiles do not all compile.
type CompileError struct{ Errs []error } // one for each such profile, in the policy's order

func (e *CompileError) Error() string   { return errors.Join(e.Errs...).Error() }
func (e *CompileError) Unwrap() []error { return e.Errs }

// Compilation is a policy whose profiles are compiled, and which is not in force by that.
type Compilation struct {
	Policy *policy.Config // with Compiled and Blob filled in
	Reused int            // how many of its profiles were compiled before, and kept

	reused []bool           // which of its profiles these are
	blobs  []profile.Blob   // of its profiles
	keys   [][]byte         // of its profiles; nil where there is none
	said   [][]string       // of its profiles
	from   []ManifestSource // where it was compiled before, as a whole; else nil
}

// Blob gives what the profile at this place of Policy was compiled to.
func (c *Compilation) Blob(i int) profile.Blob { return c.blobs[i] }

// Compile compiles all profiles of p, as many at a time as there are processors. p itself stays as it is. Nothing is taken
// from an earlier compilation: Store.Compile does that.
//
// The error is a *CompileError where profiles do not compile, or nobody could stop a container under one. report, unless nil, is
// called once for each profile that is compiled, one call at a time.
func Compile(ctx context.Context, p *policy.Config, c Compiler, report func(Progress)) (*Compilation, error) {
	return compile(ctx, p, c, nil, report)
}

// Compile is Store.Compile, of a store that nobody else changes meanwhile.
func (l *Lock) Compile(ctx context.Context, p *policy.Config, c Compiler, report func(Progress)) (*Compilation, error) {
	return l.store.Compile(ctx, p, c, report)
}

// Compile is the function Compile, but for profiles of the generation in force. These are kept where c is a Keyer that says
// that they would compile to the same, and where what they were compiled to is still there, whole. It writes nothing.
func (s Store) Compile(ctx context.Context, p *policy.Config, c Compiler, report func(Progress)) (*Compilation, error) {
	keyer, ok := c.(Keyer)
	if !ok {
		return compile(ctx, p, c, nil, report)
	}
	compiled, err := compile(ctx, p, c, s.keeping(keyer), report)
	if err == nil {
		for i, pr := range p.Profiles {
			compiled.said[i] = keyer.Said(pr.Name)
		}
	}
	return compiled, err
}

// keeping gives a function that gives a profile's key, and what it was compiled to before, if that holds.
func (s Store) keeping(c Keyer) func(p *policy.Profile) (key []byte, blob profile.Blob, ok bool) {
	made := make(map[string]ManifestSource)
	g, err := s.Current()
	if err == nil {
		if m, err := g.Manifest(); err == nil {
			for _, p := range m.Profiles {
				made[p.Name] = p
			}
		}
	}
	return func(p *policy.Profile) ([]byte, profile.Blob, bool) {
		sum, ok := c.Key(p)
		if !ok {
			return nil, profile.Blob{}, false
		}
		key := sum[:]
		from := made[p.Name]
		if from.Made == "" {
			return key, profile.Blob{}, false
		}
		before, ok := g.Index.Profile(p.Name)
		if !ok || before.Mode != p.Mode || from.Made != madeOf(key, before.Blob) {
			return key, profile.Blob{}, false
		}
		data, err := s.readBlob(before.Blob)
		if err != nil {
			return key, profile.Blob{}, false
		}
		c.Kept(p.Name, from.Said)
		return key, profile.Blob{Data: data, Profiles: before.Compiled}, true
	}
}

// madeOf gives what a manifest keeps: that a key has led to a blob.
func madeOf(key []byte, blob [sha256.Size]byte) string {
	if key == nil {
		return ""
	}
	sum := sha256.Sum256(append(slices.Clip(key), blob[:]...))
	return hex.EncodeToString(sum[:])
}

// compile compiles what kept, unless nil, does not give.
func compile(ctx context.Context, p *policy.Config, c Compiler,
	kept func(*policy.Profile) (key []byte, blob profile.Blob, ok bool), report func(Progress)) (*Compilation, error) {
	n := len(p.Profiles)
	all := &Compilation{reused: make([]bool, n), blobs: make([]profile.Blob, n), keys: make([][]byte, n),
		said: make([][]string, n)}
	if kept != nil {
		each(ctx, n, func(i int) {
			// No checkStop: the same program did that to the same bytes, or the key would be another.
			all.keys[i], all.blobs[i], all.reused[i] = kept(&p.Profiles[i])
		})
	}
	var todo []int
	for i, have := range all.reused {
		if have {
			all.Reused++
		} else {
			todo = append(todo, i)
		}
	}
	var (
		failed = make([]error, n)
		mu     sync.Mutex
		done   int
	)
	each(ctx, len(todo), func(n int) {
		i := todo[n]
		pr := &p.Profiles[i]
		start := time.Now()
		all.blobs[i], failed[i] = c.Compile(ctx, pr.Name, pr.Mode, pr.Source, pr.Text)
		if failed[i] == nil {
			failed[i] = checkStop(pr, all.blobs[i], c)
		}

		mu.Lock()
		defer mu.Unlock()
		done++
		if report != nil {
			report(Progress{Name: pr.Name, Done: done, Total: len(todo), Took: time.Since(start), Err: failed[i]})
		}
	})
	if ctx.Err() != nil {
		return nil, fmt.Errorf("compiling profiles: %w", context.Cause(ctx))
	}
	var errs []error
	for _, err := range failed {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, &CompileError{errs}
	}
	compiled := *p
	compiled.Profiles = slices.Clone(p.Profiles)
	each(ctx, n, func(i int) {
		compiled.Profiles[i].Compiled = all.blobs[i].Profiles
		compiled.Profiles[i].Blob = all.blobs[i].SHA256()
	})
	if ctx.Err() != nil {
		return nil, fmt.Errorf("compiling profiles: %w", context.Cause(ctx))
	}
	all.Policy = &compiled
	return all, nil
}

// each calls f for 0 to n-1, as many at a time as there are processors, until ctx ends.
func each(ctx context.Context, n int, f func(int)) {
	var workers sync.WaitGroup
	next := make(chan int)
	for range min(runtime.GOMAXPROCS(0), n) {
		workers.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	workers.Wait()
}
