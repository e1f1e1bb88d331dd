// Package policy decides which AppArmor profile confines a container.
//
// A Config is what a node's administrator wrote, checked. Encode makes an Index from it, which a container start reads.
// Index.Decide returns the Decision for one container. The package touches neither the kernel nor any file. Package
// policyfile reads the policy file, and package store keeps the index on disk.
package policy

import (
	"fmt"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Annotation is the key by which a workload asks for a policy. "oci-apparmor/policy" is for every container of a pod.
// "oci-apparmor/policy.NAME" is for its container NAME, and takes precedence there.
const Annotation = "oci-apparmor/policy"

// Keep stands in place of a profile's name in a Policy that leaves the engine's choice of profile as it is.
const Keep = "keep"

// Baseline is the name of the policy that exists without a definition. The policy file may define it anew.
const Baseline = "baseline"

// Config is a node's whole configuration: the policy file, checked, and the profiles that it names.
type Config struct {
	Profiles    []Profile
	Policies    []Policy
	Assignments []Assignment

	RequireTests bool // whether policy apply demands that the policy's tests pass; not in the index
}

// Profile is one AppArmor profile that policies may use.
type Profile struct {
	Name    string // as in the kernel; profile.CheckName accepts it
	Mode    profile.Mode
	OnDrift profile.Drift

	// EnforceAfter is for how long what runs under the profile must have been quiet before it counts as enforced; 0 for a
	// profile whose mode stays. Where it is set, the policy file says Complain: Enforce says that the time was shown. Not in
	// the index.
	EnforceAfter time.Duration

	// Source is the origin of the text, for people: a path, or "template docker-default".
	Source   string
	Text     []byte // not in the index; empty if it is to be generated from Template, or is Unread
	Template string // the template's name, or empty; not in the index

	// Unread stands for a text that was not read, because an earlier apply has read it and its file has not changed since.
	// Else it is nil.
	Unread *Unread

	// ByHand is true for a profile that somebody else loads, and of which the policy has only the name. Only decisions have
	// such profiles.
	ByHand bool

	// Recorded is the blob of a profile under which a container is recorded (package recording). No generation has it. Only
	// decisions have such profiles.
	Recorded []byte

	// The compiler's output. Empty until the policy is compiled.
	Compiled []profile.Compiled
	Blob     [32]byte // sha256 of the blob's bytes: its name in the store
}

// Unread is what an earlier reading has found out about a text.
type Unread struct {
	profile.Digest
	Read func() ([]byte, error) // reads the text. It may be another one, if the file changes now
}

// Promoted reports whether the policy file has the profile in complain mode until it was quiet for a time, and it was.
func (p *Profile) Promoted() bool { return p.EnforceAfter > 0 && p.Mode == profile.Enforce }

// Waits reports whether the profile is in complain mode until it was quiet for a time.
func (p *Profile) Waits() bool { return p.EnforceAfter > 0 && p.Mode == profile.Complain }

// Digest returns the digest of the profile's text, whether or not it is read. The error is that of profile.DigestOf.
func (p *Profile) Digest() (profile.Digest, error) {
	if p.Unread != nil {
		return p.Unread.Digest, nil
	}
	return profile.DigestOf(p.Text)
}

// ReadText reads a text that is Unread. It may have another digest then.
func (p *Profile) ReadText() error {
	if p.Unread == nil {
		return nil
	}
	text, err := p.Unread.Read()
	if err != nil {
		return fmt.Errorf("the text of profile %.64q cannot be read: %w", p.Name, err)
	}
	p.Text, p.Unread = text, nil
	return nil
}

// Policy is a named answer to which profile confines a container.
type Policy struct {
	Name    string
	Profile string // a Profile's name, or Keep
	Floor   string // the name of a Profile that is stacked below Profile, or empty
}

// Assignment is one rule of the ordered list. A container's rule is the first one whose conditions all hold for it.
//
// An empty list of patterns is no condition. Of several patterns one must match. Patterns are those of path.Match, whose *
// does not match a slash. No pattern matches a fact that is not known: namespace "*" holds for no container outside of
// Kubernetes.
type Assignment struct {
	File string // the policy file that has the rule, relative to the configuration directory; for reasons and errors
	Line int    // the rule's line in it; 0 for a rule that no file has

	Engine                           []string // names of engines, see engine.Names
	Namespace, Pod, Container, Image []string // images by their full names: see ImagePatterns

	Label []Labelled // all of them must match

	// If Sandbox is true, the rule is only for pause containers. If not, it is for all but pause containers.
	Sandbox    bool
	Privileged *bool

	Policy       string   // a Policy's name
	Request      []string // names of the Policies that an annotation may ask for
	Floor        string   // the name of a Profile that is stacked below the profile of any of these policies, or empty
	AcceptChoice []string // names of profiles, ours or loaded by hand, that the engine may choose
	OnRefused    Refused
}

// Labelled are patterns for the value of one label. One of them must match. A label without a value has an empty one.
type Labelled struct {
	Key      string
	Patterns []string
}

// Refused is what happens to a container that asks for a policy which its rule does not allow.
type Refused uint8

const (
	Deny     Refused = iota // the container does not start
	Assigned                // the container gets the assigned policy, and there is a warning
)

// Privilege is whether a container is privileged: whether root in it can do what root on the node can do.
//
// PartlyPrivileged containers have a part of the powers of privileged ones. A rule that asks for privileged or for
// unprivileged containers counts for such a container if it confines the container. Otherwise the next rules are tried. So
// such a rule never makes the container freer. If a rule for unprivileged containers confines it, and the next rule that is
// for it is one for privileged containers that confines it, too, the second one is its rule.
type Privilege uint8

const (
	Unprivileged Privilege = iota
	PartlyPrivileged
	Privileged // its engine made it privileged
)

// String returns "no", "partly" or "yes".
func (p Privilege) String() string { return [...]string{"no", "partly", "yes"}[p] }

// Facts is what is known of a container. All but Request and Misspelt come from places that a workload cannot write. Whoever
// starts a container may still choose some of them: see policyfile/README.md.
type Facts struct {
	Engine    string // its name, see engine.Names; empty for engine.Other
	ID        string // the runtime's container id
	Namespace string // Kubernetes namespace
	Pod       string
	Container string            // its name, in its pod if it has one; its id if the engine reports no name
	Image     string            // as the engine names it
	Labels    map[string]string // nil if the engine reports none
	Sandbox   bool              // a pod's pause container

	Privileged   Privilege
	PrivilegedBy []string // for people: the powers of a PartlyPrivileged container

	// Unverified is why the facts in the engine's files are not known. Decide refuses the container if such a fact decides
	// whether a rule is for it.
	Unverified error

	// Look, unless nil, reads the engine's files and sets Container, Image and Labels, or Unverified. It also sets what
	// annotations ask for by the container's name. Until then Unverified is ErrUnread. Read calls Look.
	Look func(*Facts)

	Request      *string // the value of Annotation for this container, as the workload wrote it; nil if there is none
	RequestKey   string  // the annotation that has it
	Misspelt     string  // an annotation below "oci-apparmor/" that means nothing; empty if there is none
	EngineChoice string  // process.apparmorProfile as the engine wrote it: hostile, too
	ChoiceUnsaid bool    // EngineChoice is not known, because somebody only asks about the container

	// LeftBy is the policy whose recording left EngineChoice in the bundle, at an earlier start; empty if none did.
	LeftBy string
}

// Decision is the outcome for one container.
type Decision struct {
	Policy   string    // the policy's name
	Keep     bool      // the engine's choice stays; Profiles is empty
	Profiles []Profile // the profiles of the label, the floors first; without Text
	Label    string    // for process.apparmorProfile: see the function Label
	Choice   Choice    // the outcome for the engine's choice
	InPlace  bool      // the choice stands in the place of the policy's profile, which is another one
	Reason   string    // one line for people: which rule, what was asked for, why this policy
	Warning  string    // one line, if something was refused and the container starts nevertheless
	File     string    // that has the rule which decided, as in Assignment; empty if no rule is for the container
	Line     int       // the rule's line in it
}
