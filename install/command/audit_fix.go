package command

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/audit"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/suggest"
)

// suggest prints, for each profile of a text that is known, how it is to be changed to allow what it denied. With --fix it
// writes that for one profile, without what gives up a protection unless that is asked for: a workload only has to try
// something to have a rule for it found.
func (p *auditPrinter) suggest(d *profiles.Deciding) error {
	if n := p.wanted.Beyond; n > 0 {
		p.s.Warnf("%s of profiles that denied more than is looked at once: repeat this when the first rules are in force",
			output.Count(n, "denial", "denials"))
	}
	for _, name := range p.wanted.Profiles() {
		if p.o.fix != "" && name != p.o.fix {
			continue
		}
		denials := p.wanted.Of(name)
		fix, err := d.Suggest(p.ctx, name, denials, p.o.fix != "" && !p.o.giveUp)
		if p.ctx.Err() != nil {
			return p.ctx.Err()
		}
		var written *bool
		if p.o.fix != "" && err == nil && len(fix.Rules) > 0 {
			if err := fix.Write(); err != nil {
				return err
			}
			yes := true
			written = &yes
		}
		if err := p.suggestion(name, denials, fix, err, written); err != nil {
			return err
		}
	}
	if p.o.fix != "" && p.wanted.Of(p.o.fix) == nil {
		return exit.With(exit.Cannot, fmt.Errorf("nothing is written: no denial by profile %s was found that can be believed and says what "+
			"was denied", oneline.Quote(p.o.fix)))
	}
	return p.Err
}

// suggestion prints what is suggested for a profile, or why nothing is.
func (p *auditPrinter) suggestion(name string, denials []suggest.Denial, fix *profiles.Fix, failed error, written *bool) error {
	if p.o.json {
		return p.suggestionJSON(name, denials, fix, failed, written)
	}
	p.Line("")
	if failed != nil {
		p.Line("profile %s: nothing is suggested: %s", oneline.Whole(name), oneline.Whole(failed.Error()))
		return p.Err
	}
	suggested, held := 0, 0
	for _, a := range fix.Answers {
		switch a.Outcome {
		case suggest.Suggested:
			suggested++
		case suggest.Held:
			held++
		}
	}
	of := ""
	if fix.File != "" {
		of = " of " + oneline.Name(fix.File)
	}
	p.Line("profile %s%s: %s for %d of %s", oneline.Whole(name), of, output.Count(len(fix.Rules), "rule", "rules"), suggested,
		output.Count(len(denials), "denial", "denials"))
	p.suggestedRules(fix.Rules, denials)
	for i, a := range fix.Answers {
		if a.Outcome != suggest.Suggested {
			p.Line("  %s: %s", accesses(denials[i]), oneline.Whole(a.Message))
		}
	}
	if held > 0 {
		p.Line("  %s: --give-up writes such rules, too. A workload only has to try something to be found here: look at what it is for",
			output.Count(held, "denial is held back", "denials are held back"))
	}
	for _, c := range fix.Checks {
		p.Line("  warning: line %d: %s", c.Line, oneline.Whole(c.Message))
	}
	if fix.Patch == "" {
		return p.Err
	}
	for line := range strings.Lines(fix.Patch) {
		p.Line("%s", patchLine(strings.TrimSuffix(line, "\n")))
	}
	switch {
	case written != nil:
		p.Line("%s is changed: oci-apparmor policy apply or profile load puts it in force", oneline.Name(fix.File))
	case fix.File != "" && slices.ContainsFunc(fix.Rules, func(r suggest.Rule) bool { return len(r.Gives) > 0 }):
		p.Line("oci-apparmor audit --fix %s writes it without the rules that give up a protection, and with them if --give-up is added",
			oneline.Word(name))
	case fix.File != "":
		p.Line("oci-apparmor audit --fix %s writes it", oneline.Word(name))
	default:
		p.Line("the text is in no file that could be changed: it is that of %s", oneline.Whole(fix.Source))
	}
	return p.Err
}

func (p *auditPrinter) suggestionJSON(name string, denials []suggest.Denial, fix *profiles.Fix, failed error, written *bool) error {
	var text []byte
	var err error
	if failed != nil {
		text, err = audit.SuggestionJSON(name, "", denials, nil, failed, nil)
	} else {
		text, err = audit.SuggestionJSON(name, fix.File, denials, fix.Suggestion, nil, written)
	}
	if err == nil {
		_, err = p.s.stdout.Write(text)
	}
	return err
}

// suggestedRules prints rules with what they are for and what they give up.
func (p *auditPrinter) suggestedRules(rules []suggest.Rule, denials []suggest.Denial) {
	for _, r := range rules {
		p.Line("  line %d: %s", r.Line, oneline.Whole(r.Text))
		for _, d := range r.For {
			p.Line("    allows: %s", accesses(denials[d]))
		}
		if len(r.Widened) > 0 {
			p.Line("    and more: %s", oneline.Whole(strings.Join(r.Widened, ", ")))
		}
		if r.Chosen != "" {
			p.Line("    chosen: %s", r.Chosen)
		}
		for _, given := range r.Gives {
			p.Line("    warning: %s", oneline.Whole(given))
		}
	}
}

// patchLine returns a line of a patch as it is but for characters that are not printable: the tabs of a text stay, so that the
// patch can be applied.
func patchLine(line string) string {
	words := strings.Split(line, "\t")
	for i := range words {
		words[i] = oneline.Printable(words[i])
	}
	return strings.Join(words, "\t")
}

// accesses returns what was denied in the language of accesses, fit for a line.
func accesses(d suggest.Denial) string {
	var words []string
	for _, a := range d.Accesses {
		words = append(words, access.Format(a))
	}
	return oneline.Whole(strings.Join(words, " or "))
}
