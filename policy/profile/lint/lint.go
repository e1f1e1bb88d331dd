// Package lint finds mistakes in the text of an AppArmor profile that the parser accepts and that do harm in a
// container.
//
// It learns from the compiled profile (package meaning) what the profile allows and denies, and from each rule compiled by
// itself (package why) what that is about and whether it has an effect. It learns from the text which rules somebody wrote,
// and on which line. It does not warn of what it cannot judge. It loads nothing.
package lint

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/rootfs"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

// A Warning is a mistake in a text that compiles.
type Warning struct {
	Check   string // name of the check that found it, a key of Checks
	File    string // path of the included file that it is about; empty for the text itself
	Line    int    // counts from 1, in File or in the text; 0 if it is about something that the text lacks
	Profile string // name of the profile that it is about; empty for the text as a whole
	Message string // one line: what is wrong, and what to write instead
	Fault   bool   // a policy with this text is refused
}

// Options are what is known of a text beside its words.
type Options struct {
	// Rules are the compiled text and its rules. Without them, Text judges by Compiled and by the text alone, and leaves out
	// the checks that need the included files.
	Rules *why.Text

	Compiled []*meaning.Profile // what the text was compiled to; nil if that is not known, or Rules has it
	Senders  []string           // labels under which programs of the node send signals to containers
	Image    *rootfs.Tree       // the files of the image that the profile is for; nil if that is not known
}

// Text returns the warnings about a text, sorted by line. partial reports that it has left out checks that need the
// included files. The error says that rules of the text could not be compiled one by one.
func Text(ctx context.Context, text string, o Options) (warnings []Warning, partial bool, err error) {
	l := &linter{Text: syntax.Read(text), Options: o}
	if o.Rules != nil {
		l.Text, l.Compiled = o.Rules.Read(), o.Rules.Profiles()
	} else {
		partial = includes(l.Text)
	}
	l.run(func(c check) bool { return c.of == texts })
	for _, b := range l.Blocks {
		if b.Own {
			if err := l.block(ctx, b); err != nil {
				return nil, false, err
			}
		}
	}
	slices.SortStableFunc(l.found, func(a, b Warning) int { return a.Line - b.Line })
	return l.found, partial || l.partial, nil
}

// includes reports whether a text includes files.
func includes(t *syntax.Text) bool { return slices.ContainsFunc(t.Rules(), syntax.Rule.IsInclude) }

type linter struct {
	*syntax.Text
	Options
	found []Warning

	check    string // that runs
	in       *syntax.Block
	compiled *meaning.Profile // nil where the block's is not known
	allowing *meaning.Profile // the same without rules that deny; nil where that is not known
	rules    []rule
	unseen   []*unseen // of the image
	partial  bool      // not all of it was looked at
}

// rule is a rule of the block.
type rule struct {
	syntax.Rule
	single *why.Single // nil where it is not known
}

// holds reports whether a rule has an effect: it may stand in a branch of a condition that is not taken.
func (r rule) holds() bool {
	if r.single == nil {
		return r.Branch == 0
	}
	return r.single.HasEffect()
}

// run runs the checks that are chosen.
func (l *linter) run(chosen func(check) bool) {
	for _, c := range checks {
		if chosen(c) {
			l.check = c.name
			c.find(l)
		}
	}
}

// warn adds what the running check has found.
func (l *linter) warn(line int, format string, args ...any) {
	w := Warning{Check: l.check, Line: line, Message: fmt.Sprintf(format, args...)}
	if l.in != nil {
		w.Profile = l.in.Name
	}
	l.found = append(l.found, w)
}

func (l *linter) abi() {
	named := func(rules []syntax.Rule) (own, any bool) {
		for _, r := range rules {
			if r.First() == "abi" {
				any = true
				own = own || r.Own
			}
		}
		return own, any
	}
	own, any := named(l.Preamble)
	for _, b := range l.Blocks {
		o, a := named(b.Rules)
		own, any = own || o, any || a
	}
	if own {
		return
	}
	from := "the configuration of apparmor_parser decides, and newer ones then deny user namespaces and io_uring"
	if any {
		from = "a file that it includes decides, and changes with an upgrade"
	}
	advice := ""
	if abi := l.leastABI(); abi != "" {
		advice = ": begin with abi <" + abi + ">,"
	}
	l.warn(0, "no ABI is named, so that %s%s", from, advice)
}

// leastABI returns the oldest ABI of AppArmor's that has rules of each kind that the text itself has; an empty string
// where none has.
func (l *linter) leastABI() string {
	abi := "abi/3.0"
	for _, b := range l.Blocks {
		for _, r := range b.Rules {
			switch {
			case !r.Own:
			case r.First() == "io_uring":
				return ""
			case slices.Contains([]string{"userns", "mqueue", "all"}, r.First()):
				abi = "abi/4.0"
			}
		}
	}
	return abi
}

func (l *linter) block(ctx context.Context, b *syntax.Block) (err error) {
	l.in, l.compiled, l.allowing, l.rules = b, nil, nil, nil
	for _, p := range l.Compiled {
		if p.Name == b.Name {
			l.compiled = p
		}
	}
	var singles map[int]*why.Single
	if read := l.Options.Rules; read != nil && l.compiled != nil {
		if singles, err = read.Singles(ctx, b.Name); err != nil {
			return err
		}
		if l.allowing, err = read.Allowing(ctx, b.Name); err != nil {
			return err
		}
	}
	for i, r := range b.Rules {
		l.rules = append(l.rules, rule{r, singles[i]})
	}
	if l.unseen = nil; l.Image != nil && l.allowing != nil {
		l.unseen = l.inImage()
	}
	l.run(func(c check) bool {
		return c.of == blocks || c.of == compiledBlocks && l.compiled != nil || c.of == judgedBlocks && l.allowing != nil
	})
	l.in = nil
	return nil
}

func (l *linter) attachDisconnected() {
	if l.compiled.Path&meaning.PathConnect == 0 {
		l.warn(l.in.Line, "profile %s has no flag attach_disconnected: what the engine hands in from outside of the container "+
			"(its terminal, files, sockets) is denied; write flags=(attach_disconnected)", show(l.in.Name))
	}
}

// directories are what patterns without a slash at their end mean and do not match.
var directories = strings.Fields("/bin /boot /dev /etc /home /lib /media /mnt /opt /proc /root /run /sbin /srv " +
	"/sys /tmp /usr /var")

// nothing looks for deny rules that match nothing, or not what they seem to.
func (l *linter) nothing() {
	for _, r := range l.rules {
		if !r.Own || !r.Deny || !r.holds() {
			continue
		}
		pattern := pathOf(r.Rule)
		said := false
		warn := func(format string, args ...any) {
			if !said {
				said = true
				l.warn(r.Line, format, args...)
			}
		}
		for _, p := range l.Expand(pattern, l.in.Name) {
			switch {
			case caret(p):
				warn("in %s a ^ outside of brackets is nothing but a ^, and no such path exists: to mean \"not\", write [^...]",
					show(pattern))
			case p == "/proc/mem" || p == "/proc/kmem":
				warn("no kernel has %s: remove the rule", p)
			case slices.Contains(directories, p):
				warn("%s matches no directory, whose path ends with a slash, and nothing in it: write %s/** and %[1]s/", p, p)
			}
		}
	}
}

// caret reports whether a pattern has a ^ that is not the beginning of a class.
func caret(p string) bool {
	class := false
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '\\':
			i++
		case class:
			class = c != ']'
		case c == '[':
			class = true
		case c == '^':
			return true
		}
	}
	return false
}

// ping looks for raw sockets that are denied where sockets for datagrams are not: by those ping works, too. The kernel
// mediates the family and the type of a socket, not its protocol.
func (l *linter) ping() {
	const inet, datagram, raw = 2, 2, 3
	at := slices.IndexFunc(l.rules, func(r rule) bool {
		return r.Own && r.Deny && r.single != nil && r.single.Decides(meaning.SocketAccess{Family: inet, Type: raw, Want: meaning.MayCreate})
	})
	if at < 0 || !l.compiled.Mediates(meaning.Net) || l.socket(inet, raw) || !l.socket(inet, datagram) {
		return
	}
	for _, path := range []string{"/bin/ping", "/usr/bin/ping"} {
		if l.allows(path, meaning.MayExec) {
			l.warn(l.rules[at].Line, "denying raw sockets does not stop ping: where net.ipv4.ping_group_range lets it (as Docker "+
				"does since 20.10) it uses an ICMP socket for datagrams, which AppArmor does not tell from UDP; to stop the program, "+
				"write audit deny /{usr/,}bin/ping* x,")
			return
		}
	}
}

// socket reports whether the compiled profile lets sockets of a family and type be made (aa_profile_af_perm,
// security/apparmor/net.c).
func (l *linter) socket(family, kind byte) bool {
	perms, _ := l.compiled.Query(meaning.Net, string([]byte{0, family, 0, kind}))
	return perms.Allow&^perms.Deny&meaning.MayCreate != 0
}

func (l *linter) devNull() {
	perms, _ := l.compiled.File("/dev/null")
	r := l.denying("/dev/null", meaning.MayWrite)
	if r != nil && r.Own && !l.compiled.Allowed(perms, meaning.MayWrite) {
		l.warn(r.Line, "%s denies writing to /dev/null, so that \"command >/dev/null\" fails: write "+
			"/dev/{[^n],n[^u]}** for all but that", show(pathOf(r.Rule)))
	}
}

// silent counts deny rules that log nothing and that have an effect.
func (l *linter) silent() {
	line, n := 0, 0
	for _, r := range l.rules {
		if !r.Own || !r.Deny || r.Audit || !r.holds() {
			continue
		}
		if n++; line == 0 {
			line = r.Line
		}
	}
	if n > 0 {
		rules := "1 deny rule denies"
		if n > 1 {
			rules = fmt.Sprintf("%d deny rules deny", n)
		}
		l.warn(line, "%s without a line in the kernel's log: write audit deny where somebody is to see it", rules)
	}
}

// show returns a string of a text as it is where it is harmless, and else quoted.
func show(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Sprintf("%+q", s)
	}
	return s
}
