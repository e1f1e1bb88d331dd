package policy

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Choice says what became of the profile that the engine wrote into the spec.
type Choice uint8

const (
	NoChoice  Choice = iota // nobody chose one: there is none, or the engine's default
	Stands                  // it is in force: the policy keeps it, the rule lists it, or the policy gives it anyway
	Overruled               // something else is in force
)

// String gives "none", "stands" or "overruled".
func (c Choice) String() string { return [...]string{"none", "stands", "overruled"}[c] }

// unconfined is how Docker, Podman and CRI-O write that no profile is to confine a container: for
// --security-opt apparmor=unconfined, appArmorProfile's type Unconfined, and Docker's --privileged. containerd's CRI
// and Podman's --privileged leave the profile out.
const unconfined = "unconfined"

// chosen tells whether the profile in the spec was chosen for this container.
func (f *Facts) chosen() bool {
	_, is := engine.ByDefault(f.EngineChoice)
	return f.EngineChoice != "" && !is
}

// listed gives the name in the rule's list that the engine chose. It is that name and nothing else, or the label that
// the name makes on these floors: what a start before this one has left in the bundle's config.json.
func (r *rule) listed(choice string, floors []string) (name string, ok bool) {
	if choice == "" {
		return "", false
	}
	for at := r.accepted; len(at.b) > 0; {
		if name := at.string(); choice == name || choice == Label(append(floors[:len(floors):len(floors)], name)...) {
			return name, !at.bad
		}
	}
	return "", false
}

// Lists tells whether some rule lets engines choose the profile of that name.
func (x Index) Lists(name string) (bool, error) {
	for r, err := range x.rules() {
		if err == nil {
			err = r.read()
		}
		if err != nil {
			return false, err
		}
		if slices.Contains(r.choices(), name) {
			return true, nil
		}
	}
	return false, nil
}

// choices gives the names that the rule lists for engines to choose.
func (r *rule) choices() []string {
	var list []string
	for at := r.accepted; len(at.b) > 0; {
		list = append(list, at.string())
	}
	return list
}

// overruled says in a decision that the engine's choice is not in force. Whoever chose a profile by its name gets a
// warning, because something else confines the container than what it was tried with. Whoever chose none gets more than
// that, which is what the assignment is for.
func (d *Decision) overruled(f Facts, r rule, granted bool) {
	if !f.chosen() {
		return
	}
	isChosen := func(p Profile) bool { return p.Name == f.EngineChoice }
	if SameLabel(f.EngineChoice, d.Label) || slices.ContainsFunc(d.Profiles, isChosen) {
		d.Choice = Stands
		return
	}
	d.Choice = Overruled
	switch {
	case granted:
		d.Reason += "; this goes before the engine's choice (" + oneline.Word(f.EngineChoice) + ")"
	case f.EngineChoice == unconfined:
		d.Reason += "; that the engine chose unconfined changes nothing"
	default:
		d.Reason += "; the engine's choice (" + oneline.Word(f.EngineChoice) + ") does not stand"
		warning := "the engine chose profile " + oneline.Word(f.EngineChoice) + ", which the " + r.String() +
			" does not list under \"acceptChoice\": it gets " + d.Label + " instead"
		if d.Warning != "" {
			warning = d.Warning + "; " + warning
		}
		d.Warning = warning
	}
}

// SameLabel compares the profile of a spec with a label of ours: the kernel does not mind the order of a stack.
func SameLabel(spec, label string) bool {
	return spec == label || Label(strings.Split(spec, "//&")...) == label
}
