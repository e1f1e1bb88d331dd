package command

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/audit"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// auditPrinter prints events as they come, or groups of them at the end.
type auditPrinter struct {
	*output.Printer
	ctx      context.Context
	s        *session
	o        *auditOptions
	deciding audit.Deciding // nil if no rules are to be named
	columns  logColumns
	groups   audit.Groups
	wanted   audit.Wanted // with --suggest
	repeats  *repeats     // with --follow
}

func newAuditPrinter(ctx context.Context, s *session, o *auditOptions, d audit.Deciding) *auditPrinter {
	p := &auditPrinter{Printer: s.print(), ctx: ctx, s: s, o: o, deciding: d}
	p.repeats = newRepeats(p.print)
	return p
}

// counts reports whether of events that fit no group only the number is needed.
func (p *auditPrinter) counts() bool {
	return !p.o.follow && !p.o.each && !p.o.suggest && (!p.o.json || p.o.summary)
}

// event prints an event, or keeps it for the end.
func (p *auditPrinter) event(e *audit.Event) error {
	if p.o.suggest {
		p.wanted.Add(e)
	}
	switch {
	case p.o.json && !p.o.summary:
		text, err := e.JSON(p.why(e))
		if err == nil {
			_, err = p.s.stdout.Write(text)
		}
		return err
	case p.o.each:
		p.print(e, "")
		return p.Err
	}
	if p.o.follow {
		p.repeats.add(e)
	} else {
		p.groups.Add(e)
	}
	return p.Err
}

// finish prints what was kept.
func (p *auditPrinter) finish() error {
	switch {
	case p.o.summary:
		if n := p.groups.Beyond; n > 0 {
			p.s.Warnf("%s of more different kinds than are kept, and not in the summary: use --container", output.Count(n, "event is", "events are"))
		}
		return p.summary()
	case p.o.each || p.o.json:
		return nil
	case p.o.follow:
		p.repeats.end()
		return p.Err
	}
	return p.groupsPrinted()
}

// groupsPrinted prints what was kept of events that are not summed up.
func (p *auditPrinter) groupsPrinted() error {
	out := p.W
	buffered := bufio.NewWriterSize(out, 64<<10) // there can be some 20,000 entries of several lines
	p.W = buffered
	defer func() { p.W = out }()
	for _, g := range p.groups.All() {
		count := ""
		if g.Count > 1 {
			count = fmt.Sprintf(" (%d times until %s)", g.Count, clock(g.Last))
		}
		p.print(g.Event, count)
	}
	if n := p.groups.Beyond; n > 0 {
		p.Line("and %s of more different kinds than are kept: use --each, or --container", output.Count(n, "event", "events"))
	}
	p.Err = cmp.Or(p.Err, buffered.Flush())
	return p.Err
}

// clock returns a time as it stands in a column.
func clock(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.Local().Format(time.RFC3339)
}

func (p *auditPrinter) why(e *audit.Event) []audit.Reason {
	if p.deciding == nil {
		return nil
	}
	return audit.Why(p.ctx, p.deciding, e)
}

// print prints the lines of an event.
func (p *auditPrinter) print(e *audit.Event, count string) {
	engine := "-"
	if c := e.Container; c != nil {
		engine = cmp.Or(c.Engine, "-")
	}
	cells := [3]string{oneline.Word(engine), e.Whose(), oneline.Word(cmp.Or(e.Policy(), "-"))}
	p.Line("%s", p.columns.row(clock(e.Time), fmt.Sprintf("%-8s", e.Kind), cells, e.Sentence()+count))
	if p.o.brief {
		return
	}
	if text := particulars(e); text != "" {
		p.Line("  in: %s", text)
	}
	for _, a := range e.Accesses() {
		p.Line("  access: %s", oneline.Whole(a))
	}
	if e.Open != "" {
		p.Line("  open: %s", oneline.Whole(e.Open))
	}
	if e.Because != "" && e.Notice == nil && e.Kind != audit.Changed {
		p.Line("  why: %s", oneline.Whole(e.Because))
	}
	for _, r := range p.why(e) {
		p.reason(e, r)
	}
}

// particulars says which container an event is of, and how that is known.
func particulars(e *audit.Event) string {
	switch c := e.Container; {
	case e.Notice != nil:
		return ""
	case c != nil:
		switch e.By {
		case audit.ByProfile:
			return describe(c) + "; its process has ended, and no other container under the profile is known of that time"
		case audit.ByPID:
			return describe(c) + "; its first process had that pid. If that had ended by then, it is of " + others(e)
		}
		return describe(c)
	case e.OnNode:
		return "no container, but the node itself"
	case len(e.Candidates) > 0:
		return "one of these, since its process has ended: " + others(e)
	case !e.Trusted:
		return "not known, since the record may be forged"
	}
	return "not known: its process has ended, and no container under the profile is known of that time"
}

// others describes the containers that an event may be of, but for the one that is named.
func others(e *audit.Event) string {
	var all []string
	for _, c := range e.Candidates {
		if c != e.Container {
			all = append(all, describe(c))
		}
	}
	if e.Others {
		all = append(all, "one that has ended and of which nothing is left")
	}
	return strings.Join(all, "; or ")
}

// describe returns what people need to find a container.
func describe(c *audit.Container) string {
	words := []string{"container " + c.Title()}
	if id := oneline.Word(c.ID[:min(len(c.ID), 12)]); id != c.Title() {
		words = append(words, "id "+id)
	}
	if c.Image != "" {
		words = append(words, "image "+oneline.Word(c.Image))
	}
	if c.Label != "" {
		words = append(words, "label "+oneline.Word(c.Label))
	}
	if c.Ended {
		words = append(words, "ended by "+clock(c.To))
	}
	return strings.Join(words, ", ")
}

// reason prints which rules decided.
func (p *auditPrinter) reason(e *audit.Event, r audit.Reason) {
	if r.Err != nil {
		p.Line("  why: not known: %s", oneline.Whole(r.Err.Error()))
		return
	}
	if allowed := r.Verdict == "allowed" || r.Verdict == "unmediated"; allowed && e.Kind != audit.Audited {
		p.Line("  why: the text allows it now, so it has changed since, or the container runs under older content")
	} else {
		p.Line("  why: %s", saysPart(r.PartReason))
	}
	p.rules(r.PartReason)
}

// rules prints the rules of a reason, with deeper indentation than profile why has.
func (p *auditPrinter) rules(r profiles.PartReason) {
	var b strings.Builder
	inner := &output.Printer{W: &b}
	printPart(inner, r)
	for line := range strings.Lines(b.String()) {
		p.Line("  %s", strings.TrimSuffix(line, "\n"))
	}
}

// mostTallies is how much of what was tried stands in a summary for people.
const mostTallies = 10

func (p *auditPrinter) summary() error {
	containers, policies := audit.Summarise(p.groups.All())
	if p.o.json {
		return p.summaryJSON(containers, policies)
	}
	for i, part := range []struct {
		title string
		all   []audit.Summary
	}{{"container", containers}, {"policy", policies}} {
		if i > 0 && len(part.all) > 0 {
			p.Line("")
		}
		for _, s := range part.all {
			of := s.Of
			if c := s.One; c != nil {
				of = strings.Join(slices.DeleteFunc([]string{oneline.Word(cmp.Or(c.Engine, "-")), s.Of}, func(w string) bool { return w == "-" }), " ")
			}
			policy := ""
			if i == 0 && s.Policy != "" {
				policy = " (policy " + oneline.Word(s.Policy) + ")"
			}
			p.Line("%s %s%s: %s, from %s to %s", part.title, of, policy, counts(s.Counts), clock(s.First), clock(s.Last))
			for n, t := range s.Most {
				if n == mostTallies {
					p.Line("  and %d more", len(s.Most)-n)
					break
				}
				p.Line("  %6d  %-8s  %s", t.N, t.Kind, oneline.Whole(t.What))
			}
		}
	}
	return p.Err
}

func (p *auditPrinter) summaryJSON(containers, policies []audit.Summary) error {
	for i, all := range [][]audit.Summary{containers, policies} {
		of := []string{"container", "policy"}[i]
		for _, s := range all {
			text, err := s.JSON(of)
			if err == nil {
				_, err = p.s.stdout.Write(text)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// counts says how many events of each kind there are.
func counts(of map[audit.Kind]int) string {
	var words []string
	for _, k := range audit.Kinds {
		if n := of[k]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, k))
		}
	}
	return strings.Join(words, ", ")
}

// end says what is known of what was not printed, and returns the error to end with.
func (p *auditPrinter) end(e *audit.End) error {
	if p.o.json {
		text, err := e.JSON()
		if err == nil {
			_, err = p.s.stdout.Write(text)
		}
		if err != nil {
			return err
		}
		if e.Shown == 0 && !p.o.follow && len(e.Unknown()) > 0 {
			return exit.Silently(exit.Cannot)
		}
		return nil
	}
	for _, note := range e.Notes() {
		p.s.Warnf("%s", note)
	}
	unknown := e.Unknown()
	if e.Shown > 0 || p.o.follow {
		for _, sentence := range unknown {
			p.s.Warnf("there may be more: %s", sentence)
		}
		return nil
	}
	if len(unknown) == 0 {
		if e.Asked {
			p.Line("no denials%s: the source %s is alive, and nothing was lost", p.asked(), e.Source)
		} else {
			p.Line("no denials%s in %s", p.asked(), oneline.Whole(e.Source))
		}
		return p.Err
	}
	for _, sentence := range unknown {
		p.s.Warnf("%s", sentence)
	}
	return exit.With(exit.Cannot, fmt.Errorf("nothing was found%s, and whether nothing was denied is not known", p.asked()))
}

// asked says what was looked for.
func (p *auditPrinter) asked() string {
	var words []string
	for _, f := range [][2]string{{"of container", p.o.container}, {"of pod", p.o.pod}, {"of policy", p.o.policy}, {"by profile", p.o.profile},
		{"since", p.o.since}} {
		if f[1] != "" {
			words = append(words, f[0]+" "+oneline.Quote(f[1]))
		}
	}
	if p.o.types != "" {
		words = append(words, "(kinds "+p.o.types+")")
	}
	if len(words) == 0 {
		return ""
	}
	return " " + strings.Join(words, " ")
}
