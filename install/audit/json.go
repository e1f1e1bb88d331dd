package audit

import (
	"bytes"
	_ "embed"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of a line of JSON.
func Schema() []byte { return bytes.Clone(schema) }

type (
	eventJSON struct {
		Type       string          `json:"type"` // event
		Time       *time.Time      `json:"time,omitempty"`
		Kind       Kind            `json:"kind"`
		Trusted    bool            `json:"trusted"`
		Place      string          `json:"place"`
		KnownBy    Basis           `json:"known_by,omitempty"`
		Container  *containerJSON  `json:"container,omitempty"`
		Candidates []containerJSON `json:"candidates,omitempty"`
		Others     bool            `json:"others,omitempty"`
		PID        int             `json:"pid,omitempty"`
		Comm       string          `json:"comm,omitempty"`
		Profile    string          `json:"profile,omitempty"`
		Namespace  string          `json:"profile_namespace,omitempty"`
		Operation  string          `json:"operation,omitempty"`
		Info       string          `json:"info,omitempty"`
		Access     []string        `json:"access,omitempty"`
		Open       string          `json:"open,omitempty"`
		Because    string          `json:"because,omitempty"`
		Cut        bool            `json:"cut,omitempty"`
		Sentence   string          `json:"sentence"`
		Why        []reasonJSON    `json:"why,omitempty"`
		Record     [][2]string     `json:"record,omitempty"`
	}
	containerJSON struct {
		ID         string     `json:"id"`
		Name       string     `json:"name"`
		Engine     string     `json:"engine"`
		Namespace  string     `json:"namespace"`
		Pod        string     `json:"pod"`
		Image      string     `json:"image"`
		Sandbox    bool       `json:"sandbox"`
		Policy     string     `json:"policy"`
		Label      string     `json:"label"`
		Generation uint64     `json:"generation"`
		Created    *time.Time `json:"created,omitempty"`
		Ended      *time.Time `json:"ended,omitempty"`
	}
	reasonJSON struct {
		Reason  *profiles.PartReason `json:"reason,omitempty"`
		Unknown string               `json:"unknown,omitempty"`
	}
	summaryJSON struct {
		Type      string         `json:"type"` // container or policy
		Of        string         `json:"of"`
		Container *containerJSON `json:"container,omitempty"`
		Policy    string         `json:"policy,omitempty"`
		Counts    map[Kind]int   `json:"counts"`
		First     *time.Time     `json:"first,omitempty"`
		Last      *time.Time     `json:"last,omitempty"`
		Most      []tallyJSON    `json:"most"`
	}
	tallyJSON struct {
		What  string `json:"what"`
		Kind  Kind   `json:"kind"`
		Count int    `json:"count"`
	}
	endJSON struct {
		Type      string     `json:"type"` // source
		Source    string     `json:"source"`
		Alive     *bool      `json:"alive,omitempty"`
		Records   uint64     `json:"records"`
		Shown     uint64     `json:"shown"`
		Denials   uint64     `json:"denials"`
		Untrusted uint64     `json:"untrusted"`
		Lost      []lossJSON `json:"lost"`
		Unknown   []string   `json:"unknown"`
	}
	lossJSON struct {
		By      string `json:"by"`
		Detail  string `json:"detail,omitempty"`
		Records uint64 `json:"records"`
		Missing uint64 `json:"missing"`
		Unknown bool   `json:"unknown"`
	}
)

// moment returns a time for JSON, or nil for the zero one.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (c *Container) json() *containerJSON {
	if c == nil {
		return nil
	}
	return &containerJSON{ID: c.ID, Name: c.Name, Engine: c.Engine, Namespace: c.Namespace, Pod: c.Pod, Image: c.Image,
		Sandbox: c.Sandbox, Policy: c.Policy, Label: c.Label, Generation: c.Generation, Created: moment(c.From), Ended: moment(c.To)}
}

// place says where an event's process was, as far as it is known.
func (e *Event) place() string {
	switch {
	case e.Container != nil:
		return "container"
	case e.OnNode:
		return "node"
	case len(e.Candidates) > 0:
		return "candidates"
	}
	return "unknown"
}

// JSON returns an event and its reasons as a line: see output.Encode.
func (e *Event) JSON(why []Reason) ([]byte, error) {
	j := eventJSON{
		Type: "event", Time: moment(e.Time), Kind: e.Kind, Trusted: e.Trusted, Place: e.place(), KnownBy: e.By,
		Container: e.Container.json(), Others: e.Others, PID: e.PID, Comm: e.Comm, Profile: e.Profile, Namespace: e.Namespace,
		Operation: e.Operation, Info: e.Info, Access: e.Accesses(), Open: e.Open, Because: e.Because, Cut: e.Cut, Sentence: e.Sentence(),
	}
	for _, c := range e.Candidates {
		j.Candidates = append(j.Candidates, *c.json())
	}
	for _, f := range e.Fields {
		j.Record = append(j.Record, [2]string{f.Key, f.Value})
	}
	for _, w := range why {
		if w.Err != nil {
			j.Why = append(j.Why, reasonJSON{Unknown: w.Err.Error()})
			continue
		}
		j.Why = append(j.Why, reasonJSON{Reason: &w.PartReason})
	}
	return output.Encode(j, output.Compact)
}

// JSON returns a summary as a line: see output.Encode. of is "container" or "policy".
func (s *Summary) JSON(of string) ([]byte, error) {
	j := summaryJSON{Type: of, Of: s.Of, Container: s.One.json(), Policy: s.Policy, Counts: s.Counts, First: moment(s.First),
		Last: moment(s.Last), Most: []tallyJSON{}}
	for _, t := range s.Most {
		j.Most = append(j.Most, tallyJSON{t.What, t.Kind, t.N})
	}
	return output.Encode(j, output.Compact)
}

// JSON returns the end of reading as a line: see output.Encode.
func (e *End) JSON() ([]byte, error) {
	j := endJSON{Type: "source", Source: e.Source, Records: e.Records, Shown: e.Shown, Denials: e.Denials, Untrusted: e.Untrusted,
		Lost: []lossJSON{}, Unknown: append([]string{}, e.Unknown()...)}
	if e.Asked {
		alive := e.Dead == nil
		j.Alive = &alive
	}
	for _, l := range e.Lost {
		j.Lost = append(j.Lost, lossJSON(l))
	}
	return output.Encode(j, output.Compact)
}
