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

// Freshness says which content of a container's label its processes are under, as far as they have executed no program
// since it changed.
type Freshness uint8

const (
	Fresh   Freshness = iota // the present one
	Unclear                  // a profile of it was replaced, and how often cannot be told
	Stale                    // an older one
)

// Freshness tells it of a container whose label was decided, and names the first of its profiles that was replaced since
// its create. What runs under a single profile follows each replacement; under a stack it follows one, see kernel.Steps.
//
// labels are what processes in it are under, with what the kernel and the runtime stack on a label by themselves. Without
// any, that of its first process is read where it matters. A profile that was removed is Unclear.
func (h *Host) Freshness(r *Record, labels ...kernel.Label) (f Freshness, profile string, err error) {
	return h.freshness(r, 0, labels)
}

// FreshnessAfter is the Freshness that there will be after so many more replacements of profiles of the container's label.
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

// replaced tells how often a profile was replaced since a container was created.
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

// stale says of a container what runs in it with another content than the present one; empty where nothing does.
func (h *Host) stale(r *Record) string {
	switch f, profile, err := h.Freshness(r); {
	case err != nil:
		return fmt.Sprintf("whether what it had started before is under the present content of its profiles cannot be told: %v", err)
	case f == Stale:
		return fmt.Sprintf("profile %s was replaced since the container was created, and what it had started before stays under "+
			"an older content: start the container anew", profile)
	case f == Unclear:
		return fmt.Sprintf("profile %s was replaced since the container was created, and nobody knows how often: what it had "+
			"started before may be under an older content; start the container anew", profile)
	}
	return ""
}

// maxNamed bounds how many containers a warning names.
const maxNamed = 5

// Behind says of profiles that have just been replaced which containers have processes that do not follow, or may not, but
// for one; empty where there is none.
func (h *Host) Behind(but *Record, profiles ...string) string {
	records, _ := h.Records() // one that cannot be read status tells of
	var behind []*Record
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
		behind = append(behind, r)
	}
	if len(behind) == 0 {
		return ""
	}
	Name(behind...)
	for _, r := range behind {
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
	return fmt.Sprintf("what runs in %s%s %s under an older content, because its label is a stack of profiles: start %s anew",
		strings.Join(names, ", "), list, verb, what)
}

// Known gives the name by which people know the container, fit for a line.
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
