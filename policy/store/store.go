// Package store keeps the applied policy on disk: numbered generations, of which one is in force, and the compiled
// profiles that they use, named by their content.
//
//	DIR/current                     symbolic link to generations/N, the one in force
//	DIR/generations/N/index         the policy as policy.OpenIndex reads it
//	DIR/generations/N/manifest.json how it came to be, for people (Manifest)
//	DIR/generations/N/texts/NAME    a profile's text for AppArmor's service, which generation N+1 lacks or changes
//	DIR/blobs/HEX                   a compiled profile text; HEX is the sha256 of its bytes
//	DIR/seen                        which files the last apply has read, as seen.Parse reads it; may be missing
//	DIR/lock                        the file that a process locks while it changes any of this
//	DIR/recordings                  belongs to package install/recorder
//	DIR/texts                       belongs to package handloaded
//	DIR/wiring                      belongs to package install/wire
//
// Directories have mode 0700, files 0600. A container start reads (Current, Generation.Blob) and takes no lock;
// Store.Apply writes. Files and directories whose names begin with a dot are unfinished, and nothing reads them.
package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
)

// Dir is the store's directory on a node.
const Dir = "/var/lib/oci-apparmor"

// ErrNone is the error of Current if no generation is in force. Usually no policy was ever applied on this machine.
var ErrNone = errors.New("none was applied on this machine, or the directory is gone: run oci-apparmor policy apply")

// ErrLost is the error of Current if no generation is in force, and the store has some: a policy was applied earlier.
// Such an error is ErrNone as well (errors.Is).
var ErrLost = errors.New("no generation is in force")

// lostLink is ErrNone with other words, for a store with generations of which none is in force: the link was removed,
// or the first apply was cut off.
type lostLink struct{}

func (lostLink) Error() string {
	return "none of its generations is in force, because the link current is gone: run oci-apparmor policy apply"
}

func (lostLink) Is(target error) bool { return target == ErrNone || target == ErrLost }

// Bounds on what is read, in bytes.
const (
	maxIndex    = 256 << 20
	maxBlob     = 64 << 20 // as profile.MaxBlob
	maxManifest = 64 << 20
)

// A Store names the directory in which a store is.
type Store struct{ Dir string }

// A Generation is one applied policy. A later one has a higher Number.
type Generation struct {
	Number uint64
	Index  policy.Index

	store Store
	index []byte // what Index was made of

	manifest struct { // is read once, where it is asked for
		sync.Once
		Manifest
		error
	}
	seen struct { // as manifest
		sync.Once
		*seen.Files
	}
}

// Current returns the generation in force. The error is ErrNone (errors.Is) if no policy is in force. Any other error
// means that there is a policy that cannot be read or trusted: no container may start then.
func (s Store) Current() (*Generation, error) {
	number, index, err := s.readCurrent()
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNone) {
		// Applies have removed the generation since we read the link. There cannot be enough of them to do it twice.
		if number, index, err = s.readCurrent(); errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNone) {
			err = fmt.Errorf("%w: run oci-apparmor policy apply to write it anew", err)
		}
	}
	if err == ErrNone && s.hasGenerations() {
		err = lostLink{}
	}
	if err != nil {
		return nil, fmt.Errorf("the applied policy in %s: %w", s.Dir, err)
	}
	g, err := s.open(number, index)
	if err != nil {
		return nil, fmt.Errorf("the applied policy in %s: %w", s.Dir, err)
	}
	return g, nil
}

// Stamp tells which generation is in force, and that it is still the same. The zero value is that of none.
type Stamp struct {
	Number uint64
	index  safefile.Stamp
}

// Stamp returns the stamp of the generation in force. It reads a link, and nothing of the generation, whatever its size. The errors are
// those of Current, as far as these are found so.
func (s Store) Stamp() (stamp Stamp, err error) {
	dir, err := s.openDir()
	if err != nil {
		return stamp, err
	}
	defer unix.Close(dir)
	if stamp.Number, err = readLink(dir); err != nil {
		return Stamp{}, err
	}
	name := generationPath(stamp.Number) + "/index"
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Stamp{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	stamp.index = safefile.StampOf(&st)
	return stamp, nil
}

// hasGenerations reports whether the store has a finished generation.
func (s Store) hasGenerations() bool {
	entries, err := os.ReadDir(filepath.Join(s.Dir, "generations"))
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name()[0] != '.' })
}

func (s Store) open(number uint64, index []byte) (*Generation, error) {
	x, err := policy.OpenIndex(index)
	if err != nil {
		return nil, fmt.Errorf("generations/%d/index: %w", number, err)
	}
	return &Generation{Number: number, Index: x, store: s, index: index}, nil
}

// readCurrent reads the index in force. Every directory on the way is checked before anything in it is believed: in
// one that only its trusted owner can write, names cannot be swapped between two looks.
func (s Store) readCurrent() (number uint64, index []byte, err error) {
	dir, err := s.openDir()
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, ErrNone
	}
	if err != nil {
		return 0, nil, err
	}
	defer unix.Close(dir)
	number, err = readLink(dir)
	if err != nil {
		return 0, nil, err
	}
	name := generationPath(number)
	for _, d := range []string{"generations", name} {
		if err := checkDir(dir, d); err != nil {
			return number, nil, err
		}
	}
	index, err = readFile(dir, name+"/index", maxIndex)
	return number, index, err
}

func generationPath(number uint64) string { return "generations/" + strconv.FormatUint(number, 10) }

// readLink returns the number of the generation that the link current names. ErrNone where there is no link.
func readLink(dir int) (uint64, error) {
	var buf [64]byte
	n, err := safefile.IgnoringEINTR(func() (int, error) { return unix.Readlinkat(dir, "current", buf[:]) })
	if err == unix.ENOENT {
		return 0, ErrNone
	}
	if err != nil {
		return 0, &fs.PathError{Op: "readlink", Path: "current", Err: err}
	}
	target := string(buf[:n])
	number, err := strconv.ParseUint(strings.TrimPrefix(target, "generations/"), 10, 64)
	if err != nil || target != generationPath(number) {
		return 0, fmt.Errorf("the link current names %q and not generations/NUMBER: "+
			"run oci-apparmor policy apply to write it anew", target)
	}
	return number, nil
}

// openDir opens the store's directory and refuses one that others could have written to.
func (s Store) openDir() (int, error) {
	fd, err := safefile.IgnoringEINTR(func() (int, error) {
		return unix.Open(s.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: s.Dir, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, &fs.PathError{Op: "stat", Path: s.Dir, Err: err}
	}
	if err := trusted(unix.AT_FDCWD, s.Dir, &st); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func checkDir(dir int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("%s is not a directory", name)
	}
	return trusted(dir, name, &st)
}

// trusted refuses a file or directory that anybody but root and this process's user could have written. name is
// relative to the directory dir. The command that the error proposes has the whole path.
func trusted(dir int, name string, st *unix.Stat_t) error {
	if safefile.Trusted(name, st.Uid, st.Mode) == nil {
		return nil
	}
	path := name
	if root, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(dir)); err == nil {
		path = filepath.Join(root, name)
	}
	return fmt.Errorf("%s: %w, and oci-apparmor policy apply", name, safefile.Trusted(path, st.Uid, st.Mode))
}

// readFile reads a regular file of at most limit bytes whose path is relative to the directory dir.
func readFile(dir int, name string, limit int64) ([]byte, error) {
	data, _, err := readStamped(dir, name, limit)
	return data, err
}

// readStamped is readFile, and also returns the stamp that the file had before it was read.
func readStamped(dir int, name string, limit int64) ([]byte, safefile.Stamp, error) {
	return safefile.ReadWhole(dir, name, func(st *unix.Stat_t) error {
		if err := trusted(dir, name, st); err != nil {
			return err
		}
		if st.Size > limit {
			return fmt.Errorf("%s has %d bytes, more than the %d that it may have", name, st.Size, limit)
		}
		return nil
	})
}

// Has reports whether c has the same index as g, byte for byte. Commit would keep g then.
func (g *Generation) Has(c *Compilation) (bool, error) {
	index, err := c.index()
	return err == nil && bytes.Equal(index, g.index), err
}

// Blob returns the compiled profile p, as the kernel takes it. It returns an error if the blob's sha256 is not p.Blob,
// the one in the index.
func (g *Generation) Blob(p policy.Profile) ([]byte, error) {
	data, err := g.store.readBlob(p.Blob)
	if err != nil {
		return nil, fmt.Errorf("profile %s in the applied policy in %s: %w: run oci-apparmor policy apply to compile it anew",
			p.Name, g.store.Dir, err)
	}
	return data, nil
}

func blobPath(sum [sha256.Size]byte) string { return "blobs/" + hex.EncodeToString(sum[:]) }

func (s Store) readBlob(sum [sha256.Size]byte) ([]byte, error) {
	data, _, err := s.readBlobStamped(sum)
	return data, err
}

// readBlobStamped is readBlob, and also returns the stamp that the file had before it was read.
func (s Store) readBlobStamped(sum [sha256.Size]byte) ([]byte, safefile.Stamp, error) {
	name := blobPath(sum)
	data, stamp, err := readStamped(unix.AT_FDCWD, filepath.Join(s.Dir, name), maxBlob)
	if err != nil {
		return nil, stamp, err
	}
	if sha256.Sum256(data) != sum {
		return nil, stamp, fmt.Errorf("%s is damaged: its content has another sha256 than its name", name)
	}
	return data, stamp, nil
}
