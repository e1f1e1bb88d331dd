package quiet

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy"
)

// A Standing is how a profile stands that is to be enforced once it was quiet for a time, and its JSON.
type Standing struct {
	Profile      string    `json:"profile"`
	Policies     []string  `json:"policies"`     // that use it
	Mode         string    `json:"mode"`         // in the policy in force: complain, or enforce once it was quiet
	EnforceAfter float64   `json:"enforceAfter"` // in seconds
	Quiet        float64   `json:"quiet"`        // the time that is shown, in seconds
	Since        time.Time `json:"since,omitzero"`
	Missing      []string  `json:"missing"` // sentences about what is missing before it is enforced; empty if it is, or can be now
	LastDenial   *Denial   `json:"lastDenial,omitempty"`

	after, quiet time.Duration
	blob         [32]byte
}

// Standings returns how each profile of a compiled policy stands that is to be enforced after a time, by what Read returned.
func Standings(c *policy.Config, s *State, unread error) (all []Standing) {
	for i := range c.Profiles {
		pr := &c.Profiles[i]
		if pr.EnforceAfter <= 0 {
			continue
		}
		one := Standing{Profile: pr.Name, Policies: []string{}, Mode: pr.Mode.String(), EnforceAfter: pr.EnforceAfter.Seconds(), Missing: []string{},
			after: pr.EnforceAfter, blob: pr.Blob}
		for _, p := range c.Policies {
			if p.Profile == pr.Name {
				one.Policies = append(one.Policies, p.Name)
			}
		}
		if pr.Waits() {
			one.wait(s.Of(pr.Name, hex.EncodeToString(pr.Blob[:])), unread)
		}
		all = append(all, one)
	}
	return all
}

// wait adds what is shown of the profile, and what is missing.
func (s *Standing) wait(p *Profile, unread error) {
	if p != nil {
		s.LastDenial = p.Denial
	}
	switch {
	case unread != nil && p != nil && errors.Is(unread, ErrNobody):
		s.Missing = append(s.Missing, ErrNobody.Error()+"; what was shown before does not count any more")
		return
	case unread != nil:
		s.Missing = append(s.Missing, unread.Error())
		return
	case p == nil:
		s.Missing = append(s.Missing, "the watcher has not looked at its present content yet")
		return
	}
	s.quiet, s.Quiet, s.Since = p.Quiet, p.Quiet.Seconds(), p.Since
	if left := s.after - p.Quiet; left > 0 {
		s.Missing = append(s.Missing, fmt.Sprintf("%s of %s: time counts while a container runs under it and is watched", Length(left+time.Second-1), Length(s.after)))
	}
	if p.Idle != "" {
		s.Missing = append(s.Missing, "no time counts now: "+p.Idle)
	}
	if p.Anew != "" && len(s.Missing) > 0 {
		s.Missing = append(s.Missing, "the time began anew at "+p.Since.Format(time.DateTime)+", as "+p.Anew)
	}
}

// Due reports whether the profile was quiet for long enough. Then it also returns its compiled content, and for how long it was
// to be quiet.
func (s *Standing) Due() (blob [32]byte, after time.Duration, due bool) {
	return s.blob, s.after, s.Mode == "complain" && len(s.Missing) == 0
}

// Line returns a sentence about how the profile stands.
func (s *Standing) Line() string {
	if s.Mode != "complain" {
		return fmt.Sprintf("enforced, as it was quiet for %s", Length(s.after))
	}
	line := fmt.Sprintf("complain mode until quiet for %s", Length(s.after))
	if !s.Since.IsZero() {
		line += fmt.Sprintf("; quiet for %s, since %s", Length(s.quiet), s.Since.Format(time.DateTime))
	}
	return line
}

// Length returns a time in whole seconds, as the policy file has it: 24h, 20s, and from two days on 2d12h.
func Length(d time.Duration) (s string) {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / unit.of; n > 0 && (unit.name != "d" || n > 1) {
			s += fmt.Sprint(int64(n)) + unit.name
			d %= unit.of
		}
	}
	if s == "" {
		return "0s"
	}
	return s
}
