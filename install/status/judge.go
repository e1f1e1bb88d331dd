package status

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Verdict is how a container is confined.
type Verdict string

const (
	// Confined: every process in the container is under its label, and the kernel's content of the label is the policy's.
	// If no label was decided, the label is that of the first process, and its content is not checked.
	Confined Verdict = "confined"
	// Complaining: as Confined, but a profile of the label only logs what it would deny. The policy says so or, if no label
	// was decided, the engine chose so.
	Complaining Verdict = "complaining"
	// Unverified: every process is under the label, but the kernel's content of it is not known, or whether the processes
	// run under that content.
	Unverified Verdict = "unverified"
	// Differs: a process is not under the label.
	Differs Verdict = "differs"
	// Drifted: every process is under the label, but the kernel's content of the decided label is not the policy's.
	Drifted Verdict = "drifted"
	// Stale: every process is under the label, and the kernel's content is the policy's. But the label is a stack, and its
	// profiles were replaced more than once since the create. So older processes run under older content.
	Stale Verdict = "stale"
	// Unconfined: no label was decided, and the first process is under no profile that confines.
	Unconfined Verdict = "unconfined"
	// Waiting: the container has not been started.
	Waiting Verdict = "waiting"
	// Ended: the container has no process.
	Ended Verdict = "ended"
)

// Verdicts are all verdicts, in the order in which a summary has them.
var Verdicts = []Verdict{Confined, Differs, Drifted, Stale, Unverified, Unconfined, Complaining, Waiting, Ended}

// ProfileState is a profile of a container's label.
type ProfileState struct {
	Name    string
	Content Content
	Detail  string // what the kernel has, for people; empty if the content is the same

	policy bool // the policy in force has the profile
}

// Content is how the kernel's content of a profile compares with the policy's. If the policy in force does not have the
// profile, it is compared with the content at the container's create.
type Content string

const (
	Same     Content = "same"
	Outdated Content = "outdated" // that of create; the next start or exec loads the content of the policy in force
	Other    Content = "drifted"  // somebody else's
	Missing  Content = "missing"  // the profile is not loaded
	Unknown  Content = "unknown"  // no policy has the profile, or the content is not known
)

// judge compares containers with what was decided. It checks every profile once.
type judge struct {
	host    *hook.Host
	kernel  *kernel.Kernel
	gen     *store.Generation // nil if no policy is in force
	checked map[string]checked
	gone    map[kernel.Loaded]bool
}

type checked struct {
	found kernel.Found
	err   error
}

func (j *judge) judge(c *Container, exes *programs) {
	want := j.label(c)
	removed := c.State != Stopped && j.removals(c)
	for i := range c.Processes {
		m := &c.Processes[i]
		m.Confined = j.confined(m.Label, want) && j.meant(c, m.Label, want)
	}
	switch {
	case c.State == Stopped:
		c.Verdict = Ended
	case c.State == Creating || c.State == Created:
		c.Verdict = Waiting
		j.profiles(c, want)
		// The process that waits is the runtime's. It becomes confined when it executes the container's program.
		for i := range c.Processes {
			c.Processes[i].Confined = c.Processes[i].Confined || c.Processes[i].PID == c.PID || c.State == Creating
		}
	case len(want) == 0:
		c.Verdict = Unconfined
		for i := range c.Processes {
			c.Processes[i].Exe = exes.of(c.Processes[i].PID)
		}
		return
	default:
		c.Verdict = Confined
		if c.Label == "" && c.Processes[0].Label.Mode == "complain" || c.Label != "" && j.complains(c, want) {
			c.Verdict = Complaining
		}
		j.profiles(c, want)
		j.freshness(c)
	}
	if removed {
		c.atMost(Drifted)
	}
	j.others(c, want, exes)
}

// others looks again at the processes that are not under the label, and reports those that still are not.
func (j *judge) others(c *Container, want []string, exes *programs) {
	c.Processes = slices.DeleteFunc(c.Processes, func(m Member) bool { return !m.Confined && j.ended(m.PID) })
	for i := range c.Processes {
		m := &c.Processes[i]
		if m.Confined {
			continue
		}
		m.Exe = exes.of(m.PID)
		if m.Label, m.Confined = j.settled(m, want); m.Confined && j.meant(c, m.Label, want) {
			continue
		}
		m.Confined = false
		c.Verdict = Differs
		if null := nullProfile(m.Label, want); null != "" {
			c.Problems = append(c.Problems, fmt.Sprintf("process %d (%s) runs under %s, which is left of a time when its profile "+
				"only logged, and denies nothing: start the container anew", m.PID, oneline.Whole(m.Exe), oneline.Whole(null)))
			continue
		}
		c.Problems = append(c.Problems, fmt.Sprintf("process %d (%s) runs under %s, and not under %s", m.PID, oneline.Whole(m.Exe),
			oneline.Whole(m.Label.String()), oneline.Whole(strings.Join(want, "//&"))))
	}
}

// worse has the verdicts on containers whose processes are all under their labels, the better ones first.
var worse = []Verdict{Confined, Complaining, Unverified, Stale, Drifted}

// atMost makes the verdict no better than v.
func (c *Container) atMost(v Verdict) {
	if at := slices.Index(worse, c.Verdict); at >= 0 && at < slices.Index(worse, v) {
		c.Verdict = v
	}
}

// complains reports whether a profile of a decided label only logs: by its compiled mode, or by the label of a process.
func (j *judge) complains(c *Container, want []string) bool {
	for _, name := range want {
		if content := j.content(c, name); len(content) > 0 && content[0].Mode == profile.Complain {
			return true
		}
	}
	return slices.ContainsFunc(c.Processes, func(m Member) bool { return m.Confined && m.Label.Mode == "complain" })
}

// content returns what a profile must be: the content in the policy in force, or else that at the container's create.
func (j *judge) content(c *Container, name string) []profile.Compiled {
	if j.gen != nil {
		if p, ok := j.gen.Index.Profile(name); ok {
			return p.Compiled
		}
	}
	if c.record != nil {
		for _, p := range c.record.Profiles {
			if p.Name == name {
				return p.Compiled
			}
		}
	}
	return nil
}

// freshness checks whether the processes of a container run under the content that the kernel has now.
func (j *judge) freshness(c *Container) {
	if c.record == nil || c.Label == "" {
		return
	}
	labels := make([]kernel.Label, len(c.Processes))
	for i := range c.Processes {
		labels[i] = c.Processes[i].Label
	}
	f, name, err := j.host.Freshness(c.record, labels...)
	switch {
	case err != nil:
		c.Older = fmt.Sprintf("whether its processes are under the present content of profile %s is not known: %v", name, err)
		c.atMost(Unverified)
	case f == hook.Stale:
		c.Older = fmt.Sprintf("profile %s was replaced since the container was created, and what runs under a stack of profiles "+
			"stays under older content: start the container anew", name)
		c.atMost(Stale)
	case f == hook.Unclear:
		c.Older = fmt.Sprintf("profile %s was replaced since the container was created, and nobody knows how often: what runs "+
			"under a stack of profiles may be under older content; start the container anew", name)
		c.atMost(Unverified)
	default:
		return
	}
	c.Problems = append(c.Problems, c.Older)
}

// nullProfile returns the component of a label that complain mode has made below one of want, or an empty string. While the
// profile complains, the kernel makes one for each program without a rule (aa_new_learning_profile,
// security/apparmor/policy.c). It still complains after the profile's mode has changed.
func nullProfile(l kernel.Label, want []string) string {
	for _, c := range l.Components {
		for _, name := range want {
			if rest, ok := strings.CutPrefix(c, name+"//"); ok && strings.Contains("//"+rest, "//null-") {
				return c
			}
		}
	}
	return ""
}

// meant reports whether a decided label is free of profiles that complain mode made, or should complain.
func (j *judge) meant(c *Container, l kernel.Label, want []string) bool {
	null := nullProfile(l, want)
	if null == "" || c.Label == "" {
		return true
	}
	main, _, _ := strings.Cut(null, "//")
	content := j.content(c, main)
	return len(content) > 0 && content[0].Mode == profile.Complain
}

func (j *judge) ended(pid int) bool {
	_, err := j.kernel.Label(pid)
	return err != nil
}

// settling is how long a process may take on its way into a container.
const settling = 200 * time.Millisecond

// settled looks at a process again. A process that a runtime has just put into the container is not confined before it
// executes its program. Until then its program is the runtime, or looks like it.
func (j *judge) settled(m *Member, want []string) (kernel.Label, bool) {
	l := m.Label
	for end := time.Now().Add(settling); ; time.Sleep(10 * time.Millisecond) {
		now, err := j.kernel.Label(m.PID)
		if err != nil {
			return l, true // it has ended
		}
		if l = now; j.confined(l, want) {
			return l, true
		}
		program := filepath.Base(m.Exe)
		runtime := strings.HasPrefix(program, "runc") || strings.HasPrefix(program, "crun") || strings.Contains(m.Exe, "memfd:runc")
		if !runtime || time.Now().After(end) {
			return l, false
		}
	}
}

// label returns the names of the profiles that must confine every process of a container: those of the decided label, or
// else those of its first process. It returns none for a container that nothing confines.
func (j *judge) label(c *Container) []string {
	if c.Label != "" {
		return strings.Split(c.Label, "//&")
	}
	if len(c.Processes) == 0 {
		return nil
	}
	first := c.Processes[0].Label
	if first.Mode == "" || first.Mode == "unconfined" {
		return nil
	}
	// The kernel and crun stack these on what was asked for.
	rest := slices.DeleteFunc(slices.Clone(first.Components), func(name string) bool {
		return name == "unconfined" || name == "runc" || name == "crun"
	})
	if len(rest) == 0 {
		return first.Components
	}
	return rest
}

// confined reports whether a process is under every profile of want, or under a child of it. The profile's own rules decide
// which processes enter its children.
func (j *judge) confined(l kernel.Label, want []string) bool {
	for _, name := range want {
		if !slices.ContainsFunc(l.Components, func(c string) bool { return c == name || strings.HasPrefix(c, name+"//") }) {
			return false
		}
	}
	return len(want) > 0
}

// profiles checks the content of the profiles of a label.
func (j *judge) profiles(c *Container, label []string) {
	held := make(map[string]hook.RecordProfile)
	if c.record != nil {
		for _, p := range c.record.Profiles {
			held[p.Name] = p
		}
	}
	for _, name := range label {
		p := j.profile(name, held[name])
		switch {
		case p.Content == Other:
			whose := "the policy's"
			if !p.policy {
				whose = "when the container was created"
			}
			c.Problems = append(c.Problems, fmt.Sprintf("profile %s is loaded with other content than %s", name, whose))
		case p.Content == Outdated && c.Label != "": // what is kept nobody replaces
			c.Problems = append(c.Problems, fmt.Sprintf("profile %s is the one of an earlier policy: the next start or exec that "+
				"needs it loads the present one", name))
		}
		switch {
		case c.Label == "":
		case p.Content == Other || p.Content == Missing:
			c.atMost(Drifted)
		case p.Content == Unknown:
			c.Problems = append(c.Problems, fmt.Sprintf("whether the kernel's content of profile %s is the policy's is not known: %s",
				name, cmp.Or(p.Detail, "neither the policy in force nor what is remembered of the container has the profile")))
			c.atMost(Unverified)
		}
		c.Profiles = append(c.Profiles, p)
	}
}

// removals reports whether profiles in a container's record were removed from the kernel since, and adds a problem for
// each.
func (j *judge) removals(c *Container) (some bool) {
	if c.record == nil {
		return false
	}
	for _, p := range c.record.Profiles {
		if !j.removed(kernel.Loaded{Name: p.Name, Dir: p.Dir}) {
			continue
		}
		some = true
		again := ", and loaded again"
		if j.profile(p.Name, p).Content == Missing {
			again = ""
		}
		c.Problems = append(c.Problems, fmt.Sprintf("profile %s was removed from the kernel after the container was created%s: "+
			"what ran then is unconfined for good; start the container anew", p.Name, again))
	}
	return some
}

// profile compares the kernel's content of a profile with the policy's. was is the profile at create, if there is a record.
func (j *judge) profile(name string, was hook.RecordProfile) ProfileState {
	h := ProfileState{Name: name, Content: Unknown}
	var now []profile.Compiled
	if j.gen != nil {
		if p, ok := j.gen.Index.Profile(name); ok {
			now = p.Compiled
			h.policy = true
		}
	}
	want := now
	if want == nil {
		want = was.Compiled
	}
	if want == nil {
		return h
	}
	found, err := j.check(name, was.Dir, want)
	switch {
	case err != nil:
		h.Detail = err.Error()
		var notReady *kernel.NotReadyError
		if errors.As(err, &notReady) {
			h.Detail = notReady.Readiness.String()
		}
		return h
	case found.Status == kernel.Matches:
		h.Content = Same
		return h
	}
	h.Detail = found.String()
	if !h.policy {
		h.Detail = found.Since()
	}
	h.Content = Other
	if found.Status == kernel.Missing {
		h.Content = Missing
	} else if now != nil && was.Compiled != nil && !slices.Equal(now, was.Compiled) {
		if before, err := j.check(name, was.Dir, was.Compiled); err == nil && before.Status == kernel.Matches {
			h.Content = Outdated
		}
	}
	return h
}

// removed reports whether a profile was removed from the kernel since a container was created with it.
func (j *judge) removed(l kernel.Loaded) bool {
	gone, ok := j.gone[l]
	if !ok {
		same, err := j.kernel.Same(l)
		gone = err == nil && !same
		j.gone[l] = gone
	}
	return gone
}

// check compares a profile with a content, once for each content.
func (j *judge) check(name, dir string, content []profile.Compiled) (kernel.Found, error) {
	key := name
	for _, c := range content {
		key += "\x00" + c.Name + "\x00" + string(c.SHA1[:]) + string(c.SHA256[:])
	}
	c, ok := j.checked[key]
	if !ok {
		c.found, c.err = j.kernel.CheckIn(dir, kernel.Profile{Name: name, Compiled: content})
		j.checked[key] = c
	}
	return c.found, c.err
}
