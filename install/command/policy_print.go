package command

import (
	"strconv"

	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// printNotes prints what notes returns.
func printNotes(p *output.Printer, pol *policy.Config) {
	for _, note := range notes(pol) {
		p.Line("%s", note)
	}
}

// printPolicy prints the profiles, policies and rules of a configuration. If limit is not 0, it prints at most so many of
// each.
func printPolicy(p *output.Printer, pol *policy.Config, limit int) {
	p.Line("")
	names := 0
	for _, pr := range pol.Profiles {
		names = max(names, len(pr.Name))
	}
	for _, e := range pol.Policies {
		names = max(names, len(e.Name))
	}
	names = min(names, 30)

	section(p, "profiles", len(pol.Profiles), limit, func(i int) {
		pr := pol.Profiles[i]
		p.Line("  %-*s  %-8s  %s%s", names, pr.Name, pr.Mode, pr.Source, drift(pr.OnDrift))
	})
	section(p, "policies", len(pol.Policies), limit, func(i int) {
		e := pol.Policies[i]
		is := e.Profile
		switch {
		case e.Profile == policy.Keep:
			is = "what the engine chose"
		case e.Floor != "":
			is += " stacked on " + e.Floor
		}
		p.Line("  %-*s  %s", names, e.Name, is)
	})
	section(p, "rules, of which the first that fits decides", len(pol.Assignments), limit, func(i int) {
		a := pol.Assignments[i]
		p.Wrapped("  ", a.Whom()+" ("+place(a)+")")
		p.Wrapped("      ", a.Outcome())
	})
}

func section(p *output.Printer, title string, n, limit int, each func(i int)) {
	if n == 0 {
		return
	}
	p.Line("%s", title)
	for i := range n {
		if limit > 0 && i == limit {
			p.Line("  and %d more: oci-apparmor policy show lists them", n-limit)
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
