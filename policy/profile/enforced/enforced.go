// Package enforced finds the rules of a compiled text that the kernel does not enforce. It says why, and what would
// make them hold. It also finds the rules by which a process under the profile can leave its confinement.
package enforced

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/lint"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

// Compiler has those methods of *profile.Compiler that this package calls.
type Compiler interface {
	CompileText(ctx context.Context, source string, text []byte) (profile.Blob, error)
	CompileSeveral(ctx context.Context, source string, text []byte) ([]byte, error)
	Expand(text []byte) (profile.Expanded, bool)
	Preprocess(ctx context.Context, text []byte) ([]byte, error)
	Supports(feature string) bool
	ABIs(feature string) []string
	Included(preprocessed []byte) []profile.Text
	Theirs(path string) bool
	Shipped(path string) string
}

// Check returns a warning for each rule of a text that the kernel does not enforce, and for each rule by which a
// process can leave its confinement. blob is what the text was compiled to, with the parser's warnings. included is the
// text as Preprocess returns it. If included is nil, Check calls Preprocess if it needs it, which takes half as long as
// a compilation.
//
// A rule that should deny or log, and does not, is a fault (Warning.Fault), unless AppArmor ships the rule in one of
// its own abstractions, which are written for many kernels. Check does not warn of a rule there that only allows.
func Check(ctx context.Context, c Compiler, text []byte, blob profile.Blob, included []byte) []lint.Warning {
	j := judgement{Compiler: c, text: string(text), blob: blob, taken: make(map[int]bool), tried: make(map[string]string)}
	j.read(ctx, included)
	var warnings []lint.Warning
	lost := j.lost(ctx)
	for _, l := range lost {
		if l.File != "" && c.Theirs(l.File) && !l.Deny && !l.Audit {
			continue
		}
		shipped := l.File != "" && l.Rule == c.Shipped(l.File)
		warnings = append(warnings, lint.Warning{Check: "not-enforced", File: l.File, Line: l.Line, Profile: l.Profile,
			Message: j.message(ctx, l), Fault: !shipped && (l.Deny || l.Audit) && !l.Wider})
	}
	if !c.Supports(profile.NewMountFeature) {
		warnings = append(warnings, lint.OldMounts(j.text, j.included, j.files, j.compiled)...)
	}
	if slices.ContainsFunc(j.compiled, leaves) {
		rules, err := (&why.Reader{Compiler: c}).Read(ctx, "", text)
		if err != nil {
			rules = nil // so that it is said of the profile as a whole
		}
		warnings = append(warnings, lint.Leaving(ctx, j.compiled, rules)...)
	}
	warnings = append(warnings, j.parsers(ctx, lost)...)
	return unique(warnings)
}

// leaves reports whether a process can leave a profile.
func leaves(p *meaning.Profile) bool {
	exec, change := p.Leaves()
	return exec || change
}

// unique leaves out repeated warnings, such as those of the same rule in two included files.
func unique(warnings []lint.Warning) (all []lint.Warning) {
	for _, w := range warnings {
		if !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	return all
}

// parsers returns the warnings of what the parser says, but for what lost says better.
func (j *judgement) parsers(ctx context.Context, lost []lint.Lost) (warnings []lint.Warning) {
	whole := syntax.Read(j.whole)
	all, allowsAll := aboutAll(whole)
	misread := !whole.Whole
	for _, w := range j.blob.Warnings {
		said := lint.Warning{Check: "parser", File: w.File, Line: w.Line, Profile: w.Profile, Message: w.Message}
		class := classOf(w.Message)
		switch {
		case class == "":
			if theirs := w.File != "" && j.Theirs(w.File); !theirs && !ofABI(w.Message) {
				warnings = append(warnings, said)
			}
		case !misread && (allowsAll && class != "change_profile" || found(lost, class)):
		case !misread && !all && class == "change_profile": // it says so of deny rules, too, which hold
		case misread || !all && class != "change_profile":
			warnings = append(warnings, j.unseen(ctx, class, w))
		default:
			warnings = append(warnings, said)
		}
	}
	return warnings
}

// aboutAll reports whether a text has a rule about everything, "all", and whether one of them allows it, and not only
// to log it.
func aboutAll(t *syntax.Text) (there, allows bool) {
	for _, b := range t.Blocks {
		for _, r := range b.Rules {
			if r.First() == "all" {
				there = true
				allows = allows || !r.Deny && !r.Audit
			}
		}
	}
	return there, allows
}

// found reports whether what the parser says of a kind of rules is said of some that were found. Of unix sockets it
// also says it of rules that were judged to hold, and of AppArmor's own.
func found(lost []lint.Lost, class string) bool {
	if class == "unix" {
		return true
	}
	feature := profile.RuleKinds[class].Feature
	return slices.ContainsFunc(lost, func(l lint.Lost) bool {
		// It says mount of umount, too, and what is left of a rule about unix sockets is one about networks.
		return l.Class == class || feature != "" && profile.RuleKinds[l.Class].Feature == feature || class == "network" && l.Class == "unix"
	})
}

// unseen is the finding that the parser leaves out rules of a kind, and that nobody can say which: one of them may deny.
func (j *judgement) unseen(ctx context.Context, class string, w profile.Warning) lint.Warning {
	why, fix := j.why(ctx, lint.Lost{Class: class}, profile.RuleKinds[class])
	return lint.Warning{Check: "not-enforced", Profile: w.Profile, Fault: true, Message: fmt.Sprintf("apparmor_parser says %q, and which "+
		"rule that is could not be told, so that one that denies may deny nothing: %s; %s", w.Message, why, fix)}
}

// judgement is what of one text holds.
type judgement struct {
	Compiler
	text     string
	blob     profile.Blob
	compiled []*meaning.Profile // nil where the kernel would not take it
	included []byte             // the text with what it includes put in, where that was looked at
	files    []profile.Text     // that it includes
	whole    string             // included, or else the text
	taken    map[int]bool       // branches of conditions, by their offsets in whole
	tried    map[string]string  // the ABIs under which rules of a kind are enforced
}

// read reads what is to be judged. included may be nil.
func (j *judgement) read(ctx context.Context, included []byte) {
	j.compiled, _ = meaning.ReadFor(j.blob.Data, j)
	j.whole = j.text
	if included == nil && j.needs() {
		included, _ = j.Preprocess(ctx, []byte(j.text)) // what cannot be put in was not compiled
	}
	if included != nil {
		j.included, j.files, j.whole = included, j.Included(included), string(included)
		// A rule is looked for in all files, and stands in the first that has it. That is not to excuse an
		// administrator's own copy of one of AppArmor's.
		slices.SortStableFunc(j.files, func(a, b profile.Text) int { return j.excuses(a) - j.excuses(b) })
	}
}

// lost returns the rules that are not enforced.
func (j *judgement) lost(ctx context.Context) []lint.Lost {
	supports := func(feature string) bool {
		switch feature {
		case profile.UnixFeature: // whether kernel, ABI or parser lack it
			return !withoutUnix(j.blob)
		case lint.AuditChange:
			return !j.said("change_profile")
		}
		return j.Supports(feature)
	}
	lost := lint.NotEnforced(j.text, j.included, j.files, j.compiled, supports)
	return slices.DeleteFunc(lost, func(l lint.Lost) bool { return l.Branch > 0 && !j.takes(ctx, l.Branch) })
}

// takes reports whether the branch that begins at an offset is taken, by compiling the text with one more rule in it
// that cannot be compiled: the parser looks at what a variable stands for only where it takes the branch.
func (j *judgement) takes(ctx context.Context, branch int) bool {
	taken, known := j.taken[branch]
	if !known {
		_, err := j.CompileText(ctx, "", []byte(j.whole[:branch]+" /@{oci_apparmor_undefined}/ r, "+j.whole[branch:]))
		taken = err != nil
		j.taken[branch] = taken
	}
	return taken
}

// said reports whether the parser says of a kind of rules that they are not enforced as they stand.
func (j *judgement) said(class string) bool {
	return slices.ContainsFunc(j.blob.Warnings, func(w profile.Warning) bool { return classOf(w.Message) == class })
}

// excuses returns how much is excused in a file: nothing in one of the author's, more among AppArmor's own, and most in
// one that AppArmor ships with a rule that denies.
func (j *judgement) excuses(f profile.Text) int {
	switch {
	case j.Shipped(f.Path) != "":
		return 2
	case j.Theirs(f.Path):
		return 1
	}
	return 0
}

// withoutUnix reports whether the parser says that it has compiled rules about unix sockets without their addresses.
// That "deny unix socket rule not enforced, can't be downgraded" it says also where it has compiled them with these
// (unix_rule::gen_policy_re in parser/af_unix.cc).
func withoutUnix(blob profile.Blob) bool {
	return slices.ContainsFunc(blob.Warnings, func(w profile.Warning) bool {
		return strings.Contains(w.Message, "extended network unix socket rule")
	})
}

// needs reports whether the included files must be read, too. They must if one of them is not AppArmor's own, or if some
// kind of rules is not enforced. The parser says so of every kind but
// D-Bus.
func (j *judgement) needs() bool {
	names := syntax.Read(j.text).Includes()
	if len(names) == 0 {
		return false
	}
	more := func(p *meaning.Profile) bool {
		return p.Compiled(meaning.DBus) && !lint.Mediates(p, "dbus")
	}
	if slices.ContainsFunc(j.compiled, more) || slices.ContainsFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, "abstractions/") && !strings.HasPrefix(name, "tunables/")
	}) {
		return true
	}
	return slices.ContainsFunc(j.blob.Warnings, func(w profile.Warning) bool {
		return classOf(w.Message) != "" && !strings.HasPrefix(w.Message, "downgrading")
	})
}

// classOf returns the kind of rules that a message of the parser is about: a key of profile.RuleKinds. The message says
// that such rules are not enforced, or not as they stand ("userns rules not enforced", "downgrading extended network
// unix socket rule ..."; warn_once in parser/*.cc). classOf returns an empty string for other messages.
func classOf(message string) string {
	switch {
	case strings.Contains(message, "unix socket rule"):
		return "unix"
	case strings.Contains(message, "audit modifier for change_profile"):
		return "change_profile"
	case strings.HasSuffix(message, " network rules not enforced"): // "profile NAME network rules not enforced"
		return "network"
	case strings.Contains(message, "rules not enforce"): // "mount rules not enforce"
		if word, _, _ := strings.Cut(message, " "); profile.RuleKinds[word].Feature != "" {
			return word
		}
	}
	return ""
}

// ofABI reports whether the parser's message is about ABIs: that a text names none, which lint says, or that an
// included file names another than the text, whose own counts.
func ofABI(message string) bool {
	return strings.Contains(message, "missing feature abi") || strings.Contains(message, "differs from policy declared feature abi")
}

// message says of a rule that it does not hold, why, and what would make it hold.
func (j *judgement) message(ctx context.Context, l lint.Lost) string {
	if l.Class == "change_profile" {
		return fmt.Sprintf("%q logs nothing: no kernel logs a change of the profile that is allowed; take audit out", l.Rule)
	}
	why, fix := j.why(ctx, l, profile.RuleKinds[l.Class])
	switch {
	case l.Wider && l.Deny:
		return fmt.Sprintf("%q denies more than it says: %s, so that it holds for every such socket", l.Rule, why)
	case l.Wider:
		return fmt.Sprintf("%q allows more than it says: %s, so that it holds for every such socket", l.Rule, why)
	case l.Deny:
		return fmt.Sprintf("%q denies nothing: %s; %s", l.Rule, why, fix)
	case l.Audit:
		return fmt.Sprintf("%q logs nothing, and all that it is about is allowed: %s; %s", l.Rule, why, fix)
	}
	return fmt.Sprintf("%q is not needed, as all that it is about is allowed: %s", l.Rule, why)
}

// why says why rules of a kind are not enforced, and what would make them hold.
func (j *judgement) why(ctx context.Context, l lint.Lost, kind profile.RuleKind) (why, fix string) {
	switch {
	case l.Class == "unix" && l.Deny:
		return j.whyUnix(ctx)
	case l.Class == "unix" && l.Wider:
		return "the kernel, or this apparmor_parser for it, does not tell addresses and peers of unix sockets (" +
			kind.Kernels + " kernels do)", ""
	case l.Wider:
		return "the kernel does not tell addresses of sockets", ""
	case !j.Supports(kind.Feature):
		return "this kernel does not mediate " + kind.What, "that takes another kernel (" + kind.Kernels +
			"): take the rule out where there is none"
	}
	if why, fix = j.otherABI(ctx, l.Class, kind.Feature); why != "" {
		return why, fix
	}
	why = "this apparmor_parser compiles no such rules for this kernel"
	if l.Class == "dbus" && slices.ContainsFunc(j.compiled, func(p *meaning.Profile) bool { return p.Compiled(meaning.DBus) }) {
		why = "this kernel takes rules about D-Bus only of a profile whose network rules are of version 9 (network_v9), and this " +
			"apparmor_parser compiles none"
	}
	return why, "that takes another version: take the rule out where there is none"
}

// otherABI says that rules of a kind are enforced under another ABI than the text's, and which. It says nothing where
// there is none.
func (j *judgement) otherABI(ctx context.Context, class string, features ...string) (why, fix string) {
	name, line := syntax.Read(j.text).ABI()
	why = "the text names no ABI, and under the one that apparmor_parser is configured to take for it there are no such rules"
	if name != "" {
		why = fmt.Sprintf("under the ABI that the text names, <%s> in line %d, there are no such rules", name, line)
	}
	switch abi := j.remedy(ctx, class, name, features); abi {
	case "":
		return "", ""
	case configured:
		return why, fmt.Sprintf("take line %d out, as there are some under the ABI that apparmor_parser is configured to take", line)
	default:
		return why, fmt.Sprintf("name abi <%s>,", abi)
	}
}

// whyUnix is why for a rule that denies unix sockets by their addresses, and that is not compiled where others allow
// such sockets.
func (j *judgement) whyUnix(ctx context.Context) (why, fix string) {
	const instead = "write deny network unix, which denies all of them, or take the rule out"
	if !j.Supports(profile.UnixFeature) && !j.Supports(profile.UnixV9) {
		return "this kernel does not tell addresses of unix sockets (" + profile.RuleKinds["unix"].Kernels +
			" do), and other rules allow such sockets", instead
	}
	if why, fix = j.otherABI(ctx, "unix", profile.UnixFeature, profile.UnixV9); why != "" {
		return why, fix
	}
	return "this apparmor_parser compiles no addresses of unix sockets for this kernel, under whichever ABI, and " +
			"other rules allow such sockets",
		"that takes version 5.0 or later and an ABI that has them, as abi <kernel>; until then " + instead
}

// configured stands for the ABI of a text that names none.
const configured = "configured"

// remedy returns an ABI under which the rules of a kind are enforced, by compiling the text under it: one of this
// node's, else the one that is configured, else the kernel's own. It is empty where there is none.
func (j *judgement) remedy(ctx context.Context, class, named string, features []string) string {
	if abi, known := j.tried[class]; known {
		return abi
	}
	j.tried[class] = ""
	var abis []string
	for _, feature := range features {
		abis = append(abis, j.ABIs(feature)...)
	}
	for _, abi := range append(abis, configured, "kernel") {
		text := "abi <" + abi + ">,\n" + j.text
		switch {
		case abi == configured:
			text = regexp.MustCompile(`(?m)^\s*abi\s*[<"][^\n,]*,`).ReplaceAllString(j.text, "")
		case named != "":
			text = strings.Replace(j.text, "<"+named+">", "<"+abi+">", 1)
		}
		blob, err := j.CompileText(ctx, "", []byte(text))
		if err != nil {
			continue
		}
		compiled, err := meaning.ReadFor(blob.Data, j)
		if err == nil && len(compiled) > 0 && lint.Mediates(compiled[0], class) && !(class == "unix" && withoutUnix(blob)) {
			j.tried[class] = abi
			break
		}
	}
	return j.tried[class]
}
