package profiles

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/handloaded"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// inKernel returns how the kernel's content of a profile relates to a text: a value of Shown.Content.
func inKernel(ctx context.Context, n *node.Node, name string, t knownText) string {
	compiled := t.compiled
	if compiled == nil {
		c, _, err := n.NewCompiler(ctx, "")
		if err != nil {
			return node.Unknown
		}
		b, err := c.CompileText(ctx, t.source, t.text)
		if err != nil {
			return node.Unknown
		}
		compiled = b.Profiles
	}
	if compiled[0].Name != name {
		return "other"
	}
	found, err := n.Kernel.Check(kernel.Profile{Name: name, Compiled: compiled})
	switch {
	case err != nil:
		return node.Unknown
	case found.Status == kernel.Matches:
		return node.Same
	case found.Status == kernel.Missing:
		return "missing"
	case found.LeftChild() != "":
		return "more"
	}
	return "other"
}

// knownText is the text of a profile, and what it was compiled to, where that is known.
type knownText struct {
	text     []byte
	source   string
	file     string // the path of its file; empty if it is generated or not known
	compiled []profile.Compiled
	notice   string // of what is not as it should be in it
	changed  string // the path of the file, or the template, that has another text since policy apply; empty if none has
}

// lacks returns the error for a text that is not known although the profile is. is is what a user calls the profile.
func (t knownText) lacks(is string) error {
	if t.changed != "" {
		return fmt.Errorf("the text of %s is not known: %s has changed since policy apply", oneline.Whole(is), oneline.Whole(t.changed))
	}
	return fmt.Errorf("the text of %s is not known: it is that of %s", oneline.Whole(is), t.source)
}

// byHand returns the text of a profile that was loaded by hand, and reports whether the kernel has its content. A child
// that is left of an earlier text may stand beside it.
func byHand(n *node.Node, name string) (t handloaded.Text, same bool) {
	t, err := n.Texts().Get(name)
	if err != nil {
		return t, false
	}
	compiled, err := t.Profiles()
	if err != nil {
		return t, false
	}
	found, err := n.Kernel.Check(kernel.Profile{Name: name, Compiled: compiled})
	return t, err == nil && (found.Status == kernel.Matches || found.LeftChild() != "")
}

// textOf returns the text of a profile, from where it is known: what was loaded by hand and is in the kernel, what the
// policy in force has, what is generated. There may be none.
func textOf(n *node.Node, name string) (knownText, error) {
	if t, same := byHand(n, name); same {
		compiled, _ := t.Profiles()
		file := t.Source
		if now, err := os.ReadFile(file); err != nil || string(now) != t.Text {
			file = "" // it is not in there any more
		}
		return knownText{text: []byte(t.Text), compiled: compiled, file: file,
			source: fmt.Sprintf("%s, loaded by %s at %s", t.Source, t.By, t.Loaded.Format("2006-01-02 15:04 MST"))}, nil
	}
	known := n.Unapplied == nil
	if !known {
		_, known = unapplied(n, name)
	}
	if known {
		t, err := policyText(n, name)
		if err != nil || t.text != nil || t.source != "" {
			return t, err
		}
	}
	if slices.Contains(templates.Names(), name) {
		to, _, notice := n.Generated(node.LastManifest(n.Store), nil)
		text, err := templates.Text(name, name, to)
		return knownText{text: text, source: "the template " + name + ", as generated for this node", notice: notice}, err
	}
	return knownText{}, nil
}

// policyText returns the text of a profile of the policy that is asked about. Of the one in force it does so as far as the file
// that the text came from still is what it was.
func policyText(n *node.Node, name string) (knownText, error) {
	if n.Unapplied != nil {
		return unappliedText(n, name)
	}
	g, err := store.Store{Dir: n.Store}.Current()
	if errors.Is(err, store.ErrNone) || err != nil && !n.Root {
		return knownText{}, nil
	}
	if err != nil {
		return knownText{}, err
	}
	p, ok := g.Index.Profile(name)
	if !ok {
		return knownText{}, nil
	}
	t := knownText{source: "the policy in force (generation " + fmt.Sprint(g.Number) + "), " + p.Source, compiled: p.Compiled}
	m, err := g.Manifest()
	if err != nil {
		return t, err
	}
	at := slices.IndexFunc(m.Profiles, func(s store.ManifestSource) bool { return s.Name == name })
	if at < 0 {
		return t, nil
	}
	var text []byte
	if template, ok := strings.CutPrefix(p.Source, "template "); ok {
		text, err = templates.Text(template, name, node.AsLast(m))
	} else {
		file := p.Source
		if !filepath.IsAbs(file) {
			file = filepath.Join(m.Config, file)
		}
		text, err = os.ReadFile(file)
		t.file = file
	}
	if err != nil || hash(text) != m.Profiles[at].Text {
		t.source += ", which has changed since"
		t.changed = cmp.Or(t.file, p.Source)
		return t, nil
	}
	t.text = text
	return t, nil
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
