// Package meaning reads compiled AppArmor profiles, the blobs that apparmor_parser writes, and answers what the kernel
// would: which accesses a profile or a stack of them allows, denies, logs.
//
//	profiles, err := meaning.Read(blob)
//	answer := profiles[0].Decide(meaning.FileAccess{Path: "/etc/shadow", Want: meaning.MayRead})
//
// It follows the kernel's own reading and decisions (security/apparmor: policy_unpack.c, policy_compat.c, match.c, lib.c,
// audit.c, and the file of each class) for policy versions 5 to 9 with permissions in the automaton's accept words, and
// for tables of permissions. It needs neither the kernel nor the parser, knows no text, and trusts no blob: what the
// kernel would refuse is an error, and every walk ends.
package meaning

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/internal/element"
)

// maxProfiles is how many profiles one blob may hold.
const maxProfiles = 4096

// A Mode is what a profile does with an access that it does not allow (PACKED_MODE_* in the kernel's
// include/policy_unpack.h).
type Mode uint8

const (
	Enforce    Mode = iota // denies it
	Complain               // logs it and lets it pass, unless a rule denies it
	Kill                   // denies it, and kills the task for some classes
	Unconfined             // mediates nothing
	User                   // asks a program (flags=(prompt))
)

// String returns the mode as the kernel prints it after a label.
func (m Mode) String() string {
	names := [...]string{"enforce", "complain", "kill", "unconfined", "user"}
	if int(m) < len(names) {
		return names[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Flags of a profile that decide how the kernel names paths (PATH_* in include/path.h).
const (
	PathConnect        = 0x4 // attach_disconnected: paths of files outside of the mount namespace begin at /
	PathMediateDeleted = 0x10000
)

// A Profile is one compiled profile. Several goroutines may call its methods at the same time.
type Profile struct {
	Name      string // "main//child" for a child or hat
	Namespace string // policy namespace; empty for the namespace of the process that loads the blob
	Mode      Mode
	Hat       bool
	Audit     bool     // flags=(audit): the kernel logs every access
	Attaches  bool     // it attaches to programs by their path
	Path      uint32   // PathConnect and others
	Names     []string // labels to which exec and change_profile lead; the index is XIndex & XIndexMask

	Disconnected string         // what the kernel puts before the path of a file outside of the mount namespace
	KillSignal   Signal         // what the kernel kills with in mode kill; 0 is SIGKILL
	XAttrs       []string       // names of the extended attributes by which it attaches, beside the path
	Rlimits      map[int]uint64 // hard limits by their numbers (RLIMIT_NOFILE is 7), which no process may raise
	Secmarks     []Secmark

	Parent   *Profile   // the profile whose child or hat it is, where the blob has that
	Children []*Profile // its children and hats, in the blob's order

	low, high            capabilities // the first 32, and those after them
	policy, file, attach rules        // attach is about the programs to which it attaches
	whole                bool         // see Whole
	dbusAlone            bool         // the kernel asks it about D-Bus, whatever else it has rules about
}

// A Secmark is a rule about packets that a firewall has marked (struct aa_secmark, security/apparmor/include/net.h).
type Secmark struct {
	Label       string // "*" stands for all
	Deny, Audit bool
}

// capabilities are the sets of capabilities that are not in the policy's automaton.
type capabilities struct{ allow, audit, quiet uint32 }

// rules are an automaton, what its states allow, and where a match begins.
type rules struct {
	*dfa
	perms []Perms // what ACCEPT points into; nil where ACCEPT and ACCEPT2 are the permissions themselves
	files bool    // they were written for files: states have permissions for the owner and for others
	start [classes]state
}

// A Kernel tells which features a kernel has, as *profile.Compiler does of the one that it compiles for.
type Kernel interface{ Supports(feature string) bool }

// ReadFor is Read of what is loaded into a kernel with known features. Kernels differ in when they ask a profile about
// D-Bus: those with version 9 of the rules about networks do if the profile has rules of that version (profile_query_cb,
// security/apparmor/apparmorfs.c, Linux 6.17). An older kernel with D-Bus mediation, which is Ubuntu's, asks each profile
// that has rules about D-Bus. If k is nil, the features are not known.
func ReadFor(data []byte, k Kernel) ([]*Profile, error) {
	all, err := Read(data)
	if k != nil && !k.Supports("network_v9") {
		for _, p := range all {
			p.dbusAlone = true
		}
	}
	return all, err
}

// Read returns the profiles of a blob, in the blob's order, as a kernel with version 9 of the rules about networks takes
// them: see ReadFor. The error says what in the blob the kernel would refuse, or what this package cannot read.
func Read(data []byte) ([]*Profile, error) {
	r := reader{Reader: element.Reader{Data: data}}
	var all []*Profile
	for r.Pos < len(data) || len(all) == 0 {
		if len(all) == maxProfiles {
			return nil, fmt.Errorf("more than %d profiles", maxProfiles)
		}
		p, err := r.profile()
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	family(all)
	return all, nil
}

// family tells the profiles of a blob from which of them each is a child or hat.
func family(all []*Profile) {
	byName := make(map[string]*Profile, len(all))
	for _, p := range all {
		byName[p.Namespace+"\x00"+p.Name] = p
	}
	for _, p := range all {
		parent, ok := parentOf(p.Name)
		if !ok {
			continue
		}
		if p.Parent = byName[p.Namespace+"\x00"+parent]; p.Parent != nil {
			p.Parent.Children = append(p.Parent.Children, p)
		}
	}
}

// parentOf returns the name of the profile whose child has a name. A child's own name may be a path, as in "web///bin/sh".
// It follows __lookup_parent (security/apparmor/policy.c).
func parentOf(child string) (name string, ok bool) {
	end := 0
	for from := 0; ; {
		at := strings.Index(child[from:], "//")
		if at < 0 {
			return child[:end], end > 0
		}
		end = from + at
		from = end + len("//")
	}
}
