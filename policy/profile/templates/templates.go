// Package templates makes the texts of generated profiles: a template, a profile's name and what the node has give one text.
//
// A template is a file in text, in the language of text/template, and named as the policy file names it. This package is not on
// the way of a container's start: what is generated there is compiled at policy apply.
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

// Target is what a template depends on of the node it is for. The zero value is a node as distributions set it up.
type Target struct {
	Base string // directory of AppArmor's own files; profile.BaseDir where empty

	// Senders are the labels from which signals are taken besides Stoppers: those of the node's engines and runtimes. Their
	// order and repetitions mean nothing.
	Senders []string
}

// has reports whether the node has this file of AppArmor's own, such as "abi/3.0".
func (n Target) has(file string) bool {
	_, err := os.Stat(filepath.Join(cmp.Or(n.Base, profile.BaseDir), file))
	return err == nil
}

// Stoppers are the labels from which every container takes signals: what nothing confines, and the runtimes, for which
// AppArmor has profiles since 4.0.
func Stoppers() []string { return []string{"unconfined", "runc", "crun"} }

// Names returns the names of all templates, in order.
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

// fields are what a template may refer to.
type fields struct {
	Name    string   // the profile's
	Senders []string // Stoppers, and then the node's senders, sorted, each once
	node    Target
}

// Has reports whether the node has this file of AppArmor's own.
func (f fields) Has(file string) bool { return f.node.has(file) }

// Strings returns its arguments, to range over.
func (fields) Strings(all ...string) []string { return all }

// Text returns the text of a generated profile: the template's rules, under name. The same arguments on the same node return
// the same text.
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

// CheckPeer reports whether a label can be written into a rule as it is, meaning nothing but itself.
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
