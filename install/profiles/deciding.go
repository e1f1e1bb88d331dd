package profiles

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

// Deciding names the rules that decide accesses under profiles of the kernel, for many questions about few profiles: it
// reads each text once, and answers each question once. Only one goroutine may use it.
type Deciding struct {
	node    *node.Node
	reader  *why.Reader
	texts   map[string]decidingText
	answers map[string]decided
	since   time.Time // when the first of these was read
}

type decidingText struct {
	part
	err error
}

type decided struct {
	reason PartReason
	err    error
}

// NewDeciding returns a Deciding for the kernel whose features are in the file; empty stands for the running kernel.
func NewDeciding(ctx context.Context, n *node.Node, features string) (*Deciding, error) {
	c, _, err := n.NewCompiler(ctx, features)
	if err != nil {
		return nil, err
	}
	return &Deciding{node: n, reader: &why.Reader{Compiler: c}, texts: make(map[string]decidingText),
		answers: make(map[string]decided)}, nil
}

// How many answers are kept, and for how long: another policy may come to be in force.
const (
	mostAnswers    = 10000
	longestAnswers = time.Minute
)

// Why says what a loaded profile, "main" or "main//child", does with an access by its text. The error is a sentence that says
// why that is not known: nobody has the text, or it has changed since it was loaded.
func (d *Deciding) Why(ctx context.Context, profile string, a meaning.Access) (PartReason, error) {
	if now := time.Now(); now.Sub(d.since) > longestAnswers {
		clear(d.texts)
		clear(d.answers)
		d.since = now
	}
	key := profile + "\x00" + access.Format(a)
	if known, ok := d.answers[key]; ok {
		return known.reason, known.err
	}
	reason, err := d.why(ctx, profile, a)
	if ctx.Err() != nil {
		return reason, ctx.Err()
	}
	if len(d.answers) >= mostAnswers {
		clear(d.answers)
	}
	d.answers[key] = decided{reason, err}
	return reason, err
}

func (d *Deciding) why(ctx context.Context, profile string, a meaning.Access) (PartReason, error) {
	main, child, _ := strings.Cut(profile, "//")
	if strings.Contains("//"+child, "//null-") {
		return PartReason{}, fmt.Errorf("complain mode made the profile %s for a program that no rule says how to execute, and it has no "+
			"rules", oneline.Quote(profile))
	}
	t, ok := d.texts[main]
	if !ok {
		t = d.read(ctx, main)
		d.texts[main] = t
	}
	if t.err != nil {
		return PartReason{}, t.err
	}
	answer, err := t.text.Why(ctx, profile, a)
	if err != nil {
		return PartReason{}, err
	}
	return t.reason(answer, a), nil
}

// read reads the text of a profile, if it is the one that was loaded as far as can be known.
func (d *Deciding) read(ctx context.Context, name string) (t decidingText) {
	known, err := d.known(name)
	if err != nil {
		return decidingText{err: err}
	}
	t.is = title(known, name)
	t.text, t.err = d.reader.Read(ctx, t.is, known.text)
	return t
}

// known returns the text of a profile. The error is a sentence that says why nobody has it.
func (d *Deciding) known(name string) (knownText, error) {
	known, err := textOf(d.node, name)
	switch {
	case err != nil:
		return known, err
	case known.text == nil && known.source != "":
		return known, known.lacks(name)
	case known.text == nil:
		return known, fmt.Errorf("the text of %s is not known: neither the policy in force has it, nor was it loaded by "+
			"oci-apparmor profile load", oneline.Whole(name))
	}
	return known, nil
}

// title is how a text is called: by its file, or by its profile.
func title(t knownText, name string) string { return cmp.Or(t.file, name) }
