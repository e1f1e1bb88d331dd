package node

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/senders"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Generated returns what templates depend on of this node, and the same for a manifest. Where no daemon runs, as at boot
// before the engines start, their labels are what the last apply knew of them. notice says that a label had to be left
// out.
func (n *Node) Generated(last store.Manifest) (to templates.Target, m store.Manifest, notice string) {
	where := n.senders()
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

// SendersFor returns the labels of engines' programs that are on this node, which a profile should know; none where it is for
// another node, of whose kernel the features are in a file.
func (n *Node) SendersFor(features string) []string {
	if features != "" {
		return nil
	}
	fit, _ := senders.Labels(n.SendersHere())
	return fit
}

// SendersHere returns the engines' programs that are on this node, with their labels. Where no daemon runs, their labels are
// what the last apply knew of them.
func (n *Node) SendersHere() []senders.Sender {
	where := n.senders()
	all, running := where.Daemons()
	attached, _ := where.Attached() // none without AppArmor, which whoever needs it will hear of
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

// AsLast returns what templates depend on of another node, which only the last apply for it can have known.
func AsLast(last store.Manifest) templates.Target { return templates.Target{Senders: last.Senders()} }

// senders is where the labels of engines' programs are looked for.
func (n *Node) senders() senders.Host {
	return senders.Host{Kernel: n.Kernel, Service: n.Service, Root: n.Programs}
}

// RefusedBy says which profiles of the policy in force leave what runs under them to programs of this node that cannot end
// it, in a sentence for each.
func (n *Node) RefusedBy(p *policy.Config) (said []string) {
	var names []string
	sources := make(map[string]string)
	for _, pr := range p.Profiles {
		if pr.Mode != profile.Complain {
			names = append(names, pr.Name)
			sources[pr.Name] = pr.Source
		}
	}
	refused, err := n.senders().Refused(names)
	if err != nil {
		said = append(said, fmt.Sprintf("whether engines' programs can end what runs under the policy's profiles cannot be told: %v", err))
	}
	for _, r := range refused {
		said = append(said, r.Sentence(sources[r.Profile]))
	}
	return said
}
