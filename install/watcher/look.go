package watcher

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

func pid() int { return os.Getpid() }

// look looks at the profiles of the policy in force that wait to be enforced. shortest is the shortest time that one waits
// for; 0 if none waits. Without a policy none does.
func look(n *node.Node) (sights []quiet.Sight, shortest time.Duration, err error) {
	g, err := store.Store{Dir: n.Store}.Current()
	if errors.Is(err, store.ErrNone) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	c, err := g.Config()
	if err != nil {
		return nil, 0, err
	}
	waiting := slices.DeleteFunc(c.Profiles, func(p policy.Profile) bool { return !p.Waits() })
	if len(waiting) == 0 {
		return nil, 0, nil
	}
	s, err := n.State.Gather(true)
	if err != nil {
		return nil, 0, err
	}
	for i := range waiting {
		pr := &waiting[i]
		if shortest == 0 || pr.EnforceAfter < shortest {
			shortest = pr.EnforceAfter
		}
		sights = append(sights, sightOf(n, s.Containers, pr))
	}
	return sights, shortest, nil
}

// sightOf looks at one profile.
func sightOf(n *node.Node, containers []status.Container, pr *policy.Profile) quiet.Sight {
	s := quiet.Sight{Name: pr.Name, Content: hex.EncodeToString(pr.Blob[:])}
	found, err := n.Kernel.Check(kernel.Profile{Name: pr.Name, Compiled: pr.Compiled})
	switch {
	case err != nil:
		s.Idle = fmt.Sprintf("what the kernel has of the profile is not known: %v", err)
	case found.Status == kernel.Missing:
		s.Idle = "the profile is not loaded, as no container of it was started"
	case found.Status != kernel.Matches:
		s.Idle = "the kernel has the profile with other content: " + found.String()
	}
	if s.Idle != "" {
		return s
	}
	held, _, err := n.Kernel.Held(pr.Name)
	if err != nil {
		s.Idle = fmt.Sprintf("what the kernel has of the profile is not known: %v", err)
		return s
	}
	s.Held = kernel.Loaded{Name: held.Name, Dir: held.Dir, Since: held.Since}
	s.Idle = idle(containers, pr.Name)
	return s
}

// idle returns why the containers under a profile show nothing of it now, or an empty string if one does. What runs in one of
// them must be under the profile itself: what the kernel made of it for a program without a rule allows all, and goes on
// to do so when the profile is enforced.
func idle(containers []status.Container, name string) string {
	why := "no container runs under it"
	shows := false
	for i := range containers {
		c := &containers[i]
		if !c.Decided || c.State != status.Running || !slices.Contains(strings.Split(c.Label, "//&"), name) {
			continue
		}
		for _, m := range c.Processes {
			if null := nullOf(m.Label, name); null != "" {
				return fmt.Sprintf("process %d in container %s runs under %s, outside of the profile, and would when it is enforced: start the "+
					"container anew, with a rule for the program", m.PID, oneline.Word(c.ID), oneline.Whole(null))
			}
		}
		switch {
		case c.Verdict == status.Complaining:
			shows = true
		case len(c.Problems) > 0:
			why = fmt.Sprintf("no container runs under its present content: %s: %s", oneline.Word(c.ID), oneline.Whole(c.Problems[0]))
		}
	}
	if shows {
		return ""
	}
	return why
}

// nullOf returns the part of a label that complain mode has made of a profile, or an empty string.
func nullOf(l kernel.Label, name string) string {
	for _, part := range l.Components {
		if rest, ok := strings.CutPrefix(part, name+"//"); ok && strings.Contains("//"+rest, "//null-") {
			return part
		}
	}
	return ""
}

// recordLine returns a record's fields as the kernel wrote them, in one line.
func recordLine(r *audit.Record) string {
	var words []string
	for _, f := range r.Fields {
		text := string(f.Text)
		if f.Added {
			continue
		}
		if f.Quoted {
			text = strconv.Quote(text)
		}
		if len(f.Key) > 0 {
			text = string(f.Key) + "=" + text
		}
		words = append(words, text)
	}
	return strings.Join(words, " ")
}
