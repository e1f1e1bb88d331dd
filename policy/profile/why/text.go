// Package why tells which rules of a profile's text decide an access, by file and line.
//
// It does not read what a rule means. It compiles each rule as the only one of a profile, many of them in one run of
// apparmor_parser, and asks package meaning. It compares the rules' answers with that of the whole compiled profile, and
// says so where it cannot explain that by them.
package why

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// Compiler has those methods of *profile.Compiler that this package calls.
type Compiler interface {
	CompileSeveral(ctx context.Context, source string, text []byte) ([]byte, error)
	Expand(text []byte) (profile.Expanded, bool)
	Preprocess(ctx context.Context, text []byte) ([]byte, error)
	Included(preprocessed []byte) []profile.Text
	Supports(feature string) bool
}

// A Reader reads texts. It keeps those that it has read, with their compiled rules, by the content of all files that they
// include. Several goroutines may use it at the same time.
type Reader struct {
	Compiler Compiler

	mu    sync.Mutex
	known map[[sha256.Size]byte]*Text
}

// maxKnown is how many texts a Reader keeps.
const maxKnown = 256

// Read reads a text. source names it in errors. The error is a *profile.TextError if the text does not compile.
func (r *Reader) Read(ctx context.Context, source string, text []byte) (*Text, error) {
	t := &Text{source: source, compiler: r.Compiler}
	whole, ok := r.Compiler.Expand(text)
	if !ok {
		var err error
		if whole, err = r.preprocessed(ctx, source, text); err != nil {
			return nil, err
		}
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q", text)
	h.Write([]byte(whole.Text))
	key := [sha256.Size]byte(h.Sum(nil))
	r.mu.Lock()
	known := r.known[key]
	r.mu.Unlock()
	if known != nil {
		return known, nil
	}
	data, err := r.Compiler.CompileSeveral(ctx, source, text)
	if err != nil {
		return nil, err
	}
	if t.compiled, err = enforcing(data, r.Compiler); err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	if ok && !t.same(ctx, whole.Text, data) {
		if whole, err = r.preprocessed(ctx, source, text); err != nil {
			return nil, err
		}
	}
	t.whole, t.read, t.lines = whole.Text, syntax.Read(whole.Text), whole.Lines
	t.real, err = meaning.ReadFor(data, r.Compiler)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= maxKnown || r.known == nil {
		r.known = make(map[[sha256.Size]byte]*Text)
	}
	r.known[key] = t
	return t, nil
}

// preprocessed has the parser put a text's includes in.
func (r *Reader) preprocessed(ctx context.Context, source string, text []byte) (profile.Expanded, error) {
	included, err := r.Compiler.Preprocess(ctx, text)
	if err != nil {
		return profile.Expanded{}, fmt.Errorf("%s: put in what it includes: %w", source, err)
	}
	return profile.Expanded{Text: string(included), Lines: origins(string(text), string(included), r.Compiler.Included(included))}, nil
}

// A Text is a profile's text, and what it compiles to. Several goroutines may use it at the same time.
type Text struct {
	source   string
	compiler Compiler
	whole    string             // the text with its includes put in
	read     *syntax.Text       // of whole
	lines    []profile.Origin   // of read
	real     []*meaning.Profile // as compiled
	compiled []*meaning.Profile // the same in enforce mode

	mu     sync.Mutex
	blocks map[string]*block
}

// Profiles returns what the text compiles to, in the blob's order.
func (t *Text) Profiles() []*meaning.Profile { return t.real }

// enforcing returns the profiles of a blob, each in enforce mode, in which an answer shows what rules allow.
func enforcing(data []byte, k meaning.Kernel) ([]*meaning.Profile, error) {
	all, err := meaning.ReadFor(data, k)
	for _, p := range all {
		if p.Mode != meaning.Unconfined {
			p.Mode = meaning.Enforce
		}
	}
	return all, err
}

// same reports whether a text with its includes put in compiles to what data has.
func (t *Text) same(ctx context.Context, whole string, data []byte) bool {
	other, err := t.compiler.CompileSeveral(ctx, t.source, []byte(whole))
	if err != nil {
		return false
	}
	if slices.Equal(other, data) {
		return true
	}
	// Parsers can lay the same rules out in another way for another text.
	compiled, err := enforcing(other, t.compiler)
	if err != nil || len(compiled) != len(t.compiled) {
		return false
	}
	for _, p := range compiled {
		q := named(t.compiled, p.Name)
		if q == nil || !Equal(p, q) {
			return false
		}
	}
	return true
}

// Equal reports whether it is proven that two profiles allow the same.
func Equal(p, q *meaning.Profile) bool {
	_, differ, err := meaning.Combination{Profiles: []*meaning.Profile{q}}.Deviation(p)
	return err == nil && !differ
}

func named(all []*meaning.Profile, name string) *meaning.Profile {
	at := slices.IndexFunc(all, func(p *meaning.Profile) bool { return p.Name == name })
	if at < 0 {
		return nil
	}
	return all[at]
}

// main returns the name of the first profile that is no child.
func (t *Text) main() string {
	for _, name := range t.read.Profiles() {
		if named(t.compiled, name) != nil {
			return name
		}
	}
	return t.compiled[0].Name
}

// find returns a profile of the text, with its block. An empty name stands for the first profile.
func (t *Text) find(name string) (real, p *meaning.Profile, b *syntax.Block, err error) {
	if name == "" {
		name = t.main()
	}
	if p = named(t.compiled, name); p == nil {
		var names []string
		for _, p := range t.compiled {
			names = append(names, oneline.Whole(p.Name))
		}
		return nil, nil, nil, fmt.Errorf("%s defines no profile %s: it has %s", t.source, oneline.Quote(name), strings.Join(names, ", "))
	}
	at := slices.IndexFunc(t.read.Blocks, func(b *syntax.Block) bool { return b.Name == name })
	if at < 0 {
		return nil, nil, nil, fmt.Errorf("%s: the rules of profile %s are not found in the text, as where its name is made of a "+
			"variable", t.source, oneline.Quote(name))
	}
	return named(t.real, name), p, t.read.Blocks[at], nil
}
