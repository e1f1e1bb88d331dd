package command

import (
	"fmt"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/install/senders"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// generatedFor gives what templates depend on of this node, and the same for a manifest. Where no daemon runs, as at boot
// before the engines start, their labels are what the last apply knew of them. notice says that a label had to be left
// out.
func (n *node) generatedFor(last store.Manifest) (to profile.Node, m store.Manifest, notice string) {
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
	return asLast(m), m, notice
}

// sendersFor gives the labels of engines' programs that are on this node, which a profile should know; none where it is for
// another node, of whose kernel the features are in a file.
func (n *node) sendersFor(features string) []string {
	if features != "" {
		return nil
	}
	fit, _ := senders.Labels(n.sendersHere())
	return fit
}

// sendersHere gives the engines' programs that are on this node, with their labels. Where no daemon runs, their labels are
// what the last apply knew of them.
func (n *node) sendersHere() []senders.Sender {
	where := n.senders()
	all, running := where.Daemons()
	attached, _ := where.Attached() // none without AppArmor, which whoever needs it will hear of
	for _, s := range attached {
		if s.Here {
			all = append(all, s)
		}
	}
	if !running {
		for _, label := range lastManifest(n.store).Daemons {
			all = append(all, senders.Sender{Label: label, Program: "an engine's daemon", Here: true})
		}
	}
	return all
}

// warnOfRefused says which profiles of files leave what would run under them to programs of this node that cannot end it.
// The generated ones take signals from all whose labels can be written.
func (n *node) warnOfRefused(c *store.Compilation) {
	here := sync.OnceValue(n.sendersHere)
	for i, pr := range c.Policy.Profiles {
		if pr.Template != "" || pr.Mode == profile.Complain || len(here()) == 0 {
			continue
		}
		compiled, err := meaning.Read(c.Blob(i).Data)
		if err != nil {
			continue // what cannot be read is not put in force
		}
		for _, p := range compiled {
			if p.Name != pr.Name {
				continue
			}
			for _, r := range senders.RefusedBy(p, here()) {
				n.warn("%s", r.Sentence(pr.Source))
			}
		}
	}
}

// asLast gives what templates depend on of another node, which only the last apply for it can have known.
func asLast(last store.Manifest) profile.Node { return profile.Node{Senders: last.Senders()} }

// senders is where the labels of engines' programs are looked for.
func (n *node) senders() senders.Node {
	return senders.Node{Kernel: n.kernel, Service: n.service, Root: n.programs}
}

// refusedOf says which profiles of the policy in force leave what runs under them to programs of this node that cannot end
// it, in a sentence for each.
func (n *node) refusedOf(p *policy.Policy) (said []string) {
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

// lastManifest tells of the generation in force how it came to be. The zero Manifest where there is none.
func lastManifest(dir string) store.Manifest {
	g, err := store.Store{Dir: dir}.Current()
	if err != nil {
		return store.Manifest{}
	}
	m, _ := g.Manifest()
	return m
}
