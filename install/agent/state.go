package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// The names of the agent's files in its directory.
const (
	stateFile = "agent.json"
	lockFile  = "agent.lock"
)

const stateVersion = 1

// State is what the agent knows. It stands in Dir/agent.json while an agent runs, and is replaced as a whole with every
// change. Times are RFC 3339, UTC. Later versions may add keys.
type State struct {
	Version int       `json:"version"` // of this format: 1
	Program string    `json:"program"` // the agent's version
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`

	Policy Policy   `json:"policy"`
	Drift  Drift    `json:"drift"`
	Wiring []Wiring `json:"wiring,omitempty"` // engines that install has wired, by name

	Refused []Refusal   `json:"refused,omitempty"` // what was refused since the agent started, the last first, at most maxLines kinds; in a cluster
	Parts   []PartState `json:"parts,omitempty"`   // those that have anything to say, by name
}

// Policy is the policy in force, and what came of the last apply.
type Policy struct {
	Known      bool      `json:"known"`            // the store has been read since the agent started; else nothing of the next three is known
	Generation uint64    `json:"generation"`       // in force; 0 for none
	Digest     string    `json:"digest,omitempty"` // "sha256:HEX" of the policy in force as it was written: the same on all nodes that have the same
	Applied    time.Time `json:"applied,omitzero"` // when this generation was made
	Last       *Apply    `json:"last,omitempty"`   // the agent's last apply; none if it made none
}

// Outcome is what came of an apply.
type Outcome string

const (
	Applied   Outcome = "applied"   // a new generation is in force
	Unchanged Outcome = "unchanged" // the files mean what is in force
	Refused   Outcome = "refused"   // the policy has a fault, and the last good one stays in force
	Failed    Outcome = "failed"    // it could not be done here: it is tried again
)

// Apply is one apply of the agent's.
type Apply struct {
	Time       time.Time `json:"time"` // when it ended
	Outcome    Outcome   `json:"outcome"`
	Generation uint64    `json:"generation,omitempty"` // in force after it
	Errors     []string  `json:"errors,omitempty"`     // lines, at most maxLines
	Warnings   []string  `json:"warnings,omitempty"`
}

// Drift is what was found of profiles of ours that somebody else has changed in the kernel or removed from it.
type Drift struct {
	Found    uint64    `json:"found"`              // how often since the agent started
	Repaired uint64    `json:"repaired"`           // and how often it was put right
	Standing []Drifted `json:"standing,omitempty"` // profiles that are so now, at most maxStanding
	Last     []Drifted `json:"last,omitempty"`     // the last ones found, the newest first, at most maxDrifted
}

// Drifted is a profile that was found with other content than the policy's, missing, or removed and loaded again.
type Drifted struct {
	Time     time.Time `json:"time"`    // when it was found
	Profile  string    `json:"profile"` // its name
	What     string    `json:"what"`    // how the kernel's differs
	Repaired bool      `json:"repaired"`
	Problem  string    `json:"problem,omitempty"` // why it was not repaired, or what is not put right by that
}

// Refusal is what was refused for one reason. The log has each one, with its container.
type Refusal struct {
	Engine  string    `json:"engine"`
	Command string    `json:"command"` // create, exec and so on
	Reason  string    `json:"reason"`  // a word of package notice
	Count   uint64    `json:"count"`
	Last    time.Time `json:"last"` // when the agent saw the last one
}

// Wiring is how an engine that install has wired stands.
type Wiring struct {
	Engine  string    `json:"engine"` // as install names it
	State   string    `json:"state"`  // WiringKept, WiringLost, WiringFaulty or WiringUnknown
	What    string    `json:"what,omitempty"`
	Since   time.Time `json:"since"`             // when it came to be so
	Absent  bool      `json:"absent,omitempty"`  // the engine is not on the node any more
	Rewired uint64    `json:"rewired,omitempty"` // how often the agent wired it again
}

// How an engine's wiring stands.
const (
	WiringKept    = "wired"
	WiringLost    = "lost"    // what install wrote is not there any more
	WiringFaulty  = "faulty"  // it is there, and something is wrong with it
	WiringUnknown = "unknown" // it could not be looked at
)

// PartState is how a part stands.
type PartState struct {
	Name      string     `json:"name"`
	Problem   string     `json:"problem,omitempty"`   // why it last failed; empty if it did not
	Unwatched string     `json:"unwatched,omitempty"` // why it sees no changes; empty if it does
	Since     *time.Time `json:"since,omitempty"`     // when this came or ended
	Tries     int        `json:"tries,omitempty"`     // how often it failed in a row
	Retry     *time.Time `json:"retry,omitempty"`     // when it is tried again, unless something changes before
}

// Bounds of lists in the state.
const (
	maxLines    = 20
	maxDrifted  = 16
	maxStanding = 100
	maxLine     = 1000 // bytes
)

// line makes an error fit for a line of the state.
func line(err error) string { return clean(err.Error()) }

func clean(s string) string { return oneline.Whole(oneline.Cut(oneline.Printable(s), maxLine)) }

func (s State) part(name string) PartState {
	for _, p := range s.Parts {
		if p.Name == name {
			return p
		}
	}
	return PartState{Name: name}
}

func (s *State) setPart(now PartState) {
	s.Parts = slices.DeleteFunc(slices.Clone(s.Parts), func(p PartState) bool { return p.Name == now.Name })
	s.Parts = append(s.Parts, now)
	slices.SortFunc(s.Parts, func(a, b PartState) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return 0
	})
}

func (s *State) write(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return safefile.Replace(filepath.Join(dir, stateFile), append(data, '\n'), safefile.Options{Temp: "." + stateFile + ".new"})
}

// Read returns the state of the agent whose files are in dir, and whether that agent runs. The error wraps fs.ErrNotExist if
// there is no state. The state of one that was killed stays until the next one starts.
func Read(dir string) (s State, runs bool, err error) {
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return s, false, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, false, fmt.Errorf("%s: %w", filepath.Join(dir, stateFile), err)
	}
	if s.Version != stateVersion {
		return s, false, fmt.Errorf("%s is of version %d, and this program knows version %d", filepath.Join(dir, stateFile), s.Version,
			stateVersion)
	}
	release, err := safefile.Lock(context.Background(), safefile.Cwd, filepath.Join(dir, lockFile), time.Nanosecond)
	switch {
	case err == nil:
		release()
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return s, false, err
	}
	return s, err != nil, nil
}
