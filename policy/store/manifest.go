package store

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Manifest tells how a generation came to be. It is for people and for `oci-apparmor policy show`: no container start
// reads it, and nothing is decided by it. Hashes are sha256 in hexadecimal.
type Manifest struct {
	Applied   time.Time `json:"applied"`   // when the generation was made
	Confirmed time.Time `json:"confirmed"` // when an apply last compiled everything and got this very generation

	Version  string `json:"version"`            // of oci-apparmor
	Parser   string `json:"parser"`             // version of apparmor_parser
	Kernel   string `json:"kernel,omitempty"`   // release as uname -r prints it; empty when compiled for another machine
	Features string `json:"features,omitempty"` // hash of the text of the kernel's features

	Daemon string `json:"daemon,omitempty"` // label of the engine's daemon that generated profiles name; empty for unconfined

	Config   string           `json:"config,omitempty"` // the directory of the policy file
	Profiles []ManifestSource `json:"profiles"`
}

// ManifestSource is where a profile's text came from.
type ManifestSource struct {
	Name   string `json:"name"`
	Source string `json:"source"`
	Text   string `json:"text"` // hash of the text that was compiled
	Blob   string `json:"blob"` // hash of what came out, its name below blobs/
}

// Manifest reads how the generation came to be.
func (g *Generation) Manifest() (Manifest, error) {
	var m Manifest
	name := filepath.Join(g.store.Dir, generationPath(g.Number), "manifest.json")
	data, err := readFile(unix.AT_FDCWD, name, maxManifest)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}
