package recorder

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

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// A Session is a recording of a policy, in progress or ended. It is kept in a directory of the store, with the records
// that it and those before it have brought:
//
//	STORE/recordings/POLICY/session.json  the last session
//	STORE/recordings/POLICY/records       records, one of each kind of access, a line each as the kernel wrote it
//	STORE/recordings/POLICY/lock          locked while a session goes on; names the process that records
type Session struct {
	Policy   string    `json:"policy"`
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended,omitzero"` // not set while it goes on, and if it was cut off
	Seen     uint64    `json:"seen"`           // records
	Kept     uint64    `json:"kept"`           // of these, those that brought something new
	Profiles []string  `json:"profiles"`       // of the containers that were recorded
	Lost     []string  `json:"lost"`           // what is missing from it
}

// A home is where the sessions of a policy are kept.
type home string

func homeOf(store, policy string) home { return home(filepath.Join(store, "recordings", policy)) }

func (h home) file(name string) string { return filepath.Join(string(h), name) }

func (h home) save(s *Session) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return safefile.Replace(h.file("session.json"), append(data, '\n'), safefile.Options{})
}

// load returns the last session of a policy. The error wraps fs.ErrNotExist if there was none.
func (h home) load() (*Session, error) {
	data, err := os.ReadFile(h.file("session.json"))
	if err != nil {
		return nil, err
	}
	s := new(Session)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%s: %w", h.file("session.json"), err)
	}
	return s, nil
}

// whole returns an error if something is missing from a session that has ended.
func (s *Session) whole() error {
	lost := s.Lost
	if s.Ended.IsZero() {
		lost = append(lost, "its end, as the recorder was cut off")
	}
	if len(lost) == 0 {
		return nil
	}
	return fmt.Errorf("the recording of policy %s is not whole, so that nothing is made of it: begin anew, with oci-apparmor profile learn start "+
		"--anew %[1]s; lost: %s", oneline.Name(s.Policy), strings.Join(lost, "; "))
}

// continues returns an error if a new session cannot add to what those before it have brought, as something is missing there.
func (h home) continues() error {
	s, err := h.load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.whole()
}

// Sessions returns the last session of each policy, in the order of their names, and which of them go on.
func Sessions(ctx context.Context, store string) (all []*Session, on map[string]bool, err error) {
	entries, err := os.ReadDir(filepath.Join(store, "recordings"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	on = make(map[string]bool)
	for _, e := range entries {
		h := homeOf(store, e.Name())
		s, err := h.load()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if on[s.Policy], err = h.goesOn(ctx); err != nil {
			return nil, nil, err
		}
		all = append(all, s)
	}
	return all, on, nil
}
