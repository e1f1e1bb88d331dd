package command

import (
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/explain"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// The JSON of show. Hashes are hexadecimal.
type (
	showJSON struct {
		Generation uint64            `json:"generation"`
		Applied    time.Time         `json:"applied"`
		Confirmed  time.Time         `json:"confirmed"`
		Version    string            `json:"version"`
		Parser     string            `json:"parser"`
		Kernel     string            `json:"kernel"` // compiled for; empty where its features were given
		Stale      bool              `json:"stale"`  // another kernel is running
		Config     string            `json:"config"`
		RollbackOf uint64            `json:"rollbackOf,omitempty"` // the generation that a rollback took back by this one
		RollbackTo uint64            `json:"rollbackTo,omitempty"` // the one whose content it has
		Profiles   []explain.Profile `json:"profiles"`
		Policies   []policyJSON      `json:"policies"`
		Rules      []ruleJSON        `json:"rules"`
	}
	policyJSON struct {
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

func shown(g *store.Generation, p *policy.Config, m store.Manifest, stale bool) showJSON {
	s := showJSON{
		Generation: g.Number,
		Applied:    m.Applied,
		Confirmed:  m.Confirmed,
		Version:    m.Version,
		Parser:     m.Parser,
		Kernel:     m.Kernel,
		Stale:      stale,
		Config:     m.Config,
		RollbackOf: m.RollbackOf,
		RollbackTo: m.RollbackTo,
		Profiles:   []explain.Profile{},
		Policies:   []policyJSON{},
		Rules:      []ruleJSON{},
	}
	texts := make(map[string]string)
	for _, t := range m.Profiles {
		texts[t.Name] = t.Text
	}
	for _, pr := range p.Profiles {
		j := explain.ProfileOf(pr)
		j.Text = texts[pr.Name]
		s.Profiles = append(s.Profiles, j)
	}
	for _, e := range p.Policies {
		s.Policies = append(s.Policies, policyJSON(e))
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
