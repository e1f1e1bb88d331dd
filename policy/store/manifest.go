package store

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// A Manifest records how a generation was made. `oci-apparmor policy show` prints it. The next apply reads from it
// which profiles it need not compile again. No container start reads it. Hashes are sha256 in hexadecimal.
type Manifest struct {
	Applied   time.Time `json:"applied"`   // when the generation was made
	Confirmed time.Time `json:"confirmed"` // when an apply last found that the policy still compiles to this one

	// Digest is a hash of the policy as it was written, in hexadecimal: of rules, policies and texts, and not of what the node
	// makes of them. Nodes with the same files have the same. Empty in what earlier versions wrote.
	Digest string `json:"digest,omitempty"`

	// Both are set only in a generation that a rollback has made. RollbackOf is the generation that it replaced, and
	// RollbackTo the one whose content it has.
	RollbackOf uint64 `json:"rollbackOf,omitempty"`
	RollbackTo uint64 `json:"rollbackTo,omitempty"`

	Version  string `json:"version"`            // of oci-apparmor
	Parser   string `json:"parser"`             // version of apparmor_parser
	Program  string `json:"program,omitempty"`  // hash of its program
	Kernel   string `json:"kernel,omitempty"`   // release as uname -r prints it; empty when compiled for another machine
	Features string `json:"features,omitempty"` // hash of the text of the kernel's features

	// Labels from which generated profiles take signals: Daemons are the labels of the engines' daemons, and Attached
	// those that AppArmor gives the programs of engines and runtimes. Earlier versions wrote Daemon in place of
	// Daemons.
	Daemons  []string `json:"daemons,omitempty"`
	Attached []string `json:"attached,omitempty"`
	Daemon   string   `json:"daemon,omitempty"`

	Config   string   `json:"config,omitempty"`   // the directory of the policy file
	Requires []string `json:"requires,omitempty"` // what the policy file demands of an apply: "tests"

	// EnforceAfter has the times of profiles that are to be quiet before they are enforced, in nanoseconds, by their names.
	EnforceAfter map[string]time.Duration `json:"enforceAfter,omitempty"`

	Profiles []ManifestSource `json:"profiles"`
}

// Senders returns the labels of Daemons and Attached, and that of Daemon if it is set.
func (m Manifest) Senders() []string {
	all := slices.Concat(m.Daemons, m.Attached)
	if m.Daemon != "" {
		all = append(all, m.Daemon)
	}
	return all
}

// A ManifestSource records where the text of one profile came from, and what it was compiled to.
type ManifestSource struct {
	Name   string `json:"name"`
	Source string `json:"source"`

	Template string `json:"template,omitempty"` // the template's name, if the text was generated

	Text string `json:"text"` // hash of the text that was compiled
	Blob string `json:"blob"` // hash of the blob, which is its name below blobs/
	Made string `json:"made"` // hash of the profile's key (Keyer.Key) and of the blob; empty without a key

	Said []string `json:"said,omitempty"` // lines for a person, from its compilation (Keyer.Said)
}

// MarshalJSON writes a source as one string, its fields with tabs between them. Objects take several times as long to read, and
// every apply reads a thousand of them.
func (s ManifestSource) MarshalJSON() ([]byte, error) {
	fields := append([]string{s.Name, s.Source, s.Template, s.Text, s.Blob, s.Made}, s.Said...)
	for i, f := range fields {
		if strings.ContainsAny(f, "\\\t") {
			fields[i] = escaped.Replace(f)
		}
	}
	return json.Marshal(strings.Join(fields, "\t"))
}

// UnmarshalJSON reads what MarshalJSON has written, and the objects of earlier versions.
func (s *ManifestSource) UnmarshalJSON(data []byte) error {
	if data[0] == '{' {
		type object ManifestSource
		return json.Unmarshal(data, (*object)(s))
	}
	var line string
	if err := json.Unmarshal(data, &line); err != nil {
		return err
	}
	fields := strings.Split(line, "\t")
	if len(fields) < 6 {
		return fmt.Errorf("%q is no profile", line)
	}
	if strings.Contains(line, "\\") {
		for i, f := range fields {
			fields[i] = unescaped.Replace(f)
		}
	}
	*s = ManifestSource{
		Name: fields[0], Source: fields[1], Template: fields[2], Text: fields[3], Blob: fields[4], Made: fields[5], Said: fields[6:],
	}
	return nil
}

// Backslashes and tabs in a field.
var (
	escaped   = strings.NewReplacer("\\", "\\\\", "\t", "\\t")
	unescaped = strings.NewReplacer("\\\\", "\\", "\\t", "\t")
)

// Brief is a part of a Manifest.
type Brief struct {
	Applied    time.Time `json:"applied"`
	RollbackOf uint64    `json:"rollbackOf"`
	Digest     string    `json:"digest"`
}

// Brief returns a part of the manifest. It keeps nothing of the rest in memory, which grows with the number of profiles.
func (g *Generation) Brief() (b Brief, err error) {
	name := filepath.Join(g.store.Dir, generationPath(g.Number), "manifest.json")
	data, err := readFile(unix.AT_FDCWD, name, maxManifest)
	if err != nil {
		return b, err
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return b, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

// requiresTests is the word in Manifest.Requires for policy.Config.RequireTests.
const requiresTests = "tests"

// Config returns the policy of a generation, without texts. The index has all of it but the names of templates and what an
// apply demands, which come from the manifest.
func (g *Generation) Config() (*policy.Config, error) {
	p, err := g.Index.Config()
	if err != nil {
		return nil, err
	}
	m, err := g.Manifest()
	if err != nil {
		return nil, err
	}
	templates := make(map[string]string, len(m.Profiles))
	for _, one := range m.Profiles {
		templates[one.Name] = one.Template
	}
	for i := range p.Profiles {
		p.Profiles[i].Template = templates[p.Profiles[i].Name]
	}
	m.times(p)
	p.RequireTests = slices.Contains(m.Requires, requiresTests)
	return p, nil
}

// times sets the times after which profiles of a policy are enforced, which its index has not.
func (m *Manifest) times(p *policy.Config) {
	for i := range p.Profiles {
		one := &p.Profiles[i]
		if after := m.EnforceAfter[one.Name]; after > 0 {
			one.EnforceAfter = after
		}
	}
}

// Promoted reports whether the generation has a profile of the same text, and enforces it because it was quiet for the time
// that the policy file demanded (policy.Profile.Promoted). A profile that is generated counts as the same if its template is:
// its text follows the programs of the node, and nobody wrote it.
func (g *Generation) Promoted(p *policy.Profile) bool {
	m, err := g.Manifest()
	if err != nil || m.EnforceAfter[p.Name] <= 0 {
		return false
	}
	was, ok := g.Index.Profile(p.Name)
	if !ok || was.Mode != profile.Enforce {
		return false
	}
	i := slices.IndexFunc(m.Profiles, func(s ManifestSource) bool { return s.Name == p.Name })
	return i >= 0 && m.Profiles[i].Template == p.Template && (p.Template != "" || m.Profiles[i].Text == textHash(p))
}

// Manifest returns the generation's manifest. It reads the file once.
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
