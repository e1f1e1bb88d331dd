package store

import (
	"context"
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

// Progress tells of one profile whose compilation has ended.
type Progress struct {
	Name        string
	Done, Total int // profiles
	Took        time.Duration
	Err         error // nil when it compiled
}

// CompileError is the error of a policy whose profiles do not all compile.
type CompileError struct{ Errs []error } // one for each such profile, in the policy's order

func (e *CompileError) Error() string   { return errors.Join(e.Errs...).Error() }
func (e *CompileError) Unwrap() []error { return e.Errs }

// Compile compiles all profiles of p, as many at a time as there are processors, and gives p with Compiled and Blob
// filled in, and the blobs by their sha256. p itself stays as it is. Nothing is taken from an earlier compilation: the
// text's includes, the parser and the kernel's features may all have changed without a trace.
//
// The error is a *CompileError where profiles do not compile. report, unless nil, is called once per profile, one call
// at a time.
func Compile(ctx context.Context, p *policy.Policy, c Compiler, report func(Progress)) (*policy.Policy,
	map[[32]byte][]byte, error) {
	type result struct {
		blob profile.Blob
		err  error
	}
	var (
		results = make([]result, len(p.Profiles))
		next    = make(chan int)
		workers sync.WaitGroup
		mu      sync.Mutex
		done    int
	)
	for range min(runtime.GOMAXPROCS(0), len(p.Profiles)) {
		workers.Go(func() {
			for i := range next {
				pr := &p.Profiles[i]
				start := time.Now()
				blob, err := c.Compile(ctx, pr.Name, pr.Mode, pr.Source, pr.Text)
				results[i] = result{blob, err}

				mu.Lock()
				done++
				if report != nil {
					report(Progress{Name: pr.Name, Done: done, Total: len(p.Profiles), Took: time.Since(start), Err: err})
				}
				mu.Unlock()
			}
		})
	}
	for i := range p.Profiles {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	workers.Wait()
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("compiling profiles: %w", context.Cause(ctx))
	}

	compiled := *p
	compiled.Profiles = slices.Clone(p.Profiles)
	blobs := make(map[[32]byte][]byte, len(results))
	var errs []error
	for i, r := range results {
		if r.err != nil {
			errs = append(errs, r.err)
			continue
		}
		sum := r.blob.SHA256()
		compiled.Profiles[i].Compiled = r.blob.Profiles
		compiled.Profiles[i].Blob = sum
		blobs[sum] = r.blob.Data
	}
	if len(errs) > 0 {
		return nil, nil, &CompileError{errs}
	}
	return &compiled, blobs, nil
}
