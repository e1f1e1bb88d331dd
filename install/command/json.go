package command

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

func (n *node) printJSON(v any) error {
	enc := json.NewEncoder(n.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// Of kernelJSON.State: loaded with our content, and not to be told. The others are "missing" and "drifted".
const (
	same    = "same"
	unknown = "unknown"
)

// The JSON of show and explain. Hashes are hexadecimal.
type (
	showJSON struct {
		Generation uint64        `json:"generation"`
		Applied    time.Time     `json:"applied"`
		Confirmed  time.Time     `json:"confirmed"`
		Version    string        `json:"version"`
		Parser     string        `json:"parser"`
		Kernel     string        `json:"kernel"` // compiled for; empty where its features were given
		Stale      bool          `json:"stale"`  // another kernel is running
		Config     string        `json:"config"`
		Profiles   []profileJSON `json:"profiles"`
		Policies   []entryJSON   `json:"policies"`
		Rules      []ruleJSON    `json:"rules"`
	}
	profileJSON struct {
		Name     string         `json:"name"`
		ByHand   bool           `json:"byHand,omitempty"` // the policy only names it, and has nothing of what follows
		Mode     string         `json:"mode,omitempty"`
		Source   string         `json:"source"`
		Text     string         `json:"text,omitempty"` // sha256 of the text
		Blob     string         `json:"blob,omitempty"` // sha256 of what it was compiled to
		Compiled []compiledJSON `json:"compiled"`       // as in the kernel: the profile and its children
		Kernel   *kernelJSON    `json:"kernel,omitempty"`
	}
	kernelJSON struct {
		State  string `json:"state"`
		Detail string `json:"detail"`
	}
	compiledJSON struct {
		Name   string `json:"name"`
		SHA1   string `json:"sha1"`
		SHA256 string `json:"sha256"`
	}
	entryJSON struct {
		Name    string `json:"name"`
		Profile string `json:"profile"`
		Floor   string `json:"floor,omitempty"`
	}
	ruleJSON struct {
		Place        string   `json:"place"`
		For          string   `json:"for"`
		Policy       string   `json:"policy"`
		Request      []string `json:"request,omitempty"`
		AcceptChoice []string `json:"acceptChoice,omitempty"` // profiles that the engine may choose
		Floor        string   `json:"floor,omitempty"`
		OnRefused    string   `json:"onRefused"`
	}
)

func shown(g *store.Generation, p *policy.Policy, m store.Manifest, stale bool) showJSON {
	s := showJSON{
		Generation: g.Number,
		Applied:    m.Applied,
		Confirmed:  m.Confirmed,
		Version:    m.Version,
		Parser:     m.Parser,
		Kernel:     m.Kernel,
		Stale:      stale,
		Config:     m.Config,
		Profiles:   []profileJSON{},
		Policies:   []entryJSON{},
		Rules:      []ruleJSON{},
	}
	texts := make(map[string]string)
	for _, t := range m.Profiles {
		texts[t.Name] = t.Text
	}
	for _, pr := range p.Profiles {
		j := asProfileJSON(pr)
		j.Text = texts[pr.Name]
		s.Profiles = append(s.Profiles, j)
	}
	for _, e := range p.Policies {
		s.Policies = append(s.Policies, entryJSON(e))
	}
	for _, a := range p.Assignments {
		r := ruleJSON{
			Place:        place(a),
			For:          a.Whom(),
			Policy:       a.Policy,
			Request:      a.Request,
			AcceptChoice: a.AcceptChoice,
			Floor:        a.Floor,
			OnRefused:    "deny",
		}
		if a.OnRefused == policy.Assigned {
			r.OnRefused = "assigned"
		}
		s.Rules = append(s.Rules, r)
	}
	return s
}

func asProfileJSON(pr policy.Profile) profileJSON {
	if pr.ByHand {
		return profileJSON{Name: pr.Name, Source: pr.Source, ByHand: true, Compiled: []compiledJSON{}}
	}
	j := profileJSON{
		Name:     pr.Name,
		Mode:     pr.Mode.String(),
		Source:   pr.Source,
		Blob:     hex.EncodeToString(pr.Blob[:]),
		Compiled: []compiledJSON{},
	}
	for _, c := range pr.Compiled {
		j.Compiled = append(j.Compiled, compiledJSON{c.Name, hex.EncodeToString(c.SHA1[:]), hex.EncodeToString(c.SHA256[:])})
	}
	return j
}

// contentUnknown says that nobody knows whether the kernel has the profile with our content.
func (j profileJSON) contentUnknown() bool { return j.Kernel == nil || j.Kernel.State == unknown }
