// Package senders finds the labels under which programs of engines and runtimes send signals to containers on this node. It
// also finds the profiles that refuse such signals: an engine cannot stop a container under one of these.
package senders

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/apparmord"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
)

// Host is the machine to look at.
type Host struct {
	Kernel  *kernel.Kernel
	Service apparmord.Dir // the directory of profiles that may not be loaded yet; empty to ignore these
	Root    string        // the root of the paths of programs; empty for /

	// Seen has the files of ours in the directory that have been read and attach to no program. It may be nil.
	Seen *seen.Files
}

// Sender is a label, and a program that runs under it.
type Sender struct {
	Label   string
	Program string // its path, or the name of a daemon that runs
	Here    bool   // the program is on this node
}

// Daemons returns the labels of engines' daemons, without unconfined. running reports whether a daemon runs. It finds a
// daemon by the name of its process, which any process can choose. So it ignores processes that are not root, such as a
// rootless engine's, and processes in containers.
func (n Host) Daemons() (all []Sender, running bool) {
	tasks, err := n.Kernel.Tasks()
	if err != nil { // no AppArmor, which other errors report
		return nil, false
	}
	daemons := make(map[string]bool)
	for _, p := range engine.Programs() {
		daemons[p.Name] = p.Daemon
	}
	for _, t := range tasks {
		name := n.Kernel.Command(t.PID)
		if !daemons[name] || !n.Kernel.IsRoot(t.PID) || n.Kernel.Nested(t.PID) ||
			engine.ContainerID(n.Kernel.Cgroup(t.PID)) != "" {
			continue
		}
		running = true
		label := strings.Join(t.Label.Components, "//&")
		if label != "unconfined" && !slices.ContainsFunc(all, func(s Sender) bool { return s.Label == label }) {
			all = append(all, Sender{Label: label, Program: name, Here: true})
		}
	}
	return sorted(all), running
}

// Attached returns the labels under which AppArmor puts programs of engines and runtimes by their paths, each once. It
// takes them from the loaded profiles, and from profiles in the service's directory that are not loaded yet. The program
// need not be on this node. The error is about the kernel.
func (n Host) Attached() (all []Sender, err error) {
	paths := n.paths()
	attached, err := n.Kernel.Attached(paths)
	if err != nil {
		return nil, err
	}
	for _, a := range attached {
		all = append(all, n.sender(a.Name, a.Programs))
	}
	if n.Service == "" || !n.Service.Exists() {
		return sorted(all), nil
	}
	loaded, err := n.Kernel.List()
	if err != nil {
		return nil, err
	}
	var words []string
	for _, p := range engine.Programs() {
		words = append(words, p.Name)
	}
	// AppArmor's service reports what cannot be read there.
	unloaded, _ := n.Service.Attachments(words, func(name string) bool {
		_, ok := n.Seen.Unchanged(seen.Service, n.Service.Path(name))
		return ok
	})
	for name, matches := range unloaded {
		if slices.ContainsFunc(loaded, func(l kernel.Listed) bool { return l.Namespace == "" && l.Name == name }) {
			continue
		}
		programs := slices.DeleteFunc(slices.Clone(paths), func(path string) bool { return !matches(path) })
		if len(programs) > 0 {
			all = append(all, n.sender(name, programs))
		}
	}
	return sorted(all), nil
}

// paths returns the paths where programs may be, and the resolved paths of those on this node, which the kernel compares.
func (n Host) paths() []string {
	paths := engine.Paths()
	for _, path := range engine.Paths() {
		real, err := filepath.EvalSymlinks(n.Root + path)
		if err != nil {
			continue
		}
		if real = strings.TrimPrefix(real, n.Root); !slices.Contains(paths, real) {
			paths = append(paths, real)
		}
	}
	return paths
}

// sender returns a label with the program that is on this node, if one is. The program's path is the resolved one, which
// the kernel compares.
func (n Host) sender(label string, programs []string) Sender {
	for _, path := range programs {
		real, err := filepath.EvalSymlinks(n.Root + path)
		if err != nil {
			continue
		}
		if real = strings.TrimPrefix(real, n.Root); slices.Contains(programs, real) {
			return Sender{label, real, true}
		}
	}
	return Sender{label, programs[0], false}
}

func sorted(all []Sender) []Sender {
	slices.SortFunc(all, func(a, b Sender) int { return cmp.Compare(a.Label, b.Label) })
	return all
}

// Labels returns the labels of senders that a rule can have, and those that it cannot.
func Labels(all []Sender) (fit, unfit []string) {
	for _, s := range all {
		if slices.Contains(templates.Stoppers(), s.Label) {
			continue
		}
		if templates.CheckPeer(s.Label) != nil {
			unfit = append(unfit, s.Label)
		} else {
			fit = append(fit, s.Label)
		}
	}
	return fit, unfit
}

// Refused is a sender whose signals a profile refuses.
type Refused struct {
	Profile string
	Sender
}

// Refused returns the loaded ones of these profiles that refuse signals of a program on this node, with the program. It
// leaves out profiles that refuse signals of unconfined programs, too.
func (n Host) Refused(profiles []string) (all []Refused, err error) {
	if len(profiles) == 0 {
		return nil, nil
	}
	n.Service = "" // nothing runs under a profile that is not loaded
	attached, err := n.Attached()
	if err != nil {
		return nil, err
	}
	daemons, _ := n.Daemons()
	here := slices.DeleteFunc(slices.Concat(attached, daemons), func(s Sender) bool { return !s.Here })
	for _, name := range profiles {
		known := make(map[string]bool)
		for _, s := range here {
			if known[s.Label] {
				continue
			}
			known[s.Label] = true
			refused, err := n.refused(name, s.Label)
			if errors.Is(err, kernel.ErrNotLoaded) {
				break
			}
			if err != nil {
				return nil, err
			}
			if refused {
				all = append(all, Refused{name, s})
			}
		}
	}
	return all, nil
}

// RefusedBy is Refused for one compiled profile, which need not be loaded. here are the senders on this node.
func RefusedBy(p *meaning.Profile, here []Sender) (all []Refused) {
	known := make(map[string]bool)
	for _, s := range here {
		if known[s.Label] {
			continue
		}
		known[s.Label] = true
		refused, _ := refuses(s.Label, func(label string, signal unix.Signal) (bool, error) {
			return p.Allowed(p.Signal(meaning.MayRead, signals[signal], label), meaning.MayRead), nil
		})
		if refused {
			all = append(all, Refused{p.Name, s})
		}
	}
	return all
}

// signals are the signals that stop a container, by their numbers in rules.
var signals = map[unix.Signal]meaning.Signal{unix.SIGTERM: meaning.SIGTERM, unix.SIGKILL: meaning.SIGKILL}

// refused is refuses for a profile that is loaded.
func (n Host) refused(name, label string) (bool, error) {
	return refuses(label, func(label string, signal unix.Signal) (bool, error) { return n.Kernel.Receives(name, label, signal) })
}

// refuses reports whether a profile takes SIGTERM or SIGKILL from unconfined, and refuses it from the label.
func refuses(label string, receives func(label string, signal unix.Signal) (bool, error)) (bool, error) {
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} { // in a fixed order
		free, err := receives("unconfined", signal)
		if err != nil {
			return false, err
		}
		if !free {
			continue
		}
		if ok, err := receives(label, signal); err != nil || !ok {
			return err == nil, err
		}
	}
	return false, nil
}

// Sentence returns what a refusal means and what to do. source is policy.Profile.Source of the profile.
func (r Refused) Sentence(source string) string {
	label := strconv.QuoteToASCII(r.Label)
	what := fmt.Sprintf("profile %s refuses signals from programs under the label %s, which AppArmor gives to %s here, so that "+
		"it cannot stop what runs under the profile: ", r.Profile, label, r.Program)
	switch _, template := strings.CutPrefix(source, "template "); {
	case templates.CheckPeer(r.Label) != nil:
		return what + "give the profile of that label a name of letters and digits, and run oci-apparmor policy apply and policy load"
	case template:
		return what + "run oci-apparmor policy apply and policy load"
	}
	return what + fmt.Sprintf("add signal (receive) peer=%s, to %s, and run oci-apparmor policy apply and policy load", label, source)
}
