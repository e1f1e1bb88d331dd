package suite

import (
	"fmt"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// shown is how many labels Print shows for which one assertion fails.
const shown = 3

// Print prints reports as go test prints its own. of is what was tested: a directory.
func (r Runs) Print(out *output.Printer, of string, verbose bool) error {
	for _, one := range r {
		what := of
		if one.Features != "" {
			what += " (" + one.Features + ")"
		}
		one.Report.Print(out, what, verbose)
	}
	if !r.Passed() && len(r) > 1 {
		out.Line("FAIL")
	}
	return out.Err
}

// Print prints a report as go test prints its own. With verbose it has the tests that pass, too. of is what was tested: a
// directory.
func (r *Report) Print(out *output.Printer, of string, verbose bool) {
	for i := range r.Results {
		one := &r.Results[i]
		if !verbose && len(one.Failed) == 0 && len(one.Warnings) == 0 {
			continue
		}
		if verbose {
			out.Line("=== RUN   %s", one.Name)
		}
		verdict := "PASS"
		if len(one.Failed) > 0 {
			verdict = "FAIL"
		}
		out.Line("--- %s: %s (%s)", verdict, one.Name, seconds(one.Took, 2))
		if verbose {
			one.printDetails(out)
		}
		for _, w := range one.Warnings {
			out.Line("    %s: warning: %s", one.At, w)
		}
		one.printFailures(out, verbose)
	}
	switch {
	case !r.Passed():
		out.Line("FAIL")
		out.Line("FAIL\t%s\t%s", of, seconds(r.Took, 3))
	default:
		if verbose {
			out.Line("PASS")
		}
		out.Line("ok  \t%s\t%s", of, seconds(r.Took, 3))
	}
}

// seconds returns a time as go test prints it.
func seconds(d time.Duration, digits int) string { return fmt.Sprintf("%.*fs", digits, d.Seconds()) }

// printDetails prints what was tested.
func (one *Result) printDetails(out *output.Printer) {
	switch {
	case one.Kind != Test:
		out.Line("    %s: judged %s", one.At, output.Count(one.Labels, "label", "labels"))
	case one.Refused != "":
		out.Line("    %s: refused: %s", one.At, one.Refused)
	default:
		label := one.Label
		if label == "" {
			label = "none that is known"
		}
		out.Line("    %s: policy %s, label %s", one.At, one.Policy, oneline.Whole(label))
	}
	for _, note := range one.Notes {
		out.Line("    %s: %s", one.At, note)
	}
}

// printFailures prints why a test failed.
func (one *Result) printFailures(out *output.Printer, verbose bool) {
	for i := 0; i < len(one.Failed); {
		first := &one.Failed[i]
		n := 1 // failures of the same assertion
		for i+n < len(one.Failed) && one.Failed[i+n].At == first.At && first.Assertion != "" {
			n++
		}
		for k := range n {
			if k == shown && !verbose && n > shown+1 {
				out.Line("    %s: the same with %s: -v and --json have them all", first.At, output.Count(n-shown, "more label", "more labels"))
				break
			}
			one.Failed[i+k].print(out)
		}
		i += n
	}
}

// Sentence returns a failure in one line, without its place and without who gets the label.
func (f *Failure) Sentence() string {
	if f.Asks == "" {
		return f.Reason
	}
	says := f.Asks
	if f.Assertion != "" {
		says += " " + oneline.Whole(f.Assertion)
	}
	return says + ": " + f.Reason
}

func (f *Failure) print(out *output.Printer) {
	out.Line("    %s: %s", f.At, f.Sentence())
	for _, d := range f.details() {
		out.Line("        %-9s  %s", d.key, d.value)
	}
}

type detail struct{ key, value string }

// details are what a failure has beside its sentence.
func (f *Failure) details() (list []detail) {
	for _, d := range []detail{{"after", f.After}, {"access", f.Witness}, {"container", f.Container}, {"rule", f.Rule},
		{"policy", f.Policy}, {"label", f.Label}, {"profile", strings.Join(f.Profiles, ", ")}} {
		if d.value != "" {
			list = append(list, detail{d.key, oneline.Whole(d.value)})
		}
	}
	for _, kernels := range f.Kernels {
		list = append(list, detail{"but", kernels})
	}
	return list
}
