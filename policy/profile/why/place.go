package why

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// A Place is a line of a file.
type Place struct {
	File string // path of an included file; empty for the text itself
	Line int    // from 1; 0 if it is not known
}

// A Rule is a rule of a profile's text.
type Rule struct {
	Place
	Via       []Place // the statements that include the file, the text's own first
	Profile   string
	Text      string // the rule as written, with single blanks
	Deny      bool
	Audit     bool
	Variables []Variable // that it uses, directly or by others

	source string // as it stands in the file
}

// A Variable is one that a rule uses.
type Variable struct {
	Name   string   // such as "PROC"
	Values []string // as written
	Places []Place  // where they are assigned
}

// origin returns where a line of the text with its includes put in comes from.
func (t *Text) origin(line int) profile.Origin {
	if line < 1 || line > len(t.lines) {
		return profile.Origin{}
	}
	return t.lines[line-1]
}

func placeOf(o profile.Origin) Place { return Place{o.File, o.Line} }

// rule returns a rule of the text that was read, with its place.
func (t *Text) rule(r syntax.Rule, profile string) Rule {
	rule := Rule{Profile: profile, Text: r.Text, Deny: r.Deny, Audit: r.Audit, source: r.Text}
	o := t.origin(r.Line)
	rule.Place = placeOf(o)
	for by := o.By; by != nil; by = by.By {
		rule.Via = append(rule.Via, placeOf(*by))
	}
	slices.Reverse(rule.Via)
	return rule
}

// variable finds the use of a variable.
var variable = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`@\{([^{}\s]+)\}`) })

// maxVariables is how many variables of one rule are named.
const maxVariables = 20

// variables returns the variables that a text uses, directly or by others.
func (t *Text) variables(text string) (all []Variable) {
	for todo := []string{text}; len(todo) > 0; todo = todo[1:] {
		for _, m := range variable().FindAllStringSubmatch(todo[0], -1) {
			name := m[1]
			values := t.read.Variables[name]
			if len(values) == 0 || len(all) == maxVariables ||
				slices.ContainsFunc(all, func(v Variable) bool { return v.Name == name }) {
				continue
			}
			v := Variable{Name: name, Values: values}
			for _, a := range t.read.Assigned {
				if a.Name == name {
					v.Places = append(v.Places, placeOf(t.origin(a.Line)))
				}
			}
			all = append(all, v)
			todo = append(slices.Clip(todo), strings.Join(values, " "))
		}
	}
	return all
}

// origins returns where the lines of a preprocessed text come from, as far as that can be told by the lines themselves:
// the parser names the files that it puts in, but not where they end. A line that several files have is taken for the
// first one's.
func origins(text, included string, files []profile.Text) []profile.Origin {
	known := make(map[string]profile.Origin)
	add := func(file, text string) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			if _, there := known[line]; !there {
				known[line] = profile.Origin{File: file, Line: n}
			}
		}
	}
	add("", text)
	for _, f := range files {
		add(f.Path, f.Text)
	}
	var all []profile.Origin
	for line := range strings.Lines(included) {
		all = append(all, known[strings.TrimSpace(line)])
	}
	return all
}
