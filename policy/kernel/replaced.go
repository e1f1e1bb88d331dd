package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Steps is how often a profile was replaced.
//
// It matters because a process under a stack of profiles follows only one replacement, the first of any part. The kernel
// keeps stacks in a set, in which it finds those that a replacement outdates. The one that it makes in place of an outdated
// one never gets into that set, unless the kernel is built with CONFIG_SECURITY_APPARMOR_DEBUG_ASSERTS, which distributions
// leave out: the call that puts it there stands in an assertion (AA_BUG(!__label_replace(...)) in __label_insert,
// security/apparmor/label.c; seen on 6.1, 6.12 and 7.2). So no later replacement finds it, and neither does anything else
// from outside of the process. A single profile follows every replacement, and so does a program that is executed later.
type Steps struct {
	Least int  // it was replaced at least so often: 0, 1, or 2 for all that is more than 1
	Exact bool // and not more often; of 2 it is false
}

// Add gives how often one of two profiles was replaced.
func (s Steps) Add(t Steps) Steps {
	least := min(s.Least+t.Least, 2)
	return Steps{Least: least, Exact: s.Exact && t.Exact && least < 2}
}

// Replaced tells how often a profile was replaced since it was as l says, by anyone. Where l.Since is 0, before is a time
// at which it was loaded already.
//
// The kernel dates the directory of a profile when it replaces it, and counts nothing. So what was replaced by somebody
// else was so at least once. Of our own replacements the last is written down with the date before it: where that is l's,
// it was the only one.
//
// This relies on the machine's clock, of which the kernel takes the tick (some milliseconds). Two replacements within one tick
// have one date: then somebody else's right after ours is not seen. Where l.Since is 0, dates are compared by order and not
// for being the same, and a clock that was set back between before and a replacement hides that.
//
// The error wraps ErrNotLoaded where there is no such profile any more.
func (k *Kernel) Replaced(l Loaded, before time.Time) (Steps, error) {
	dir := l.Dir
	if dir == "" {
		var err error
		if dir, err = k.locate(k.profiles(), l.Name, ""); err != nil {
			return Steps{}, k.explain(err)
		}
	}
	if !isDirOf(dir, mangle(l.Name)) {
		return Steps{}, fmt.Errorf("profile %s: %w", oneline.Quote(l.Name), ErrNotLoaded)
	}
	now, err := k.since(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Steps{}, fmt.Errorf("profile %s: %w", oneline.Quote(l.Name), ErrNotLoaded)
	}
	if err != nil {
		return Steps{}, k.explain(err)
	}
	if l.Since == 0 {
		return Steps{Least: b2i(now > before.UnixNano()), Exact: now <= before.UnixNano()}, nil
	}
	if now == l.Since {
		return Steps{Exact: true}, nil
	}
	s, err := openState(k.State)
	if err != nil {
		return Steps{}, err
	}
	defer s.close()
	boot, err := k.boot()
	if err != nil {
		return Steps{}, err
	}
	switch from, ok := s.replaced(l.Name, boot, dir, now); {
	case !ok:
		return Steps{Least: 1}, nil
	case from == l.Since:
		return Steps{Least: 1, Exact: true}, nil
	}
	return Steps{Least: 2}, nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// since tells when the profile in a directory below policy/profiles was loaded, or replaced, last: see Loaded.Since. The
// error wraps fs.ErrNotExist where there is no such directory.
//
// The kernel sets the time of the directory with every replacement (__aafs_profile_migrate_dents,
// security/apparmor/apparmorfs.c), and not where what is loaded is there already ("same as current profile, skipping", in
// aa_replace_profiles): other than the link raw_data and the revision behind it, which come again with the same bytes.
func (k *Kernel) since(dir string) (int64, error) {
	var stat unix.Stat_t
	path := k.profiles() + "/" + dir
	if err := unix.Stat(path, &stat); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return stat.Mtim.Nano(), nil
}

const replacedFormat = "oci-apparmor replacement 1"

// setReplaced writes down that a profile was replaced by us, once, from the one that was there since from. It overwrites
// what is known of the replacement before: who goes back from the present one needs no more than one step.
func (s *state) setReplaced(name, boot, dir string, from, to int64) error {
	return s.write(fileOf("replaced.", name), fmt.Sprintf("%s\n%s\n%s\n%s\n%d\n%d\n", replacedFormat, boot, name, dir, from, to))
}

// replaced tells since when the profile had been there that we replaced by the one that is there since to. ok is false
// where somebody else replaced it, or nothing is known of that.
func (s *state) replaced(name, boot, dir string, to int64) (from int64, ok bool) {
	if s == nil {
		return 0, false
	}
	var buf [1024]byte
	text, err := readOnceAt(s.fd, fileOf("replaced.", name), unix.O_NOFOLLOW|unix.O_NONBLOCK, buf[:])
	if err != nil || len(text) == len(buf) {
		return 0, false
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) != 7 || lines[0] != replacedFormat || lines[1] != boot || lines[2] != name || lines[3] != dir ||
		lines[5] != strconv.FormatInt(to, 10) || lines[6] != "" {
		return 0, false
	}
	from, err = strconv.ParseInt(lines[4], 10, 64)
	return from, err == nil
}
