package doctor

import (
	"fmt"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

var containerChecks = []Check{
	{
		ID: "container-differs", Severity: Error,
		Looks: "Whether every process in a container is under the label that was decided.",
		Do:    "Start the container anew, and see oci-apparmor status for its processes.",
		find:  findVerdict(status.Differs, "runs a process under another label than decided"),
	},
	{
		ID: "container-drifted", Severity: Error,
		Looks: "Whether the kernel's content of each container's profiles is the policy's, and none was removed since its create.",
		Do:    "Run oci-apparmor policy load, and start the container anew where status says so.",
		find:  findVerdict(status.Drifted, "is under a profile with other content than the policy's, or one that was removed"),
	},
	{
		ID: "container-stale", Severity: Warning,
		Looks: "Whether what runs under a stack of profiles has taken over the last replacement of these: it takes over one, and no later one.",
		Do:    "Start the container anew.",
		find:  findVerdict(status.Stale, "runs under older content than the kernel has"),
	},
	{
		ID: "container-unverified", Severity: Warning,
		Looks: "Whether it can be told that a container runs under the policy's content.",
		Do:    "See oci-apparmor status for why, and start the container anew if somebody else has replaced a profile.",
		find:  findVerdict(status.Unverified, "runs under its label, and under which content is not known"),
	},
	{
		ID: "container-uncovered", Severity: Warning,
		Looks: "Which running containers nothing was decided about and nothing confines, and why.",
		Do:    "Wire its engine, or start it by our runtime; see oci-apparmor status.",
		find:  findUncovered(true),
	},
	{
		ID: "container-by-engine", Severity: Note,
		Looks: "Which running containers nothing was decided about, and the engine's own choice confines.",
		Do:    "Wire its engine, or start it by our runtime, if the policy is to hold for it.",
		find:  findUncovered(false),
	},
	{
		ID: "signals-refused", Severity: Warning,
		Looks: "Whether engines' programs can end containers under each profile of the policy.",
		Do:    "Do what it says.",
		find: func(x *exam) ([]found, error) {
			s, err := x.status()
			if err != nil || s == nil {
				return nil, err
			}
			var all []found
			for _, sentence := range s.Refusing {
				all = append(all, found{what: sentence})
			}
			return all, nil
		},
	},
	{
		ID: "containers-unknown", Severity: Warning,
		Looks: "Whether all that is kept of containers can be read.",
		Do:    "Do what it says.",
		find: func(x *exam) ([]found, error) {
			s, err := x.status()
			if err != nil || s == nil {
				return nil, err
			}
			var all []found
			for _, problem := range s.Unread {
				all = append(all, found{what: problem})
			}
			return all, nil
		},
	},
}

// findVerdict returns a check for the containers of a verdict.
func findVerdict(v status.Verdict, says string) func(*exam) ([]found, error) {
	return func(x *exam) ([]found, error) {
		s, err := x.status()
		if err != nil || s == nil {
			return nil, err
		}
		var names []string
		problem := ""
		for i := range s.Containers {
			if c := &s.Containers[i]; c.Verdict == v {
				names = append(names, titleOf(c))
				if len(c.Problems) > 0 {
					problem = ": " + c.Problems[0]
				}
			}
		}
		switch len(names) {
		case 0:
			return nil, nil
		case 1:
			return one("container %s %s%s", names[0], says, problem), nil
		}
		return one("%d containers (%s): each %s", len(names), some(names), says), nil
	}
}

// titleOf returns the name of a container for a sentence. It is the workload's.
func titleOf(c *status.Container) string {
	name := c.Name
	if name == "" {
		name = c.ID[:min(len(c.ID), 12)]
	}
	for _, above := range []string{c.Pod, c.Namespace} {
		if above != "" {
			name = above + "/" + name
		}
	}
	return oneline.Cut(oneline.Name(name), 80)
}

// findUncovered returns a check for containers without a decision. They are told by engine, each with why.
func findUncovered(free bool) func(*exam) ([]found, error) {
	return func(x *exam) ([]found, error) {
		s, err := x.status()
		if err != nil || s == nil {
			return nil, err
		}
		states, _ := x.engines()
		var order []string
		by := map[string][]string{}
		for i := range s.Containers {
			c := &s.Containers[i]
			if c.Decided || c.State != status.Running || c.Verdict == status.Ended || (c.Verdict == status.Unconfined) != free {
				continue
			}
			if by[c.Engine] == nil {
				order = append(order, c.Engine)
			}
			by[c.Engine] = append(by[c.Engine], titleOf(c))
		}
		var all []found
		for _, name := range order {
			does := "confines it"
			if free {
				does = "nothing confines it"
			} else {
				does = "its engine's choice " + does
			}
			subject := "container " + by[name][0]
			if n := len(by[name]); n > 1 {
				subject = fmt.Sprintf("%d containers (%s)", n, some(by[name]))
			}
			all = append(all, found{what: fmt.Sprintf("%s of %s: nothing was decided, and %s; %s", subject, titleOfEngine(name), does,
				whyUncovered(states, name))})
		}
		return all, nil
	}
}

func titleOfEngine(name string) string {
	if name == "" || name == engine.Other {
		return "a runtime called by hand"
	}
	return engine.Named(name).Title
}

// whyUncovered says why an engine's containers did not come to us, as far as that can be seen.
func whyUncovered(states []engines.State, name string) string {
	at := slices.IndexFunc(states, func(s engines.State) bool { return s.Engine == name && s.Absent == "" })
	if at < 0 { // its containers are left
		at = slices.IndexFunc(states, func(s engines.State) bool { return s.Engine == name })
	}
	switch {
	case name == "" || name == engine.Other:
		return "it was not started through our wrapper or shim"
	case at < 0:
		return "install knows no such engine here: wire it by hand"
	case !states[at].Wired():
		return "the engine is not wired"
	case states[at].Default:
		return "it was made before ours was the default, or asked for another runtime"
	}
	return "it was not started by our runtime, which stands beside the engine's default"
}
