package hook

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Freshness is which content of its profiles a container's processes run under, if they have executed no program since the
// content changed.
type Freshness uint8

const (
	Fresh   Freshness = iota // the present content
	Unclear                  // a profile was replaced, and nobody knows how often
	Stale                    // older content
)

// Freshness returns the freshness of a container whose label was decided, and the name of the first of its profiles that was
// replaced since its create. A process under a single profile takes over each replacement. A process under a stack takes
// over one, see kernel.Steps.
//
// labels are the labels of the container's processes. They have also what the kernel and the runtime stack on by themselves.
// If there are none, Freshness reads the label of the first process where it matters. For a profile that was removed it
// returns Unclear.
func (h *Host) Freshness(r *Record, labels ...kernel.Label) (f Freshness, profile string, err error) {
	return h.freshness(r, 0, labels)
}

// FreshnessAfter returns the freshness that a container will have after so many more replacements of its profiles.
func (h *Host) FreshnessAfter(r *Record, replacements int, labels ...kernel.Label) (Freshness, error) {
	f, _, err := h.freshness(r, replacements, labels)
	return f, err
}

func (h *Host) freshness(r *Record, more int, labels []kernel.Label) (f Freshness, profile string, err error) {
	if r.Label == "" {
		return Fresh, "", nil
	}
	names := strings.Split(r.Label, "//&")
	steps := kernel.Steps{Least: min(more, 2), Exact: more < 2}
	for _, name := range names {
		s, err := h.replaced(r, name)
		if err != nil {
			return Unclear, name, err
		}
		if s.Least > 0 {
			profile = cmp.Or(profile, name)
		}
		steps = steps.Add(s)
	}
	if steps.Least == 0 {
		return Fresh, "", nil
	}
	if len(labels) == 0 {
		if pid, there := InitOf(r.Root, r.ID); there && pid > 0 {
			if l, err := h.Kernel.Label(pid); err == nil {
				labels = append(labels, l)
			}
		}
	}
	stacked := len(names) > 1
	for _, l := range labels {
		stacked = stacked || len(l.Components) > 1
		for _, name := range l.Components {
			name, _, _ = strings.Cut(name, "//")
			if name == "unconfined" || strings.HasPrefix(name, ":") || slices.Contains(names, name) {
				continue
			}
			names = append(names, name)
			s, err := h.replaced(r, name)
			if err != nil {
				return Unclear, profile, err
			}
			steps = steps.Add(s)
		}
	}
	switch {
	case !stacked:
		return Fresh, "", nil
	case steps.Least > 1:
		return Stale, profile, nil
	case steps.Exact:
		return Fresh, "", nil
	}
	return Unclear, profile, nil
}

// replaced returns how often a profile was replaced since a container was created.
func (h *Host) replaced(r *Record, name string) (kernel.Steps, error) {
	l := kernel.Loaded{Name: name}
	if i := slices.IndexFunc(r.Profiles, func(p RecordProfile) bool { return p.Name == name }); i >= 0 {
		l.Dir, l.Since = r.Profiles[i].Dir, r.Profiles[i].Since
	}
	s, err := h.Kernel.Replaced(l, r.Created)
	if errors.Is(err, kernel.ErrNotLoaded) {
		return kernel.Steps{Least: 1}, nil
	}
	return s, err
}

// stale returns a warning about processes in a container that run under older content, or an empty string.
func (h *Host) stale(r *Record) string {
	switch f, profile, err := h.Freshness(r); {
	case err != nil:
		return fmt.Sprintf("whether what it had started before is under the present content of its profiles is not known: %v", err)
	case f == Stale:
		return fmt.Sprintf("profile %s was replaced since the container was created, and what it had started before stays under "+
			"older content: start the container anew", profile)
	case f == Unclear:
		return fmt.Sprintf("profile %s was replaced since the container was created, and nobody knows how often: what it had "+
			"started before may be under older content; start the container anew", profile)
	}
	return ""
}

// maxNamed bounds how many containers a warning names.
const maxNamed = 5

// StaleAfter returns a warning about the containers whose processes run, or may run, under older content of profiles that
// have just been replaced. It leaves out the container of but, which may be nil. It returns an empty string if there are
// none.
func (h *Host) StaleAfter(but *Record, profiles ...string) string {
	records, _ := h.Records() // status reports the records that cannot be read
	var stale []*Record
	var names []string
	verb := "stays"
	for _, r := range records {
		if but != nil && r.ID == but.ID && r.Root == but.Root ||
			!slices.ContainsFunc(strings.Split(r.Label, "//&"), func(name string) bool { return slices.Contains(profiles, name) }) {
			continue
		}
		pid, there := InitOf(r.Root, r.ID)
		if !there || pid == 0 {
			continue
		}
		label, err := h.Kernel.Label(pid)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) { // it has ended
			continue
		}
		labels := []kernel.Label{label}
		if err != nil {
			labels = nil
		}
		switch f, _, err := h.Freshness(r, labels...); {
		case f == Fresh && err == nil:
			continue
		case f == Unclear || err != nil:
			verb = "may stay"
		}
		stale = append(stale, r)
	}
	if len(stale) == 0 {
		return ""
	}
	Name(stale...)
	for _, r := range stale {
		names = append(names, r.Known())
	}
	slices.Sort(names)
	list, what := "", "it"
	if len(names) > 1 {
		what = "them"
	}
	if more := len(names) - maxNamed; more > 0 {
		names, list = names[:maxNamed], fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("what runs in %s%s %s under older content, because its label is a stack of profiles: start %s anew",
		strings.Join(names, ", "), list, verb, what)
}

// Known returns the name by which people know the container, fit for a line.
func (r *Record) Known() string {
	name := cmp.Or(r.Names.Container, r.ID)
	if r.Names.Pod != "" {
		name = r.Names.Namespace + "/" + r.Names.Pod + "/" + name
	}
	if q := oneline.Quote(name); q != `"`+name+`"` {
		return q
	}
	return name
}
