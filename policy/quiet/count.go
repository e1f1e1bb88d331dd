package quiet

import (
	"cmp"
	"slices"
	"time"
)

// A Sight is what a look at a profile of the policy in force has shown.
type Sight struct {
	Name    string
	Content string // sha256 of the compiled profile, in hexadecimal
	Held    any    // comparable: tells the kernel's profile from what is loaded in its place later; nil if there is none
	Idle    string // why this look does not count: no container runs under it, or not under this content; empty if it does
}

// Seen adds a look at all profiles that wait. Both times are of Clock: what was logged until now is known, and the look had
// ended at ended. wall is now for people. Profiles that are not among the sights are forgotten.
//
// What counts is the time from one look to the next if both count. A profile that is new, that was idle at the look before, or
// whose time began anew since then counts only from the end of the look: what was logged of it until then may have been taken
// for nobody's, and it may have come to what is seen only then. longest is how much counts at most: a watcher that was stopped
// for an hour has not seen whether a container ran in it.
func (s *State) Seen(now, ended time.Duration, wall time.Time, longest time.Duration, sights []Sight) {
	was := s.Profiles
	s.Profiles = make([]*Profile, 0, len(sights))
	for _, sight := range sights {
		i := slices.IndexFunc(was, func(p *Profile) bool { return p.Name == sight.Name && p.Content == sight.Content })
		p := &Profile{Name: sight.Name, Content: sight.Content, Since: wall}
		if i >= 0 {
			p = was[i]
		}
		if p.held != nil && sight.Held != p.held {
			p.begin(wall, "the profile was loaded again or removed")
		}
		from := ended
		if p.counts {
			from = now
			if sight.Idle == "" && now > p.from {
				p.Quiet += min(now-p.from, longest)
			}
		}
		p.held, p.from, p.Idle, p.counts = sight.Held, from, sight.Idle, sight.Idle == ""
		s.Profiles = append(s.Profiles, p)
	}
	slices.SortFunc(s.Profiles, func(a, b *Profile) int { return cmp.Compare(a.Name, b.Name) })
}

// Of returns what is shown of a profile with a content, or nil.
func (s *State) Of(name, content string) *Profile {
	if s == nil {
		return nil
	}
	for _, p := range s.Profiles {
		if p.Name == name && p.Content == content {
			return p
		}
	}
	return nil
}

// Denied adds a denial of a profile. The profile's time begins anew. It reports whether the profile is one that waits.
func (s *State) Denied(name string, wall time.Time, d *Denial) bool {
	for _, p := range s.Profiles {
		if p.Name == name {
			p.begin(wall, "something would have been denied")
			p.Denial = cmp.Or(d, p.Denial)
			return true
		}
	}
	return false
}

// Begin has the times of all profiles begin anew.
func (s *State) Begin(wall time.Time, why string) {
	for _, p := range s.Profiles {
		p.begin(wall, why)
	}
}

// begin has the profile's time begin anew. The last look does not count.
func (p *Profile) begin(wall time.Time, why string) {
	p.Quiet, p.Since, p.Anew, p.counts, p.held = 0, wall, why, false, nil
}
