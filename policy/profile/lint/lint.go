// Package lint finds mistakes in the text of an AppArmor profile that the parser accepts and that do harm in a
// container.
//
// It learns from the compiled profile (package meaning) what the profile allows and denies, and whether a rule has an
// effect. It learns from the text which rules somebody wrote, and on which line. It does not warn of what it cannot
// judge. It neither compiles nor loads a text.
package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
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

// Text returns the warnings about a text, sorted by line. included is the text with its includes put in, as
// profile.Compiler.Preprocess returns it. Without it, Text leaves out the checks that need the included files, and
// reports that by partial. compiled are the profiles that the text was compiled to. Without them, Text judges the text
// alone. senders are labels under which programs of the node send signals to containers.
func Text(text string, included []byte, compiled []*meaning.Profile, senders ...string) (warnings []Warning, partial bool) {
	own := syntax.Read(text)
	all := own
	if included != nil {
		all = own.WithIncludes(string(included))
	}
	// What cannot be found again was not understood: rather less is judged than nothing.
	if included == nil && includes(own) || included != nil && own.Own() != all.Own() {
		all, partial = own, true
	}
	l := &linter{Text: all, senders: senders}
	l.run(func(c check) bool { return c.of == texts })
	for _, b := range all.Blocks {
		if b.Own {
			l.block(b, compiled)
		}
	}
	slices.SortStableFunc(l.found, func(a, b Warning) int { return a.Line - b.Line })
	return l.found, partial
}

// includes reports whether a text includes files.
func includes(t *syntax.Text) bool { return slices.ContainsFunc(t.Rules(), syntax.Rule.IsInclude) }

type linter struct {
	*syntax.Text
	senders []string
	found   []Warning

	check    string // that runs
	in       *syntax.Block
	compiled *meaning.Profile // nil where the block's is not known
	files    []fileRule       // that hold
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

func (l *linter) block(b *syntax.Block, compiled []*meaning.Profile) {
	l.in, l.compiled, l.files = b, nil, nil
	for _, p := range compiled {
		if p.Name == b.Name {
			l.compiled = p
		}
	}
	for _, r := range b.Rules {
		if f, ok := l.file(r); ok && l.holds(f) {
			l.files = append(l.files, f)
		}
	}
	l.run(func(c check) bool { return c.of == blocks || c.of == compiledBlocks && l.compiled != nil })
	l.in = nil
}

func (l *linter) attachDisconnected() {
	if l.compiled.Path&meaning.PathConnect == 0 {
		l.warn(l.in.Line, "profile %s has no flag attach_disconnected: what the engine hands in from outside of the container "+
			"(its terminal, files, sockets) is denied; write flags=(attach_disconnected)", show(l.in.Name))
	}
}

// merged are the directories that are links to those of the same name in /usr, in images of most distributions.
var merged = []string{"/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"}

// links are further symbolic links that nearly every image has, or that every kernel has. The kernel sees their
// targets.
var links = []struct{ from, to, is string }{
	{"/var/run/", "/run/", "/run"},
	{"/var/lock/", "/run/lock/", "/run/lock"},
	{"/proc/self/", "/proc/1/", "/proc/PID"},
	{"/proc/thread-self/", "/proc/1/task/1/", "/proc/PID/task/TID"},
	{"/proc/net/", "/proc/1/net/", "/proc/PID/net"},
	{"/dev/fd/", "/proc/1/fd/", "/proc/PID/fd"},
}

// applets are programs that people like to deny, and that busybox contains as well.
var applets = strings.Fields("sh ash top ping ping6 wget nc vi su login passwd mount umount ps kill chroot telnet ftpget " +
	"tftp sed awk grep find xargs env id whoami dmesg ip ifconfig route insmod modprobe rmmod nslookup crond")

// usrMerge looks for rules about directories that are links in most images.
func (l *linter) usrMerge() {
	for _, f := range l.files {
		if !f.Own {
			continue
		}
		for _, u := range l.unmerged(f) {
			l.warnUnmerged(f, u)
		}
	}
}

// unmerged is a pattern in one of the directories merged, whose counterpart in /usr the profile treats otherwise.
type unmerged struct{ dir, pattern, missing string }

// unmerged returns those of a syntax.Rule, the first of each directory.
func (l *linter) unmerged(f fileRule) (all []unmerged) {
	for _, p := range f.patterns {
		dir := mergedIn(p)
		if dir == "" || slices.ContainsFunc(all, func(u unmerged) bool { return u.dir == dir }) {
			continue
		}
		if missing := l.uncovered(f, "/usr"+syntax.Example(p)); missing != "" {
			all = append(all, unmerged{dir, p, missing})
		}
	}
	return all
}

// links looks for rules about paths over links, which the kernel never sees.
func (l *linter) links() {
	shLine := 0
	for _, f := range l.files {
		if !f.Own {
			continue
		}
		said := map[string]bool{}
		for _, p := range f.patterns {
			for _, link := range links {
				if !strings.HasPrefix(p, link.from) || said[link.from] {
					continue
				}
				if l.uncovered(f, link.to+syntax.Example(strings.TrimPrefix(p, link.from))) != "" {
					said[link.from] = true
					verb := "allows"
					if f.Deny {
						verb = "denies"
					}
					l.warn(f.Line, "%s is a link, and the kernel sees what it leads to: the rule for %s %s nothing; write it for %s",
						strings.TrimSuffix(link.from, "/"), show(f.pattern), verb, link.is)
				}
			}
			if shLine == 0 && f.Deny && strings.ContainsRune(f.perms, 'x') && strings.HasSuffix(p, "bin/sh") &&
				!slices.ContainsFunc(l.unmerged(f), func(u unmerged) bool { return u.dir == mergedIn(p) }) { // which says it, too
				shLine = f.Line
			}
		}
	}
	if shLine > 0 {
		l.shell(shLine)
	}
}

// busybox looks for denied programs that are parts of busybox, which is allowed.
func (l *linter) busybox() {
	var only []string
	line := 0
	for _, f := range l.files {
		if !f.Own || !f.Deny || !strings.ContainsRune(f.perms, 'x') {
			continue
		}
		for _, p := range f.patterns {
			name := p[strings.LastIndexByte(p, '/')+1:]
			if strings.Contains(p, "bin/") && slices.Contains(applets, name) && !slices.Contains(only, name) &&
				l.allows("/bin/busybox", 'x') {
				only = append(only, name)
				if line == 0 {
					line = f.Line
				}
			}
		}
	}
	if len(only) > 0 {
		l.warn(line, "denying %s by name does nothing in images with busybox (Alpine), where the kernel sees /bin/busybox: deny "+
			"/{usr/,}bin/busybox x, too, or build the image without it", strings.Join(only, ", "))
	}
}

// shell says what sh is, where it is denied and what it is is not.
func (l *linter) shell(line int) {
	var open []string
	for _, name := range []string{"dash", "bash"} {
		if l.allows("/usr/bin/"+name, 'x') {
			open = append(open, name)
		}
	}
	if len(open) == 0 {
		return
	}
	names := open[0]
	if len(open) > 1 {
		names = "{" + strings.Join(open, ",") + "}"
	}
	l.warn(line, "sh is a link to %s in many images, and the kernel sees what it leads to: there sh is not denied; deny "+
		"/{usr/,}bin/%s x, too", strings.Join(open, " or "), names)
}

func mergedIn(pattern string) string {
	at := slices.IndexFunc(merged, func(dir string) bool { return strings.HasPrefix(pattern, dir) })
	if at < 0 {
		return ""
	}
	return merged[at]
}

// uncovered returns the permissions of a rule for which the profile decides otherwise on path. path is where the path of
// the rule leads in the kernel's view.
func (l *linter) uncovered(f fileRule, path string) string {
	missing := ""
	for _, perm := range strings.ReplaceAll(f.perms, "l", "") {
		if f.Deny && l.allows(path, perm) || !f.Deny && !l.allows(path, perm) && l.denied(path, perm) == nil {
			missing += string(perm)
		}
	}
	return missing
}

func (l *linter) warnUnmerged(f fileRule, u unmerged) {
	p, missing, dir := u.pattern, u.missing, strings.Trim(u.dir, "/")
	write := "/{usr/,}" + strings.TrimPrefix(p, "/")
	if f.Deny {
		more := ""
		if strings.HasSuffix(p, "bin/sh") {
			more = "; sh itself is a link to dash, bash or busybox, so deny the one that the image has"
		}
		l.warn(f.Line, "/%s is a link to /usr/%[1]s in most images: there %s does not deny %s; write %s%s", dir, show(p),
			missing, show(write), more)
		return
	}
	l.warn(f.Line, "/%s is a link to /usr/%[1]s in most images: there %s does not allow %s; write %s", dir, show(p),
		missing, show(write))
}

// directories are what patterns without a slash at their end mean and do not match.
var directories = strings.Fields("/bin /boot /dev /etc /home /lib /media /mnt /opt /proc /root /run /sbin /srv " +
	"/sys /tmp /usr /var")

// nothing looks for deny rules that match nothing, or not what they seem to.
func (l *linter) nothing() {
	for _, f := range l.files {
		if !f.Own || !f.Deny {
			continue
		}
		said := false
		warn := func(format string, args ...any) {
			if !said {
				said = true
				l.warn(f.Line, format, args...)
			}
		}
		for _, p := range f.patterns {
			switch {
			case caret(p):
				warn("in %s a ^ outside of brackets is nothing but a ^, and no such path exists: to mean \"not\", write [^...]",
					show(f.pattern))
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
	at := slices.IndexFunc(l.in.Rules, func(r syntax.Rule) bool {
		return r.Own && r.Deny && r.First() == "network" && slices.Contains(r.Words, "raw")
	})
	if at < 0 || !l.compiled.Mediates(meaning.Net) || l.socket(inet, raw) || !l.socket(inet, datagram) {
		return
	}
	for _, path := range []string{"/bin/ping", "/usr/bin/ping"} {
		if l.allows(path, 'x') {
			l.warn(l.in.Rules[at].Line, "denying raw sockets does not stop ping: where net.ipv4.ping_group_range lets it (as Docker "+
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
	if f := l.denied("/dev/null", 'w'); f != nil && f.Own && !l.compiled.Allowed(perms, meaning.MayWrite) {
		l.warn(f.Line, "%s denies writing to /dev/null, so that \"command >/dev/null\" fails: write "+
			"/dev/{[^n],n[^u]}** for all but that", show(f.pattern))
	}
}

// silent counts deny rules that log nothing. Those about files are counted where they hold, and others where they stand
// in no branch that may not be taken.
func (l *linter) silent() {
	line, n := 0, 0
	for _, r := range l.in.Rules {
		if !r.Own || !r.Deny || r.Audit {
			continue
		}
		if f, ok := l.file(r); ok && l.compiled != nil {
			if !l.holds(f) {
				continue
			}
		} else if r.Branch > 0 {
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
