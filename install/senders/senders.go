// Package senders finds under which labels programs of engines and runtimes send signals to containers on this node, and
// which profiles do not take them: what runs under such a one cannot be stopped by its engine.
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
)

// Host is where to look.
type Host struct {
	Kernel  *kernel.Kernel
	Service apparmord.Dir // profiles that are not loaded yet; not looked at where empty
	Root    string        // below which programs are; empty for /
}

// Sender is a label, and a program that has it.
type Sender struct {
	Label   string
	Program string // its path, or the name of a daemon that runs
	Here    bool   // the program is on this node
}

// Daemons gives the labels, without unconfined, under which the engines' daemons run, and reports whether one runs. A
// process counts by its name, which it can choose: so one that is not root does not count, be it a rootless engine's or
// made to look like one, and neither does one in a container.
func (n Host) Daemons() (all []Sender, running bool) {
	tasks, err := n.Kernel.Tasks()
	if err != nil { // no AppArmor, which whoever needs it will hear of
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

// Attached gives the labels that AppArmor puts engines' and runtimes' programs under by their paths, also where the program
// is not on this node: by the profiles that are loaded, and by those in the service's directory that are not loaded yet.
// Each label stands there once. The error is about the kernel.
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
	// What cannot be read there is left to AppArmor's service, which says so.
	unloaded, _ := n.Service.Attachments(words)
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

// paths gives where programs may be, and where those that are here are in truth, as the kernel compares them.
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

// sender names the program of a label that is here, where one is, by the path that the kernel compares: of a link, that is
// the path it leads to.
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

// Labels gives the labels of senders that can stand in a rule, and those that cannot.
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

// Refused is a sender whose signals a profile does not take.
type Refused struct {
	Profile string
	Sender
}

// Refused gives, of these profiles, those that are loaded and by which what runs under them cannot be ended by a program
// that is on this node, although it could if nothing confined that.
func (n Host) Refused(profiles []string) (all []Refused, err error) {
	if len(profiles) == 0 {
		return nil, nil
	}
	n.Service = "" // what is not loaded has nobody under it yet
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

// RefusedBy gives, of senders that are on this node, those that cannot end what runs under a compiled profile, although they
// could if nothing confined them. The profile need not be loaded.
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

// signals are those by which a container is stopped, as rules number them.
var signals = map[unix.Signal]meaning.Signal{unix.SIGTERM: meaning.SIGTERM, unix.SIGKILL: meaning.SIGKILL}

// refused is refuses for a profile that is loaded.
func (n Host) refused(name, label string) (bool, error) {
	return refuses(label, func(label string, signal unix.Signal) (bool, error) { return n.Kernel.Receives(name, label, signal) })
}

// refuses reports whether a profile takes SIGTERM or SIGKILL from unconfined, and not from the label.
func refuses(label string, receives func(label string, signal unix.Signal) (bool, error)) (bool, error) {
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} { // in this order, so that the kernel is asked the same each time
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

// Sentence says what a refusal means, and what to do. source is where the profile's text comes from, as policy.Profile has
// it.
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
