package suite

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// The elements of JUnit's XML that CI systems read (GitLab, Jenkins, Azure Pipelines, and GitHub's actions for it).
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"` // failed, or unknown where nothing else failed
		Text    string `xml:",chardata"`
	}
)

// JUnit writes reports as JUnit's XML. of is what was tested: a directory.
func (r Runs) JUnit(w io.Writer, of string) error {
	var all junitSuites
	var took time.Duration
	for _, run := range r {
		one := junitSuite{Name: of, Tests: len(run.Results), Time: xmlSeconds(run.Took)}
		if run.Features != "" {
			one.Name += " (" + run.Features + ")"
		}
		for i := range run.Results {
			t := &run.Results[i]
			c := junitCase{Class: one.Name, Name: t.Name, File: t.At.File, Line: t.At.Line, Time: xmlSeconds(t.Took)}
			if c.Failure = t.junitFailure(); c.Failure != nil {
				one.Failures++
			}
			one.Cases = append(one.Cases, c)
		}
		all.Tests, all.Failures, took = all.Tests+one.Tests, all.Failures+one.Failures, took+run.Took
		all.Suites = append(all.Suites, one)
	}
	all.Time = xmlSeconds(took)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func xmlSeconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// junitFailure returns all failures of a test as one, or nil.
func (one *Result) junitFailure() *junitFailure {
	if len(one.Failed) == 0 {
		return nil
	}
	all := &junitFailure{Message: one.Failed[0].Sentence(), Type: "unknown"}
	var text strings.Builder
	for i := range one.Failed {
		f := &one.Failed[i]
		if !f.Unknown {
			all.Type = "failed"
		}
		fmt.Fprintf(&text, "%s: %s\n", f.At, f.Sentence())
		for _, d := range f.details() {
			fmt.Fprintf(&text, "    %-9s  %s\n", d.key, d.value)
		}
	}
	all.Text = text.String()
	return all
}
