package explain

import (
	"encoding/hex"

	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
)

type Profile struct {
	Name     string            `json:"name"`
	ByHand   bool              `json:"byHand,omitempty"` // the policy only names it, and has nothing of what follows
	Mode     string            `json:"mode,omitempty"`
	Source   string            `json:"source"`
	Text     string            `json:"text,omitempty"` // sha256 of the text
	Blob     string            `json:"blob,omitempty"` // sha256 of what it was compiled to
	Compiled []Compiled        `json:"compiled"`       // as in the kernel: the profile and its children
	Kernel   *node.KernelState `json:"kernel,omitempty"`
}

type Compiled struct {
	Name   string `json:"name"`
	SHA1   string `json:"sha1"`
	SHA256 string `json:"sha256"`
}

// ProfileOf returns the JSON form of a policy's profile.
func ProfileOf(pr policy.Profile) Profile {
	if pr.ByHand {
		return Profile{Name: pr.Name, Source: pr.Source, ByHand: true, Compiled: []Compiled{}}
	}
	j := Profile{
		Name:     pr.Name,
		Mode:     pr.Mode.String(),
		Source:   pr.Source,
		Compiled: []Compiled{},
	}
	if pr.Blob != [32]byte{} { // it is compiled
		j.Blob = hex.EncodeToString(pr.Blob[:])
	}
	for _, c := range pr.Compiled {
		j.Compiled = append(j.Compiled, Compiled{c.Name, hex.EncodeToString(c.SHA1[:]), hex.EncodeToString(c.SHA256[:])})
	}
	return j
}

// contentUnknown reports whether nobody knows if the kernel has the profile with our content.
func (j Profile) contentUnknown() bool { return j.Kernel == nil || j.Kernel.State == node.Unknown }
