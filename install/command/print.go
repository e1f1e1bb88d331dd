package command

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// width is how wide output may be where words allow it.
const width = 80

// printer writes lines and keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// wrapped writes text in lines of at most width columns, broken at blanks: the first behind first, the others behind
// as many blanks.
func (p *printer) wrapped(first, text string) { p.wrappedAt(first, text, width) }

// wrappedAt is wrapped for lines of another width.
func (p *printer) wrappedAt(first, text string, width int) {
	rest := strings.Repeat(" ", len(first))
	for line := first; ; line = rest {
		room := max(width-len(line), 0)
		if len(text) <= room {
			p.line("%s%s", line, text)
			return
		}
		at := strings.LastIndexByte(text[:room+1], ' ')
		if at <= 0 {
			if at = strings.IndexByte(text, ' '); at < 0 {
				p.line("%s%s", line, text)
				return
			}
		}
		p.line("%s%s", line, text[:at])
		text = text[at+1:]
	}
}

// notes writes what notes gives.
func (p *printer) notes(pol *policy.Policy) {
	for _, note := range notes(pol) {
		p.line("%s", note)
	}
}

// policy writes a policy: its profiles, its policies, its rules, at most limit of each where limit is not 0.
func (p *printer) policy(pol *policy.Policy, limit int) {
	p.line("")
	names := 0
	for _, pr := range pol.Profiles {
		names = max(names, len(pr.Name))
	}
	for _, e := range pol.Policies {
		names = max(names, len(e.Name))
	}
	names = min(names, 30)

	p.section("profiles", len(pol.Profiles), limit, func(i int) {
		pr := pol.Profiles[i]
		p.line("  %-*s  %-8s  %s%s", names, pr.Name, pr.Mode, pr.Source, drift(pr.OnDrift))
	})
	p.section("policies", len(pol.Policies), limit, func(i int) {
		e := pol.Policies[i]
		is := e.Profile
		switch {
		case e.Profile == policy.Keep:
			is = "what the engine chose"
		case e.Floor != "":
			is += " stacked on " + e.Floor
		}
		p.line("  %-*s  %s", names, e.Name, is)
	})
	p.section("rules, of which the first that fits decides", len(pol.Assignments), limit, func(i int) {
		a := pol.Assignments[i]
		p.wrapped("  ", a.Whom()+" ("+place(a)+")")
		outcome := a.Policy
		if a.Floor != "" {
			outcome += ", stacked on " + a.Floor
		}
		if len(a.Request) > 0 {
			outcome += "; may ask for " + strings.Join(a.Request, ", ")
			if a.OnRefused == policy.Assigned {
				outcome += "; whoever asks for anything else gets this all the same"
			}
		}
		if len(a.AcceptChoice) > 0 {
			outcome += "; the engine may choose " + strings.Join(a.AcceptChoice, ", ")
		}
		p.wrapped("      ", outcome)
	})
}

func (p *printer) section(title string, n, limit int, each func(i int)) {
	if n == 0 {
		return
	}
	p.line("%s", title)
	for i := range n {
		if limit > 0 && i == limit {
			p.line("  and %d more: oci-apparmor policy show lists them", n-limit)
			return
		}
		each(i)
	}
}

func place(a policy.Assignment) string {
	if a.Line == 0 {
		return a.File
	}
	return a.File + " line " + strconv.Itoa(a.Line)
}

func drift(d profile.Drift) string {
	switch d {
	case profile.ReplaceAny:
		return ", replaces any other of its name"
	case profile.RefuseDrift:
		return ", never replaces another of its name"
	}
	return ""
}
