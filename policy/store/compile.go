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
	"sync/atomic"
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
	// Key returns the same for profiles that compile to the same, with no error now or then, and of which this very program says
	// the same: that of another version is another. ok is false where it cannot tell. It is called from several goroutines.
	Key(p *policy.Profile) (key [sha256.Size]byte, ok bool)
	// Said returns what there is to say to a person of a profile that Compile has compiled, in lines.
	Said(name string) []string
	// Kept takes what Said gave, for a profile that is not compiled again.
	Kept(name string, said []string)
}

// Progress is about one profile whose compilation has ended.
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

// Blob returns what the profile at this place of Policy was compiled to.
func (c *Compilation) Blob(i int) profile.Blob { return c.blobs[i] }

// Compile compiles the profiles of p, as many at a time as there are processors. p itself stays as it is, and nothing is written.
// What from, a generation or nil, was compiled from is kept where c is a Keyer that says that it would compile to the same, and
// where what it was compiled to is still there, whole.
//
// The error is a *CompileError where profiles do not compile, or nobody could stop a container under one. report, unless nil, is
// called once for each profile that is compiled, one call at a time.
func Compile(ctx context.Context, p *policy.Config, c Compiler, from *Generation, report func(Progress)) (*Compilation, error) {
	keyer, ok := c.(Keyer)
	if !ok {
		return compile(ctx, p, c, nil, report)
	}
	compiled, err := compile(ctx, p, c, newKeeper(keyer, from), report)
	if err == nil {
		for i, pr := range p.Profiles {
			compiled.said[i] = keyer.Said(pr.Name)
		}
	}
	return compiled, err
}

// keeper has what profiles were compiled to before, by a generation.
type keeper struct {
	keyer Keyer
	from  *Generation // nil where there is none
	made  map[string]ManifestSource
}

func newKeeper(c Keyer, from *Generation) *keeper {
	k := &keeper{keyer: c, from: from, made: make(map[string]ManifestSource)}
	if from == nil {
		return k
	}
	if m, err := from.Manifest(); err == nil {
		for _, p := range m.Profiles {
			k.made[p.Name] = p
		}
	}
	return k
}

// find returns a profile's key, nil where there is none, and the profile as it was compiled before, where that was made of the same.
func (k *keeper) find(p *policy.Profile) (key []byte, before policy.Profile, ok bool) {
	sum, ok := k.keyer.Key(p)
	if !ok {
		return nil, before, false
	}
	key = sum[:]
	made := k.made[p.Name].Made
	if made == "" {
		return key, before, false
	}
	before, ok = k.from.Index.Profile(p.Name)
	return key, before, ok && before.Mode == p.Mode && made == madeOf(key, before.Blob)
}

// keep returns what a profile was compiled to before, if that is still there, whole.
func (k *keeper) keep(before policy.Profile) (blob profile.Blob, ok bool) {
	data, err := k.from.store.readBlob(before.Blob)
	if err != nil {
		return profile.Blob{}, false
	}
	k.keyer.Kept(before.Name, k.made[before.Name].Said)
	return profile.Blob{Data: data, Profiles: before.Compiled}, true
}

// madeOf returns what a manifest keeps: that a key has led to a blob.
func madeOf(key []byte, blob [sha256.Size]byte) string {
	if key == nil {
		return ""
	}
	sum := sha256.Sum256(append(slices.Clip(key), blob[:]...))
	return hex.EncodeToString(sum[:])
}

// compile compiles what from, unless nil, does not have.
func compile(ctx context.Context, p *policy.Config, c Compiler, from *keeper, report func(Progress)) (*Compilation, error) {
	n := len(p.Profiles)
	compiled := *p
	compiled.Profiles = slices.Clone(p.Profiles)
	all := &Compilation{Policy: &compiled, reused: make([]bool, n), blobs: make([]profile.Blob, n), keys: make([][]byte, n),
		said: make([][]string, n)}
	before := make([]policy.Profile, n)
	if from != nil {
		each(ctx, n, func(i int) { all.keys[i], before[i], all.reused[i] = from.find(&p.Profiles[i]) })
	}
	// What is to be compiled comes first: while the parser works, what is kept is read.
	order := make([]int, 0, n)
	for _, kept := range []bool{false, true} {
		for i, is := range all.reused {
			if is == kept {
				order = append(order, i)
			}
		}
	}
	var (
		failed = make([]error, n)
		todo   atomic.Int32
		mu     sync.Mutex
		done   int
	)
	todo.Store(int32(n - count(all.reused)))
	each(ctx, n, func(at int) {
		i := order[at]
		pr := &compiled.Profiles[i]
		if all.reused[i] {
			// No checkStop: the same program did that to the same bytes, or the key would be another.
			if all.blobs[i], all.reused[i] = from.keep(before[i]); all.reused[i] {
				pr.Compiled, pr.Blob = before[i].Compiled, before[i].Blob
				return
			}
			todo.Add(1)
		}
		start := time.Now()
		all.blobs[i], failed[i] = c.Compile(ctx, pr.Name, pr.Mode, pr.Source, pr.Text)
		if failed[i] == nil {
			failed[i] = checkStop(pr, all.blobs[i], c)
		}
		pr.Compiled, pr.Blob = all.blobs[i].Profiles, all.blobs[i].SHA256()

		mu.Lock()
		defer mu.Unlock()
		done++
		if report != nil {
			report(Progress{Name: pr.Name, Done: done, Total: int(todo.Load()), Took: time.Since(start), Err: failed[i]})
		}
	})
	if ctx.Err() != nil {
		return nil, fmt.Errorf("compiling profiles: %w", context.Cause(ctx))
	}
	failed = slices.DeleteFunc(failed, func(err error) bool { return err == nil })
	if len(failed) > 0 {
		return nil, &CompileError{failed}
	}
	all.Reused = count(all.reused)
	return all, nil
}

func count(all []bool) (n int) {
	for _, is := range all {
		if is {
			n++
		}
	}
	return n
}

// each calls f for 0 to n-1, in this order, as many at a time as there are processors, until ctx ends.
func each(ctx context.Context, n int, f func(int)) {
	var workers sync.WaitGroup
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), n) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	workers.Wait()
}
