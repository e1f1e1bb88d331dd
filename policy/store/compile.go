package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// A Compiler compiles a profile's text into a blob, as *profile.Compiler does. source names the text in errors. Several
// goroutines call it at the same time.
type Compiler interface {
	Compile(ctx context.Context, name string, mode profile.Mode, source string, text []byte) (profile.Blob, error)
}

// A Keyer is a Compiler that recognizes, without compiling a profile, that it compiles to the same as an earlier one.
type Keyer interface {
	Compiler
	// Key returns a hash of all that decides what Compile and Said return for p, this program's version included. If
	// Compile has accepted a profile with this key, it accepts each profile with the same key and returns the same
	// blob. ok is false if Key cannot determine all of that. Several goroutines call Key at the same time.
	Key(p *policy.Profile) (key [sha256.Size]byte, ok bool)
	// Said returns what is to be shown to a person about a profile that Compile has compiled, as lines.
	Said(name string) []string
	// Reused takes the lines that Said returned for a profile earlier. It is called in place of Compile if the profile
	// need not be compiled again.
	Reused(name string, said []string)
}

// Progress reports on one profile whose compilation has ended.
type Progress struct {
	Name        string
	Done, Total int // how many profiles are compiled so far, and how many will be
	Took        time.Duration
	Err         error // nil if the profile compiled
}

// A CompileError is the error of a policy of which one or more profiles do not compile.
type CompileError struct{ Errs []error } // one error a profile, in the policy's order of profiles

func (e *CompileError) Error() string   { return errors.Join(e.Errs...).Error() }
func (e *CompileError) Unwrap() []error { return e.Errs }

// A Compilation is a policy whose profiles are compiled. Commit puts it in force.
type Compilation struct {
	Policy *policy.Config // its profiles have Compiled and Blob filled in
	Reused int            // how many of its profiles have a blob from an earlier compilation

	source *Generation      // where the blobs of an earlier compilation are; nil where there are none
	reused []bool           // by profile: it has a blob from an earlier compilation
	blobs  []profile.Blob   // of its profiles; one from an earlier compilation may be without its data, see Blob
	keys   [][]byte         // of its profiles; nil where there is none
	said   [][]string       // of its profiles
	from   []ManifestSource // where it was compiled before, as a whole; else nil
}

// Blob returns the blob of the profile Policy.Profiles[i]. It reads the blob if the compilation has not needed it.
func (c *Compilation) Blob(i int) (profile.Blob, error) {
	b := c.blobs[i]
	if b.Data != nil || c.source == nil {
		return b, nil
	}
	var err error
	b.Data, err = c.source.store.readBlob(c.Policy.Profiles[i].Blob)
	return b, err
}

// Compile compiles the profiles of p, as many at a time as there are processors. It does not change p, and writes
// nothing to the store.
//
// from is an earlier generation, or nil. If c is a Keyer, Compile does not compile a profile whose key is the one that
// from has for it, and takes the blob of from, as long as that is undamaged.
//
// Compile returns a *CompileError if a profile does not compile, or if an unconfined process could not kill the
// containers under it. Unless report is nil, Compile calls it once for each profile that it compiles, one call at a
// time.
func Compile(ctx context.Context, p *policy.Config, c Compiler, from *Generation, report func(Progress)) (*Compilation, error) {
	keyer, ok := c.(Keyer)
	if !ok {
		return compile(ctx, p, c, nil, report)
	}
	compiled, err := compile(ctx, p, c, newReusable(keyer, from), report)
	if err == nil {
		for i, pr := range p.Profiles {
			compiled.said[i] = keyer.Said(pr.Name)
		}
	}
	return compiled, err
}

// reusable has the profiles of a generation that need not be compiled again.
type reusable struct {
	keyer Keyer
	from  *Generation // nil where there is none
	made  map[string]ManifestSource
}

func newReusable(c Keyer, from *Generation) *reusable {
	k := &reusable{keyer: c, from: from, made: make(map[string]ManifestSource)}
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

// find returns a profile's key, which is nil if there is none. ok reports whether the generation has a profile that was
// compiled from the same inputs, and before is that profile.
func (k *reusable) find(p *policy.Profile) (key []byte, before policy.Profile, ok bool) {
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

// blob returns the blob of a profile that find has found. ok is false if the blob is missing or damaged. keep leaves out the
// blob's data if the file is unchanged since an earlier apply has read it.
func (k *reusable) blob(before policy.Profile) (blob profile.Blob, ok bool) {
	blob.Profiles = before.Compiled
	path := filepath.Join(k.from.store.Dir, blobPath(before.Blob))
	if _, ok := k.from.Seen().Unchanged(path); !ok {
		now := time.Now()
		data, stamp, err := k.from.store.readBlobStamped(before.Blob)
		if err != nil {
			return profile.Blob{}, false
		}
		blob.Data = data
		k.from.Seen().Add(path, stamp, now, "")
	}
	k.keyer.Reused(before.Name, k.made[before.Name].Said)
	return blob, true
}

// madeOf returns what a manifest has in Made: a hash, in hexadecimal, of a key and the blob that was compiled from it.
// It is empty if there is no key.
func madeOf(key []byte, blob [sha256.Size]byte) string {
	if key == nil {
		return ""
	}
	sum := sha256.Sum256(append(slices.Clip(key), blob[:]...))
	return hex.EncodeToString(sum[:])
}

// compile is Compile with what an earlier generation has, or nil.
func compile(ctx context.Context, p *policy.Config, c Compiler, from *reusable, report func(Progress)) (*Compilation, error) {
	n := len(p.Profiles)
	compiled := *p
	compiled.Profiles = slices.Clone(p.Profiles)
	all := &Compilation{Policy: &compiled, reused: make([]bool, n), blobs: make([]profile.Blob, n), keys: make([][]byte, n),
		said: make([][]string, n)}
	before := make([]policy.Profile, n)
	if from != nil {
		all.source = from.from
		each(ctx, n, func(i int) { all.keys[i], before[i], all.reused[i] = from.find(&p.Profiles[i]) })
	}
	// What is to be compiled comes first: while the parser works, what is reused is read.
	order := make([]int, 0, n)
	for _, reused := range []bool{false, true} {
		for i, is := range all.reused {
			if is == reused {
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
			if all.blobs[i], all.reused[i] = from.blob(before[i]); all.reused[i] {
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
