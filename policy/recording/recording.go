// Package recording has the recordings that are in progress, as a container's start sees them: of which policies what
// containers do is recorded, and under which profile a container runs that is recorded.
//
// A recording is a file in a directory, named after the policy. It holds a compiled profile in complain mode. Whoever reads
// the kernel's records holds a lock on it (flock(2)) for as long as that lasts. A file without the lock counts for nothing:
// nobody would see what the container does, and it would run without confinement for nothing.
//
// Each container has a profile of its own, which is the file's with another name, so that the records of two can be told
// apart, also after they have ended. That takes no compiler.
package recording

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// A Dir is the directory of recordings. The empty one has none.
type Dir string

// Node is where the recordings of a node are. They do not outlive a boot, as who reads the records does not.
const Node Dir = "/run/oci-apparmor/recordings"

const (
	prefix    = "learn."
	idBytes   = 8       // of a hash, which stand at the end of a name
	temporary = ".new-" // begins the name of a file that is not a recording yet
)

// NameFor returns the name of the profile that a container of a policy has while it is recorded. All names for a policy have
// the same length.
func NameFor(policy, engine, container string) string {
	sum := sha256.Sum256([]byte(engine + "\x00" + container))
	return prefix + policy + "." + hex.EncodeToString(sum[:idBytes])
}

// IsFor reports whether a profile is one that NameFor returns for a policy.
func IsFor(policy, name string) bool {
	of, ok := PolicyOf(name)
	return ok && of == policy
}

// PolicyOf returns the policy for which NameFor returns a profile's name, if there is one.
func PolicyOf(name string) (policy string, ok bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	dot := strings.LastIndexByte(rest, '.')
	if !ok || dot <= 0 || strings.ContainsRune(rest, '/') {
		return "", false
	}
	_, err := hex.DecodeString(rest[dot+1:])
	return rest[:dot], err == nil && len(rest)-dot-1 == 2*idBytes
}

// Blob returns the compiled profile for a container, or nothing if no recording of the policy is in progress.
func (d Dir) Blob(policy, engine, container string) (blob profile.Blob, recorded bool, err error) {
	f, err := d.live(policy)
	if err != nil || f == nil {
		return blob, false, err
	}
	defer f.Close()
	// The recording may end at any time, and takes the file's name away then. The open file has the profile nevertheless.
	data, err := io.ReadAll(f)
	if err == nil {
		blob, err = profile.Parse(data)
	}
	if err == nil {
		blob, err = blob.Renamed(NameFor(policy, engine, container))
	}
	if err == nil {
		err = blob.Check(blob.Profiles[0].Name, profile.Complain)
	}
	if err != nil {
		return blob, false, fmt.Errorf("the recording of policy %s, %s: %w", policy, f.Name(), err)
	}
	return blob, true, nil
}

// InProgress reports whether a policy is recorded now.
func (d Dir) InProgress(policy string) (bool, error) {
	f, err := d.live(policy)
	if err != nil || f == nil {
		return false, err
	}
	return true, f.Close()
}

// Policies returns the policies that are recorded now, in the order of their names.
func (d Dir) Policies() (on []string, err error) {
	if d == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("which policies are recorded: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporary) {
			continue
		}
		now, err := d.InProgress(e.Name())
		if err != nil {
			return nil, err
		}
		if now {
			on = append(on, e.Name())
		}
	}
	return on, nil
}

// live opens the file of a recording that is in progress. It returns nil if there is none.
func (d Dir) live(policy string) (*os.File, error) {
	if d == "" || policy == "" || strings.ContainsRune(policy, '/') {
		return nil, nil
	}
	f, err := os.Open(filepath.Join(string(d), policy))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the recording of policy %s: %w", policy, err)
	}
	if on, err := locked(f); err != nil || !on {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// locked reports whether another process holds the lock on a file.
func locked(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, os.NewSyscallError("flock", err)
}

// A Held is a recording that this process has begun.
type Held struct {
	path string
	file *os.File
}

// Begin begins a recording of a policy, whose containers are to run under the blob's profile. The profile's name must be one
// of NameFor.
func (d Dir) Begin(policy string, blob profile.Blob) (*Held, error) {
	if len(blob.Profiles) == 0 || !IsFor(policy, blob.Profiles[0].Name) {
		return nil, fmt.Errorf("this is no profile for recordings of policy %s", policy)
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, err
	}
	if live, err := d.InProgress(policy); err != nil || live {
		return nil, errors.Join(err, fmt.Errorf("policy %s is recorded already", policy))
	}
	f, err := os.CreateTemp(string(d), temporary+"*")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(string(d), policy)
	_, err = f.Write(blob.Data)
	if err == nil {
		err = os.NewSyscallError("flock", unix.Flock(int(f.Fd()), unix.LOCK_EX))
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()), f.Close())
	}
	return &Held{path, f}, nil
}

// End ends the recording: containers that start from now on are not recorded.
func (h *Held) End() error {
	return errors.Join(os.Remove(h.path), h.file.Close())
}
