package policy

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Choice is the outcome for the profile that the engine wrote into the spec.
type Choice uint8

const (
	NoChoice  Choice = iota // nobody chose a profile: the spec has none, or the engine's default
	Stands                  // it is in force: the policy keeps it, the rule lists it, or the policy has it anyway
	Overruled               // something else is in force
)

// String returns "none", "stands" or "overruled".
func (c Choice) String() string { return [...]string{"none", "stands", "overruled"}[c] }

// unconfined is what Docker, Podman and CRI-O write if no profile must confine a container: for
// --security-opt apparmor=unconfined, for appArmorProfile's type Unconfined, and for Docker's --privileged. For the last
// two, containerd's CRI leaves the profile out, and so does Podman for --privileged.
const unconfined = "unconfined"

// chosen reports whether somebody chose the profile in the spec for this container.
func (f *Facts) chosen() bool {
	_, is := engine.ByDefault(f.EngineChoice)
	return f.EngineChoice != "" && !is
}

// listed returns the name in the rule's list that the engine chose. choice must be that name, or the label that the name
// makes on these floors: an earlier start may have left the label in the bundle's config.json.
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

// Lists reports whether a rule lets engines choose the profile of that name. The error wraps ErrIndex.
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

// choices returns the names of the profiles that the rule lets engines choose.
func (r *rule) choices() []string {
	var list []string
	for at := r.accepted; len(at.b) > 0; {
		list = append(list, at.string())
	}
	return list
}

// overruled adds to a decision that the engine's choice is not in force. If somebody chose a profile by its name, there is
// a warning, because the container was tried with another profile. If somebody chose unconfined, there is none: the
// container gets more confinement than that, which is what rules are for.
func (d *Decision) overruled(f Facts, r rule, granted bool) {
	if !f.chosen() {
		return
	}
	isChosen := func(p Profile) bool { return p.Name == f.EngineChoice }
	if SameLabel(f.EngineChoice, d.Label) || slices.ContainsFunc(d.Profiles, isChosen) {
		d.Choice = Stands
		return
	}
	if f.LeftBy != "" && f.LeftBy == d.Policy {
		return // nobody chose it
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

// SameLabel reports whether the profile of a spec is the same as a label of ours, in whatever order the spec has a stack.
func SameLabel(spec, label string) bool {
	return spec == label || Label(strings.Split(spec, "//&")...) == label
}
