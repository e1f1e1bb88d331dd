// Package doctor looks for what is wrong with a node: its kernel, its parser, its policy, what is loaded of it, its engines and
// its containers. Each check is a row of a table, with an identifier that scripts and the man page know it by. A check reads
// and changes nothing; Fix does what is safe, and AddProbes starts a container.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/probe"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Severity is how bad a finding is.
type Severity string

// The severities. Of an error, containers are not confined as decided, or do not start. Of a warning, that can come. A note is
// worth to know, and nothing is wrong.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Note    Severity = "note"
)

var severities = []Severity{Error, Warning, Note}

// Check is what the doctor looks for.
type Check struct {
	ID       string // stable: scripts know findings by it
	Severity Severity
	Looks    string // what it looks for: a sentence, for the man page
	Do       string // what to do about it: a sentence
	Fixed    string // what Fix does about it: a sentence; empty for nothing

	// find returns what it finds. An error means that it could not look.
	find func(x *exam) ([]found, error)
}

// found is one thing that a check finds.
type found struct {
	what string // a sentence
	do   string // what to do, if not Check.Do
	fix  *fix   // what Fix does about it; nil for nothing
	name string // what NAME stands for in what to do; empty where it is not one thing
}

// one returns a list of one thing found, by a format.
func one(format string, args ...any) []found { return []found{{what: fmt.Sprintf(format, args...)}} }

// Finding is something that is wrong, in text that is fit for a line.
type Finding struct {
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Do       string   `json:"do"`

	fix *fix
}

// Report is the result of an examination.
type Report struct {
	Findings []Finding // the worst first
	Unseen   []string  // what could not be looked at, and why
	Facts    Facts
	Probes   []probe.Seen
	Fixed    []Finding // what Fix has put right

	asUser bool // somebody else than root has looked
}

// Count returns the number of findings of a severity.
func (r *Report) Count(s Severity) (n int) {
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// Checks returns the table.
func Checks() []Check {
	return slices.Concat(kernelChecks, policyChecks, recordingChecks, engineChecks, containerChecks, probeChecks)
}

// Examine looks for everything that the table has.
func Examine(ctx context.Context, n *Node) *Report {
	x := newExam(ctx, n)
	r := &Report{asUser: !n.Root}
	for _, c := range Checks() {
		if c.find == nil {
			continue
		}
		all, err := c.find(x)
		for _, f := range all {
			r.add(c, f)
		}
		if err != nil {
			r.unseen(err)
		}
	}
	r.Facts = x.facts()
	r.sort()
	return r
}

// unseen adds what could not be looked at. Several checks look at the same things, and each reason stands there once.
func (r *Report) unseen(err error) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range all.Unwrap() {
			r.unseen(err)
		}
		return
	}
	line := clean(err.Error())
	if r.asUser && errors.Is(err, fs.ErrPermission) && !strings.Contains(line, "run this as root") {
		line += ": run this as root"
	}
	if !slices.Contains(r.Unseen, line) {
		r.Unseen = append(r.Unseen, line)
	}
}

// placeholder stands in what to do for the name of what was found.
var placeholder = regexp.MustCompile(`\bNAME\b`)

func (r *Report) add(c Check, f found) {
	do := cmp.Or(f.do, c.Do)
	if f.name != "" {
		do = placeholder.ReplaceAllLiteralString(do, f.name)
	}
	r.Findings = append(r.Findings, Finding{ID: c.ID, Severity: c.Severity, What: clean(f.what), Do: clean(do), fix: f.fix})
}

// sort puts the worst first, and leaves what is equally bad in the order of the table.
func (r *Report) sort() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity))
	})
}

// maxSentence bounds a sentence, in bytes. Engines say a lot where they fail.
const maxSentence = 1000

// clean makes a sentence fit for a line: names in it may be hostile, and so may what programs say.
func clean(s string) string { return oneline.Whole(oneline.Cut(oneline.Printable(s), maxSentence)) }

// check returns the row of an identifier.
func check(id string) Check {
	all := Checks()
	return all[slices.IndexFunc(all, func(c Check) bool { return c.ID == id })]
}
