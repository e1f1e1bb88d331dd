package doctor

import (
	_ "embed"

	"github.com/oci-apparmor/oci-apparmor/install/probe"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of what Report.JSON describes.
func Schema() []byte { return append([]byte(nil), schema...) }

// JSON returns a report in the form that the schema describes, for an encoder.
func (r *Report) JSON() any {
	list := func(all []Finding) []Finding { return append([]Finding{}, all...) }
	return struct {
		Version  string       `json:"version"`
		Findings []Finding    `json:"findings"`
		Fixed    []Finding    `json:"fixed"`
		Unseen   []string     `json:"unseen"`
		Node     Facts        `json:"node"`
		Probes   []probe.Seen `json:"probes"`
	}{"1", list(r.Findings), list(r.Fixed), append([]string{}, r.Unseen...), r.Facts, append([]probe.Seen{}, r.Probes...)}
}
