// Package policy decides which AppArmor profile confines a container.
//
// A Config is what a node's administrator wrote, checked; Encode turns it into an Index, the form in which a container
// start reads it; Index.Decide gives the Decision for one container. The package touches neither the kernel nor any
// file: package policyfile reads the policy file, package store keeps the index on disk.
package policy

import "github.com/oci-apparmor/oci-apparmor/policy/profile"

// Annotation is the key by which a workload asks for a policy. "oci-apparmor/policy" speaks for every container of a
// pod, "oci-apparmor/policy.NAME" for its container NAME and wins over it.
const Annotation = "oci-apparmor/policy"

// Keep, in place of a profile's name, leaves the engine's choice of profile as it is.
const Keep = "keep"

// Baseline is the policy that is there without a definition, unless the policy file gives it another one.
const Baseline = "baseline"

// Config is a node's whole configuration: the policy file, checked, and its profiles.
type Config struct {
	Profiles    []Profile
	Policies    []Policy
	Assignments []Assignment
}

// Profile is one AppArmor profile that policies may use.
type Profile struct {
	Name    string // as in the kernel; profile.CheckName accepts it
	Mode    profile.Mode
	OnDrift profile.Drift

	// Source says where its text comes from, for people: a path, or "template docker-default".
	Source   string
	Text     []byte // not part of the index; empty where Template is to be generated
	Template string // the template's name, or empty; not part of the index

	// ByHand is for a profile that a policy names and does not have, because somebody else loads it. It has a name and
	// nothing else. Only decisions hold such a one.
	ByHand bool

	// What the compiler made of the text. Empty until the policy is compiled.
	Compiled []profile.Compiled
	Blob     [32]byte // sha256 of the blob's bytes: its name in the store
}

// Policy is a named policy.
type Policy struct {
	Name    string
	Profile string // a Profile's name, or Keep
	Floor   string // a Profile's name, or empty: stacked below Profile
}

// Assignment is one rule of the ordered list; the first whose conditions all hold for a container is its rule.
//
// An empty list of patterns is no condition; of several patterns one must match. Patterns are those of path.Match: *
// does not cross a slash. No pattern matches what is not known: namespace "*" holds for no container outside of
// Kubernetes.
type Assignment struct {
	File string // where it stands, for reasons and errors: the file, relative to the configuration directory
	Line int    // and the line in it; 0 for a rule that stands nowhere

	Engine                           []string // names of engines, see engine.Names
	Namespace, Pod, Container, Image []string // images by their full names: see ImagePatterns

	Label []Labelled // all of them must match

	// Sandbox true makes it a rule for pause containers, and for nothing else. Without it, the rule is for everything
	// but pause containers.
	Sandbox    bool
	Privileged *bool

	Policy       string   // a Policy's name
	Request      []string // Policies' names that an annotation may ask for
	Floor        string   // a Profile's name, or empty: stacked below whatever this rule gives
	AcceptChoice []string // names of profiles, the policy's or loaded by hand, that stand where the engine chose them
	OnRefused    Refused
}

// Labelled are patterns for the value of one label, of which one must match. A label without a value has an empty
// one.
type Labelled struct {
	Key      string
	Patterns []string
}

// Refused says what becomes of a container that asks for a policy which its assignment does not let it have.
type Refused uint8

const (
	Deny     Refused = iota // it does not start
	Assigned                // it gets the assigned policy, with a warning
)

// Privilege says whether a container is privileged: whether root in it can do what root on the node can.
//
// PartlyPrivileged is for those of which that cannot be said for certain. A rule with a condition for it, whichever of
// the two, is for such a container if what it gives confines the container, and passes it by otherwise: so it never
// gets more freedom by such a rule, and never less confinement. Where one for unprivileged containers and after it one for
// privileged ones confine it, with none between that is for both, the latter is for it.
type Privilege uint8

const (
	Unprivileged Privilege = iota
	PartlyPrivileged
	Privileged // its engine made it so
)

// String gives "no", "partly" or "yes".
func (p Privilege) String() string { return [...]string{"no", "partly", "yes"}[p] }

// Facts is what is known of a container. Everything but Request and Misspelt comes from places that a workload cannot
// write; what stands there may still be the choice of whoever started the container: see policyfile/README.md.
type Facts struct {
	Engine    string // its name, see engine.Names; empty for engine.Other
	ID        string // the runtime's container id
	Namespace string // Kubernetes namespace
	Pod       string
	Container string            // its name, in its pod where it has one; the id where the engine tells no name
	Image     string            // as the engine names it
	Labels    map[string]string // nil where the engine tells none
	Sandbox   bool              // a pod's pause container

	Privileged   Privilege
	PrivilegedBy []string // for people: what a container has that is PartlyPrivileged

	// Unverified is why the facts that the engine keeps in files are not known. A container for which a rule may be for that
	// reason is refused.
	Unverified error

	// Look, unless nil, finds out Container, Image and Labels, or why they are Unverified, and what is asked for by the name of
	// the container: it reads files of the engine's. Until then Unverified is ErrUnread. Read calls it.
	Look func(*Facts)

	Request      *string // the value of Annotation for this container, as the workload wrote it; nil without one
	RequestKey   string  // the annotation it stood under
	Misspelt     string  // an annotation below "oci-apparmor/" that means nothing; empty without one
	EngineChoice string  // process.apparmorProfile as the engine wrote it: hostile, too
	ChoiceUnsaid bool    // EngineChoice is not known: of a container that is asked about, and not started
}

// Decision is the outcome for one container.
type Decision struct {
	Policy   string    // the policy's name
	Keep     bool      // leave the engine's choice; Profiles is empty
	Profiles []Profile // what the label is made of, the floor first; without Text
	Label    string    // process.apparmorProfile: the Profiles' names, joined in the kernel's order by //&
	Choice   Choice    // what became of the engine's choice
	Reason   string    // one line for a person: which rule, what was asked for, why this
	Warning  string    // one line, where something was refused and the container starts all the same
}
