package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// state is the open directory Kernel.State. It has these files for each profile's name:
//
//	verdict.HASH   result of the last check: the boot, the content, the revision before it, the directory and its time
//	owned.HASH     that we loaded a profile of that name in this boot
//	replaced.HASH  our last replacement: the boot, the directory and its times before and after
//	removed.HASH   our last removal: the boot, the name and the directory
//
// HASH is a hash of the name, so that no name becomes a path. A process that may not use the directory has a nil state,
// which has no files and writes none.
type state struct {
	path string
	fd   int
}

// openState opens the directory, and makes it if it is missing. It refuses a directory that somebody else could have
// written to: whoever writes verdicts decides what counts as verified. It returns nil if this process has no right to the
// directory, as under a rootless engine. Such a process can still check content by its hash.
func openState(path string) (*state, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW
	fd, err := openat(unix.AT_FDCWD, path, flags, 0)
	if err == unix.ENOENT {
		if err = unix.Mkdir(path, 0o700); err == nil || err == unix.EEXIST {
			fd, err = openat(unix.AT_FDCWD, path, flags, 0)
		}
	}
	switch {
	case err == unix.EACCES || err == unix.EPERM:
		return nil, nil
	case err == unix.ENOTDIR || err == unix.ELOOP:
		return nil, fmt.Errorf("state directory %s is a symbolic link or no directory: only root's own directory is trusted"+
			" with what is verified; find out who made it, then remove it", path)
	case err != nil:
		return nil, fmt.Errorf("state directory: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	s := &state{path: path, fd: fd}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		s.close()
		return nil, fmt.Errorf("state directory: %w", &os.PathError{Op: "stat", Path: path, Err: err})
	}
	if err := safefile.Trusted(path, st.Uid, st.Mode); err != nil {
		s.close()
		return nil, fmt.Errorf("state directory %s is trusted with what is verified: %w, or remove it", path, err)
	}
	return s, nil
}

func (s *state) close() {
	if s != nil {
		unix.Close(s.fd)
	}
}

// verdict is the result of a check. Its revision was read before the check, so the check saw that revision or a later one.
// If the kernel's revision is still the same, the content is, too.
type verdict struct {
	boot     string
	name     string
	content  string // Profile.content
	revision int64
	dir      string // directory below policy/profiles
	since    int64  // see Loaded.Since; read after the check
}

const verdictFormat = "oci-apparmor verdict 2"

// verdict returns the last result for a profile. A file that is no whole verdict of our format counts as none.
func (s *state) verdict(name string) (verdict, bool) {
	if s == nil {
		return verdict{}, false
	}
	var buf [1024]byte
	text, err := readOnceAt(s.fd, fileOf("verdict.", name), unix.O_NOFOLLOW|unix.O_NONBLOCK, buf[:])
	if err != nil || len(text) == len(buf) {
		return verdict{}, false
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) != 8 || lines[0] != verdictFormat || lines[2] != name || lines[7] != "" {
		return verdict{}, false
	}
	revision, err1 := strconv.ParseInt(lines[4], 10, 64)
	since, err2 := strconv.ParseInt(lines[6], 10, 64)
	if err1 != nil || err2 != nil {
		return verdict{}, false
	}
	return verdict{boot: lines[1], name: name, content: lines[3], revision: revision, dir: lines[5], since: since}, true
}

func (s *state) setVerdict(v verdict) error {
	return s.write(fileOf("verdict.", v.name), fmt.Sprintf("%s\n%s\n%s\n%s\n%d\n%s\n%d\n",
		verdictFormat, v.boot, v.name, v.content, v.revision, v.dir, v.since))
}

// owned reports whether we loaded the profile that is in that directory below policy/profiles, in this boot. A profile that
// was removed and loaded by somebody else is in another directory.
func (s *state) owned(name, boot, dir string) bool {
	if s == nil {
		return false
	}
	var buf [1024]byte
	text, err := readOnceAt(s.fd, fileOf("owned.", name), unix.O_NOFOLLOW|unix.O_NONBLOCK, buf[:])
	return err == nil && string(text) == boot+"\n"+name+"\n"+dir+"\n"
}

// ownedIn returns the directory below policy/profiles in which we loaded a profile, in this boot or in an earlier one;
// "" where we did not. owned says whether it counts.
func (s *state) ownedIn(name string) string {
	var buf [1024]byte
	text, err := readOnceAt(s.fd, fileOf("owned.", name), unix.O_NOFOLLOW|unix.O_NONBLOCK, buf[:])
	if err != nil {
		return ""
	}
	lines := strings.Split(string(text), "\n")
	return lines[max(len(lines)-2, 0)]
}

// setOwned records that a profile is ours. It must be called after the kernel took the profile: a load that failed owns
// nothing.
func (s *state) setOwned(name, boot, dir string) error {
	return s.write(fileOf("owned.", name), boot+"\n"+name+"\n"+dir+"\n")
}

// fileOf returns the name of a profile's file.
func fileOf(kind, name string) string {
	sum := sha256.Sum256([]byte(name))
	return kind + hex.EncodeToString(sum[:16])
}

// write replaces a whole file, so that readers see the old one or the new one.
func (s *state) write(name, text string) error {
	if s == nil {
		return nil
	}
	if err := safefile.Replace(name, []byte(text), safefile.Options{Dir: s.fd}); err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	return nil
}
