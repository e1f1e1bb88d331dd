// Package quiet has what is shown of profiles that are in complain mode until nothing of them would have been denied for a
// time: for how long that was so, since when, what was the last denial, and what is missing.
//
// A time counts only if everything of it is shown: the kernel's audit socket was read without a gap, a denial that was
// provoked came back through it at both ends, nothing was lost, the kernel had the profile with the content of the policy in
// force, and a container ran under it. Any doubt begins the time anew. Who shows this is package install/watcher; nobody's
// start reads it.
//
// The time is that of CLOCK_MONOTONIC: nobody can set it, and it stands still while the machine sleeps.
package quiet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Dir is the directory with what is shown. The empty one has nothing.
type Dir string

// Node is where a node has it. It does not outlive a boot, as nobody watches from one boot to the next.
const Node Dir = "/run/oci-apparmor/quiet"

func (d Dir) state() string { return filepath.Join(string(d), "state.json") }
func (d Dir) lock() string  { return filepath.Join(string(d), "lock") }

// A State is what a watcher has seen until it last proved that it misses nothing.
type State struct {
	Boot     string        `json:"boot"`     // the machine's boot, as /proc/sys/kernel/random/boot_id names it
	PID      int           `json:"pid"`      // of the watcher
	Every    time.Duration `json:"every"`    // how often it proves that; in nanoseconds, as all times here
	Proved   time.Duration `json:"proved"`   // when it last did, by Clock
	Dead     string        `json:"dead"`     // why nothing is shown now; empty if something is
	Profiles []*Profile    `json:"profiles"` // in the order of their names
}

// A Profile is what is shown of a profile.
type Profile struct {
	Name    string        `json:"name"`
	Content string        `json:"content"` // sha256 of the compiled profile, in hexadecimal
	Quiet   time.Duration `json:"quiet"`   // that is shown since Since
	Since   time.Time     `json:"since"`   // when the time began, for people: by the clock of then
	Anew    string        `json:"anew"`    // why it began anew; empty if it did not
	Idle    string        `json:"idle"`    // why the last moment does not count, though it does not begin the time anew; empty if it does
	Denial  *Denial       `json:"denial"`  // the last one; nil if none was seen of this content

	held   any           // what tells the kernel's profile from others of its name and content
	counts bool          // the last look counts
	from   time.Duration // since when time counts that has not been added, by Clock
}

// A Denial is what would have been denied. All of it is fit for a line.
type Denial struct {
	Time      time.Time `json:"time"`
	Sentence  string    `json:"sentence"`
	Container string    `json:"container,omitempty"`
	Record    string    `json:"record"` // as the kernel wrote it
}

// Clock returns the time of CLOCK_MONOTONIC.
func Clock() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // it fails only for a clock that does not exist
	return time.Duration(t.Nano())
}

// Boot returns what names the machine's boot.
func Boot() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
}

// ErrWatched is the error of Hold if another process watches.
var ErrWatched = errors.New("another oci-apparmor watches already which profiles are quiet")

// Hold makes this process the only one that watches, until release is called or it ends.
func (d Dir) Hold(ctx context.Context) (release func(), err error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, err
	}
	release, err = safefile.Lock(ctx, safefile.Cwd, d.lock(), time.Millisecond)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, ErrWatched
	}
	return release, err
}

// Write replaces what is shown.
func (d Dir) Write(s *State) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return safefile.Replace(d.state(), append(data, '\n'), safefile.Options{})
}

// mostState is how long the file may be. A denial has a record of at most 64 KiB.
const mostState = 16 << 20

// ErrNobody is wrapped by the error of Read if nobody watches.
var ErrNobody = errors.New("nobody watches which profiles are quiet: run oci-apparmor policy watch, as a service")

// Read returns what is shown now. The error says why nothing is: nobody watches, or what is written is not to be believed. With
// an error, the State is what was shown at last, for people, or nil.
func (d Dir) Read() (*State, error) {
	if d == "" {
		return nil, ErrNobody
	}
	s, err := d.read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNobody
	case err != nil:
		return nil, fmt.Errorf("what is known of quiet profiles cannot be used: %w", err)
	}
	boot, err := Boot()
	if err != nil {
		return s, err
	}
	return s, s.live(boot, Clock(), d.watched)
}

func (d Dir) read() (*State, error) {
	data, _, err := safefile.ReadWhole(safefile.Cwd, d.state(), func(st *unix.Stat_t) error {
		if st.Size > mostState {
			return fmt.Errorf("%s has %d bytes, more than the %d that it may have", d.state(), st.Size, mostState)
		}
		if err := safefile.Trusted(d.state(), st.Uid, st.Mode); err != nil {
			return fmt.Errorf("%s: %w", d.state(), err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s := new(State)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%s: %w", d.state(), err)
	}
	for _, p := range s.Profiles {
		if p == nil || p.Name == "" || p.Quiet < 0 {
			return nil, fmt.Errorf("%s: it is damaged", d.state())
		}
	}
	return s, nil
}

// ErrOld is wrapped by the error of Recent.
var ErrOld = errors.New("what is shown is too old to enforce a profile by it")

// Recent returns an error if at a time of Clock the last proof is older than two looks are apart. What Read returns may be older
// by patience, which is good enough to be said. But who enforces a profile by it does not know what was denied since.
func (s *State) Recent(now time.Duration) error {
	if age := now - s.Proved; age > 2*s.Every {
		return fmt.Errorf("%w: process %d, which watches, has proved it %s ago, and is to do so every %s", ErrOld, s.PID, Length(age), Length(s.Every))
	}
	return nil
}

// patience is by how much a watcher may be late before what it has shown is not even said.
const patience = 20 * time.Second

// live returns an error if a state is not that of now. watched reports whether a process watches.
func (s *State) live(boot string, now time.Duration, watched func() (bool, error)) error {
	switch on, err := watched(); {
	case err != nil:
		return err
	case !on || s.Boot != boot:
		return ErrNobody
	case s.Dead != "":
		return fmt.Errorf("nothing is shown now: %s", s.Dead)
	case s.Every <= 0 || s.Proved > now || s.Proved < now-2*s.Every-patience:
		return fmt.Errorf("process %d, which watches, has proved nothing for too long: it is stopped, or the machine has too much to do", s.PID)
	}
	return nil
}

// watched reports whether a process watches.
func (d Dir) watched() (bool, error) {
	f, err := os.Open(d.lock())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, os.NewSyscallError("flock", err)
}
