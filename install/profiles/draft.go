package profiles

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/workload"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/compare"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/draft"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/lint"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// A Drafted is a first profile for a container, and what is known of it.
type Drafted struct {
	Name     string
	Image    string // of the container, if its description has one
	Text     []byte
	Notes    []string       // sentences that its reader must know
	Warnings []lint.Warning // of profile check
	Proven   int            // of how many accesses it is proven that it allows none
	Unproven string         // why nothing is proven; empty if it is
}

// Draft makes a first profile for a workload. name may be empty for the workload's. features is the file of the kernel
// features to compile for; empty stands for the running kernel's.
//
// Draft returns no text that allows what docker-default does not, or an access of those that no container needs.
func Draft(ctx context.Context, n *node.Node, w *workload.Workload, name, features string) (*Drafted, error) {
	if name == "" {
		if name = nameFor(w); name == "" {
			return nil, exit.With(exit.Usage, fmt.Errorf("%s gives no name for the profile: give one by --name", oneline.Whole(w.From)))
		}
	}
	to := draft.Target{Sockets: engine.Sockets(), Data: engine.Data()}
	to.Senders = n.SendersFor(features)
	d, err := draft.Text(&w.Container, name, to)
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	made := &Drafted{Name: name, Image: w.Image, Text: d.Text, Notes: d.Notes}
	c, _, err := n.NewCompiler(ctx, features)
	if err != nil && features != "" {
		return nil, err
	}
	if err != nil {
		_, err := exit.Split(err)
		made.Unproven = err.Error()
		return made, nil
	}
	f := File{Path: name, Text: d.Text}
	if f.Blob, err = c.CompileText(ctx, name, d.Text); err != nil {
		return nil, exit.With(exit.Cannot, fmt.Errorf("the text that was made does not compile: %w", err))
	}
	if err := prove(ctx, c, &f, d.Never, to.Target); err != nil {
		return nil, exit.With(exit.Cannot, err)
	}
	made.Proven = len(d.Never)
	made.Warnings, _ = f.Lint(ctx, c, to.Senders, nil)
	return made, nil
}

// prove returns an error if a draft allows an access of never, or one that docker-default does not allow.
func prove(ctx context.Context, c node.Compiler, f *File, never []string, to templates.Target) error {
	drafted, err := meaning.ReadFor(f.Blob.Data, c)
	if err != nil {
		return err
	}
	if err := allowsNone(drafted, never); err != nil {
		return err
	}
	outer, err := templates.Text("docker-default", f.Name(), to)
	if err != nil {
		return err
	}
	blob, err := c.CompileText(ctx, "docker-default", outer)
	if err != nil {
		return err
	}
	bounds, err := meaning.ReadFor(blob.Data, c)
	if err != nil {
		return err
	}
	beyond, within, err := compare.Within(compare.Side{Stack: meaning.Stack(drafted)}, compare.Side{Stack: meaning.Stack(bounds)})
	if err == nil && !within {
		err = fmt.Errorf("the text that was made would allow what docker-default does not, and is not shown: it is a fault of this "+
			"program: %s", beyond)
	}
	return err
}

// nameFor returns a name for the profile of a workload: its own, its image's, or its program's, as far as the characters may
// be in one. It is empty if none is left.
func nameFor(w *workload.Workload) string {
	image, _, _ := strings.Cut(path.Base(w.Image), "@")
	image, _, _ = strings.Cut(image, ":")
	program := ""
	if len(w.Args) > 0 {
		program = path.Base(w.Args[0])
	}
	for _, from := range []string{w.Name, image, program} {
		name := strings.Map(func(c rune) rune {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.ContainsRune("._+-", c):
				return c
			}
			return '-'
		}, from)
		name = strings.Trim(oneline.Cut(name, profile.MaxName), "._+-")
		if profile.CheckName(name) == nil {
			return name
		}
	}
	return ""
}
