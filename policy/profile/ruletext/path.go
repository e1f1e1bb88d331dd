package ruletext

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// Widen returns a pattern for a path in which what differs from one run to the next is left open: the numbers of processes,
// threads and descriptors, ids of containers and pods, long numbers, names of temporary files, and the home directory of the
// file's owner. It uses the text's variables where they stand for that. notes say what in it stands for what, as in "@{pid}
// for 77"; there are none if the pattern matches the path alone.
func Widen(path string, owner bool, t *syntax.Text) (pattern string, notes []string) {
	if !strings.HasPrefix(path, "/") {
		return Literal(path), nil
	}
	parts := strings.Split(path, "/")[1:]
	w := &widening{text: t, raw: parts}
	for _, p := range parts {
		w.parts = append(w.parts, Literal(p))
	}
	w.processes()
	w.ids()
	w.temporary()
	prefix := w.home(owner)
	return prefix + "/" + strings.Join(w.parts, "/"), w.notes
}

// widening is a path while it is widened.
type widening struct {
	text  *syntax.Text
	raw   []string // what stands between slashes
	parts []string // the same as patterns
	notes []string
}

// put puts a pattern in place of a part.
func (w *widening) put(i int, pattern string) { w.putAs(i, pattern, pattern) }

// putAs puts a pattern in place of a part, with words for the pattern in the note.
func (w *widening) putAs(i int, pattern, words string) {
	if w.parts[i] != Literal(w.raw[i]) || pattern == w.parts[i] {
		return // which another one has widened
	}
	w.parts[i] = pattern
	w.notes = append(w.notes, words+" for "+w.raw[i])
}

// variable returns a variable of the text if it matches a value, or else what is to stand there without one.
func (w *widening) variable(value, without string, names ...string) string {
	for _, name := range names {
		if w.stands(name, value) {
			return "@{" + name + "}"
		}
	}
	return without
}

// stands reports whether a variable of the text matches a value.
func (w *widening) stands(name, value string) bool {
	return slices.ContainsFunc(w.text.Expand("@{"+name+"}", ""), func(pattern string) bool {
		m := syntax.Matcher(strings.TrimSuffix(pattern, "/"))
		return m != nil && m.MatchString(value)
	})
}

func digits(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

// processes widens /proc/PID, and what is below it by the number of a thread or descriptor.
func (w *widening) processes() {
	if len(w.raw) < 2 || w.raw[0] != "proc" || !digits(w.raw[1]) {
		return
	}
	w.put(1, w.variable(w.raw[1], "[0-9]*", "pid", "pids"))
	for i := 3; i < len(w.raw); i++ {
		switch above := w.raw[i-1]; {
		case !digits(w.raw[i]):
		case above == "task":
			w.put(i, w.variable(w.raw[i], "[0-9]*", "tid", "tids", "pid"))
		case above == "fd" || above == "fdinfo":
			w.put(i, "[0-9]*")
		}
	}
}

// RootsHome is the home directory of root in every Linux system (hier(7)). AppArmor's @{HOME} has it beside those below /home.
const RootsHome = "/root"

// home returns what stands ahead of the path where the text has a variable for it, and takes that from the path.
func (w *widening) home(owner bool) (prefix string) {
	switch {
	case len(w.raw) > 1 && w.raw[0] == "proc" && w.stands("PROC", "/proc"):
		w.parts = w.parts[1:]
		return "@{PROC}"
	case len(w.raw) > 1 && owner && "/"+w.raw[0] == RootsHome && w.stands("HOME", RootsHome):
		w.parts = w.parts[1:]
		w.notes = append(w.notes, "@{HOME} for "+RootsHome)
		return "@{HOME}"
	case len(w.raw) > 2 && owner && w.raw[0] == "home" && w.stands("HOME", "/home/"+w.raw[1]):
		w.parts = w.parts[2:]
		w.notes = append(w.notes, "@{HOME} for /home/"+w.raw[1])
		return "@{HOME}"
	}
	return ""
}

// hexadecimal and decimal find names that are chosen by chance, or count up, but for those of temporary files: ids of containers,
// pods, images, machines. Other such names have the same length. A number of sixteen digits is hexadecimal, though the first ones
// have no letters: PostgreSQL names its log so.
var (
	hexadecimal = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^([0-9a-f]{32,}|[0-9A-F]{16,}|(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}))$`)
	})
	decimal = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]{6,}$`) })
)

// mostClasses is for how many digits of a path a pattern has a class each. A class takes up to 13 bytes, and apparmor_parser
// reads no word of more than 16 KiB. It takes about twice the time for two ids of 64 digits in each of many paths that it
// takes for "?", and five times for five.
const mostClasses = 128

// ids leaves open the digits of ids. Behind the first ones in a path, a digit is any character.
func (w *widening) ids() {
	room := mostClasses
	open := func(i int, class, words string) {
		n := len(w.raw[i]) - strings.Count(w.raw[i], "-")
		if n > room {
			class = "?"
		} else {
			room -= n
		}
		w.putAs(i, digit().ReplaceAllLiteralString(w.raw[i], class), fmt.Sprintf("%d %s", n, words))
	}
	for i, part := range w.raw {
		switch {
		case hexadecimal().MatchString(part):
			open(i, hexadecimalClass(part), "hexadecimal digits")
		case decimal().MatchString(part):
			open(i, "[0-9]", "digits")
		}
		if i > 0 && w.raw[i-1] == "snapshots" && digits(part) { // of containerd
			w.put(i, "[0-9]*")
		}
	}
}

// digit finds the digits of an id.
var digit = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[0-9A-Fa-f]`) })

// hexadecimalClass returns the class of digits with letters of the case that a name has. A name without letters does not tell.
func hexadecimalClass(name string) string {
	lower, upper := strings.ContainsAny(name, "abcdef"), strings.ContainsAny(name, "ABCDEF")
	switch {
	case lower && !upper:
		return "[0-9a-f]"
	case upper && !lower:
		return "[0-9A-F]"
	}
	return "[0-9A-Fa-f]"
}

// A random is a kind of names that are chosen by chance, and the pattern of all that could have been chosen instead.
type random struct {
	name    *regexp.Regexp
	pattern func(name string) string
}

// temporaryNames are how programs name temporary files: mktemp(1), Python's tempfile, Go's os.CreateTemp, and mkstemp(3),
// which has six letters and digits behind what the program chose.
var temporaryNames = sync.OnceValue(func() []random {
	tail := func(n int) func(string) string {
		return func(name string) string { return Literal(name[:len(name)-n]) + strings.Repeat("?", n) }
	}
	return []random{
		{regexp.MustCompile(`^tmp\.[A-Za-z0-9]{10}$`), tail(10)},
		{regexp.MustCompile(`^tmp[a-z0-9_]{8}$`), tail(8)},
		{regexp.MustCompile(`^[^0-9]+[0-9]{8,10}$`), func(name string) string {
			return Literal(strings.TrimRight(name, "0123456789")) + "[0-9]*"
		}},
		{regexp.MustCompile(`^.{2,}[A-Za-z0-9]{6}$`), func(name string) string {
			end := name[len(name)-6:]
			if strings.ToLower(end) == end || strings.ToUpper(end) == end || strings.Trim(end[1:], "abcdefghijklmnopqrstuvwxyz") == "" {
				return Literal(name) // a word, as far as can be told
			}
			return tail(6)(name)
		}},
	}
})

// extension finds what programs may put behind the part that is chosen by chance.
var extension = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\.[a-z][a-z0-9]{0,3}$`) })

// WidenTemporary returns a pattern for the name of a temporary file, without a directory, in which what was chosen by
// chance is left open. For a name that nobody would choose by chance it is Literal's.
func WidenTemporary(name string) string {
	end := extension().FindString(name)
	for _, split := range []string{"", end} {
		stem := strings.TrimSuffix(name, split)
		for _, r := range temporaryNames() {
			if r.name.MatchString(stem) {
				if pattern := r.pattern(stem); pattern != Literal(stem) {
					return pattern + Literal(split)
				}
			}
		}
	}
	return Literal(name)
}

// temporaryDirs are the directories of temporary files.
var temporaryDirs = []string{"/tmp/", "/var/tmp/", "/dev/shm/", "/run/lock/"}

func (w *widening) temporary() {
	last := len(w.raw) - 1
	if number, ok := strings.CutPrefix(w.raw[last], "#"); ok && digits(number) { // as the kernel names a file of open(O_TMPFILE)
		w.put(last, "#[0-9]*")
	}
	path := "/" + strings.Join(w.raw, "/")
	for _, dir := range temporaryDirs {
		if !strings.HasPrefix(path, dir) {
			continue
		}
		for i := strings.Count(dir, "/") - 1; i < len(w.raw); i++ {
			w.put(i, WidenTemporary(w.raw[i]))
		}
	}
}
