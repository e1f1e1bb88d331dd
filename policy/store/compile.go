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
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
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

	index func() ([]byte, error) // Policy.Encode, called once
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

// key returns a profile's key, which is nil if there is none.
func (k *reusable) key(p *policy.Profile) []byte {
	if sum, ok := k.keyer.Key(p); ok {
		return sum[:]
	}
	return nil
}

// find returns a profile's key, which is nil if there is none. ok reports whether the generation has a profile that was
// compiled from the same inputs, and before is that profile.
func (k *reusable) find(p *policy.Profile) (key []byte, before policy.Profile, ok bool) {
	if key = k.key(p); key == nil {
		return nil, before, false
	}
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
	if _, ok := k.from.Seen().Unchanged(seen.Blob, path); !ok {
		now := time.Now()
		data, stamp, err := k.from.store.readBlobStamped(before.Blob)
		if err != nil {
			return profile.Blob{}, false
		}
		blob.Data = data
		k.from.Seen().Add(seen.Blob, path, stamp, now, "")
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
	r := newRun(p, c, from, report)
	var ahead, finding sync.WaitGroup
	first := r.likelyChanged()
	for _, i := range first {
		finding.Add(1)
		ahead.Go(func() {
			reused := r.find(i)
			finding.Done()
			if !reused {
				r.compile(ctx, i)
			}
		})
	}
	each(ctx, n, func(i int) {
		if !slices.Contains(first, i) {
			r.find(i)
		}
	})
	finding.Wait()
	r.todo.Store(int32(n - count(r.all.reused)))
	close(r.known)
	// What is to be compiled comes first: while the parser works, what is reused is read.
	order := make([]int, 0, n)
	for _, reused := range []bool{false, true} {
		for i, is := range r.all.reused {
			if is == reused && (reused || !slices.Contains(first, i)) {
				order = append(order, i)
			}
		}
	}
	each(ctx, len(order), func(at int) {
		if i := order[at]; !r.reuse(i) {
			r.compile(ctx, i)
		}
	})
	ahead.Wait()
	return r.result(ctx)
}

// run is one call of compile. Its methods take the place of a profile, and may be called concurrently for different ones.
type run struct {
	all      *Compilation
	compiler Compiler
	from     *reusable        // nil where there is none
	before   []policy.Profile // of from, by profile
	failed   []error          // by profile

	known chan struct{} // is closed once todo is known
	todo  atomic.Int32  // how many profiles are to be compiled
	turn  chan struct{} // to compile, as many at a time as there are processors

	mu     sync.Mutex
	done   int
	report func(Progress) // may be nil
}

func newRun(p *policy.Config, c Compiler, from *reusable, report func(Progress)) *run {
	n := len(p.Profiles)
	compiled := *p
	compiled.Profiles = slices.Clone(p.Profiles)
	r := &run{
		all: &Compilation{Policy: &compiled, reused: make([]bool, n), blobs: make([]profile.Blob, n), keys: make([][]byte, n),
			said: make([][]string, n)},
		compiler: c, from: from, before: make([]policy.Profile, n), failed: make([]error, n),
		known: make(chan struct{}), turn: make(chan struct{}, runtime.GOMAXPROCS(0)), report: report,
	}
	if from != nil {
		r.all.source = from.from
	}
	return r
}

// likelyChanged returns the profiles whose text was read although those of others were not. It returns none if they are
// many: then all keys are computed first.
func (r *run) likelyChanged() (list []int) {
	unread := false
	for i, pr := range r.all.Policy.Profiles {
		unread = unread || pr.Unread != nil
		if pr.Unread == nil && pr.Template == "" {
			list = append(list, i)
		}
	}
	if !unread || len(list) > cap(r.turn) {
		return nil
	}
	return list
}

// find computes a profile's key, and returns whether it is reused.
func (r *run) find(i int) bool {
	if r.from != nil {
		r.all.keys[i], r.before[i], r.all.reused[i] = r.from.find(&r.all.Policy.Profiles[i])
	}
	return r.all.reused[i]
}

// reuse takes a profile's blob from the earlier generation. It returns false if the profile is to be compiled.
func (r *run) reuse(i int) bool {
	if !r.all.reused[i] {
		return false
	}
	// No checkStop: the same program did that to the same bytes, or the key would be another.
	if r.all.blobs[i], r.all.reused[i] = r.from.blob(r.before[i]); !r.all.reused[i] {
		r.todo.Add(1)
		return false
	}
	pr := &r.all.Policy.Profiles[i]
	pr.Compiled, pr.Blob = r.before[i].Compiled, r.before[i].Blob
	return true
}

// compile compiles and judges a profile, and reports that.
func (r *run) compile(ctx context.Context, i int) {
	r.turn <- struct{}{}
	start := time.Now()
	pr := &r.all.Policy.Profiles[i]
	if pr.Unread != nil {
		r.failed[i] = pr.ReadText()
		if r.from != nil {
			r.all.keys[i] = r.from.key(pr) // of what is now read
		}
	}
	if r.failed[i] == nil {
		r.all.blobs[i], r.failed[i] = r.compiler.Compile(ctx, pr.Name, pr.Mode, pr.Source, pr.Text)
	}
	if r.failed[i] == nil {
		r.failed[i] = checkStop(pr, r.all.blobs[i], r.compiler)
	}
	pr.Compiled, pr.Blob = r.all.blobs[i].Profiles, r.all.blobs[i].SHA256()
	took := time.Since(start)
	<-r.turn

	<-r.known
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	if r.report != nil {
		r.report(Progress{Name: pr.Name, Done: r.done, Total: int(r.todo.Load()), Took: took, Err: r.failed[i]})
	}
}

func (r *run) result(ctx context.Context) (*Compilation, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("compiling profiles: %w", context.Cause(ctx))
	}
	failed := slices.DeleteFunc(r.failed, func(err error) bool { return err == nil })
	if len(failed) > 0 {
		return nil, &CompileError{failed}
	}
	r.all.Reused = count(r.all.reused)
	r.all.index = sync.OnceValues(r.all.Policy.Encode)
	go r.all.index() // the caller has other things to do before it needs that
	return r.all, nil
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
