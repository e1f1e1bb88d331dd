package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/apparmord"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

var policyChecks = []Check{
	{
		ID: "no-policy", Severity: Warning,
		Looks: "Whether a policy was ever applied. Before that no container starts through oci-apparmor.",
		Do:    "Run oci-apparmor policy apply.",
		find: func(x *exam) ([]found, error) {
			_, err := x.generation()
			switch {
			case !x.Root:
				return nil, err
			case isNone(err):
				return one("no policy was applied on this node, so that no container starts through oci-apparmor"), nil
			}
			return nil, nil
		},
	},
	{
		ID: "policy-unreadable", Severity: Error,
		Looks: "Whether the policy in force can be read and trusted. Otherwise no container starts through oci-apparmor.",
		Do:    "Do what it says; oci-apparmor policy apply writes it anew.",
		find: func(x *exam) ([]found, error) {
			if _, err := x.generation(); err != nil && x.Root && !isNone(err) {
				return one("%v", err), nil
			}
			_, err := x.policy()
			if err != nil && x.Root {
				return one("the policy in force: %v", err), nil
			}
			return nil, nil
		},
	},
	{
		ID: "policy-refused", Severity: Warning,
		Looks: "Whether the policy on disk could be applied as it is. With a fault in it the unit fails at the next boot, and what is in " +
			"force stays.",
		Do: "Mend the policy on disk, and run oci-apparmor policy apply.",
		find: func(x *exam) ([]found, error) {
			p, err := x.pending()
			if err != nil || p.refused == nil {
				return nil, err
			}
			_, bare := exit.Split(p.refused)
			lines := exit.Lines(bare)
			more := ""
			if len(lines) > 2 { // the last one says what it means
				more = fmt.Sprintf(" (and %d more)", len(lines)-2)
			}
			return one("the policy on disk cannot be applied: %s%s", strings.TrimPrefix(lines[0], "oci-apparmor: "), more), nil
		},
	},
	{
		ID: "policy-pending", Severity: Warning,
		Looks: "Whether the policy on disk, with its profiles and what these include, is the one in force.",
		Do:    "Run oci-apparmor policy apply --dry-run to see what would change, and then oci-apparmor policy apply.",
		find: func(x *exam) ([]found, error) {
			p, err := x.pending()
			if changed, _ := findChangedParser(x); err != nil || len(p.lines) == 0 || changed != nil {
				return nil, err
			}
			return one("the policy on disk is not the one in force: %s", some(p.lines)), nil
		},
	},
	{
		ID: "profile-missing", Severity: Note,
		Looks: "Whether each profile of the policy in force is loaded. The next start that needs it loads it, but an engine that is told to " +
			"use it by its name finds none.",
		Do:    "Run oci-apparmor policy load.",
		Fixed: "loads the policy's profiles",
		find: func(x *exam) ([]found, error) {
			return x.findProfiles(func(l loaded) string {
				if l.err == nil && l.found.Status == kernel.Missing {
					return "is not loaded"
				}
				return ""
			}, loadPolicy)
		},
	},
	{
		ID: "profile-outdated", Severity: Warning,
		Looks: "Whether a profile is loaded with the content of an earlier policy. The next start or exec that needs it replaces it.",
		Do:    "Run oci-apparmor policy load.",
		Fixed: "loads the policy's profiles",
		find: func(x *exam) ([]found, error) {
			return x.findProfiles(func(l loaded) string {
				if l.found.Status == kernel.Drifted && l.earlier {
					return "is loaded with the content of an earlier policy"
				}
				return ""
			}, loadPolicy)
		},
	},
	{
		ID: "profile-drifted", Severity: Error,
		Looks: "Whether a profile that oci-apparmor has loaded has other content in the kernel than the policy's, by the kernel's own hash of " +
			"it and of its children.",
		Do:    "Run oci-apparmor policy load, and find out who loads it: oci-apparmor profile diff kernel:NAME policy:NAME.",
		Fixed: "loads the policy's profiles, which puts back what oci-apparmor had loaded before",
		find: func(x *exam) ([]found, error) {
			return x.findProfiles(func(l loaded) string {
				if l.found.Status == kernel.Drifted && !l.earlier && l.ours && l.found.Have != "none" {
					return "has other content in the kernel than the policy's: " + l.found.String()
				}
				return ""
			}, loadPolicy)
		},
	},
	{
		ID: "profile-foreign", Severity: Error,
		Looks: "Whether somebody else has loaded a profile of a name that the policy has, with other content. Containers that need it are " +
			"refused, unless the policy says onDrift: replace.",
		Do: "Find out who loads it, and run oci-apparmor profile unload --foreign NAME, or say onDrift: replace for it in the policy.",
		find: func(x *exam) ([]found, error) {
			return x.findProfiles(func(l loaded) string {
				if l.found.Status == kernel.Drifted && !l.earlier && !l.ours {
					return "was loaded by somebody else, with other content: " + l.found.String()
				}
				return ""
			}, nil)
		},
	},
	{
		ID: "profile-unknown", Severity: Warning,
		Looks: "Whether it can be seen what content a profile has in the kernel.",
		Do:    "Do what it says.",
		find: func(x *exam) ([]found, error) {
			return x.findProfiles(func(l loaded) string {
				if l.err != nil {
					return "is in the kernel, and its content is not known: " + l.err.Error()
				}
				return ""
			}, nil)
		},
	},
	{
		ID: "boot-file-missing", Severity: Warning,
		Looks: "Whether each profile of the policy has a file in /etc/apparmor.d. Without one AppArmor's service does not load it, and " +
			"aa-remove-unknown removes it from under running containers.",
		Do:    "Run oci-apparmor policy apply.",
		Fixed: "writes the file, where the policy on disk is the one in force and nobody else has a profile of that name",
		find: func(x *exam) ([]found, error) {
			return x.findBootFiles(func(f *apparmord.File) string {
				if f == nil {
					return "has no file for AppArmor's service"
				}
				return ""
			})
		},
	},
	{
		ID: "boot-file-changed", Severity: Warning,
		Looks: "Whether somebody has changed such a file, or it is of another content than the profile. A reload of AppArmor's service loads " +
			"what it has.",
		Do:    "Run oci-apparmor policy apply, which writes it anew; a change belongs into the policy's own profiles.",
		Fixed: "writes the file anew, as above",
		find: func(x *exam) ([]found, error) {
			return x.findBootFiles(func(f *apparmord.File) string {
				switch {
				case f == nil:
					return ""
				case f.Edited:
					return "has a file for AppArmor's service that somebody has changed"
				}
				return "has a file for AppArmor's service with another content"
			})
		},
	},
	{
		ID: "parser-changed", Severity: Warning,
		Looks: "Whether the policy in force was compiled by the parser, and for the kernel's features, that are there now.",
		Do:    "Run oci-apparmor policy apply, as after any upgrade of AppArmor or of the kernel.",
		find:  findChangedParser,
	},
}

// maxNamed is how many things a sentence names. The whole is to fit on a screen.
const maxNamed = 3

// some joins the first of some words, and says how many there are more.
func some(all []string) string {
	named := all[:min(len(all), maxNamed)]
	s := strings.Join(named, ", ")
	if more := len(all) - len(named); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// findProfiles returns what is said of the policy's profiles: the same of several stands there once.
func (x *exam) findProfiles(says func(loaded) string, f *fix) ([]found, error) {
	list, err := x.loaded()
	if err != nil {
		return nil, err
	}
	var all grouped
	for _, l := range list {
		if said := says(l); said != "" {
			all.add(l.Name, found{what: said, fix: f})
		}
	}
	return all.list(), nil
}

// grouped are findings about profiles. The same about several of them is one finding.
type grouped struct {
	order []found
	names [][]string
}

func (g *grouped) add(name string, f found) {
	at := slices.IndexFunc(g.order, func(o found) bool { return o == f })
	if at < 0 {
		at = len(g.order)
		g.order, g.names = append(g.order, f), append(g.names, nil)
	}
	g.names[at] = append(g.names[at], oneline.Name(name))
}

func (g *grouped) list() []found {
	for i, names := range g.names {
		what := "profile " + names[0] + " "
		g.order[i].name = names[0]
		if n := len(names); n > 1 {
			g.order[i].name = ""
			what = fmt.Sprintf("each of %d profiles (%s) ", n, some(names))
		}
		g.order[i].what = what + g.order[i].what
	}
	return g.order
}

// findBootFiles returns what is said of the files of the policy's profiles that are not as they should be. f is nil for a
// missing one.
func (x *exam) findBootFiles(says func(f *apparmord.File) string) ([]found, error) {
	c, err := x.policy()
	if err != nil || c == nil || !x.Service.Exists() {
		return nil, err
	}
	list, err := x.bootFiles()
	if err != nil {
		return nil, err
	}
	why, err := x.pending()
	if err != nil {
		return nil, err
	}
	var all grouped
	for _, p := range c.Profiles {
		if p.ByHand || len(p.Compiled) == 0 {
			continue
		}
		var of *apparmord.File
		if at := slices.IndexFunc(list, func(f apparmord.File) bool { return f.Name == p.Name }); at >= 0 {
			if of = &list[at]; !of.Edited && slices.Equal(of.Compiled, p.Compiled) {
				continue
			}
		}
		said := says(of)
		if said == "" {
			continue
		}
		f := found{what: said, fix: writeBootFiles}
		switch {
		case why.refused != nil || len(why.lines) > 0:
			f.fix = nil // an apply would put another policy in force
		case len(why.notes) > 0:
			f.what, f.fix = said+": "+errors.Join(why.notes...).Error(), nil
		}
		all.add(p.Name, f)
	}
	return all.list(), nil
}

func (x *exam) bootFiles() ([]apparmord.File, error) {
	list, err := x.Service.Files()
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return list, err
}

func findChangedParser(x *exam) ([]found, error) {
	g, err := x.generation()
	if err != nil {
		return nil, nil // which other checks report
	}
	m := node.ManifestOf(g)
	c, err := x.compiler()
	if err != nil || len(m.Profiles) == 0 {
		return nil, nil
	}
	switch {
	case m.Program != "" && c.program != "" && m.Program != c.program:
		return one("the policy in force was compiled by another apparmor_parser (%s)", oneline.Word(m.Parser)), nil
	case m.Features != "" && m.Features != hash(c.features):
		return one("the policy in force was compiled for other features of the kernel (of Linux %s)", oneline.Word(m.Kernel)), nil
	}
	return nil, nil
}
