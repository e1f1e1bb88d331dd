// Package templates makes the texts of generated profiles. A text depends on the template, the profile's name, and what
// the node has.
//
// A template is a file in the directory text, in the language of text/template. Its file name is the template's name in
// the policy file. No container start uses this package: policy apply compiles the generated profiles.
package templates

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	texttemplate "text/template"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

//go:embed text
var files embed.FS

// Target is what a template needs to know of the node that the profile is for. The zero value is a node as
// distributions set it up.
type Target struct {
	Base string // directory of AppArmor's own files; empty stands for profile.BaseDir

	// Senders are the labels of the node's engines and runtimes. The profile takes signals from them, besides those of
	// Stoppers. Text sorts them and ignores repetitions.
	Senders []string
}

// has reports whether the node has this file of AppArmor's own, such as "abi/3.0".
func (n Target) has(file string) bool {
	_, err := os.Stat(filepath.Join(cmp.Or(n.Base, profile.BaseDir), file))
	return err == nil
}

// Stoppers returns the labels from which every container takes signals: "unconfined", and those of the runtimes for
// which AppArmor has had profiles since 4.0.
func Stoppers() []string { return []string{"unconfined", "runc", "crun"} }

// Names returns the names of all templates, sorted.
func Names() []string {
	entries, err := files.ReadDir("text")
	if err != nil {
		panic(err) // it is part of the program
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// fields are what a template may use.
type fields struct {
	Name    string   // the profile's
	Senders []string // Stoppers, and then the node's senders, sorted, each once
	node    Target
}

// Has reports whether the node has this file of AppArmor's own, such as "abi/3.0".
func (f fields) Has(file string) bool { return f.node.has(file) }

// Strings returns its arguments, for a template to range over.
func (fields) Strings(all ...string) []string { return all }

// Text returns the text of a generated profile: the rules of a template, in a profile called name. The same arguments
// return the same text on the same node.
func Text(template, name string, n Target) ([]byte, error) {
	if err := profile.CheckName(name); err != nil {
		return nil, err
	}
	for _, label := range n.Senders {
		if err := CheckPeer(label); err != nil {
			return nil, fmt.Errorf("label of an engine's program: %w", err)
		}
	}
	if !slices.Contains(Names(), template) {
		return nil, fmt.Errorf("template %s does not exist: there is %s", oneline.Quote(template), strings.Join(Names(), ", "))
	}
	t, err := texttemplate.ParseFS(files, "text/"+template)
	if err != nil {
		return nil, err
	}
	f := fields{Name: name, Senders: Stoppers(), node: n}
	for _, label := range slices.Sorted(slices.Values(n.Senders)) {
		if !slices.Contains(f.Senders, label) {
			f.Senders = append(f.Senders, label)
		}
	}
	var text bytes.Buffer
	err = t.Execute(&text, f)
	return text.Bytes(), err
}

// CheckPeer returns an error if a label cannot be written into a rule so that the rule means this label and no other.
func CheckPeer(label string) error {
	for i := range len(label) {
		c := label[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && !strings.Contains("._+-/:&", label[i:i+1]) {
			return fmt.Errorf("%s holds %s, which would change the meaning of the rule that names it",
				oneline.Quote(label), oneline.Quote(label[i:i+1]))
		}
	}
	return nil
}
