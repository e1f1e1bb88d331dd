package store

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Manifest is how a generation came to be. It is for people, for `oci-apparmor policy show`, and for the next apply,
// which need not compile again what would compile to the same: no container start reads it. Hashes are sha256 in
// hexadecimal.
type Manifest struct {
	Applied   time.Time `json:"applied"`   // when the generation was made
	Confirmed time.Time `json:"confirmed"` // when an apply last found that the policy gives this very generation

	// Of a generation that a rollback has made: the one that it took back, and the one whose content it has.
	RollbackOf uint64 `json:"rollbackOf,omitempty"`
	RollbackTo uint64 `json:"rollbackTo,omitempty"`

	Version  string `json:"version"`            // of oci-apparmor
	Parser   string `json:"parser"`             // version of apparmor_parser
	Program  string `json:"program,omitempty"`  // hash of its program
	Kernel   string `json:"kernel,omitempty"`   // release as uname -r prints it; empty when compiled for another machine
	Features string `json:"features,omitempty"` // hash of the text of the kernel's features

	// Labels that generated profiles take signals from: those of the engines' daemons, and those that AppArmor gives to
	// engines' and runtimes' programs. Daemon is what earlier versions wrote for the first of the two.
	Daemons  []string `json:"daemons,omitempty"`
	Attached []string `json:"attached,omitempty"`
	Daemon   string   `json:"daemon,omitempty"`

	Config   string           `json:"config,omitempty"` // the directory of the policy file
	Profiles []ManifestSource `json:"profiles"`
}

// Senders returns the labels of both kinds.
func (m Manifest) Senders() []string {
	all := slices.Concat(m.Daemons, m.Attached)
	if m.Daemon != "" {
		all = append(all, m.Daemon)
	}
	return all
}

// ManifestSource is where a profile's text came from.
type ManifestSource struct {
	Name   string `json:"name"`
	Source string `json:"source"`
	Text   string `json:"text"` // hash of the text that was compiled
	Blob   string `json:"blob"` // hash of what came out, its name below blobs/
	Made   string `json:"made"` // hash of all that it was made of and of what came out; empty where that cannot be told

	Said []string `json:"said,omitempty"` // what there was to say of it when it was compiled, in lines
}

// Manifest returns how the generation came to be.
func (g *Generation) Manifest() (Manifest, error) {
	m := &g.manifest
	m.Do(func() { m.Manifest, m.error = g.readManifest() })
	return m.Manifest, m.error
}

func (g *Generation) readManifest() (Manifest, error) {
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
