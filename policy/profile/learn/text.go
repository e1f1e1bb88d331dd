package learn

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// A Compiler compiles texts, as *profile.Compiler does.
type Compiler interface {
	CompileText(ctx context.Context, source string, text []byte) (profile.Blob, error)
	CompileSeveral(ctx context.Context, source string, text []byte) ([]byte, error)
	Supports(feature string) bool
}

// A Target is what the text is for.
type Target struct {
	templates.Target

	Name     string // the profile's
	From     string // what was recorded, for people; in a comment
	Included bool   // use AppArmor's abstractions where they fit; they allow more than was seen
}

// A Learned is a text, and what its reader must know.
type Learned struct {
	Text  []byte
	Rules int      // that were made of what was seen
	Notes []string // sentences about what was seen: what is not in the text, and what gives a protection up
}

// Text returns the text of a profile that allows what the recording saw. It allows more only as its comments say. The error
// says that the recording is not whole, or is empty, or that no text could be made that allows all of it.
func (r *Recording) Text(ctx context.Context, c Compiler, to Target) (*Learned, error) {
	if err := profile.CheckName(to.Name); err != nil {
		return nil, err
	}
	for _, label := range to.Senders {
		if err := templates.CheckPeer(label); err != nil {
			return nil, fmt.Errorf("label of an engine's program: %w", err)
		}
	}
	if r.full {
		return nil, fmt.Errorf("the recording is not whole: there was more than is kept of one (%d rules, %d MiB)", mostRules, mostBytes>>20)
	}
	if len(r.rules) == 0 {
		return nil, fmt.Errorf("nothing was recorded from which a profile could be made")
	}
	w := &writer{Target: to, compiler: c, rules: together(r.sorted())}
	w.leaveOutLong()
	w.traces = slices.ContainsFunc(w.rules, func(one *rule) bool { return slices.ContainsFunc(one.samples, tracing) })
	if err := w.include(ctx); err != nil {
		return nil, err
	}
	if err := w.drop(ctx); err != nil {
		return nil, err
	}
	if err := w.prove(ctx); err != nil {
		return nil, err
	}
	for _, sentence := range r.Left() {
		w.notes = append(w.notes, "not learned, "+sentence)
	}
	if err := w.warn(ctx); err != nil {
		return nil, err
	}
	return &Learned{w.text(w.rules), len(w.rules), w.notes}, nil
}

// A writer writes one text.
type writer struct {
	Target
	compiler Compiler
	rules    []*rule
	includes []included
	traces   bool // processes were seen that traced others
	notes    []string
}

// An included is an abstraction, and how many rules it stands for.
type included struct {
	name string
	fits int
}

// abstractions are those of AppArmor's that may be used: they let programs of a kind read what all of them read. Others also
// let them use the network, or write, where one rule for what was seen says less.
var abstractions = []string{"base", "openssl", "ssl_certs", "python", "perl"}

// fewest is how many rules an abstraction must stand for.
const fewest = 3

// include chooses abstractions.
func (w *writer) include(ctx context.Context) error {
	if !w.Included {
		return nil
	}
	for _, name := range abstractions {
		if !w.has("abstractions/" + name) {
			continue
		}
		p, err := w.compile(ctx, w.frame([]included{{name: name}}, nil))
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			continue // it needs what is not there, or not for this parser
		}
		fits := 0
		for _, one := range w.rules {
			if one.kind == files && w.allows(p, one) {
				fits++
			}
		}
		if fits >= fewest {
			w.includes = append(w.includes, included{name, fits})
		}
	}
	return nil
}

// drop takes out the rules for what is allowed without them: by an abstraction, by what every container may do, or since
// the kernel that the text is compiled for does not ask.
func (w *writer) drop(ctx context.Context) error {
	p, err := w.compile(ctx, w.text(nil))
	if err != nil {
		return err
	}
	w.rules = slices.DeleteFunc(w.rules, func(one *rule) bool { return w.allows(p, one) })
	return nil
}

// allows reports whether a profile allows a rule's accesses without the rule. Of one that is about more than was seen, what
// was seen does not tell.
func (w *writer) allows(p *meaning.Profile, one *rule) bool {
	return !one.loose && !slices.ContainsFunc(one.samples, func(a meaning.Access) bool { return !p.Decide(named(a, w.Name)).Allowed })
}

// longestRule is the length of the longest rule that is written, in bytes: the scanner of apparmor_parser refuses the whole text if
// a word has more than 16 KiB, which the pattern of a path of odd characters can have.
const longestRule = 16_000

// leaveOutLong takes out the rules that are too long.
func (w *writer) leaveOutLong() {
	w.rules = slices.DeleteFunc(w.rules, func(one *rule) bool {
		long := slices.ContainsFunc(one.texts(), func(text string) bool { return len(text) > longestRule })
		if long {
			w.notes = append(w.notes, "not learned, as the rule would be too long for apparmor_parser: "+oneline.Cut(access.Format(one.samples[0]), 200))
		}
		return long
	})
}

// prove compiles the text and asks it about each access that was seen. It takes out rules that do not compile.
func (w *writer) prove(ctx context.Context) error {
	p, err := w.compile(ctx, w.text(w.rules))
	if err != nil {
		if err := w.refused(ctx); err != nil {
			return err
		}
		if p, err = w.compile(ctx, w.text(w.rules)); err != nil {
			return err
		}
	}
	for _, one := range w.rules {
		for _, a := range one.samples {
			if a = named(a, w.Name); !p.Decide(a).Allowed {
				return fmt.Errorf("no rule was found that allows what was seen: %s", access.Format(a))
			}
		}
	}
	return nil
}

// refused takes out the rules that do not compile by themselves. What they are about was chosen by the workload.
func (w *writer) refused(ctx context.Context) error {
	w.rules = slices.DeleteFunc(w.rules, func(one *rule) bool {
		if one.kind == files || one.kind == capabilities || ctx.Err() != nil {
			return false
		}
		_, err := w.compile(ctx, w.text([]*rule{one}))
		if err != nil {
			w.notes = append(w.notes, "not learned, as apparmor_parser takes no rule about it: "+access.Format(one.samples[0]))
		}
		return err != nil
	})
	return ctx.Err()
}

func (w *writer) has(file string) bool {
	_, err := os.Stat(filepath.Join(cmp.Or(w.Base, profile.BaseDir), file))
	return err == nil
}

func (w *writer) compile(ctx context.Context, text []byte) (*meaning.Profile, error) {
	blob, err := w.compiler.CompileText(ctx, "the profile that was made", text)
	if err != nil {
		return nil, err
	}
	all, err := meaning.ReadFor(blob.Data, w.compiler)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// text writes the text with some of the rules.
func (w *writer) text(rules []*rule) []byte { return w.frame(w.includes, rules) }

func (w *writer) frame(includes []included, rules []*rule) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Made by \"oci-apparmor profile learn\"")
	if w.From != "" {
		fmt.Fprintf(&b, " from\n#   %s", inComment(w.From))
	}
	b.WriteString(`
#
# It allows what was seen, and more only where a comment says so. Behind each rule stand the programs that used it.
`)
	b.WriteString(w.head())
	fmt.Fprintf(&b, "\nprofile %q flags=(attach_disconnected,mediate_deleted) {\n", w.Name)
	if len(includes) > 0 {
		b.WriteString("  # AppArmor's own lists of what programs of a kind read. They allow more than was seen.\n")
		for _, one := range includes {
			fmt.Fprintf(&b, "  include <abstractions/%s> # in place of %d rules\n", one.name, one.fits)
		}
		b.WriteByte('\n')
	}
	w.peers(&b)
	last := kind(255)
	for _, one := range rules {
		if one.kind != last {
			last = one.kind
			fmt.Fprintf(&b, "\n  # %s\n", titles[last])
		}
		for _, text := range one.texts() {
			fmt.Fprintf(&b, "  %s # %s\n", text, one.comment())
		}
	}
	b.WriteString("}\n")
	return b.Bytes()
}

// head is what stands ahead of the profile.
func (w *writer) head() (text string) {
	if w.has("abi/3.0") { // with a later ABI, parsers mediate classes for which rules are written only if they were seen
		text = "abi <abi/3.0>,\n"
	}
	if w.has("tunables/global") {
		return text + "include <tunables/global>\n"
	}
	return text + variables
}

// inComment returns a text as a comment can have it: a parser looks for the words include and abi there, too.
func inComment(text string) string {
	text = oneline.Cut(oneline.Printable(text), 200)
	return strings.NewReplacer("include", "inclu-de", "abi", "a-bi").Replace(text)
}

// comment says who used a rule.
func (r *rule) comment() string {
	text := r.users()
	if r.loose {
		text += "; also other such names"
	}
	if _, to := linked(r.what); r.kind == files && to != "" {
		text += "; also in " + to
	}
	return text
}

// users are the programs that used a rule.
func (r *rule) users() string { return ruletext.Programs(r.programs) }

// peers writes what every container may do.
func (w *writer) peers(b *bytes.Buffer) {
	b.WriteString("  # Every container: the host, the runtimes and the engines stop it, and its processes reach each other.\n")
	senders := templates.Stoppers()
	for _, label := range slices.Sorted(slices.Values(w.Senders)) {
		if !slices.Contains(senders, label) {
			senders = append(senders, label)
		}
	}
	for _, label := range senders {
		fmt.Fprintf(b, "  signal (receive) peer=%q,\n", label)
	}
	const itself = "peer={@{profile_name},@{profile_name}//&**,**//&@{profile_name},**//&@{profile_name}//&**}"
	fmt.Fprintf(b, "  signal (send,receive) %s,\n", itself)
	if w.traces {
		fmt.Fprintf(b, "  ptrace (trace,tracedby,read,readby) %s,\n", itself)
		return
	}
	fmt.Fprintf(b, "  ptrace (read,readby) %s,\n  audit deny ptrace (trace,tracedby), # no process was seen that traced another one\n", itself)
}

// tracing reports whether an access is to trace a process, or to be traced.
func tracing(a meaning.Access) bool {
	p, ok := a.(meaning.PtraceAccess)
	const trace, tracedby = meaning.MayWrite, meaning.MayAppend // see meaning.PtracePermissions
	return ok && p.Want&(trace|tracedby) != 0
}
