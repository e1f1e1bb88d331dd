package profiles

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// mostRounds is how often rules are added that deny: without a first denial a workload may go on to another one. After the last
// time it must be denied nothing else.
const mostRounds = 5

// silence finds what the workload is denied under the text that is left, and does without. With Tightening.Deny it adds rules
// that deny this without a record, so that a log without records says that all went well.
func (t *tightening) silence(ctx context.Context, made *Tightened) error {
	for round := 0; ; round++ {
		var denied []seen
		made.Vain, made.Missed = nil, t.missed
		for _, s := range t.seen {
			if s.kind == audit.Denied {
				denied = append(denied, s)
				made.Vain = append(made.Vain, s.what)
			}
		}
		if len(denied) == 0 || !t.Deny {
			return nil
		}
		text, added := t.denying(made.Text, denied)
		if len(added) == 0 {
			return nil
		}
		if round == mostRounds {
			return errors.New("the workload is denied something else each time: it was run " + fmt.Sprint(mostRounds) + " times")
		}
		made.Runs++
		o, err := t.try(ctx, text)
		if err != nil || !o.Works { // such a rule denies more than the record is of, as what another user may do with the file
			return err
		}
		made.Text, made.Denied = text, append(made.Denied, added...)
	}
}

// denying returns a text with rules that deny what was denied, each with a comment that says so, and the rules.
func (t *tightening) denying(text string, denied []seen) (with string, added []string) {
	type rule struct {
		ruletext.Rule
		profile  string
		programs []string
	}
	read := syntax.Read(text)
	style := ruletext.Style{Own: t.name, Variables: read}
	var rules []*rule
	for _, s := range denied {
		if s.access == nil {
			continue
		}
		of := style.Rules(s.access, false)
		if len(of) == 0 || len(of[0]) != 1 {
			continue
		}
		one := &rule{Rule: of[0][0], profile: s.profile}
		if i := slices.IndexFunc(rules, func(r *rule) bool { return r.profile == one.profile && r.Joins(one.Rule) }); i >= 0 {
			rules[i].Rule = rules[i].Join(one.Rule)
			one = rules[i]
		} else {
			rules = append(rules, one)
		}
		one.programs = append(one.programs, s.program)
	}
	for _, one := range rules {
		i := slices.IndexFunc(read.Blocks, func(b *syntax.Block) bool { return b.Name == one.profile && b.Own })
		if i < 0 {
			continue
		}
		line := "deny " + one.Text(style)
		if end, is := strings.CutSuffix(line, "ix,"); is && one.OfFile() { // of what is denied it does not matter how it would go on
			line = end + "x,"
		}
		if !slices.Contains(added, line) {
			added = append(added, line)
			said := syntax.Read(read.Insert(read.Blocks[i], []string{line + " # " + ruletext.Programs(one.programs) + ": tried, and done without"}))
			if !said.Whole { // a profile in one line, of which a comment hides the end
				said = syntax.Read(read.Insert(read.Blocks[i], []string{line}))
			}
			read = said
		}
	}
	if len(added) > 0 {
		text = read.String()
	}
	return text, added
}
