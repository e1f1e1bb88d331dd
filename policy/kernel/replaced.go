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
// It matters because a process under a stack of profiles takes over only one replacement, the first of any part. The kernel
// keeps stacks in a set, and finds there those that a replacement makes outdated. It makes a new stack for an outdated one.
// But it puts the new one into the set only if it is built with CONFIG_SECURITY_APPARMOR_DEBUG_ASSERTS, which distributions
// leave out: the call stands in an assertion (AA_BUG(!__label_replace(...)) in __label_insert, security/apparmor/label.c;
// seen on 6.1, 6.12 and 7.2). So no later replacement finds the new stack, and neither does anything else from outside of
// the process. A single profile takes over every replacement, and so does a program that is executed later.
type Steps struct {
	Least int  // at least so often: 0, 1, or 2 for more than 1
	Exact bool // and not more often; false if Least is 2
}

// Add returns how often two profiles were replaced together.
func (s Steps) Add(t Steps) Steps {
	least := min(s.Least+t.Least, 2)
	return Steps{Least: least, Exact: s.Exact && t.Exact && least < 2}
}

// Replaced returns how often anybody has replaced a profile since it was as l says. If l.Since is 0, before is a time at
// which the profile was loaded already.
//
// The kernel sets the time of a profile's directory when it replaces the profile, and counts nothing. So if somebody else
// replaced it, that was at least once. We record our last replacement with the directory's time before it. If that is
// l.Since, it was the only replacement.
//
// This relies on the machine's clock, of which the kernel takes the tick (some milliseconds). Two replacements within one
// tick have the same time. So Replaced does not see somebody else's replacement right after ours. If l.Since is 0, it
// compares which time is later. Then it misses a replacement if the clock was set back between before and the replacement.
//
// The error wraps ErrNotLoaded if the profile is no longer there.
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

// since returns when the profile in a directory below policy/profiles was loaded or last replaced: see Loaded.Since. The
// error wraps fs.ErrNotExist if there is no such directory.
//
// The kernel sets the directory's time with every replacement (__aafs_profile_migrate_dents,
// security/apparmor/apparmorfs.c). It does not set it if the profile is there already ("same as current profile, skipping",
// in aa_replace_profiles). The link raw_data and its revision do change then.
func (k *Kernel) since(dir string) (int64, error) {
	var stat unix.Stat_t
	path := k.profiles() + "/" + dir
	if err := unix.Stat(path, &stat); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return stat.Mtim.Nano(), nil
}

const replacedFormat = "oci-apparmor replacement 1"

// setReplaced records that we replaced a profile once: the content that was there since from by that which is there since
// to. It overwrites the record of an earlier replacement, because Replaced needs only the last one.
func (s *state) setReplaced(name, boot, dir string, from, to int64) error {
	return s.write(fileOf("replaced.", name), fmt.Sprintf("%s\n%s\n%s\n%s\n%d\n%d\n", replacedFormat, boot, name, dir, from, to))
}

// replaced returns since when the content had been there that we replaced by the content which is there since to. ok is
// false if somebody else replaced it, or if there is no record.
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
