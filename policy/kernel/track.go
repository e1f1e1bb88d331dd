package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel/internal/rawblob"
)

// Revisions waits for changes of the revision (see Kernel.Revision), without looking again and again.
type Revisions struct {
	file *os.File
	buf  [32]byte
}

// Revisions opens the file that tells of changes. Each open file counts for itself what it has told (ns_revision_open,
// security/apparmor/apparmorfs.c), so the first Wait returns at once if a profile was ever loaded.
func (k *Kernel) Revisions() (*Revisions, error) {
	path := k.FS + "/policy/revision"
	fd, err := openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, k.explain(&os.PathError{Op: "open", Path: path, Err: err})
	}
	return &Revisions{file: os.NewFile(uintptr(fd), path)}, nil
}

// Close ends a Wait.
func (r *Revisions) Close() error { return r.file.Close() }

// Wait waits until the revision is another one than Wait has returned, and returns it. When ctx ends, it returns
// context.Cause(ctx). The read waits in the kernel, and the kernel wakes it for each change (ns_revision_poll).
func (r *Revisions) Wait(ctx context.Context) (int64, error) {
	if err := r.file.SetReadDeadline(time.Time{}); err != nil {
		return 0, fmt.Errorf("%s cannot be waited for: %w", r.file.Name(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = r.file.SetReadDeadline(time.Now()) })
	defer stop()
	n, err := r.file.Read(r.buf[:])
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case err == io.EOF:
		return 0, fmt.Errorf("%s has ended", r.file.Name())
	case err != nil:
		return 0, err
	}
	text := bytes.TrimSuffix(r.buf[:n], []byte("\n"))
	revision, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a revision of AppArmor's policy", r.file.Name(), text)
	}
	return revision, nil
}

// Track remembers of profiles how their directories were when they were checked, so that of thousands of profiles only those
// are checked again that were changed: a stat(2) of each tells. The kernel sets the time of a directory when its profile is
// replaced (see since), and makes another directory for a profile that is loaded anew. A child that is added raises the
// number of links of the directory that it is in.
//
// The times are those of the kernel's tick. What was changed within a tick of a check could be changed again without a
// trace, and is checked again the next time. So is what has a time in the future, as after the clock was set back.
type Track struct {
	k     *Kernel
	of    map[string]tracked
	same  map[string]bool     // what Unchanged has returned last
	names map[string][]string // of directories below policy/profiles, by what is before their number; nil if not read
}

type tracked struct {
	dir   string
	marks []mark
}

// mark is how a directory was.
type mark struct {
	path  string // below policy/profiles
	ino   uint64
	mtime int64
	links uint64
}

// settled is how long a directory must not have changed for its time to tell. No kernel has ticks longer than 10 ms.
const settled = 50 * time.Millisecond

// Track returns a Track that remembers nothing.
func (k *Kernel) Track() *Track { return &Track{k: k, of: make(map[string]tracked)} }

// Begin begins a round of looks.
func (t *Track) Begin() { t.names = nil }

// Unchanged returns, of some profiles, those that are as they were at the last Check of them that returned Matches. The
// directory that has them is looked up once for all. The map is used again by the next call.
func (t *Track) Unchanged(names func(yield func(string) bool)) (same map[string]bool) {
	if t.same == nil {
		t.same = make(map[string]bool)
	}
	clear(t.same)
	same = t.same
	dir, err := openat(unix.AT_FDCWD, t.k.profiles(), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return same // each is checked, and that says why
	}
	defer unix.Close(dir)
	for name := range names {
		was, ok := t.of[name]
		for _, m := range was.marks {
			now, err := markAt(dir, m.path)
			ok = ok && err == nil && now == m
		}
		if ok {
			same[name] = true
		}
	}
	return same
}

// Bounds of what LoadedBetween looks at: loads, and bytes of one.
const (
	mostLoads = 32
	mostBytes = 256 << 10
)

// LoadedBetween returns the names of the profiles by whose loads the revision has come from one number to another. all is false if
// something else may have happened, as a removal: then each profile is to be looked at. So that of thousands of profiles those that
// somebody has loaded are found by a few reads.
//
// A load that raises the revision from N is kept in the directory N of policy/raw_data (__aa_fs_create_rawdata,
// security/apparmor/apparmorfs.c). It is not there if its profiles have been replaced since, if the kernel had the same bytes from an
// earlier load, and if it keeps none. A removal never is. One that has failed may be there, too, and raises nothing: in its file
// revision is not N+1, which the kernel writes there once all is loaded (__aa_loaddata_update, the same file).
func (k *Kernel) LoadedBetween(from, to int64) (names []string, all bool) {
	if from > to || to-from > mostLoads {
		return nil, false
	}
	for revision := from; revision < to; revision++ {
		at := strconv.FormatInt(revision, 10)
		raised, err := os.ReadFile(k.FS + "/policy/raw_data/" + at + "/revision")
		if err != nil || strings.TrimSpace(string(raised)) != strconv.FormatInt(revision+1, 10) {
			return nil, false
		}
		blob, err := k.rawUpTo(at, mostBytes)
		if err != nil {
			return nil, false
		}
		profiles, err := rawblob.Walk(blob)
		if err != nil {
			return nil, false
		}
		for _, p := range profiles {
			name, _, _ := strings.Cut(p.Name, childSeparator)
			names = append(names, name)
		}
	}
	return names, true
}

// Gone returns the profiles that are not any more in the directory where they were at their last Check.
func (t *Track) Gone() (gone map[string]bool, err error) {
	if err := t.readNames(); err != nil {
		return nil, t.k.explain(err)
	}
	for name, was := range t.of {
		at := strings.LastIndexByte(was.dir, '.')
		if at > 0 && !slices.Contains(t.names[was.dir[:at]], was.dir) {
			if gone == nil {
				gone = make(map[string]bool)
			}
			gone[name] = true
		}
	}
	return gone, nil
}

// Forget forgets a profile.
func (t *Track) Forget(name string) { delete(t.of, name) }

// Loaded remembers where a profile is that Ensure has loaded. It does not count as unchanged before the next Check.
func (t *Track) Loaded(l Loaded) { t.of[l.Name] = tracked{l.Dir, []mark{{}}} }

// Check is Kernel.Check. It lists the kernel's profiles at most once in a round, whatever the number of those that are
// missing.
func (t *Track) Check(p Profile) (Found, error) {
	was := t.of[p.Name]
	dir := was.dir
	if dir == "" || !t.there(dir, p.Name) {
		var err error
		if dir, err = t.find(p.Name); err != nil {
			return Found{}, t.k.explain(err)
		}
		if dir == "" {
			return Found{}, nil // what was known stays, for Gone
		}
	}
	now := time.Now()
	marks, err := t.k.marks(dir, p)
	if err != nil {
		return Found{}, t.k.explain(err)
	}
	found, err := t.k.CheckIn(dir, p)
	if err != nil || found.Status == Missing {
		return found, err
	}
	if found.Status != Matches || !old(marks, now) || found.Dir != dir {
		marks = []mark{{}} // which nothing is the same as
	}
	t.of[p.Name] = tracked{found.Dir, marks}
	return found, nil
}

func old(marks []mark, now time.Time) bool {
	for _, m := range marks {
		if m.mtime > now.Add(-settled).UnixNano() {
			return false
		}
	}
	return true
}

func (t *Track) there(dir, name string) bool {
	is, err := hasName(t.k.profiles()+"/"+dir, name)
	return is && err == nil
}

// readNames lists the kernel's profiles, once in a round.
func (t *Track) readNames() error {
	if t.names != nil {
		return nil
	}
	names := make(map[string][]string)
	err := list(t.k.profiles(), func(dir string) (bool, error) {
		if at := strings.LastIndexByte(dir, '.'); at > 0 {
			names[dir[:at]] = append(names[dir[:at]], dir)
		}
		return true, nil
	})
	if err == nil {
		t.names = names
	}
	return err
}

// find returns the directory of a profile; "" if it is not loaded.
func (t *Track) find(name string) (string, error) {
	if err := t.readNames(); err != nil {
		return "", err
	}
	mangled := mangle(name)
	for _, dir := range t.names[mangled] {
		if isDirOf(dir, mangled) && t.there(dir, name) {
			return dir, nil
		}
	}
	return "", nil
}

// marks returns how the directories of a profile and of its children are, and those that have children.
func (k *Kernel) marks(dir string, p Profile) (all []mark, err error) {
	add := func(path string) error {
		m, err := k.mark(path)
		if err == nil {
			all = append(all, m)
		}
		if err == nil || errors.Is(err, os.ErrNotExist) { // removed just now, which the check finds out
			return nil
		}
		return err
	}
	for i := range p.Compiled {
		path := k.profiles() + "/" + dir
		if i > 0 {
			if path, err = k.child(path, p.Compiled[i].Name[len(p.Name)+len(childSeparator):]); err != nil || path == "" {
				return all, err
			}
		}
		below := path[len(k.profiles())+1:]
		if err := add(below); err != nil {
			return nil, err
		}
		if len(p.Compiled) > 1 || len(all) > 0 && all[len(all)-1].links > 2 {
			if err := add(below + "/profiles"); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// mark returns how a directory below policy/profiles is.
func (k *Kernel) mark(below string) (mark, error) {
	path := k.profiles() + "/" + below
	m, err := markAt(unix.AT_FDCWD, path)
	if err != nil {
		return mark{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	m.path = below
	return m, nil
}

func markAt(dir int, path string) (mark, error) {
	var st unix.Stat_t
	for {
		switch err := unix.Fstatat(dir, path, &st, unix.AT_SYMLINK_NOFOLLOW); err {
		case unix.EINTR:
		case nil:
			return mark{path, st.Ino, st.Mtim.Nano(), uint64(st.Nlink)}, nil
		default:
			return mark{}, err
		}
	}
}

// Had reports whether the kernel had our content of p since the boot, as far as we know: a start or a load has seen it, in dir, a directory
// below policy/profiles. What Remove has removed the kernel does not count as having had.
func (k *Kernel) Had(p Profile) (dir string, had bool) {
	s, err := openState(k.State)
	if err != nil || s == nil {
		return "", false
	}
	defer s.close()
	boot, err := k.boot()
	if err != nil {
		return "", false
	}
	known, ok := s.verdict(p.Name)
	if !ok || known.boot != boot || known.content != p.content() {
		return "", false
	}
	return known.dir, true
}

// RemovedByUs reports whether it was Remove that removed a profile from a directory below policy/profiles. It waits for a
// Remove that goes on.
func (k *Kernel) RemovedByUs(ctx context.Context, name, dir string) (bool, error) {
	s, err := openState(k.State)
	if err != nil || s == nil {
		return false, err
	}
	defer s.close()
	release, err := s.lock(ctx, k.lockWait)
	if err != nil {
		return false, err
	}
	defer release()
	boot, err := k.boot()
	if err != nil {
		return false, err
	}
	var buf [1024]byte
	text, err := readOnceAt(s.fd, fileOf("removed.", name), unix.O_NOFOLLOW|unix.O_NONBLOCK, buf[:])
	return err == nil && string(text) == boot+"\n"+name+"\n"+dir+"\n", nil
}
