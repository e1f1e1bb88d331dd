package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
	"github.com/oci-apparmor/oci-apparmor/policy/texts"
)

type profileShowOptions struct {
	variant    string
	text, json bool
}

func profileShowCommand(n *node) *cobra.Command {
	var o profileShowOptions
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Print a profile: its text where there is one, and how the kernel has it",
		Long: `Print a profile: its text where there is one, and before that, as comments, how
the kernel has it, who loaded it, what runs under it, and where the text comes
from. The kernel keeps no text. There is one of profiles that were loaded by
oci-apparmor profile load, that the policy in force has, or that are generated:
docker-default.

--variant 2015 prints docker-default as Docker's page on AppArmor had it in 2015,
and says what of it no longer protects.`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if err := exclusive(cmd, "text", "json"); err != nil {
				return err
			}
			return n.profileShow(cmd.Context(), o, args[0])
		}),
	}
	cmd.Flags().StringVar(&o.variant, "variant", "", "print this `edition` of a generated profile: 2015")
	cmd.Flags().BoolVar(&o.text, "text", false, "print nothing but the text")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// shownJSON is the JSON of profile show.
type shownJSON struct {
	Name      string      `json:"name"`
	Loaded    *loadedJSON `json:"loaded,omitempty"` // none where the kernel has no such profile
	Processes []taskJSON  `json:"processes"`
	Source    string      `json:"source,omitempty"` // where the text comes from
	Text      string      `json:"text,omitempty"`
	// Content tells how the kernel's content stands to the text's: "same", "more" (a child is left of an earlier text),
	// "other", "missing", or "unknown".
	Content string   `json:"content"`
	Notes   []string `json:"notes,omitempty"`
}

type loadedJSON struct {
	Mode     string    `json:"mode"`
	Hash     string    `json:"hash,omitempty"`
	Since    time.Time `json:"since"`
	By       string    `json:"by,omitempty"`
	Attach   string    `json:"attach,omitempty"`
	Children []string  `json:"children,omitempty"`
}

type taskJSON struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
	Label   string `json:"label"`
}

func (n *node) profileShow(ctx context.Context, o profileShowOptions, name string) error {
	j := shownJSON{Name: name, Processes: []taskJSON{}, Content: unknown}
	var t knownText
	var err error
	if o.variant != "" {
		v, err := profile.FindVariant(name, o.variant)
		if err != nil {
			return &failure{usage, err}
		}
		t = knownText{text: v.Text, source: "the variant " + v.Name + " of the template " + name}
		j.Notes = v.Notes
	} else if t, err = n.textOf(ctx, name); err != nil {
		return err
	}
	n.claim(ctx)
	loaded := n.kernelHas(&j)
	if t.source == "" && j.Loaded == nil {
		if loaded != nil && !errors.Is(loaded, kernel.ErrNotLoaded) {
			return asRoot(loaded)
		}
		return fmt.Errorf("profile %s is not loaded, and there is no text of it: oci-apparmor profile list names those that are "+
			"loaded", oneline.Name(name))
	}
	j.Source, j.Text = t.source, string(t.text)
	if t.notice != "" {
		j.Notes = append(j.Notes, t.notice)
	}
	switch {
	case j.Loaded == nil && errors.Is(loaded, kernel.ErrNotLoaded):
		j.Content = "missing"
	case j.Loaded != nil && t.text != nil:
		j.Content = n.compare(ctx, name, t)
	}
	switch {
	case o.json:
		return n.printJSON(j)
	case o.text && t.text == nil:
		return fmt.Errorf("there is no text of profile %s, and the kernel keeps none", oneline.Name(name))
	case o.text:
		_, err := n.stdout.Write(t.text)
		return err
	}
	return n.printShown(j, loaded)
}

// kernelHas fills in what the kernel and /proc tell. The error says why there is nothing of a profile.
func (n *node) kernelHas(j *shownJSON) error {
	d, err := n.kernel.Details(j.Name)
	if err != nil {
		return err
	}
	main, _, _ := strings.Cut(j.Name, "//")
	j.Loaded = &loadedJSON{
		Mode: d.Mode, Hash: d.Hash, Since: d.Since.UTC().Round(time.Second), By: n.loadedBy(main),
		Attach: d.Attach, Children: d.Children,
	}
	tasks, err := n.kernel.Tasks()
	if err != nil {
		return err
	}
	for i := range tasks {
		if t := &tasks[i]; t.Uses(j.Name) {
			j.Processes = append(j.Processes, taskJSON{t.PID, n.kernel.Command(t.PID), t.Label.String()})
		}
	}
	return nil
}

// compare tells how the kernel's content stands to that of a text.
func (n *node) compare(ctx context.Context, name string, t knownText) string {
	compiled := t.compiled
	if compiled == nil {
		c, _, err := n.newCompiler(ctx, "")
		if err != nil {
			return unknown
		}
		b, err := c.CompileText(ctx, t.source, t.text)
		if err != nil {
			return unknown
		}
		compiled = b.Profiles
	}
	if compiled[0].Name != name {
		return "other"
	}
	found, err := n.kernel.Check(kernel.Profile{Name: name, Compiled: compiled})
	switch {
	case err != nil:
		return unknown
	case found.Status == kernel.Matches:
		return same
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
	compiled []profile.Compiled
	notice   string // of what is not as it should be in it
}

// byHand gives the text of a profile that was loaded by hand, and tells whether the kernel has its content. A child that is
// left of an earlier text may stand beside it.
func (n *node) byHand(name string) (t texts.Text, same bool) {
	t, err := n.texts().Get(name)
	if err != nil {
		return t, false
	}
	compiled, err := t.Profiles()
	if err != nil {
		return t, false
	}
	found, err := n.kernel.Check(kernel.Profile{Name: name, Compiled: compiled})
	return t, err == nil && (found.Status == kernel.Matches || found.LeftChild() != "")
}

// textOf gives the text of a profile, from where it is known: what was loaded by hand and is in the kernel, what the policy
// in force has, what is generated. There may be none.
func (n *node) textOf(ctx context.Context, name string) (knownText, error) {
	if t, same := n.byHand(name); same {
		compiled, _ := t.Profiles()
		return knownText{text: []byte(t.Text), compiled: compiled,
			source: fmt.Sprintf("%s, loaded by %s at %s", t.Source, t.By, t.Loaded.Format("2006-01-02 15:04 MST"))}, nil
	}
	t, err := n.policyText(name)
	if err != nil || t.text != nil || t.source != "" {
		return t, err
	}
	if slices.Contains(profile.Templates(), name) {
		node, _, notice := n.generatedFor(lastManifest(n.store))
		text, err := profile.Template(name, name, node)
		return knownText{text: text, source: "the template " + name + ", as generated for this node", notice: notice}, err
	}
	return knownText{}, nil
}

// policyText gives the text of a profile of the policy in force, as far as the file it came from still is what it was.
func (n *node) policyText(name string) (knownText, error) {
	g, err := store.Store{Dir: n.store}.Current()
	if errors.Is(err, store.ErrNone) || err != nil && !n.root {
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
		text, err = profile.Template(template, name, asLast(m))
	} else {
		file := p.Source
		if !filepath.IsAbs(file) {
			file = filepath.Join(m.Config, file)
		}
		text, err = os.ReadFile(file)
	}
	if err != nil || hash(text) != m.Profiles[at].Text {
		t.source += ", which has changed since"
		return t, nil
	}
	t.text = text
	return t, nil
}

// printShown writes it so that all of it is a profile's text.
func (n *node) printShown(j shownJSON, loaded error) error {
	out := &printer{w: n.stdout}
	out.line("# profile %s", oneline.Whole(j.Name))
	comments := func(what string, format string, args ...any) {
		// Every line of it must be a comment: wrapped indents by blanks.
		b := &strings.Builder{}
		p := &printer{w: b}
		p.wrapped(fmt.Sprintf("%-8s ", what), fmt.Sprintf(format, args...))
		for line := range strings.Lines(b.String()) {
			out.line("# %s", strings.TrimSuffix(line, "\n"))
		}
	}
	switch {
	case j.Loaded != nil:
		comments("kernel", "loaded in %s mode since %s%s", j.Loaded.Mode, j.Loaded.Since.Format("2006-01-02 15:04 MST"),
			loadedBys[j.Loaded.By])
		if j.Loaded.Hash != "" {
			comments("hash", "%s", j.Loaded.Hash)
		}
		if j.Loaded.Attach != "" {
			comments("attach", "%s", oneline.Whole(j.Loaded.Attach))
		}
		for _, c := range j.Loaded.Children {
			comments("child", "%s", oneline.Whole(c))
		}
		const most = 10
		for i, t := range j.Processes {
			if i == most {
				comments("process", "and %d more", len(j.Processes)-most)
				break
			}
			comments("process", "%d (%s) under %s", t.PID, oneline.Whole(t.Command), oneline.Whole(t.Label))
		}
		if len(j.Processes) == 0 {
			comments("process", "none")
		}
	case errors.Is(loaded, kernel.ErrNotLoaded):
		comments("kernel", "not loaded")
	default:
		comments("kernel", "cannot be told: %v", asRoot(loaded))
	}
	switch main, _, child := strings.Cut(j.Name, "//"); {
	case j.Source != "":
		out.line("# %-8s %s", "text", oneline.Whole(j.Source)) // with a path in it that no blank breaks
	case child:
		comments("text", "it is part of that of profile %s", oneline.Whole(main))
	case !n.root:
		comments("text", "cannot be told: only root may read the texts that were loaded")
	default:
		comments("text", "there is none: the kernel keeps none, and what it has was not loaded from one that is known")
	}
	if j.Loaded != nil && j.Text != "" {
		comments("content", "%s", map[string]string{
			same:    "the kernel has what this text compiles to",
			"more":  "the kernel has what this text compiles to, and a child that is left of an earlier one",
			"other": "the kernel has other content than this text",
			unknown: "whether the kernel has what this text compiles to cannot be told",
		}[j.Content])
	}
	for _, note := range j.Notes {
		comments("note", "%s", note)
	}
	if out.err == nil && j.Text != "" {
		_, out.err = fmt.Fprintf(n.stdout, "\n%s", j.Text)
	}
	return out.err
}
