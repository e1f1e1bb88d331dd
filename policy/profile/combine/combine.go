// Package combine makes of several profile texts one whose profile allows what one of theirs allows, or what all of them
// do. Each text that it returns is compiled, and proven to allow just that, twice: by what its rules say of keys (see
// meaning.Combination), and by what the kernel answers to accesses (see compare.Departs). What no single profile can say is
// an error, with an example.
//
// It takes the rules apart until each says one thing, compiles each of them by itself, and chooses by what it compiled
// to. What it reads of a text need not be right for the outcome to be.
package combine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// Compiler has those methods of *profile.Compiler that this package calls.
type Compiler interface {
	CompileText(ctx context.Context, source string, text []byte) (profile.Blob, error)
	Preprocess(ctx context.Context, text []byte) ([]byte, error)
	Supports(feature string) bool
}

// A Source is a text that is combined with others. It defines one profile, and perhaps children of it.
type Source struct {
	Name string // for messages and comments, such as the file's path
	Text []byte
}

// An Unsayable is the error that no single profile allows what is wanted.
type Unsayable struct {
	Profile string // a child's name; empty for the profile itself
	Why     string
}

// Error says what cannot be said, and why.
func (u *Unsayable) Error() string {
	if u.Profile != "" {
		return "child " + u.Profile + ": " + u.Why
	}
	return u.Why
}

// A Target is what a profile that is made is to be.
type Target struct {
	Name  string   // the profile's name
	Flags []string // its flags and those of its children; nil for those of the sources, which must then have the same
}

// Merge returns the text of a profile that allows what at least one of the sources allows. The error is an *Unsayable if
// there is none.
func Merge(ctx context.Context, c Compiler, to Target, sources ...Source) (string, error) {
	return combined(ctx, c, false, to, sources)
}

// Intersect returns the text of a profile that allows what all sources allow. The error is an *Unsayable if there is none.
func Intersect(ctx context.Context, c Compiler, to Target, sources ...Source) (string, error) {
	return combined(ctx, c, true, to, sources)
}

// combined combines the first two, and then what came of it with the next one.
func combined(ctx context.Context, c Compiler, all bool, to Target, sources []Source) (string, error) {
	if err := profile.CheckName(to.Name); err != nil {
		return "", err
	}
	if len(sources) == 0 {
		return "", errors.New("there is nothing to combine")
	}
	if len(sources) == 1 {
		sources = append(slices.Clip(sources), sources[0])
	}
	so := sources[0]
	for _, next := range sources[1:] {
		text, err := ofTwo(ctx, c, all, to, so, next)
		if err != nil {
			return "", err
		}
		name := so.Name
		if name != next.Name {
			name += ", " + next.Name
		}
		so = Source{name, []byte(text)}
	}
	return comment(all, so.Name) + string(so.Text), nil
}

// ofTwo tries the ABIs that the texts name.
func ofTwo(ctx context.Context, c Compiler, all bool, to Target, sources ...Source) (text string, err error) {
	var abis []string
	for _, s := range sources {
		if abi, _ := syntax.Read(string(s.Text)).ABI(); !slices.Contains(abis, abi) {
			abis = append(abis, abi)
		}
	}
	var first error
	for _, abi := range abis {
		head := ""
		if abi != "" {
			head = "abi <" + abi + ">,\n"
		}
		rules := &compiledRules{Compiler: c, head: head, known: make(map[rule]*meaning.Rule)}
		parts := make([]*part, len(sources))
		for i, s := range sources {
			if parts[i], err = readPart(ctx, rules, s); err != nil {
				return "", err
			}
		}
		text, err := (&combination{rules, all, to, parts}).text(ctx)
		if err == nil {
			return text, nil
		}
		if unsayable := (*Unsayable)(nil); !errors.As(err, &unsayable) {
			return "", err
		}
		if first == nil {
			first = err
		}
	}
	return "", first
}

// part is one of the texts that are combined.
type part struct {
	Source
	text     *syntax.Text
	compiled []*meaning.Profile
	rules    map[string][]rule // of each block, by its name

	statements map[rule]string // of which a rule is a part
}

func readPart(ctx context.Context, c *compiledRules, s Source) (*part, error) {
	blob, err := c.CompileText(ctx, s.Name, s.Text)
	if err != nil {
		return nil, err
	}
	p := &part{Source: s, rules: make(map[string][]rule), statements: make(map[rule]string)}
	if p.compiled, err = meaning.ReadFor(blob.Data, c); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	whole, err := c.Preprocess(ctx, s.Text)
	if err != nil {
		return nil, err
	}
	p.text = syntax.Read(string(whole))
	if !p.text.Whole {
		return nil, fmt.Errorf("%s: its statements cannot be told from one another", s.Name)
	}
	for _, r := range p.text.Preamble {
		if r.First() == "alias" {
			return nil, fmt.Errorf("%s: %q changes what rules are about, and profiles with aliases are not combined: write out what the rules are about", s.place(c.Compiler, r.Text), r.Text)
		}
	}
	taken := make(map[int]bool)
	for _, b := range p.text.Blocks {
		for _, r := range b.Rules {
			switch {
			case r.IsInclude() || r.First() == "abi":
				continue
			case r.Priority != 0:
				return nil, fmt.Errorf("%s: %q has a priority, and profiles whose rules have one are not combined", s.place(c.Compiler, r.Text), r.Text)
			case r.Branch > 0 && !branchTaken(ctx, c, string(whole), r.Branch, taken):
				continue
			}
			rules, err := rulesOf(p.text, b.Name, r)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.Name, err)
			}
			p.rules[b.Name] = append(p.rules[b.Name], rules...)
			for _, one := range rules {
				p.statements[one] = r.Text
			}
		}
	}
	return p, nil
}

// branchTaken reports whether the branch of a condition that begins at an offset is taken: the parser looks at what a
// variable stands for only where it takes the branch.
func branchTaken(ctx context.Context, c Compiler, whole string, at int, known map[int]bool) bool {
	taken, ok := known[at]
	if !ok {
		_, err := c.CompileText(ctx, "", []byte(whole[:at]+" /@{oci_apparmor_undefined}/ r, "+whole[at:]))
		taken = err != nil
		known[at] = taken
	}
	return taken
}

// main returns the name of the profile itself.
func (p *part) main() string { return p.compiled[0].Name }

// block returns a block, by its name behind the profile's: "" for the profile itself, "//kid" for a child.
func (p *part) block(of string) (*meaning.Profile, *syntax.Block) {
	name := p.main() + of
	at := slices.IndexFunc(p.compiled, func(c *meaning.Profile) bool { return c.Name == name })
	block := slices.IndexFunc(p.text.Blocks, func(b *syntax.Block) bool { return b.Name == name })
	if at < 0 || block < 0 {
		return nil, nil
	}
	return p.compiled[at], p.text.Blocks[block]
}

// names returns what stands behind the profile's name in the names of its blocks, those in others behind these.
func (p *part) names() (all []string) {
	for _, c := range p.compiled {
		all = append(all, strings.TrimPrefix(c.Name, p.main()))
	}
	return all
}

// comment says at the head of a text what it was made of.
func comment(all bool, of string) string {
	what := "what at least one of these allows"
	if all {
		what = "what each of these allows"
	}
	return fmt.Sprintf("# Allows %s: %s\n", what, oneline.Whole(of))
}
