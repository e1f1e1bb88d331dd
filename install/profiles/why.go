package profiles

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

// A Reason is why one access is allowed or denied, in the form of profile why --json.
type Reason struct {
	Access  string       `json:"access"`            // the one that was decided about
	Pattern string       `json:"pattern,omitempty"` // the one that was asked for, if that stands for several
	Allowed bool         `json:"allowed"`           // as in enforce mode
	Parts   []PartReason `json:"parts"`             // of the stack, in its order
	Kernels []string     `json:"kernels,omitempty"` // which kernels answer otherwise, and why
}

// A PartReason is what one part of a stack does with an access, and by which rules.
type PartReason struct {
	Source    string     `json:"source"` // the text, as the caller named it
	Profile   string     `json:"profile"`
	Mode      string     `json:"mode"`
	Verdict   string     `json:"verdict"` // allowed, unmediated, denied or not allowed
	Logged    bool       `json:"logged"`
	Passes    bool       `json:"passes,omitempty"`   // complain mode lets it pass, though no rule allows it or one denies it
	Together  bool       `json:"together,omitempty"` // the rules have their effect only together
	Rules     []UsedRule `json:"rules"`
	Overruled []UsedRule `json:"overruled,omitempty"`
	Missing   string     `json:"missing,omitempty"` // the part of the access that no rule allows
	Near      []UsedRule `json:"near,omitempty"`    // rules that allow something like it
	Runs      string     `json:"runs,omitempty"`    // how an executed program goes on
	NoChild   bool       `json:"noChild,omitempty"` // it is to go on under a child that the profile does not have
	Doubt     string     `json:"doubt,omitempty"`
}

// A UsedRule is a rule with its place.
type UsedRule struct {
	Place
	Included  []Place        `json:"included,omitempty"` // the statements that include the file, the text's own first
	Rule      string         `json:"rule"`
	Access    string         `json:"access,omitempty"` // that the rule is about, if it is only a part of the one asked for, or one like it
	Variables []UsedVariable `json:"variables,omitempty"`
}

// A Place is a line of a file.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
}

// A UsedVariable is a variable that a rule uses.
type UsedVariable struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
	Places []Place  `json:"places"`
}

// A Question of Why is about accesses under a profile or a stack of some.
type Question struct {
	Profile  string   // as the help of profile why names one; "A//&B" for a stack
	Child    string   // the profile, child or hat of the last part's text; empty for its main profile
	Accesses []string // patterns, as package access has them
	Features string   // the file of the kernel features to compile for; empty stands for the running kernel's
}

// part is one profile of a stack.
type part struct {
	is       string
	text     *why.Text
	profile  string
	enforced *meaning.Profile
}

// Why answers a question. A pattern of several accesses of which some are allowed and some are not has two answers, each
// for an example.
func Why(ctx context.Context, n *node.Node, q Question) ([]Reason, error) {
	patterns := make([]access.Pattern, len(q.Accesses))
	for i, line := range q.Accesses {
		var err error
		if patterns[i], err = access.Parse(line); err != nil {
			return nil, exit.With(exit.Usage, fmt.Errorf("access %s: %w", oneline.Quote(line), err))
		}
	}
	c, _, err := n.NewCompiler(ctx, q.Features)
	if err != nil {
		return nil, err
	}
	parts, err := stackOf(ctx, n, c, q)
	if err != nil {
		return nil, err
	}
	var stack meaning.Stack
	for _, p := range parts {
		stack = append(stack, p.enforced)
	}
	var all []Reason
	for _, pattern := range patterns {
		for _, example := range []func(meaning.Stack) (meaning.Access, bool, error){pattern.Denied, pattern.Allowed} {
			one, found, err := example(stack.Whole())
			if err != nil {
				return nil, exit.With(exit.Cannot, err)
			}
			if !found {
				continue
			}
			reason, err := reasonFor(ctx, parts, one)
			if err != nil {
				return nil, exit.With(exit.Cannot, err)
			}
			for _, k := range stack.Kernels(one) {
				if k.Answer.Allowed != reason.Allowed {
					reason.Kernels = append(reason.Kernels, k.String())
				}
			}
			if reason.Access != pattern.String() {
				reason.Pattern = pattern.String()
			}
			all = append(all, reason)
		}
	}
	return all, nil
}

// stackOf reads the texts of a stack's parts.
func stackOf(ctx context.Context, n *node.Node, c node.Compiler, q Question) (parts []part, err error) {
	names := []string{q.Profile}
	if _, err := os.Lstat(q.Profile); err != nil {
		names = strings.Split(q.Profile, "//&")
	}
	reader := &why.Reader{Compiler: c}
	for i, name := range names {
		p := part{is: name}
		text, err := textNamed(ctx, n, name)
		if err != nil {
			return nil, err
		}
		if p.text, err = reader.Read(ctx, name, text); err != nil {
			code := exit.Cannot
			if bad := (*profile.TextError)(nil); errors.As(err, &bad) {
				code = exit.BadPolicy
			}
			return nil, exit.With(code, err)
		}
		if i == len(names)-1 {
			p.profile = q.Child
		}
		if p.enforced, err = p.text.Enforced(p.profile); err != nil {
			return nil, exit.With(exit.Usage, err)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// textNamed returns the text that an argument names.
func textNamed(ctx context.Context, n *node.Node, arg string) ([]byte, error) {
	if _, err := os.Lstat(arg); err == nil {
		f := File{Path: arg}
		err := f.read(false)
		return f.Text, err
	}
	kind, name, named := strings.Cut(arg, ":")
	var t knownText
	var err error
	switch {
	case !named:
		t, err = textOf(n, arg)
	case kind == "policy":
		t, err = policyText(n, name)
	case kind == "node":
		to, _, _ := n.Generated(node.LastManifest(n.Store), nil)
		t.text, err = templates.Text(name, name, to)
	case kind == "kernel":
		var s side
		if s, err = loadedSide(ctx, n, arg, name); err == nil {
			t.text = s.text
		}
	default:
		var v templates.Variant
		if v, err = templates.FindVariant(name, kind); err == nil {
			t.text = v.Text
		}
	}
	switch {
	case err != nil:
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	case t.text == nil && t.source != "":
		return nil, exit.With(exit.Cannot, t.lacks(arg))
	case t.text == nil:
		return nil, exit.With(exit.Cannot, fmt.Errorf("%s is no file, and no profile whose text is known: see oci-apparmor profile why "+
			"--help for what can be asked about", oneline.Quote(arg)))
	}
	return t.text, nil
}

// reasonFor asks each part about an access.
func reasonFor(ctx context.Context, parts []part, a meaning.Access) (Reason, error) {
	reason := Reason{Access: access.Format(a), Allowed: true}
	for _, p := range parts {
		answer, err := p.text.Why(ctx, p.profile, a)
		if err != nil {
			return Reason{}, err
		}
		one := p.reason(answer, a)
		reason.Allowed = reason.Allowed && (answer.Verdict == why.Allowed || answer.Verdict == why.Unmediated)
		reason.Parts = append(reason.Parts, one)
	}
	return reason, nil
}

var verdicts = map[why.Verdict]string{why.Allowed: "allowed", why.Unmediated: "unmediated", why.Denied: "denied", why.NotAllowed: "not allowed"}

func (p part) reason(answer *why.Answer, a meaning.Access) PartReason {
	r := PartReason{Source: p.is, Profile: answer.Profile, Mode: answer.Mode.String(), Verdict: verdicts[answer.Verdict],
		Logged: answer.Decision.Logged, Together: answer.Together, Rules: []UsedRule{}, NoChild: answer.NoChild,
		Doubt: answer.Doubt}
	r.Passes = answer.Decision.Allowed && answer.Mode == meaning.Complain && (answer.Verdict == why.Denied || answer.Verdict == why.NotAllowed)
	whole := access.Format(a)
	use := func(rule *why.Rule, of meaning.Access) UsedRule {
		u := UsedRule{Place: p.place(rule.Place), Rule: rule.Text}
		for _, via := range rule.Via {
			u.Included = append(u.Included, p.place(via))
		}
		for _, v := range rule.Variables {
			used := UsedVariable{Name: v.Name, Values: v.Values, Places: []Place{}}
			for _, at := range v.Places {
				used.Places = append(used.Places, p.place(at))
			}
			u.Variables = append(u.Variables, used)
		}
		if u.Access = access.Format(of); u.Access == whole {
			u.Access = ""
		}
		return u
	}
	for _, u := range answer.By {
		r.Rules = append(r.Rules, use(u.Rule, why.Part(a, u.Perms)))
		if u.Next != nil {
			r.Runs = u.Next.String()
		}
	}
	for _, u := range answer.Overruled {
		r.Overruled = append(r.Overruled, use(u.Rule, why.Part(a, u.Perms)))
	}
	for _, n := range answer.Near {
		r.Near = append(r.Near, use(n.Rule, n.Access))
	}
	if answer.Missing != 0 {
		if r.Missing = access.Format(why.Part(a, answer.Missing)); r.Missing == whole {
			r.Missing = ""
		}
	}
	return r
}

func (p part) place(at why.Place) Place {
	if at.File == "" {
		return Place{p.is, at.Line}
	}
	return Place{at.File, at.Line}
}

// Denied reports whether one of the accesses is denied, and Doubted whether there is a doubt about a reason.
func Denied(reasons []Reason) (denied, doubted bool) {
	denied = slices.ContainsFunc(reasons, func(r Reason) bool { return !r.Allowed })
	doubted = slices.ContainsFunc(reasons, func(r Reason) bool {
		return slices.ContainsFunc(r.Parts, func(p PartReason) bool { return p.Doubt != "" })
	})
	return denied, doubted
}
