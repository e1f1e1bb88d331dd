package main

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// daemons are the engines' daemons that send signals to containers, as the kernel calls them.
var daemons = []string{"dockerd", "containerd", "crio"}

// generatedFor gives what templates depend on of this node. Where no daemon runs, as at boot before the engines start, it
// is what the last apply knew of it. notice tells that a label had to be left out.
func (n *node) generatedFor(last store.Manifest) (to profile.Node, notice string) {
	labels, running := n.daemonLabels()
	if !running {
		return asLast(last), ""
	}
	switch {
	case len(labels) == 0:
		return profile.Node{}, ""
	case len(labels) > 1:
		notice = "the engines' daemons run under several labels (" + strings.Join(labels, ", ") + ")"
	case profile.CheckPeer(labels[0]) != nil:
		notice = "the engine's daemon runs under " + quoted(labels[0]) + ", which cannot be written into a rule as it is"
	default:
		return profile.Node{Daemon: labels[0]}, ""
	}
	return profile.Node{}, notice + ": generated profiles take signals from it as far as it is unconfined"
}

// asLast gives what templates depend on of another node, which only the last apply for it can have known.
func asLast(last store.Manifest) profile.Node { return profile.Node{Daemon: last.Daemon} }

// daemonLabels gives the labels, without unconfined, under which the engines' daemons run, and tells whether one runs. A
// process counts by its name, which it can choose: so one that is not root does not count, be it a rootless engine's or made
// to look like one, and neither does one in a container.
func (n *node) daemonLabels() (labels []string, running bool) {
	tasks, err := n.kernel.Tasks()
	if err != nil { // no AppArmor, which whoever needs it will hear of
		return nil, false
	}
	for _, t := range tasks {
		if !slices.Contains(daemons, n.kernel.Command(t.PID)) || !n.kernel.IsRoot(t.PID) || n.kernel.Nested(t.PID) ||
			kernel.ContainerID(n.kernel.Cgroup(t.PID)) != "" {
			continue
		}
		running = true
		label := strings.Join(t.Label.Components, "//&")
		if label != "unconfined" && !slices.Contains(labels, label) {
			labels = append(labels, label)
		}
	}
	slices.Sort(labels)
	return labels, running
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
