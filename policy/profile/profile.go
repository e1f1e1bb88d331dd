// Package profile holds AppArmor profiles: the grammar of their names, their texts and templates, and the compiled
// blobs that the kernel takes.
//
// It runs apparmor_parser to compile and reads in Go what comes out. It knows neither the policy that chooses a
// profile nor the kernel that enforces it.
package profile

import (
	"crypto/sha1"
	"crypto/sha256"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Mode is what the kernel does with an access that a profile does not allow. The values are those of the kernel's enum
// profile_mode (security/apparmor/include/policy.h). A compiled profile carries the same values.
type Mode uint8

const (
	Enforce    Mode = iota // deny it and log it
	Complain               // log it and let it pass; explicit deny rules stay in force
	Kill                   // deny it and kill the task
	Unconfined             // the profile confines nothing: never accepted from a policy
)

var modes = [...]string{Enforce: "enforce", Complain: "complain", Kill: "kill", Unconfined: "unconfined"}

// String returns the mode as the kernel prints it after a label: "enforce", "complain", "kill", "unconfined".
func (m Mode) String() string {
	if int(m) < len(modes) {
		return modes[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// ParseMode returns the mode of this name. It accepts the modes that a policy may ask for: "enforce", "complain" and
// "kill".
func ParseMode(s string) (Mode, error) {
	for m := Enforce; m <= Kill; m++ {
		if s == modes[m] {
			return m, nil
		}
	}
	if s == modes[Unconfined] {
		return 0, fmt.Errorf("mode %q confines nothing: use enforce, complain or kill", s)
	}
	return 0, fmt.Errorf("mode %s does not exist: use enforce, complain or kill", oneline.Quote(s))
}

// Compiled is one profile inside a Blob: a main profile, or a child or hat of one ("main//child").
type Compiled struct {
	Name string
	Mode Mode

	// SHA1 and SHA256 are the hash that the kernel shows for this profile below policy/profiles, in the file sha1
	// (kernels before 6.8) or sha256: the hash of the version word followed by the profile's own bytes
	// (aa_calc_profile_hash, security/apparmor/crypto.c).
	SHA1   [sha1.Size]byte
	SHA256 [sha256.Size]byte
}

// A Blob is a compiled profile text. One write of it to the kernel's file .replace loads its profiles.
type Blob struct {
	Data     []byte     // the bytes that apparmor_parser writes and the kernel takes
	Profiles []Compiled // the profiles in Data, in its order: the main profile first, then its children
	Warnings []Warning  // the parser's warnings when it compiled the text; nil if the blob comes from Parse
}

// Drift is what happens if the kernel has, under the name of one of our profiles, a profile with other content.
type Drift uint8

const (
	// ReplaceOwn loads our profile again if we had loaded it before. It refuses the container if a profile of that name
	// that somebody else loaded was there first.
	ReplaceOwn Drift = iota
	// ReplaceAny loads our profile in its place, whoever loaded the other.
	ReplaceAny
	// RefuseDrift refuses the container, whoever loaded the other.
	RefuseDrift
)
