package audit

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Container is a container that a record may be of. Its names, pod and image are strings of the workload.
type Container struct {
	ID, Name, Engine, Namespace, Pod, Image string

	Sandbox    bool
	Policy     string // the decided one; empty if oci-apparmor did not decide about it
	Label      string // the decided one; empty if the engine's choice was kept, or stands
	Generation uint64

	From  time.Time // when it was created; zero if not known
	To    time.Time // when it had ended at the latest; zero if it has not
	Ended bool

	ident    string // key's answer, once it was asked for by the Joiner
	root     string
	group    string     // the path of the control group that was made for it; empty if that is not known
	profiles []string   // the names of profiles that its processes are under
	any      bool       // these are not known
	ran      []hook.Ran // of one that has ended
	decided  bool       // it has, or had, a record of ours
}

// key tells containers apart: of those with a record also two of one id after each other.
func (c *Container) key() string {
	if c.ident != "" {
		return c.ident
	}
	if !c.decided {
		return c.root + "\x00" + c.ID
	}
	return c.root + "\x00" + c.ID + "\x00" + itoa(int(c.From.UnixNano()))
}

// Title returns the name by which people know a container: NAMESPACE/POD/NAME, its name, or its id. It is fit for a line.
func (c *Container) Title() string {
	title := cmp.Or(c.Name, c.ID)
	if c.Pod != "" {
		title = strings.TrimSuffix(c.Namespace+"/"+c.Pod+"/"+c.Name, "/") // of a sandbox there is no name
	}
	return oneline.Word(title)
}

// Is reports whether somebody who writes asked means the container: by its id, its name, or its pod.
func (c *Container) Is(asked string) bool {
	return c.ID == asked || c.Name == asked || c.Pod != "" && (c.InPod(asked) || c.Namespace+"/"+c.Pod+"/"+c.Name == asked)
}

// Begins reports whether somebody who writes asked means the beginning of the container's id.
func (c *Container) Begins(asked string) bool { return engine.IDBegins(c.ID, asked) }

// InPod reports whether the container is in a pod, POD or NAMESPACE/POD.
func (c *Container) InPod(asked string) bool {
	return c.Pod != "" && (c.Pod == asked || c.Namespace+"/"+c.Pod == asked)
}

// lived returns when the container may have had processes.
func (c *Container) lived() span {
	all := ever()
	if !c.From.IsZero() {
		all.from = c.From.Add(-slack)
	}
	if !c.To.IsZero() {
		all.to = c.To.Add(slack)
	}
	return all
}

// slack is how far the times of records, of processes and of our own notes may be apart for one and the same moment.
const slack = time.Second / 2

// under reports whether processes of the container may be under a profile. A child of a profile, and what complain mode
// makes of one ("web//null-/usr/bin/id"), count as the profile.
func (c *Container) under(profile string) bool {
	return c.any || slices.ContainsFunc(c.profiles, func(name string) bool { return within(profile, name) })
}

// in reports whether a process in a control group is in the container. A group that only happens to have a container's id for its
// name is not the container's: a workload may choose its id. That of an engine is random.
func (c *Container) in(group string) bool {
	if c.group == "" {
		return engine.ContainerID(group) == c.ID
	}
	return group == c.group || strings.HasPrefix(group, c.group+"/")
}

// within reports whether a profile is another one, or below it.
func within(profile, main string) bool {
	rest, ok := strings.CutPrefix(profile, main)
	return ok && (rest == "" || strings.HasPrefix(rest, "//") && !strings.HasPrefix(rest, "//&"))
}

// of returns what a record needs to know of a container that is there.
func of(c *status.Container) *Container {
	return &Container{
		ID: c.ID, Name: c.Name, Engine: c.Engine, Namespace: c.Namespace, Pod: c.Pod, Image: c.Image, Sandbox: c.Sandbox,
		Policy: c.Policy, Label: c.Label, Generation: c.Generation, From: c.Created(), root: c.Root,
		profiles: c.Names(), decided: c.Decided,
	}
}

// ofEnded returns what a record needs to know of a container that has ended.
func ofEnded(e *hook.Ended) *Container {
	c := &Container{
		ID: e.ID, Name: e.Names.Container, Engine: e.Engine, Namespace: e.Names.Namespace, Pod: e.Names.Pod, Image: e.Names.Image,
		Sandbox: e.Names.Sandbox, Policy: e.Policy, Label: e.Label, Generation: e.Generation, From: e.Created, To: e.End, Ended: true,
		root: e.Root, ran: e.Processes, decided: true,
	}
	if c.Name == c.ID {
		c.Name = ""
	}
	label := cmp.Or(e.Label, e.Choice)
	c.any = label == ""
	c.profiles = slices.DeleteFunc(strings.Split(label, "//&"), func(name string) bool { return name == "" || name == "unconfined" })
	return c
}

// byTitle orders containers as status does.
func byTitle(a, b *Container) int {
	return cmp.Or(cmp.Compare(a.Engine, b.Engine), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod),
		cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID), a.From.Compare(b.From))
}
