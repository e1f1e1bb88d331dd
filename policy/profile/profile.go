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

// Mode says what the kernel does with an access that a profile does not allow. The values are those of the kernel's
// enum profile_mode (security/apparmor/include/policy.h), which is also what a compiled profile carries.
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

// ParseMode reads a mode that a policy may ask for: "enforce", "complain" or "kill".
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

// Blob is a compiled profile text: what one write to .replace loads.
type Blob struct {
	Data     []byte     // as apparmor_parser writes it, and as the kernel takes it
	Profiles []Compiled // what Data defines, in its order: the main profile first, then its children
	Warnings []Warning  // what the parser said when it compiled the text; nil where the blob was only read
}

// Drift says what happens when the kernel holds a profile of ours with content that is not ours.
type Drift uint8

const (
	// ReplaceOwn puts ours back where we had loaded it before, and refuses the container where somebody else's
	// profile of that name was there first.
	ReplaceOwn Drift = iota
	// ReplaceAny puts ours in its place, whoever loaded the other.
	ReplaceAny
	// RefuseDrift refuses the container, whoever loaded the other.
	RefuseDrift
)
