package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Requested sets the policy that a container's annotations ask for. An annotation may ask by the name of a container. If
// the name of this one is not known, Requested sets f.RequestKey without f.Request, and Decide refuses the container.
func (f *Facts) Requested(annotations map[string]string) {
	f.Request, f.RequestKey, f.Misspelt = nil, "", ""
	for key := range annotations {
		switch {
		case Misspelt(key):
			if f.Misspelt == "" || key < f.Misspelt {
				f.Misspelt = key
			}
		case f.Unverified != nil && strings.HasPrefix(key, Annotation+"."):
			f.RequestKey = key
		}
	}
	if f.RequestKey != "" {
		return
	}
	for _, key := range []string{Annotation + "." + f.Container, Annotation} {
		if v, ok := annotations[key]; ok && !Misspelt(key) {
			f.Request, f.RequestKey = &v, key
			return
		}
	}
}

// ErrUnread is Facts.Unverified before Facts.Read.
var ErrUnread = errors.New("nobody has read the engine's files")

// Read reads the engine's files about the container, unless it has done so before.
func (f *Facts) Read() {
	if look := f.Look; look != nil {
		f.Look = nil
		look(f)
	}
}

// DecideReading is Decide. It reads the engine's files if the decision depends on them: if a rule that may be the
// container's has a condition on such a fact, or if an annotation asks by a container's name. It does not always read them,
// because Podman has one list of all containers, and reading that takes longer than the rest of a start.
func (x Index) DecideReading(f *Facts) (Decision, error) {
	d, err := x.Decide(*f)
	if errors.Is(err, ErrUnread) && f.Look != nil {
		f.Read()
		d, err = x.Decide(*f)
	}
	return d, err
}

// annotations is the prefix of all our annotations.
const annotations = "oci-apparmor/"

// Misspelt reports whether an annotation begins with our prefix and means nothing.
func Misspelt(key string) bool {
	name, one := strings.CutPrefix(key, Annotation+".")
	return strings.HasPrefix(key, annotations) && key != Annotation && (!one || name == "")
}

// Nearest returns the annotation that the author of a Misspelt one meant.
func Nearest(key string) string {
	if _, container, ok := strings.Cut(key[len(annotations):], "."); ok && container != "" {
		return Annotation + "." + container
	}
	return Annotation
}

// Label joins the names of profiles to the label of their stack. Like the kernel, it sorts them by their bytes and drops
// duplicates (profile_cmp and vec_unique, security/apparmor/label.c).
func Label(names ...string) string {
	names = slices.Sorted(slices.Values(names))
	return strings.Join(slices.Compact(names), "//&")
}

// Decide returns the decision for one container. The error is a *Refusal if the container asks for a policy that it must
// not have. It wraps ErrIndex if the index is damaged.
func (x Index) Decide(f Facts) (Decision, error) {
	if f.Sandbox {
		f.Request, f.Misspelt = nil, "" // annotations are the pod's, and are for its containers
	}
	if f.Misspelt != "" {
		return Decision{}, fmt.Errorf("annotation %s means nothing: did you mean %s?", oneline.Word(f.Misspelt),
			oneline.Word(Nearest(f.Misspelt)))
	}
	if f.Unverified != nil && f.Request == nil && f.RequestKey != "" {
		return Decision{}, fmt.Errorf("annotation %s is for a container by its name, and the name of this one is not known: %w",
			oneline.Word(f.RequestKey), f.Unverified)
	}
	r, found, err := x.match(f)
	if err != nil {
		return Decision{}, err
	}
	if !found {
		if f.Request != nil {
			return Decision{}, x.refuse(f, nil)
		}
		return Decision{Keep: true, Choice: keptChoice(f), Reason: "no rule of the policy is for this container" + kept(f)}, nil
	}

	given, refused := x.grant(f, &r)
	granted := f.Request != nil && !refused
	var why, warning string
	if f.Request == nil {
		why = "assigned by the " + r.String()
	} else if granted {
		why = "asked for by annotation " + oneline.Word(f.RequestKey) + ", allowed by the " + r.String()
	} else if refusal := x.refuse(f, &r); r.onRefused == Assigned {
		why = "assigned by the " + r.String() + ", its request being refused"
		warning = refusal.Error()
	} else {
		return Decision{}, refusal
	}
	if f.Privileged == PartlyPrivileged && r.privileged() != Either {
		why += ", since it has a part of what privileged containers have (" + words(f.PrivilegedBy) + ")"
	}
	return x.decision(f, r, given, granted, why, warning)
}

// decision stacks the profile of a policy on the floors of the policy and of its rule. A request that was granted takes
// precedence over the engine's choice.
//
// If the rule lists the engine's choice, the choice replaces the profile and nothing else: both floors stay below it.
// Otherwise an administrator who lists a profile would lose the floors that the profile was listed beside.
func (x Index) decision(f Facts, r rule, policy int, granted bool, why, warning string) (Decision, error) {
	e, err := x.policy(policy)
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Policy: e.name, Warning: warning, File: r.file, Line: int(r.line)}
	if warning != "" {
		d.Warning += "; it gets the assigned policy " + oneline.Word(e.name) + " instead"
	}
	if e.profile < 0 {
		if r.floor >= 0 || e.floor >= 0 {
			return Decision{}, damaged("policy " + oneline.Word(e.name) + " keeps the engine's choice and has a floor")
		}
		d.Keep = true
		d.Choice = keptChoice(f)
		d.Reason = oneline.Word(e.name) + ": " + why + kept(f)
		return d, nil
	}

	var names []string
	add := func(p Profile, err error) error {
		if err == nil && !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
			d.Profiles = append(d.Profiles, p)
		}
		return err
	}
	for _, i := range []int{r.floor, e.floor} {
		if i < 0 {
			continue
		}
		if err := add(x.profile(i)); err != nil {
			return Decision{}, err
		}
	}
	floors := names
	if name, ok := r.listed(f.EngineChoice, floors); ok && !granted {
		d.Choice = Stands
		why += ", which lists the engine's choice " + oneline.Word(name)
		if i, ok := x.profileIndex(name); !ok || i != e.profile {
			d.InPlace = true
			why += ": it stands in the profile's place"
		}
		err = add(x.chosen(name))
	} else {
		err = add(x.profile(e.profile))
	}
	if err != nil {
		return Decision{}, err
	}
	d.Label = Label(names...)
	d.Reason = oneline.Word(e.name) + ": " + why
	if len(floors) > 0 && len(floors) < len(names) {
		d.Reason += "; stacked on " + words(floors)
	}
	d.Reason += d.Profiles[len(d.Profiles)-1].lacks()
	if d.Choice != Stands {
		d.overruled(f, r, granted)
	}
	return d, nil
}

// lacks returns the reasons why a profile may confine less than people expect: its mode, or content that is not the
// policy's.
func (p Profile) lacks() (said string) {
	if p.Mode != profile.Enforce {
		said = "; in mode " + p.Mode.String()
	}
	if p.ByHand {
		said += "; " + oneline.Word(p.Name) + " is not the policy's, so what it allows is not proven"
	}
	return said
}

// chosen returns the profile of a name that a rule lets engines choose: the policy's, or else one that is loaded by hand.
func (x Index) chosen(name string) (Profile, error) {
	if i, ok := x.profileIndex(name); ok {
		return x.profile(i)
	}
	return Profile{Name: name, Source: "to be loaded by hand", ByHand: true}, nil
}

// keptChoice returns the outcome for the engine's choice if the policy keeps it.
func keptChoice(f Facts) Choice {
	if f.chosen() {
		return Stands
	}
	return NoChoice
}

// kept returns the part of a reason that names the engine's choice.
func kept(f Facts) string {
	if f.ChoiceUnsaid {
		return "; the engine's choice stays as it is"
	}
	if f.EngineChoice == "" {
		return "; the engine's choice stays as it is (no profile)"
	}
	return "; the engine's choice stays as it is (" + oneline.Word(f.EngineChoice) + ")"
}
