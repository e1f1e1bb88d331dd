package suggest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// literal returns a pattern that matches a text alone. It is to stand in quotes where quoting reports so.
//
// A byte that a line cannot have is written in octal digits, which the parser takes for the byte itself, also where it
// would else mean something in a pattern (processid and processquoted, parser/parser_misc.c). So are quotes and backslashes:
// for the parser's lexer, a quote behind two backslashes does not end a string. Other characters of patterns have a
// backslash. Octal digits for the "@" of a variable would be read before variables are.
func literal(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1, !unicode.IsPrint(r), r == '\\', r == '"':
			for _, c := range []byte(text[i : i+n]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		case r == '@' && strings.HasPrefix(text[i:], "@{"):
			b.WriteString(`@\{`)
			n = 2
		case strings.ContainsRune(`*?[]{}^`, r):
			b.WriteString(`\` + string(r))
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// plain finds patterns that need no quotes: those of characters that end no word, and begin nothing else.
var plain = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9/@:_.{}\[\]*?\\+~-][A-Za-z0-9/@:_.{}\[\]*?\\+~&=^%-]*$`)
})

// quoting returns a pattern as a word of a rule.
func quoting(pattern string, always bool) string {
	if always || !plain().MatchString(pattern) {
		return `"` + pattern + `"`
	}
	return pattern
}

// A widened is a pattern that matches more than one path, and what in it stands for what.
type widened struct {
	pattern string
	notes   []string // "@{pid} for 77"; empty if nothing was widened
}

// wide returns a pattern for a path in which what differs from one run to the next is left open: the numbers of processes
// and threads, ids of containers and pods, names of temporary files, and the home directory of the file's owner. It uses
// the text's variables where they stand for that.
func wide(t *syntax.Text, path string, owner bool) widened {
	parts := strings.Split(path, "/")[1:]
	w := &widening{text: t, raw: parts}
	for _, p := range parts {
		w.parts = append(w.parts, literal(p))
	}
	w.processes()
	w.temporary()
	w.ids()
	prefix := w.home(owner)
	return widened{prefix + "/" + strings.Join(w.parts, "/"), w.notes}
}

// widening is a path while it is widened.
type widening struct {
	text  *syntax.Text
	raw   []string // what stands between slashes
	parts []string // the same as patterns
	notes []string
}

// put puts a pattern in place of a part.
func (w *widening) put(i int, pattern string) {
	if w.parts[i] != literal(w.raw[i]) || pattern == w.parts[i] {
		return // which another one has widened
	}
	w.parts[i] = pattern
	w.notes = append(w.notes, pattern+" for "+w.raw[i])
}

// variable returns a variable of the text if it matches a value, or else what is to stand there without one.
func (w *widening) variable(value, without string, names ...string) string {
	for _, name := range names {
		for _, pattern := range w.text.Expand("@{"+name+"}", "") {
			if m := syntax.Matcher(pattern); m != nil && m.MatchString(value) {
				return "@{" + name + "}"
			}
		}
	}
	return without
}

func digits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

// processes widens /proc/PID, and what is below it by the number of a thread or descriptor.
func (w *widening) processes() {
	if len(w.raw) < 2 || w.raw[0] != "proc" {
		return
	}
	if digits(w.raw[1]) {
		w.put(1, w.variable(w.raw[1], "[0-9]*", "pid", "pids"))
		if len(w.raw) > 3 && digits(w.raw[3]) {
			switch w.raw[2] {
			case "task":
				w.put(3, w.variable(w.raw[3], "[0-9]*", "tid", "tids", "pid"))
			case "fd", "fdinfo":
				w.put(3, "[0-9]*")
			}
		}
		if len(w.raw) > 5 && w.raw[2] == "task" && (w.raw[4] == "fd" || w.raw[4] == "fdinfo") && digits(w.raw[5]) {
			w.put(5, "[0-9]*")
		}
	}
}

// home returns what stands ahead of the path where the text has a variable for it, and takes that from the path.
func (w *widening) home(owner bool) (prefix string) {
	is := func(name, directory string) bool {
		return slices.ContainsFunc(w.text.Expand("@{"+name+"}", ""), func(pattern string) bool {
			m := syntax.Matcher(strings.TrimSuffix(pattern, "/"))
			return m != nil && m.MatchString(directory)
		})
	}
	switch {
	case len(w.raw) > 1 && w.raw[0] == "proc" && is("PROC", "/proc"):
		w.parts = w.parts[1:]
		return "@{PROC}"
	case len(w.raw) > 1 && owner && w.raw[0] == "root" && is("HOME", "/root"):
		w.parts = w.parts[1:]
		w.notes = append(w.notes, "@{HOME} for /root")
		return "@{HOME}"
	case len(w.raw) > 2 && owner && w.raw[0] == "home" && is("HOME", "/home/"+w.raw[1]):
		w.parts = w.parts[2:]
		w.notes = append(w.notes, "@{HOME} for /home/"+w.raw[1])
		return "@{HOME}"
	}
	return ""
}

// ids are names that a container, a pod or an image has by chance.
var ids = sync.OnceValue(func() []random {
	return []random{
		{regexp.MustCompile(`^[0-9a-f]{64}$`), func(string) string { return "[0-9a-f]*" }},
		{regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`), func(string) string {
			return "[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*"
		}},
	}
})

// A random is a kind of names that are chosen by chance, and the pattern of all that could have been chosen instead.
type random struct {
	name    *regexp.Regexp
	pattern func(name string) string
}

func (w *widening) ids() {
	for i, part := range w.raw {
		for _, r := range ids() {
			if r.name.MatchString(part) {
				w.put(i, r.pattern(part))
			}
		}
		if i > 0 && w.raw[i-1] == "snapshots" && digits(part) { // of containerd
			w.put(i, "[0-9]*")
		}
	}
}

// temporaryNames are how programs name temporary files: mktemp(1), Python's tempfile, Go's os.CreateTemp, and mkstemp(3),
// which has six letters and digits behind what the program chose.
var temporaryNames = sync.OnceValue(func() []random {
	tail := func(n int) func(string) string {
		return func(name string) string { return literal(name[:len(name)-n]) + strings.Repeat("?", n) }
	}
	return []random{
		{regexp.MustCompile(`^tmp\.[A-Za-z0-9]{10}$`), tail(10)},
		{regexp.MustCompile(`^tmp[a-z0-9_]{8}$`), tail(8)},
		{regexp.MustCompile(`^[^0-9]+[0-9]{8,10}$`), func(name string) string {
			return literal(strings.TrimRight(name, "0123456789")) + "[0-9]*"
		}},
		{regexp.MustCompile(`^.{2,}[A-Za-z0-9]{6}$`), func(name string) string {
			end := name[len(name)-6:]
			if strings.ToLower(end) == end || strings.ToUpper(end) == end || strings.Trim(end[1:], "abcdefghijklmnopqrstuvwxyz") == "" {
				return literal(name)
			}
			return literal(name[:len(name)-6]) + "??????"
		}},
	}
})

// temporaryDirs are the directories of temporary files.
var temporaryDirs = []string{"/tmp/", "/var/tmp/", "/dev/shm/", "/run/lock/"}

// unnamed finds the name that the kernel gives to a file of open(O_TMPFILE): "#" and the number of its inode.
var unnamed = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^#[0-9]+$`) })

func (w *widening) temporary() {
	last := len(w.raw) - 1
	if unnamed().MatchString(w.raw[last]) {
		w.put(last, "#[0-9]*")
	}
	path := "/" + strings.Join(w.raw, "/")
	for _, dir := range temporaryDirs {
		if !strings.HasPrefix(path, dir) {
			continue
		}
		for i := strings.Count(dir, "/") - 1; i < len(w.raw); i++ {
			for _, r := range temporaryNames() {
				if r.name.MatchString(w.raw[i]) {
					w.put(i, r.pattern(w.raw[i]))
				}
			}
		}
	}
}
