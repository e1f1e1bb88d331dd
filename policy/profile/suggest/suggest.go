// Package suggest finds the smallest rules by which a profile's text allows what it denied, as a change of the text.
//
// Nothing is suggested that is not proven: the changed text is compiled and asked about each access, no other profile of it
// may have changed, and without any one of the rules something is denied. What a rule gives up is said (Gives). What no
// rule can allow, as where a rule of the text denies it, is said instead.
//
// Paths, labels and addresses come from records, and so from workloads. A rule matches exactly the one that was denied, or
// what Widened says.
package suggest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/lint"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

// A Denial is something that a profile denied. Record.Profile and Record.Asked of package audit have both.
type Denial struct {
	Profile  string           // the profile, child ("web//kid") or hat; or a stack, "a//&b"
	Accesses []meaning.Access // it was one of these, and all of them are to be allowed
}

// Options are what is known beside the text.
type Options struct {
	Exact   bool     // rules are about the paths that were denied alone
	Senders []string // as lint.Options
	Hold    bool     // no rule is added that gives up a protection: what it would be for is Held
}

// A Suggestion is how a text is to be changed, and what came of each denial.
type Suggestion struct {
	Text    string   // the changed text; the same as before if there are no rules
	Patch   string   // the change, as a unified diff; empty if there is none
	Rules   []Rule   // that were added, in the order of the denials
	Answers []Answer // one for each denial

	// Checks are the warnings of profile check about the changed text that there were none of before.
	Checks []lint.Warning
}

// A Rule is a rule that was added.
type Rule struct {
	Profile string // the block that it stands in
	Line    int    // in the changed text
	Text    string
	Widened []string // what in it stands for more than what was denied: "@{pid} for 77"
	Chosen  string   // what in it the record leaves open, in a clause; empty if that is nothing
	Gives   []string // which protections it gives up, each a sentence
	For     []int    // the denials that it is for, by their numbers
}

// For finds the change of a text that allows what was denied. path names the text in the patch and in errors. The error is
// a *profile.TextError if the text does not compile.
func For(ctx context.Context, r *why.Reader, path string, text []byte, denials []Denial, o Options) (*Suggestion, error) {
	held := make(map[int]Answer)
	for {
		found, err := find(ctx, r, path, text, denials, held, o)
		if err != nil || !o.Hold {
			return found, err
		}
		if more, err := hold(found, held); err != nil || !more {
			return found, err
		}
	}
}

// find is For without the denials that are held back already.
func find(ctx context.Context, r *why.Reader, path string, text []byte, denials []Denial, held map[int]Answer, o Options) (*Suggestion, error) {
	read, err := r.Read(ctx, path, text)
	if err != nil {
		return nil, err
	}
	s := &search{Options: o, reader: r, path: path, before: read, written: syntax.Read(string(text)), whole: read.Read(), text: string(text),
		answers: make([]Answer, len(denials))}
	if !s.written.Whole {
		return nil, fmt.Errorf("%s: the text is not understood as the parser understands it, so that nothing is added to it", path)
	}
	for i, d := range denials {
		if answer, ok := held[i]; ok {
			s.answers[i] = answer
			continue
		}
		if err := s.look(ctx, i, d); err != nil {
			return nil, err
		}
	}
	if err := s.choose(ctx); err != nil {
		return nil, err
	}
	if err := s.reduce(ctx); err != nil {
		return nil, err
	}
	return s.done(ctx)
}

// search is a search for a change.
type search struct {
	Options
	reader  *why.Reader
	path    string
	text    string
	before  *why.Text
	written *syntax.Text // the text itself, without what it includes
	whole   *syntax.Text // with that

	wants   []want
	chosen  []addition
	each    []*meaning.Profile // each rule that was chosen, as the only one of a profile
	none    *meaning.Profile   // one without rules
	after   *why.Text          // the text with what was chosen
	changed string
	answers []Answer
}

// want is an access that is to be allowed.
type want struct {
	denial int
	block  *syntax.Block
	access meaning.Access // what of it is denied
	whole  meaning.Access
	by     []why.Use // the rules that have a part in it
}

// addition is a rule that is added to a block.
type addition struct {
	block *syntax.Block
	ruletext.Rule
}

// look looks at what the text says of a denial, and keeps what is to be allowed.
func (s *search) look(ctx context.Context, i int, d Denial) error {
	answer := &s.answers[i]
	found := false
	for name := range strings.SplitSeq(d.Profile, "//&") {
		block, message := s.block(name)
		if block == nil {
			if !found {
				*answer = Answer{Profile: name, Outcome: Elsewhere, Message: message}
			}
			continue
		}
		if !found {
			*answer = Answer{Profile: name, Outcome: Already, Message: "the text allows it: load it, if the kernel has another one"}
			found = true
		}
		p, err := s.before.Enforced(name)
		if err != nil {
			return err
		}
		for _, a := range d.Accesses {
			if p.Decide(a).Allowed {
				continue
			}
			says, err := s.before.Why(ctx, name, a)
			if err != nil {
				return err
			}
			if answer.Outcome == Already {
				*answer = Answer{Profile: name}
			}
			if says.Verdict == why.Denied && !says.Together {
				*answer = Answer{Profile: name, Outcome: Blocked, By: says.By, Message: blocked(says.By)}
				break
			}
			missing := says.Missing
			if missing == 0 {
				missing = p.Decide(a).Denied
			}
			s.wants = append(s.wants, want{i, block, why.Part(a, missing), a, says.By})
		}
		if answer.Outcome == Blocked {
			s.wants = slices.DeleteFunc(s.wants, func(w want) bool { return w.denial == i })
			return nil
		}
	}
	return nil
}

// block returns a profile's block in the text itself, or says why it is not there.
func (s *search) block(name string) (b *syntax.Block, message string) {
	for _, b := range s.written.Blocks {
		if b.Name == name {
			return b, ""
		}
	}
	if parent, program, ok := strings.Cut(name, "//null-"); ok {
		return nil, fmt.Sprintf("in complain mode, the program %s of %s ran without a profile of its own: allow the exec first, and "+
			"look at what it does then", oneline.Quote(program), oneline.Quote(parent))
	}
	for _, p := range s.before.Profiles() {
		if p.Name == name {
			return nil, fmt.Sprintf("the profile %s is not written in %s itself, but in a file that it includes, or by a variable",
				oneline.Quote(name), s.path)
		}
	}
	return nil, fmt.Sprintf("%s has no profile %s", s.path, oneline.Quote(name))
}

// blocked says what to do about rules that deny.
func blocked(by []why.Use) string {
	var places []string
	for _, u := range by {
		place := fmt.Sprintf("line %d", u.Line)
		if u.File != "" {
			place += " of " + oneline.Name(u.File)
		}
		places = append(places, fmt.Sprintf("%s (%s)", place, oneline.Whole(u.Text)))
	}
	verb := "denies it, and what a rule denies no other rule allows: take it out, or narrow it to what is not needed"
	if len(by) > 0 && !by[0].Deny {
		verb = "limits it: write the higher limit there"
	}
	return oneline.And(places) + " " + verb
}

// choose finds for each access the first of its candidates that allows it: the first ones of all together, then the second
// ones of those accesses that these do not allow, and so on.
func (s *search) choose(ctx context.Context) error {
	options := make([][][]ruletext.Rule, len(s.wants))
	most := 0
	for i, w := range s.wants {
		style := styleOf(s.written, w.block)
		if unix, ok := w.access.(meaning.UnixAccess); ok {
			var err error
			if style.Addressed, style.Permitted, err = s.sockets(ctx, w.block.Name, unix.Type); err != nil {
				return err
			}
		}
		style.Variables = s.whole
		options[i] = style.Rules(w.access, s.Exact)
		most = max(most, len(options[i]))
	}
	picked := make([][]ruletext.Rule, len(s.wants))
	for level := range most {
		if err := s.pick(ctx, options, level, picked); err != nil {
			return err
		}
	}
	for i, w := range s.wants {
		if picked[i] == nil {
			s.answers[w.denial] = w.unanswered()
		}
	}
	for i, rules := range picked { // of a denial of which one access cannot be allowed, no other one is
		if s.answers[s.wants[i].denial].Outcome == Suggested {
			s.chosen = s.add(s.chosen, i, rules)
		}
	}
	ok, err := s.try(ctx, s.chosen)
	if err == nil && !(ok && s.allowsAll(s.open())) {
		err = errors.New("rules that are right one by one do not compile together, or do not allow everything: " +
			"ask for fewer denials at once")
	}
	return err
}

// sockets returns whether addresses of unix sockets decide under a profile, and whether permissions do.
func (s *search) sockets(ctx context.Context, profile string, kind uint16) (addresses, permissions bool, err error) {
	p, err := s.before.Enforced(profile)
	if err != nil || p.Mediates(meaning.NetV9) {
		return true, true, err
	}
	creates, others := meaning.UnixAccess{Type: kind, Want: meaning.MayCreate}, meaning.UnixAccess{Type: kind, Want: meaning.MayBind}
	style := ruletext.Style{Permitted: true}
	each, _, err := s.alone(ctx, style.Rules(creates, true)[0][0].Text(style))
	return false, err == nil && each[0].Decide(creates).Allowed && !each[0].Decide(others).Allowed, ctx.Err()
}

// pick tries the candidates of a level, and picks those that allow their access. If the parser refuses them together, it
// tries each by itself.
func (s *search) pick(ctx context.Context, options [][][]ruletext.Rule, level int, picked [][]ruletext.Rule) error {
	var all []addition
	var open []int
	for i := range s.wants {
		switch {
		case picked[i] != nil:
			all = s.add(all, i, picked[i])
		case level < len(options[i]):
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return nil
	}
	with := func(some []int) (bool, error) {
		trial := all
		for _, i := range some {
			trial = s.add(trial, i, options[i][level])
		}
		ok, err := s.try(ctx, trial)
		for _, i := range some {
			if ok && s.allowsAll(s.wants[i:i+1]) {
				picked[i] = options[i][level]
			}
		}
		return ok, err
	}
	if ok, err := with(open); ok || err != nil || len(open) == 1 {
		return err
	}
	for _, i := range open {
		if _, err := with([]int{i}); err != nil {
			return err
		}
	}
	return nil
}

// open returns the accesses for which there are rules.
func (s *search) open() (some []want) {
	for _, w := range s.wants {
		if s.answers[w.denial].Outcome == Suggested {
			some = append(some, w)
		}
	}
	return some
}

// unanswered is the answer for an access that none of its candidates allows.
func (w want) unanswered() Answer {
	denying := slices.DeleteFunc(slices.Clone(w.by), func(u why.Use) bool { return !u.Deny })
	if len(denying) > 0 {
		return Answer{Profile: w.block.Name, Outcome: Blocked, By: denying, Message: blocked(denying)}
	}
	return Answer{Profile: w.block.Name, Outcome: NoRule, Message: noRule(w.access)}
}

func noRule(a meaning.Access) string {
	switch a := a.(type) {
	case meaning.ChangeHatAccess:
		return "no rule allows a change into a hat: write the hat, as in \"^" + oneline.Whole(a.Hat) + " { }\", with what it needs"
	case meaning.CapabilityAccess:
		return fmt.Sprintf("the parser of this node has no name for the capability %d", a)
	}
	return "no single rule that is known here allows " + oneline.Whole(access.Format(a))
}

// add puts rules for an access among others, where that can be: in one with another one about the same path.
func (s *search) add(to []addition, i int, rules []ruletext.Rule) []addition {
	to = slices.Clone(to)
	for _, r := range rules {
		at := slices.IndexFunc(to, func(a addition) bool { return a.block == s.wants[i].block && a.Joins(r) })
		if at < 0 {
			to = append(to, addition{s.wants[i].block, r})
			continue
		}
		to[at].Rule = to[at].Join(r)
	}
	return to
}

// try compiles the text with additions. It reports whether that compiles, and changes no other profile.
func (s *search) try(ctx context.Context, all []addition) (ok bool, err error) {
	s.changed = s.with(all)
	s.after, err = s.reader.Read(ctx, s.path, []byte(s.changed))
	if err != nil {
		return false, ctx.Err() // the parser does not take it
	}
	return s.othersStay(all), nil
}

// with returns the text with additions.
func (s *search) with(all []addition) string {
	text := s.text
	for _, b := range s.written.Blocks {
		var rules []string
		style := styleOf(s.written, b)
		for _, a := range all {
			if a.block.Name == b.Name {
				rules = append(rules, a.Text(style))
			}
		}
		if len(rules) == 0 {
			continue
		}
		read := syntax.Read(text)
		for _, now := range read.Blocks {
			if now.Name == b.Name {
				text = read.Insert(now, rules)
				break
			}
		}
	}
	return text
}

// othersStay reports whether the profiles to which nothing was added, and only these, are what they were.
func (s *search) othersStay(all []addition) bool {
	before, after := s.before.Profiles(), s.after.Profiles()
	if len(before) != len(after) {
		return false
	}
	for _, p := range before {
		at := slices.IndexFunc(after, func(q *meaning.Profile) bool { return q.Name == p.Name })
		if at < 0 || after[at].Mode != p.Mode {
			return false
		}
		if !slices.ContainsFunc(all, func(a addition) bool { return a.block.Name == p.Name }) && !why.Equal(p, after[at]) {
			return false
		}
	}
	return true
}

// allowsAll reports whether the text that was tried last allows accesses.
func (s *search) allowsAll(wants []want) bool {
	for _, w := range wants {
		p, err := s.after.Enforced(w.block.Name)
		if err != nil || !p.Decide(w.whole).Allowed {
			return false
		}
	}
	return true
}

// done returns the suggestion for what was chosen.
func (s *search) done(ctx context.Context) (*Suggestion, error) {
	out := &Suggestion{Text: s.changed, Answers: s.answers}
	if len(s.chosen) == 0 {
		out.Text = s.text
		return out, nil
	}
	out.Patch = udiff.Unified(s.path, s.path, s.text, s.changed)
	now := syntax.Read(s.changed)
	for _, a := range s.chosen {
		text := a.Text(styleOf(s.written, a.block))
		added := Rule{Profile: a.block.Name, Line: lineOf(now, a.block.Name, text), Text: text, Widened: a.Notes}
		if strings.Contains(a.Letters, "x") {
			added.Chosen = "ix keeps the program under this profile; a record of an exec does not say where it is to go on"
		}
		out.Rules = append(out.Rules, added)
	}
	if err := s.protections(out); err != nil {
		return nil, err
	}
	var err error
	out.Checks, err = s.checks(ctx)
	return out, err
}

// lineOf returns the line on which a rule stands in a block.
func lineOf(t *syntax.Text, block, rule string) int {
	for _, b := range t.Blocks {
		for _, r := range slices.Backward(b.Rules) {
			if b.Name == block && t.Source(r) == rule {
				return r.Line
			}
		}
	}
	return 0
}

// checks returns the warnings of profile check that the change brings about.
func (s *search) checks(ctx context.Context) (fresh []lint.Warning, err error) {
	of := func(text string, read *why.Text) ([]lint.Warning, error) {
		found, _, err := lint.Text(ctx, text, lint.Options{Rules: read, Senders: s.Senders})
		return append(found, lint.Leaving(ctx, read.Profiles(), read)...), err
	}
	before, err := of(s.text, s.before)
	if err != nil {
		return nil, err
	}
	after, err := of(s.changed, s.after)
	for _, w := range after {
		known := func(o lint.Warning) bool {
			return o.Check == w.Check && o.Profile == w.Profile && o.Message == w.Message
		}
		if !slices.ContainsFunc(before, known) {
			fresh = append(fresh, w)
		}
	}
	return fresh, err
}
