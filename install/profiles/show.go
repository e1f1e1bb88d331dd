package profiles

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/bootfiles"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// A Shown is what is known of a profile, in the form of profile show --json.
type Shown struct {
	Name      string    `json:"name"`
	Loaded    *InKernel `json:"loaded,omitempty"` // nil if the kernel has no such profile
	Processes []Task    `json:"processes"`
	Source    string    `json:"source,omitempty"` // where Text comes from
	Text      string    `json:"text,omitempty"`
	// Content is how the kernel's content relates to the text: "same", "more" (the kernel also has a child of an
	// earlier text), "other", "missing" or "unknown".
	Content string   `json:"content"`
	Notes   []string `json:"notes,omitempty"`

	Unloaded error `json:"-"` // why Loaded is nil
}

// InKernel is a profile as the kernel has it.
type InKernel struct {
	Mode     string    `json:"mode"`
	Hash     string    `json:"hash,omitempty"`
	Since    time.Time `json:"since"`
	By       LoadedBy  `json:"by,omitempty"`
	Attach   string    `json:"attach,omitempty"`
	Children []string  `json:"children,omitempty"`
}

// A Task is a process that a profile confines.
type Task struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
	Label   string `json:"label"`
}

// Show returns what is known of a profile. If variant is not empty, Show takes the text of this variant of the
// profile's template. It returns an error if nothing is known of the profile.
func Show(ctx context.Context, n *node.Node, name, variant string) (*Shown, error) {
	s := &Shown{Name: name, Processes: []Task{}, Content: node.Unknown}
	var t knownText
	var err error
	if variant != "" {
		v, err := templates.FindVariant(name, variant)
		if err != nil {
			return nil, exit.With(exit.Usage, err)
		}
		t = knownText{text: v.Text, source: "the variant " + v.Name + " of the template " + name}
		s.Notes = v.Notes
	} else if t, err = textOf(n, name); err != nil {
		return nil, err
	}
	bootfiles.Claim(ctx, n)
	s.Unloaded = s.ask(n)
	if t.source == "" && s.Loaded == nil {
		if s.Unloaded != nil && !errors.Is(s.Unloaded, kernel.ErrNotLoaded) {
			return nil, exit.AsRoot(s.Unloaded)
		}
		return nil, fmt.Errorf("profile %s is not loaded, and there is no text of it: oci-apparmor profile list names those that are "+
			"loaded", oneline.Name(name))
	}
	s.Source, s.Text = t.source, string(t.text)
	if t.notice != "" {
		s.Notes = append(s.Notes, t.notice)
	}
	switch {
	case s.Loaded == nil && errors.Is(s.Unloaded, kernel.ErrNotLoaded):
		s.Content = "missing"
	case s.Loaded != nil && t.text != nil:
		s.Content = inKernel(ctx, n, name, t)
	}
	return s, nil
}

// ask fills in what the kernel and /proc tell. The error says why there is nothing of a profile.
func (s *Shown) ask(n *node.Node) error {
	d, err := n.Kernel.Details(s.Name)
	if err != nil {
		return err
	}
	main, _, _ := strings.Cut(s.Name, "//")
	s.Loaded = &InKernel{
		Mode: d.Mode, Hash: d.Hash, Since: d.Since.UTC().Round(time.Second), By: loadedBy(n, main),
		Attach: d.Attach, Children: d.Children,
	}
	tasks, err := n.Kernel.Tasks()
	if err != nil {
		return err
	}
	for i := range tasks {
		if t := &tasks[i]; t.Uses(s.Name) {
			s.Processes = append(s.Processes, Task{t.PID, n.Kernel.Command(t.PID), t.Label.String()})
		}
	}
	return nil
}
