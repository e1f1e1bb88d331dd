package profile

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/internal/element"
)

// Parsers of AppArmor 4.1.0 (Debian 13) order what they merge into a table's entry by where it is in memory. So a profile
// with enough rules on the same paths, as one with children often is, becomes other bytes at each compilation, because
// Linux places a program's memory at random. Without that a text becomes the same bytes each time, on this node; another
// text with the same rules, or another node, may still get others.

// addrNoRandomize is ADDR_NO_RANDOMIZE of <sys/personality.h>.
const addrNoRandomize = 0x0040000

// withoutRandomness calls start, which starts a program, so that Linux places the program's memory at the same
// addresses each time. If the kernel refuses that (as under Docker's seccomp filter), the program starts as usual.
func withoutRandomness(start func() error) error {
	runtime.LockOSThread() // the personality is the thread's, and what it forks has it
	defer runtime.UnlockOSThread()
	const ask = 0xffffffff
	before, _, errno := unix.Syscall(unix.SYS_PERSONALITY, ask, 0, 0)
	if errno == 0 {
		if _, _, errno := unix.Syscall(unix.SYS_PERSONALITY, before|addrNoRandomize, 0, 0); errno == 0 {
			defer unix.Syscall(unix.SYS_PERSONALITY, before, 0, 0)
		}
	}
	return start()
}

// tries is how often Outcomes compiles a text. If the parser writes one of two results with equal probability, all
// tries have the same result once in 32,768 times.
const tries = 16

// Outcomes compiles a text repeatedly, as AsLoaded does but with the parser's memory laid out differently each time, to
// learn whether the result varies. The kernel places the memory at random, and where it does not (kernel.randomize_va_space
// is 0, or the kernel runs in user mode) the C library still hands it out in another order: it keeps another number of
// freed pieces for the next call (glibc.malloc.tcache_count of glibc's tunables).
//
// Outcomes stops when is returns true for a result, when two results differ, or after a fixed number of tries (16). found
// reports whether is returned true. all has each result once.
func (c *Compiler) Outcomes(ctx context.Context, text []byte, is func(Blob) bool) (found bool, all []Blob, err error) {
	other := *c
	for n := range tries {
		other.layout = fmt.Sprintf("GLIBC_TUNABLES=glibc.malloc.tcache_count=%d", n)
		b, err := other.AsLoaded(ctx, text)
		if err != nil {
			return false, nil, err
		}
		if is(b) {
			return true, append(all, b), nil
		}
		if !slices.ContainsFunc(all, func(known Blob) bool { return bytes.Equal(known.Data, b.Data) }) {
			all = append(all, b)
		}
		if len(all) > 1 {
			break
		}
	}
	return false, all, nil
}

// likeButForTables reports whether two blobs differ only in the tables that hold the rules on paths and the like. The
// blobs then have the same profiles in the same modes, with the same flags, capabilities, limits, networks and targets.
func likeButForTables(a, b []byte) bool {
	x, y := element.Reader{Data: a}, element.Reader{Data: b}
	for x.Pos < len(a) && y.Pos < len(b) {
		e, err1 := x.Next()
		f, err2 := y.Next()
		if err1 != nil || err2 != nil || e.Code != f.Code || !bytes.Equal(e.Name, f.Name) {
			return false
		}
		if e.Is("perms", element.Struct) {
			if x.Skip() != nil || y.Skip() != nil {
				return false
			}
			continue
		}
		if e.Code != element.Blob && !bytes.Equal(e.Value, f.Value) {
			return false
		}
	}
	return x.Pos == len(a) && y.Pos == len(b)
}
