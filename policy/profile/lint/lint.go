// Package lint finds in the text of an AppArmor profile what the parser accepts and what bites in a container.
//
// What a profile allows and denies, and whether a rule holds, it asks what the text was compiled to (package meaning). The
// text tells it which rules somebody wrote, and on which line. What it cannot judge it does not warn of. It neither compiles
// a text nor loads it.
package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Warning is a fault of a text that compiles.
type Warning struct {
	Check   string // which check found it: a key of Checks
	File    string // an included file; empty for the text itself
	Line    int    // in File or in the text; 0 where it is about something that is not there
	Profile string // in which one; empty for the text as a whole
	Message string // one line: what is the matter, and what to write
	Fault   bool   // in a policy it is an error
}

// Checks says in a line what each check looks for, by its name.
var Checks = map[string]string{
	"abi":                 "the text names no ABI",
	"attach-disconnected": "the flag without which files that were opened outside of the container are denied",
	"peers":               "rules by which processes reach each other, alone and in a stack, and by which the runtime stops them",
	"usr-merge":           "paths in /bin, /sbin and /lib*, which are links in most images",
	"link":                "paths that lead over a symbolic link, of which the kernel sees the target only",
	"busybox":             "denied programs that are parts of /bin/busybox in images such as Alpine's",
	"ping":                "raw sockets denied, by which ping is no longer stopped",
	"dev-null":            "writing to /dev/null denied",
	"silent":              "deny rules that log nothing",
	"matches-nothing":     "deny rules that match nothing",
	"unconfined":          "rules by which processes leave their confinement",
	"not-enforced":        "rules that the compiled profile does not enforce on this kernel, or not as they stand",
	"parser":              "what apparmor_parser says",
}

// Text returns what there is to say about a text, in the order of its lines. included is the same text with the files in it
// that it includes, as profile.Compiler.Preprocess returns it; without it checks that need these files are left out, which
// partial reports. compiled is what the text was compiled to; without it only what the text shows by itself is judged.
// senders are labels under which programs of the node send signals to containers.
func Text(text string, included []byte, compiled []*meaning.Profile, senders ...string) (warnings []Warning, partial bool) {
	own := read(text, nil)
	all := own
	if included != nil {
		all = read(string(included), own)
	}
	// What cannot be found again was not understood: rather less is judged than nothing.
	if included == nil && own.includes || included != nil && own.statements() != all.statements() {
		all, partial = own, true
	}
	l := &linter{source: all, senders: senders}
	l.abi()
	for _, b := range all.blocks {
		if b.own {
			l.block(b, compiled)
		}
	}
	slices.SortStableFunc(l.found, func(a, b Warning) int { return a.Line - b.Line })
	return l.found, partial
}

// statements counts the blocks and rules of the text itself, without what includes files.
func (s *source) statements() int {
	n := 0
	count := func(rules []rule) {
		for _, r := range rules {
			if r.own && first(r.words) != "include" && first(r.words) != "#include" {
				n++
			}
		}
	}
	count(s.preamble)
	for _, b := range s.blocks {
		count(b.rules)
		if b.own {
			n++
		}
	}
	return n
}

type linter struct {
	*source
	senders []string
	found   []Warning

	in       *block
	compiled *meaning.Profile // nil where the block's is not known
	files    []fileRule       // that hold
}

func (l *linter) warn(check string, line int, format string, args ...any) {
	w := Warning{Check: check, Line: line, Message: fmt.Sprintf(format, args...)}
	if l.in != nil {
		w.Profile = l.in.name
	}
	l.found = append(l.found, w)
}

func (l *linter) abi() {
	named := func(rules []rule) (own, any bool) {
		for _, r := range rules {
			if first(r.words) == "abi" {
				any = true
				own = own || r.own
			}
		}
		return own, any
	}
	own, any := named(l.preamble)
	for _, b := range l.blocks {
		o, a := named(b.rules)
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
	l.warn("abi", 0, "no ABI is named, so that %s%s", from, advice)
}

// leastABI returns the oldest ABI of AppArmor's that has rules of each kind that the text itself has; an empty string where none
// has.
func (l *linter) leastABI() string {
	abi := "abi/3.0"
	for _, b := range l.blocks {
		for _, r := range b.rules {
			switch {
			case !r.own:
			case first(r.words) == "io_uring":
				return ""
			case slices.Contains([]string{"userns", "mqueue", "all"}, first(r.words)):
				abi = "abi/4.0"
			}
		}
	}
	return abi
}

func (l *linter) block(b *block, compiled []*meaning.Profile) {
	l.in, l.compiled, l.files = b, nil, nil
	for _, p := range compiled {
		if p.Name == b.name {
			l.compiled = p
		}
	}
	for _, r := range b.rules {
		if f, ok := l.file(r); ok && l.holds(f) {
			l.files = append(l.files, f)
		}
	}
	if l.compiled != nil {
		if l.compiled.Path&meaning.PathConnect == 0 {
			l.warn("attach-disconnected", b.line, "profile %s has no flag attach_disconnected: what the engine hands in from "+
				"outside of the container (its terminal, files, sockets) is denied; write flags=(attach_disconnected)", show(b.name))
		}
		l.peers()
		l.paths()
		l.ping()
		l.devNull()
		l.unconfined()
	}
	l.nothing()
	l.silent()
	l.in = nil
}

// merged are the directories that are links to those of the same name in /usr, in images of most distributions.
var merged = []string{"/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"}

// links are other links that nearly every image has, or every kernel. The kernel sees what is behind them.
var links = []struct{ from, to, is string }{
	{"/var/run/", "/run/", "/run"},
	{"/var/lock/", "/run/lock/", "/run/lock"},
	{"/proc/self/", "/proc/1/", "/proc/PID"},
	{"/proc/thread-self/", "/proc/1/task/1/", "/proc/PID/task/TID"},
	{"/proc/net/", "/proc/1/net/", "/proc/PID/net"},
	{"/dev/fd/", "/proc/1/fd/", "/proc/PID/fd"},
}

// applets are programs that people deny and that busybox has, too.
var applets = strings.Fields("sh ash top ping ping6 wget nc vi su login passwd mount umount ps kill chroot telnet ftpget " +
	"tftp sed awk grep find xargs env id whoami dmesg ip ifconfig route insmod modprobe rmmod nslookup crond")

// paths looks for rules about paths that the kernel never sees.
func (l *linter) paths() {
	var onlyBusybox []string
	busyboxLine, shLine := 0, 0
	for _, f := range l.files {
		if !f.own {
			continue
		}
		said := map[string]bool{}
		for _, p := range f.patterns {
			if dir := mergedIn(p); dir != "" && !said[dir] {
				if missing := l.uncovered(f, "/usr"+example(p)); missing != "" {
					said[dir] = true
					l.usrMerge(f, p, missing)
				}
			}
			for _, link := range links {
				if !strings.HasPrefix(p, link.from) || said[link.from] {
					continue
				}
				if l.uncovered(f, link.to+example(strings.TrimPrefix(p, link.from))) != "" {
					said[link.from] = true
					verb := "allows"
					if f.deny {
						verb = "denies"
					}
					l.warn("link", f.line, "%s is a link, and the kernel sees what it leads to: the rule for %s %s nothing; write it for %s",
						strings.TrimSuffix(link.from, "/"), show(f.pattern), verb, link.is)
				}
			}
			name := p[strings.LastIndexByte(p, '/')+1:]
			if shLine == 0 && f.deny && strings.ContainsRune(f.perms, 'x') && strings.HasSuffix(p, "bin/sh") && !said[mergedIn(p)] {
				shLine = f.line
			}
			if f.deny && strings.ContainsRune(f.perms, 'x') && strings.Contains(p, "bin/") && slices.Contains(applets, name) &&
				!slices.Contains(onlyBusybox, name) && l.allows("/bin/busybox", 'x') {
				onlyBusybox = append(onlyBusybox, name)
				if busyboxLine == 0 {
					busyboxLine = f.line
				}
			}
		}
	}
	if shLine > 0 {
		l.shell(shLine)
	}
	if len(onlyBusybox) > 0 {
		l.warn("busybox", busyboxLine, "denying %s by name does nothing in images with busybox (Alpine), where the kernel sees "+
			"/bin/busybox: deny /{usr/,}bin/busybox x, too, or build the image without it", strings.Join(onlyBusybox, ", "))
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
	l.warn("link", line, "sh is a link to %s in many images, and the kernel sees what it leads to: there sh is not denied; deny "+
		"/{usr/,}bin/%s x, too", strings.Join(open, " or "), names)
}

func mergedIn(pattern string) string {
	at := slices.IndexFunc(merged, func(dir string) bool { return strings.HasPrefix(pattern, dir) })
	if at < 0 {
		return ""
	}
	return merged[at]
}

// uncovered gives those of a rule's permissions of which it holds that on path, where the kernel takes it to lead to, they
// are not what the rule says.
func (l *linter) uncovered(f fileRule, path string) string {
	missing := ""
	for _, perm := range strings.ReplaceAll(f.perms, "l", "") {
		if f.deny && l.allows(path, perm) || !f.deny && !l.allows(path, perm) && l.denied(path, perm) == nil {
			missing += string(perm)
		}
	}
	return missing
}

func (l *linter) usrMerge(f fileRule, p, missing string) {
	dir := strings.Trim(mergedIn(p), "/")
	write := "/{usr/,}" + strings.TrimPrefix(p, "/")
	if f.deny {
		more := ""
		if strings.HasSuffix(p, "bin/sh") {
			more = "; sh itself is a link to dash, bash or busybox, so deny the one that the image has"
		}
		l.warn("usr-merge", f.line, "/%s is a link to /usr/%[1]s in most images: there %s does not deny %s; write %s%s", dir, show(p),
			missing, show(write), more)
		return
	}
	l.warn("usr-merge", f.line, "/%s is a link to /usr/%[1]s in most images: there %s does not allow %s; write %s", dir, show(p),
		missing, show(write))
}

// directories are what patterns without a slash at their end mean and do not match.
var directories = strings.Fields("/bin /boot /dev /etc /home /lib /media /mnt /opt /proc /root /run /sbin /srv " +
	"/sys /tmp /usr /var")

// nothing looks for deny rules that match nothing, or not what they seem to.
func (l *linter) nothing() {
	for _, f := range l.files {
		if !f.own || !f.deny {
			continue
		}
		said := false
		warn := func(format string, args ...any) {
			if !said {
				said = true
				l.warn("matches-nothing", f.line, format, args...)
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

// caret tells whether a pattern has a ^ that is not the beginning of a class.
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
	at := slices.IndexFunc(l.in.rules, func(r rule) bool {
		return r.own && r.deny && first(r.words) == "network" && slices.Contains(r.words, "raw")
	})
	if at < 0 || !l.compiled.Mediates(meaning.Net) || l.socket(inet, raw) || !l.socket(inet, datagram) {
		return
	}
	for _, path := range []string{"/bin/ping", "/usr/bin/ping"} {
		if l.allows(path, 'x') {
			l.warn("ping", l.in.rules[at].line, "denying raw sockets does not stop ping: where net.ipv4.ping_group_range lets it (as Docker "+
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
	if f := l.denied("/dev/null", 'w'); f != nil && f.own && !l.compiled.Allowed(perms, meaning.MayWrite) {
		l.warn("dev-null", f.line, "%s denies writing to /dev/null, so that \"command >/dev/null\" fails: write "+
			"/dev/{[^n],n[^u]}** for all but that", show(f.pattern))
	}
}

// silent counts deny rules that log nothing. Those about files are counted where they hold, and others where they stand in no
// branch that may not be taken.
func (l *linter) silent() {
	line, n := 0, 0
	for _, r := range l.in.rules {
		if !r.own || !r.deny || r.audit {
			continue
		}
		if f, ok := l.file(r); ok && l.compiled != nil {
			if !l.holds(f) {
				continue
			}
		} else if r.branch > 0 {
			continue
		}
		if n++; line == 0 {
			line = r.line
		}
	}
	if n > 0 {
		rules := "1 deny rule denies"
		if n > 1 {
			rules = fmt.Sprintf("%d deny rules deny", n)
		}
		l.warn("silent", line, "%s without a line in the kernel's log: write audit deny where somebody is to see it", rules)
	}
}

// show gives a string of a text as it is where it is harmless, and else quoted.
func show(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Sprintf("%+q", s)
	}
	return s
}
