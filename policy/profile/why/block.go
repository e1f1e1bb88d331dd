package why

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// Bounds on what is compiled to judge the rules of one profile.
const (
	maxRules = 10_000
	maxRuns  = 500                 // of the parser
	maxBatch = profile.MaxText / 2 // bytes of the rules of one run
	maxEach  = 1000                // profiles that one run compiles
)

// block is a profile of the text, with each of its rules compiled.
type block struct {
	*compilation
	name    string
	nothing *meaning.Profile // what a profile without rules is
	rules   []*one

	allowing *meaning.Profile // see Text.Allowing
}

// one is a rule that is compiled alone.
type one struct {
	Rule
	kind     string // the word that it begins with
	index    int    // in its block
	alone    string // its text, with what stands around it
	priority int

	// limits is true for a rule that takes away what is allowed without it: one that denies, or limits a resource. It is
	// compiled after a rule that allows all of its kind, base, of which onTop is what is left. Any other is compiled as
	// the only one of a profile, onTop.
	limits      bool
	base, onTop *meaning.Profile // nil if the parser does not compile it so
}

// compilation compiles profiles that have some of a text's rules.
type compilation struct {
	compiler Compiler
	source   string
	head     string // what stands ahead of the profiles
	hat      bool   // they are hats, which have rules that the parser adds
}

// block returns the compiled rules of a block, which it compiles once.
func (t *Text) block(ctx context.Context, b *syntax.Block) (*block, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.blocks[b.Name]; known != nil {
		return known, nil
	}
	made, err := t.compile(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("%s: compile the rules of profile %s one by one: %w", t.source, b.Name, err)
	}
	if t.blocks == nil {
		t.blocks = make(map[string]*block)
	}
	t.blocks[b.Name] = made
	return made, nil
}

func (t *Text) compile(ctx context.Context, b *syntax.Block) (*block, error) {
	made := &block{name: b.Name, compilation: &compilation{compiler: t.compiler, source: t.source, head: t.head(b.Name), hat: b.IsHat()}}
	if len(b.Rules) > maxRules {
		return nil, fmt.Errorf("it has %d rules, and %d can be judged", len(b.Rules), maxRules)
	}
	for i, r := range b.Rules {
		if r.First() == "abi" || r.IsInclude() {
			continue
		}
		o := &one{Rule: t.rule(r, b.Name), kind: r.First(), index: i, priority: r.Priority}
		o.limits = r.Deny || o.kind == "set" || o.kind == "rlimit"
		var ok bool
		if o.alone, ok = t.read.Alone(r); !ok {
			return nil, fmt.Errorf("the rule in line %d stands in too many conditions", o.Line)
		}
		o.alone = ofProfile(o.alone, b.Name)
		made.rules = append(made.rules, o)
	}
	for _, child := range t.read.Blocks { // which adds rules, by which processes change into hats
		if !child.Within(b) {
			continue
		}
		word := "profile "
		if child.IsHat() {
			word = "hat "
		}
		place := t.origin(child.Line)
		made.rules = append(made.rules, &one{Rule: Rule{Place: placeOf(place), Profile: b.Name,
			Text: word + strings.TrimPrefix(child.Name, b.Name+"//")}, kind: childKind, alone: t.read.Empty(child)})
	}
	return made, made.all(ctx)
}

// childKind is the kind of a child or hat, as far as it is a rule of its parent.
const childKind = "child"

// plainName finds names that mean the same in a rule as the variable that stands for them.
var plainName = regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9._+/-]*$`)

// ofProfile puts the name of a profile into a text that is compiled in a profile of another name.
func ofProfile(text, name string) string {
	if !plainName.MatchString(name) {
		return text
	}
	return strings.ReplaceAll(text, "@{profile_name}", name)
}

// head returns what stands ahead of the profiles, with the ABI that holds for the text: the first that is named anywhere.
func (t *Text) head(name string) string {
	head := ofProfile(t.read.Head(), name) + "\n"
	for _, r := range t.read.Preamble {
		if r.First() == "abi" {
			return head
		}
	}
	for _, b := range t.read.Blocks {
		for _, r := range b.Rules {
			if abi, ok := t.read.Alone(r); ok && r.First() == "abi" {
				return abi + "\n" + head
			}
		}
	}
	return head
}

// bases allow all that rules of a kind can be about. Of kinds that are not in it, rules are about files.
var bases = map[string]string{
	"capability": "capability,", "network": "network,\nunix,", "unix": "network,\nunix,", "mount": mounting, "remount": mounting,
	"umount": mounting, "unmount": mounting, "pivot_root": mounting, "signal": "signal,", "ptrace": "ptrace,", "dbus": "dbus,",
	"change_profile": "change_profile,", "userns": "userns,", "io_uring": "io_uring,", "mqueue": "mqueue,", "all": "all,",
	"set": "", "rlimit": "",
}

const (
	mounting = "mount,\nremount,\numount,\npivot_root,"
	ofFiles  = "/** rwlkmix,\nlink /** -> /**,\n"
)

func (o *one) basis() string {
	if base, ok := bases[o.kind]; ok {
		return base
	}
	return ofFiles
}

// noFile denies what nothing allows. A profile that has it has rules about files: one without lets every file be locked
// by kernels since 6.4, as compute_perms adds that to each state of the other rules, which then decide about files.
const noFile = "deny /oci-apparmor/no/file r,\n"

// neutral is a rule that each profile needs so as to differ from the whole one by its rules alone.
func (b *block) neutral() string {
	if slices.ContainsFunc(b.rules, func(o *one) bool { return o.basis() == ofFiles || o.kind == "change_profile" || o.kind == "all" }) {
		return noFile
	}
	return ""
}

// all compiles each rule.
func (b *block) all(ctx context.Context) error {
	neutral := b.neutral()
	first, err := b.batch(ctx, []string{neutral})
	if err != nil {
		return err
	}
	b.nothing = first[0]
	index := make(map[string]int)
	var texts []string
	at := func(text string) int {
		if _, known := index[text]; !known {
			index[text] = len(texts)
			texts = append(texts, text)
		}
		return index[text]
	}
	places := make([][2]int, len(b.rules))
	for i, o := range b.rules {
		if o.limits {
			places[i] = [2]int{at(neutral + o.basis()), at(neutral + o.basis() + "\n" + o.alone)}
		} else {
			places[i] = [2]int{-1, at(neutral + o.alone)}
		}
	}
	compiled, err := b.each(ctx, texts)
	if err != nil {
		return err
	}
	for i, o := range b.rules {
		if places[i][0] >= 0 {
			o.base = compiled[places[i][0]]
		}
		o.onTop = compiled[places[i][1]]
	}
	return nil
}

// each compiles profiles that have these rules. One that does not compile is nil.
func (c *compilation) each(ctx context.Context, texts []string) ([]*meaning.Profile, error) {
	all := make([]*meaning.Profile, len(texts))
	runs := 0
	for from := 0; from < len(texts); {
		to, size := from, 0
		for to < len(texts) && to-from < maxEach && (to == from || size+len(texts[to]) < maxBatch) {
			size += len(texts[to]) + 32
			to++
		}
		if err := c.fill(ctx, texts[from:to], all[from:to], &runs); err != nil {
			return nil, err
		}
		from = to
	}
	return all, nil
}

// fill compiles profiles together, or each half of them if that fails.
func (c *compilation) fill(ctx context.Context, texts []string, all []*meaning.Profile, runs *int) error {
	if *runs++; *runs > maxRuns {
		return fmt.Errorf("that took more than %d runs of apparmor_parser", maxRuns)
	}
	compiled, err := c.batch(ctx, texts)
	var bad *profile.TextError
	switch half := len(texts) / 2; {
	case err == nil:
		copy(all, compiled)
	case !errors.As(err, &bad) || ctx.Err() != nil:
		return err
	case half == 0: // it stays nil
	default:
		return errors.Join(c.fill(ctx, texts[:half], all[:half], runs), c.fill(ctx, texts[half:], all[half:], runs))
	}
	return nil
}

// batch compiles profiles that have these rules in one run of the parser.
func (c *compilation) batch(ctx context.Context, texts []string) ([]*meaning.Profile, error) {
	var b strings.Builder
	b.WriteString(c.head)
	for i, text := range texts {
		if c.hat {
			text = "^hat {\n" + text + "\n}"
		}
		fmt.Fprintf(&b, "profile %s {\n%s\n}\n", numbered(i), text)
	}
	data, err := c.compiler.CompileSeveral(ctx, c.source, []byte(b.String()))
	if err != nil {
		return nil, err
	}
	compiled, err := meaning.ReadFor(data, c.compiler)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]*meaning.Profile, len(compiled))
	for _, p := range compiled {
		byName[p.Name] = p
	}
	all := make([]*meaning.Profile, len(texts))
	for i := range texts {
		name := numbered(i)
		if c.hat {
			name += "//hat"
		}
		if all[i] = byName[name]; all[i] == nil {
			return nil, errors.New("apparmor_parser leaves one of them out")
		}
	}
	return all, nil
}

// numbered is the name of a profile that has some rules of another.
func numbered(i int) string { return fmt.Sprintf("rule%d", i) }

// together compiles one profile that has several rules, and ahead of them that of neutral or nothing.
func (b *block) together(ctx context.Context, neutral string, rules ...[]*one) (*meaning.Profile, error) {
	var text strings.Builder
	text.WriteString(neutral)
	for _, o := range slices.Concat(rules...) {
		text.WriteString(o.alone + "\n")
	}
	compiled, err := b.batch(ctx, []string{text.String()})
	if err != nil {
		return nil, err
	}
	return compiled[0], nil
}
