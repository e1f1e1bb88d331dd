package combine

import (
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// expander is a Compiler that tells where lines of a text with its includes put in come from, as *profile.Compiler does.
type expander interface {
	Expand(text []byte) (profile.Expanded, bool)
}

// place returns where a statement of a text stands, as a file and a line, and by which line its file is included. It
// returns the text's name alone if that cannot be told.
func (s Source) place(c Compiler, statement string) string {
	own := syntax.Read(string(s.Text))
	if line := lineOf(own, statement); line > 0 {
		return fmt.Sprintf("%s:%d", oneline.Whole(s.Name), line)
	}
	e, ok := c.(expander)
	if !ok {
		return oneline.Whole(s.Name)
	}
	whole, ok := e.Expand(s.Text)
	line := lineOf(syntax.Read(whole.Text), statement)
	if !ok || line < 1 || line > len(whole.Lines) {
		return oneline.Whole(s.Name)
	}
	at := whole.Lines[line-1]
	place := fmt.Sprintf("%s:%d", oneline.Whole(at.File), at.Line)
	for by := at.By; by != nil; by = by.By {
		file := by.File
		if file == "" {
			file = s.Name
		}
		place += fmt.Sprintf(", included at %s:%d", oneline.Whole(file), by.Line)
	}
	return place
}

// lineOf returns the first line on which a text has a statement, and 0 if it has it nowhere.
func lineOf(t *syntax.Text, statement string) int {
	for _, r := range t.Preamble {
		if r.Text == statement {
			return r.Line
		}
	}
	for _, b := range t.Blocks {
		for _, r := range b.Rules {
			if r.Text == statement {
				return r.Line
			}
		}
	}
	return 0
}

// header returns where the header of a profile of the text stands.
func (p *part) header(name string) string {
	if line := syntax.Read(string(p.Source.Text)).Line(name); line > 0 {
		return fmt.Sprintf("%s:%d", oneline.Whole(p.Name), line)
	}
	return oneline.Whole(p.Name)
}
