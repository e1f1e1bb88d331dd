package quiet

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// What a state says counts only if it is of now, and of a watcher that runs.
func TestRead(t *testing.T) {
	boot, err := Boot()
	if err != nil {
		t.Skip(err)
	}
	good := func() *State { return &State{Boot: boot, PID: 1, Every: time.Second, Proved: Clock()} }
	for name, c := range map[string]struct {
		change func(s *State)
		text   string // in place of the state
		mode   os.FileMode
		alone  bool // nobody watches
		says   string
	}{
		"as it should be":              {},
		"nobody watches":               {alone: true, says: "nobody watches"},
		"of another boot":              {change: func(s *State) { s.Boot = "other" }, says: "nobody watches"},
		"a dead source":                {change: func(s *State) { s.Dead = "the socket is dead" }, says: "the socket is dead"},
		"a watcher that is stopped":    {change: func(s *State) { s.Proved -= time.Hour }, says: "proved nothing for too long"},
		"of the future":                {change: func(s *State) { s.Proved += time.Hour }, says: "proved nothing for too long"},
		"without a pace":               {change: func(s *State) { s.Every = 0 }, says: "proved nothing for too long"},
		"with a negative pace":         {change: func(s *State) { s.Every = -time.Hour }, says: "proved nothing for too long"},
		"a time that is none":          {change: func(s *State) { s.Profiles = []*Profile{{Name: "web", Quiet: -1}} }, says: "damaged"},
		"a profile that is none":       {text: `{"profiles":[null]}`, says: "damaged"},
		"no JSON":                      {text: "quiet\n", says: "cannot be used"},
		"a part of one":                {text: `{"boot":"`, says: "cannot be used"},
		"a number too large":           {text: `{"every":99999999999999999999}`, says: "cannot be used"},
		"that everybody could write":   {mode: 0o666, says: "others can write to it"},
		"of which nothing was written": {text: "", mode: 1, says: "nobody watches"},
	} {
		t.Run(name, func(t *testing.T) {
			d := Dir(t.TempDir())
			s := good()
			if c.change != nil {
				c.change(s)
			}
			if !c.alone {
				release, err := d.Hold(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer release()
				if _, err := d.Hold(t.Context()); !errors.Is(err, ErrWatched) {
					t.Errorf("a second watcher: %v", err)
				}
			}
			if err := d.Write(s); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(string(d), "state.json")
			var err error
			switch {
			case c.text != "":
				err = os.WriteFile(path, []byte(c.text), 0o600)
			case c.mode == 1:
				err = os.Remove(path)
			case c.mode != 0:
				err = os.Chmod(path, c.mode)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err = d.Read(); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
	if _, err := Dir("").Read(); !errors.Is(err, ErrNobody) {
		t.Errorf("without a directory: %v", err)
	}
}

// A profile is due only if nothing is missing.
func TestStandings(t *testing.T) {
	blob := sha256.Sum256([]byte("blob"))
	content := hex.EncodeToString(blob[:])
	config := func(mode profile.Mode) *policy.Config {
		return &policy.Config{Profiles: []policy.Profile{{Name: "web", Mode: mode, EnforceAfter: time.Minute, Blob: blob}, {Name: "other"}},
			Policies: []policy.Policy{{Name: "a", Profile: "web"}, {Name: "b", Profile: "web"}, {Name: "c", Profile: "other"}}}
	}
	for name, c := range map[string]struct {
		mode    profile.Mode
		shown   *Profile
		unread  error
		due     bool
		missing string
	}{
		"quiet for its time":  {profile.Complain, &Profile{Quiet: time.Minute}, nil, true, ""},
		"quiet after denials": {profile.Complain, &Profile{Quiet: time.Minute, Anew: "x", Denial: &Denial{}}, nil, true, ""},
		"nearly":              {profile.Complain, &Profile{Quiet: time.Minute - 1}, nil, false, "1s of 1m"},
		"with an idle moment": {profile.Complain, &Profile{Quiet: time.Minute, Idle: "no container runs"}, nil, false, "no container runs"},
		"not looked at":       {profile.Complain, nil, nil, false, "has not looked"},
		"of another content":  {profile.Complain, &Profile{Content: "other", Quiet: time.Hour}, nil, false, "has not looked"},
		"not readable":        {profile.Complain, &Profile{Quiet: time.Hour}, errors.New("damaged"), false, "damaged"},
		"not watched":         {profile.Complain, &Profile{Quiet: time.Hour}, ErrNobody, false, "nobody watches"},
		"enforced":            {profile.Enforce, &Profile{Quiet: time.Hour}, nil, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := new(State)
			if p := c.shown; p != nil {
				p.Name = "web"
				if p.Content == "" {
					p.Content = content
				}
				s.Profiles = []*Profile{p}
			}
			all := Standings(config(c.mode), s, c.unread)
			if len(all) != 1 || len(all[0].Policies) != 2 {
				t.Fatalf("%+v", all)
			}
			got, after, due := all[0].Due()
			missing := strings.Join(all[0].Missing, "; ")
			if due != c.due || due && (got != blob || after != time.Minute) || !strings.Contains(missing, c.missing) || c.missing == "" && missing != "" {
				t.Errorf("due %v, missing %q", due, missing)
			}
		})
	}
}
