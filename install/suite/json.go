package suite

import (
	_ "embed"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of what JSON returns.
func Schema() []byte { return append([]byte(nil), schema...) }

// A Run is a report on the tests with the profiles compiled for one kernel.
type Run struct {
	Features string // the file of the kernel's features; empty for those of the running kernel
	*Report
}

// Runs are reports on the same tests.
type Runs []Run

// Passed reports whether no test failed.
func (r Runs) Passed() bool {
	return !slices.ContainsFunc(r, func(one Run) bool { return !one.Report.Passed() })
}

// None reports whether no test was run.
func (r Runs) None() bool {
	return !slices.ContainsFunc(r, func(one Run) bool { return len(one.Results) > 0 })
}

type (
	runsJSON struct {
		Version string    `json:"version"`
		Passed  bool      `json:"passed"`
		Runs    []runJSON `json:"runs"`
	}
	runJSON struct {
		Features string       `json:"features"`
		Passed   bool         `json:"passed"`
		Seconds  float64      `json:"seconds"`
		Left     int          `json:"left"`
		Results  []resultJSON `json:"results"`
	}
	placeJSON struct {
		File string `json:"file"`
		Line int    `json:"line"`
	}
	resultJSON struct {
		Kind      Kind          `json:"kind"`
		Name      string        `json:"name"`
		At        placeJSON     `json:"at"`
		Passed    bool          `json:"passed"`
		Seconds   float64       `json:"seconds"`
		Container string        `json:"container,omitempty"`
		Policy    string        `json:"policy,omitempty"`
		Label     string        `json:"label,omitempty"`
		Refused   string        `json:"refused,omitempty"`
		Labels    int           `json:"labels,omitempty"`
		Warnings  []string      `json:"warnings,omitempty"`
		Notes     []string      `json:"notes,omitempty"`
		Failures  []failureJSON `json:"failures"`
	}
	failureJSON struct {
		At        placeJSON `json:"at"`
		Reason    string    `json:"reason"`
		Unknown   bool      `json:"unknown"`
		Asks      string    `json:"asks,omitempty"`
		Assertion string    `json:"assertion,omitempty"`
		Witness   string    `json:"witness,omitempty"`
		After     string    `json:"after,omitempty"`
		Container string    `json:"container,omitempty"`
		Rule      string    `json:"rule,omitempty"`
		Policy    string    `json:"policy,omitempty"`
		Label     string    `json:"label,omitempty"`
		Profiles  []string  `json:"profiles,omitempty"`
		Kernels   []string  `json:"kernels,omitempty"`
	}
)

// JSON returns reports in the form that the schema describes, for an encoder.
func (r Runs) JSON() any {
	all := runsJSON{Version: "1", Passed: r.Passed(), Runs: []runJSON{}}
	at := func(p policyfile.Place) placeJSON { return placeJSON{p.File, p.Line} }
	for _, run := range r {
		one := runJSON{Features: run.Features, Passed: run.Passed(), Seconds: run.Took.Seconds(), Left: run.Left, Results: []resultJSON{}}
		for _, t := range run.Results {
			result := resultJSON{Kind: t.Kind, Name: t.Name, At: at(t.At), Passed: len(t.Failed) == 0, Seconds: t.Took.Seconds(),
				Container: t.Container, Policy: t.Policy, Label: t.Label, Refused: t.Refused, Labels: t.Labels, Warnings: t.Warnings,
				Notes: t.Notes, Failures: []failureJSON{}}
			for _, f := range t.Failed {
				result.Failures = append(result.Failures, failureJSON{At: at(f.At), Reason: f.Reason, Unknown: f.Unknown, Asks: f.Asks,
					Assertion: f.Assertion, Witness: f.Witness, After: f.After, Container: f.Container, Rule: f.Rule, Policy: f.Policy,
					Label: f.Label, Profiles: f.Profiles, Kernels: f.Kernels})
			}
			one.Results = append(one.Results, result)
		}
		all.Runs = append(all.Runs, one)
	}
	return all
}
