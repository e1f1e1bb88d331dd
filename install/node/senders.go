package node

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/senders"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Generated returns what templates need to know of this node, and a manifest with the same. If no daemon runs, as at boot
// before the engines start, it takes the daemons' labels from the last apply. notice says which label had to be left out.
// before has the files in the service's directory that need not be read, as senders.Host.Seen; it may be nil.
func (n *Node) Generated(last store.Manifest, before *seen.Files) (to templates.Target, m store.Manifest, notice string) {
	where := n.senders()
	where.Seen = before
	m.Daemons, m.Attached, m.Daemon = last.Daemons, last.Attached, last.Daemon
	var unfit []string
	if daemons, running := where.Daemons(); running {
		m.Daemon = ""
		m.Daemons, unfit = senders.Labels(daemons)
	}
	if attached, err := where.Attached(); err == nil {
		var more []string
		m.Attached, more = senders.Labels(attached)
		unfit = append(unfit, more...)
	}
	if len(unfit) > 0 {
		for i := range unfit {
			unfit[i] = oneline.Name(unfit[i])
		}
		notice = fmt.Sprintf("generated profiles do not take signals from engines' programs under %s, which cannot be written "+
			"into a rule as it is: give that profile another name", strings.Join(unfit, ", "))
	}
	return AsLast(m), m, notice
}

// SendersFor returns the labels of the engines' programs on this node, for a profile that is compiled for the kernel with
// these features. It returns none if features is not empty, because the profile is then for another node.
func (n *Node) SendersFor(features string) []string {
	if features != "" {
		return nil
	}
	fit, _ := senders.Labels(n.SendersHere())
	return fit
}

// SendersHere returns the engines' programs on this node with their labels. If no daemon runs, it takes the daemons' labels
// from the last apply.
func (n *Node) SendersHere() []senders.Sender {
	where := n.senders()
	all, running := where.Daemons()
	attached, _ := where.Attached() // none without AppArmor, which other errors report
	for _, s := range attached {
		if s.Here {
			all = append(all, s)
		}
	}
	if !running {
		for _, label := range LastManifest(n.Store).Daemons {
			all = append(all, senders.Sender{Label: label, Program: "an engine's daemon", Here: true})
		}
	}
	return all
}

// AsLast returns what templates need to know of another node. Only the last apply for that node can have known it.
func AsLast(last store.Manifest) templates.Target { return templates.Target{Senders: last.Senders()} }

// senders returns where to look for the labels of engines' programs.
func (n *Node) senders() senders.Host {
	return senders.Host{Kernel: n.Kernel, Service: n.Service, Root: n.Programs}
}

// RefusedBy returns a sentence for each profile of a policy that takes no signals from some programs of this node, so that
// these cannot end a container under it.
func (n *Node) RefusedBy(c *policy.Config) (said []string) {
	var names []string
	sources := make(map[string]string)
	for _, pr := range c.Profiles {
		if pr.Mode != profile.Complain {
			names = append(names, pr.Name)
			sources[pr.Name] = pr.Source
		}
	}
	refused, err := n.senders().Refused(names)
	if err != nil {
		said = append(said, fmt.Sprintf("whether engines' programs can end containers under the policy's profiles is not known: %v",
			err))
	}
	for _, r := range refused {
		said = append(said, r.Sentence(sources[r.Profile]))
	}
	return said
}
