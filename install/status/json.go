package status

import (
	_ "embed"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of the output of JSON.
func Schema() []byte { return append([]byte(nil), schema...) }

// Show selects parts of a status.
type Show struct{ Profiles, Processes, Containers bool }

// The JSON. Keys that are also in aa-status's version 2 mean the same.
type (
	statusJSON struct {
		Version    string                   `json:"version"`
		Profiles   map[string]string        `json:"profiles,omitzero"`
		Processes  map[string][]processJSON `json:"processes,omitzero"`
		Containers []containerJSON          `json:"containers,omitzero"`
		Recorded   []string                 `json:"recorded,omitempty"`
		Quiet      []quiet.Standing         `json:"quiet,omitempty"`
		Problems   []string                 `json:"problems,omitempty"`

		ProfileCount   *int `json:"profile_count,omitempty"`
		ProcessCount   *int `json:"process_count,omitempty"`
		ContainerCount *int `json:"container_count,omitempty"`
	}
	processJSON struct {
		Profile string `json:"profile"`
		PID     string `json:"pid"`
		Status  string `json:"status"`
	}
	containerJSON struct {
		ID         string             `json:"id"`
		Name       string             `json:"name"`
		Engine     string             `json:"engine"`
		Namespace  string             `json:"namespace"`
		Pod        string             `json:"pod"`
		Image      string             `json:"image"`
		Sandbox    bool               `json:"sandbox"`
		Root       string             `json:"root"`
		State      State              `json:"state"`
		PID        int                `json:"pid"`
		Decided    bool               `json:"decided"`
		Policy     string             `json:"policy"`
		Reason     string             `json:"reason"`
		Generation uint64             `json:"generation"`
		Label      string             `json:"label"`
		Verdict    Verdict            `json:"verdict"`
		Profiles   []profileStateJSON `json:"profiles"`
		Processes  []memberJSON       `json:"processes"`
		Problems   []string           `json:"problems"`
	}
	profileStateJSON struct {
		Name    string  `json:"name"`
		Content Content `json:"content"`
		Detail  string  `json:"detail,omitempty"`
	}
	memberJSON struct {
		PID      int    `json:"pid"`
		Profile  string `json:"profile"`
		Status   string `json:"status"`
		Confined bool   `json:"confined"`
	}
)

// JSON returns the selected parts of a status, or with count only their numbers. It is one line, or indented if pretty is
// set. No string in it can act on a terminal: see output.Encode.
func (s *Status) JSON(show Show, count, pretty bool) ([]byte, error) {
	out := statusJSON{Version: "2", Recorded: s.Recorded, Quiet: s.Quiet, Problems: s.Problems}
	if show.Profiles {
		if count {
			out.ProfileCount = new(len(s.Profiles))
		} else {
			out.Profiles = make(map[string]string, len(s.Profiles))
			for _, p := range s.Profiles {
				out.Profiles[p.Name] = p.Mode
			}
		}
	}
	if show.Processes {
		if count {
			out.ProcessCount = new(len(s.Processes))
		} else {
			out.Processes = make(map[string][]processJSON)
			for _, p := range s.Processes {
				out.Processes[p.Exe] = append(out.Processes[p.Exe], processJSON{p.Profile, fmt.Sprint(p.PID), p.Mode})
			}
		}
	}
	if show.Containers {
		if count {
			out.ContainerCount = new(len(s.Containers))
		} else {
			out.Containers = make([]containerJSON, len(s.Containers))
			for i := range s.Containers {
				out.Containers[i] = s.Containers[i].json()
			}
		}
	}
	form := output.Spaced
	if pretty {
		form = output.Indented
	}
	return output.Encode(out, form)
}

func (c *Container) json() containerJSON {
	j := containerJSON{
		ID: c.ID, Name: c.Name, Engine: c.Engine, Namespace: c.Namespace, Pod: c.Pod, Image: c.Image, Sandbox: c.Sandbox,
		Root: c.Root, State: c.State, PID: c.PID, Decided: c.Decided, Policy: c.Policy, Reason: c.Reason,
		Generation: c.Generation, Label: c.Label, Verdict: c.Verdict,
		Profiles: []profileStateJSON{}, Processes: []memberJSON{}, Problems: append([]string{}, c.Problems...),
	}
	for _, p := range c.Profiles {
		j.Profiles = append(j.Profiles, profileStateJSON{p.Name, p.Content, p.Detail})
	}
	for _, m := range c.Processes {
		j.Processes = append(j.Processes, memberJSON{m.PID, m.profile(), m.mode(), m.Confined})
	}
	return j
}
