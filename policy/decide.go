package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Requested fills in what a container's annotations ask for. Where they ask by the name of a container and this one's
// cannot be told, f.RequestKey is set without a Request, and Decide refuses it.
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

// ErrUnread is the Facts.Unverified of those who have not called Facts.Read yet.
var ErrUnread = errors.New("nobody has read the engine's files")

// Read finds out what is in files of the engine's and was not read yet.
func (f *Facts) Read() {
	if look := f.Look; look != nil {
		f.Look = nil
		look(f)
	}
}

// DecideReading is Decide, and reads what is in files of the engine's where the decision depends on it: where a rule that
// may be the container's has a condition for that, or the container asks for a policy by its name. Podman has one list of
// all containers, which takes longer to read than all else that a start does.
func (x Index) DecideReading(f *Facts) (Decision, error) {
	d, err := x.Decide(*f)
	if errors.Is(err, ErrUnread) && f.Look != nil {
		f.Read()
		d, err = x.Decide(*f)
	}
	return d, err
}

// annotations is what all keys of ours begin with.
const annotations = "oci-apparmor/"

// Misspelt tells an annotation that begins like ours and means nothing.
func Misspelt(key string) bool {
	name, one := strings.CutPrefix(key, Annotation+".")
	return strings.HasPrefix(key, annotations) && key != Annotation && (!one || name == "")
}

// Nearest gives the annotation that somebody meant who wrote one for which Misspelt is true.
func Nearest(key string) string {
	if _, container, ok := strings.Cut(key[len(annotations):], "."); ok && container != "" {
		return Annotation + "." + container
	}
	return Annotation
}

// Label joins profile names to the label of their stack, in the kernel's order: by the bytes of the name, each once
// (profile_cmp and vec_unique, security/apparmor/label.c).
func Label(names ...string) string {
	names = slices.Sorted(slices.Values(names))
	return strings.Join(slices.Compact(names), "//&")
}

// Decide gives the decision for one container. The error is a *Refusal when the container asks for a policy that it may
// not have, and wraps ErrIndex when the index makes no sense.
func (x Index) Decide(f Facts) (Decision, error) {
	if f.Sandbox {
		f.Request, f.Misspelt = nil, "" // annotations are the pod's, and speak for its containers
	}
	if f.Misspelt != "" {
		return Decision{}, fmt.Errorf("annotation %s means nothing: did you mean %s?", oneline.Word(f.Misspelt), oneline.Word(Nearest(f.Misspelt)))
	}
	if f.Unverified != nil && f.Request == nil && f.RequestKey != "" {
		return Decision{}, fmt.Errorf("annotation %s speaks for the container of a name, and whether this is it cannot be told: %w",
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

	entry, refused := x.grant(f, &r)
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
	if f.Privileged == PartlyPrivileged && r.flags&(onlyPrivileged|onlyUnprivileged) != 0 {
		why += ", since it has a part of what privileged containers have (" + words(f.PrivilegedBy) + ")"
	}
	return x.decision(f, r, entry, granted, why, warning)
}

// decision stacks the profile of an entry on the floors, its own and its rule's. A request that was granted goes before
// what the engine chose.
//
// A listed choice of the engine's takes the place of the profile, and of nothing else: the floor of the policy stays
// below it as that of the rule does. Otherwise listing a profile would take away what it is to be listed beside.
func (x Index) decision(f Facts, r rule, entry int, granted bool, why, warning string) (Decision,
	error) {
	e, err := x.entry(entry)
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Policy: e.name, Warning: warning}
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

// lacks says what a profile lacks that one expects of the policy's: that it enforces, and that its content is known.
func (p Profile) lacks() (said string) {
	if p.Mode != profile.Enforce {
		said = "; in mode " + p.Mode.String()
	}
	if p.ByHand {
		said += "; " + oneline.Word(p.Name) + " is not the policy's, so what it allows is not proven"
	}
	return said
}

// chosen gives the profile of a name that a rule lists for engines to choose: the policy's, or else one loaded by hand.
func (x Index) chosen(name string) (Profile, error) {
	if i, ok := x.profileIndex(name); ok {
		return x.profile(i)
	}
	return Profile{Name: name, Source: "to be loaded by hand", ByHand: true}, nil
}

// keptChoice says what becomes of the engine's choice where it is left as it is.
func keptChoice(f Facts) Choice {
	if f.chosen() {
		return Stands
	}
	return NoChoice
}

// kept says what the engine chose.
func kept(f Facts) string {
	if f.ChoiceUnsaid {
		return "; the engine's choice stays as it is"
	}
	if f.EngineChoice == "" {
		return "; the engine's choice stays as it is (no profile)"
	}
	return "; the engine's choice stays as it is (" + oneline.Word(f.EngineChoice) + ")"
}
