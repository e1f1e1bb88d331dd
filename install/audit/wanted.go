package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/suggest"
)

// Wanted collects the denials of which a profile's text may be changed, each once, by their profiles. What a container could
// have written is not among them, or a container could write rules for itself.
type Wanted struct {
	Beyond int // denials that were left out, after mostWanted of a profile

	order    []string
	profiles map[string][]suggest.Denial
	known    map[string]bool
}

// mostWanted bounds the denials of one profile. Each may be a rule that is compiled.
const mostWanted = 500

// Add adds what an event denies, if that is known and can be believed.
func (w *Wanted) Add(e *Event) {
	if !e.Kind.denies() || !e.Trusted || e.Namespace != "" || len(e.Access) == 0 {
		return
	}
	var key strings.Builder
	key.WriteString(e.Profile)
	for _, a := range e.Access {
		fmt.Fprintf(&key, "\x00%s", access.Format(a))
	}
	if w.known[key.String()] {
		return
	}
	if w.known == nil {
		w.known, w.profiles = make(map[string]bool), make(map[string][]suggest.Denial)
	}
	added := false
	for part := range strings.SplitSeq(e.Profile, "//&") {
		main, _, _ := strings.Cut(part, "//")
		if len(w.profiles[main]) >= mostWanted {
			w.Beyond++
			continue
		}
		if !slices.Contains(w.order, main) {
			w.order = append(w.order, main)
		}
		w.profiles[main] = append(w.profiles[main], suggest.Denial{Profile: e.Profile, Accesses: e.Access})
		added = true
	}
	if added {
		w.known[key.String()] = true
	}
}

// Profiles returns the main profiles, in the order in which they first denied something.
func (w *Wanted) Profiles() []string { return w.order }

// Of returns the denials of a main profile, its children and hats.
func (w *Wanted) Of(profile string) []suggest.Denial { return w.profiles[profile] }

// suggestionJSON is the JSON of a change of a profile's text.
type suggestionJSON struct {
	Type    string       `json:"type"`
	Profile string       `json:"profile"`
	File    string       `json:"file,omitempty"`
	Rules   []ruleJSON   `json:"rules"`
	Denials []answerJSON `json:"denials"`
	Checks  []string     `json:"checks,omitempty"`
	Patch   string       `json:"patch,omitempty"`
	Unknown string       `json:"unknown,omitempty"`
	Written *bool        `json:"written,omitempty"`
}

type ruleJSON struct {
	Profile string   `json:"profile"`
	Line    int      `json:"line"`
	Rule    string   `json:"rule"`
	Widened []string `json:"widened,omitempty"`
	Chosen  string   `json:"chosen,omitempty"`
	Gives   []string `json:"gives_up,omitempty"`
}

type answerJSON struct {
	Profile string   `json:"profile"`
	Access  []string `json:"access"`
	Outcome string   `json:"outcome"`
	Message string   `json:"message,omitempty"`
}

// SuggestionJSON returns what is suggested for a profile's denials as a line of JSON: see output.Encode. err is why nothing is, if so; written
// is whether it was written, where that was asked for.
func SuggestionJSON(profile, file string, denials []suggest.Denial, s *suggest.Suggestion, err error, written *bool) ([]byte, error) {
	j := suggestionJSON{Type: "suggestion", Profile: profile, File: file, Rules: []ruleJSON{}, Denials: []answerJSON{}, Written: written}
	if err != nil {
		j.Unknown = err.Error()
		return output.Encode(j, output.Compact)
	}
	j.Patch = s.Patch
	for _, r := range s.Rules {
		j.Rules = append(j.Rules, ruleJSON{r.Profile, r.Line, r.Text, r.Widened, r.Chosen, r.Gives})
	}
	for i, a := range s.Answers {
		one := answerJSON{Profile: a.Profile, Outcome: a.Outcome.String(), Message: a.Message}
		for _, of := range denials[i].Accesses {
			one.Access = append(one.Access, access.Format(of))
		}
		j.Denials = append(j.Denials, one)
	}
	for _, c := range s.Checks {
		j.Checks = append(j.Checks, c.Message)
	}
	return output.Encode(j, output.Compact)
}
