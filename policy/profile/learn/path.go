package learn

import (
	"slices"
	"strings"
)

// pattern returns the pattern of a rule for a path, and whether it matches other paths, too: it leaves open the numbers of
// processes, the ids of containers, and the random part of temporary names, which are others each time.
func pattern(path string) (glob string, loose bool) {
	parts := strings.Split(path, "/")
	temporary := strings.HasPrefix(path, "/tmp/") || strings.HasPrefix(path, "/var/tmp/") || strings.HasPrefix(path, "/dev/shm/")
	process := len(parts) > 2 && parts[1] == "proc" && digits(parts[2])
	names := slices.Clone(parts)
	for i, part := range names {
		open := ""
		if process {
			open = openOfProcess(names, i)
		}
		if open == "" {
			open = openName(part, temporary)
		}
		if open == "" {
			parts[i] = literal(part)
			continue
		}
		parts[i], loose = open, true
	}
	glob = strings.Join(parts, "/")
	if process {
		glob = glob[1:] // the variable begins with one
	}
	return glob, loose
}

// openOfProcess returns a pattern for a part of a path below /proc/NUMBER that is another one for each process.
func openOfProcess(parts []string, i int) string {
	switch {
	case i == 1:
		return "@{PROC}"
	case i == 2:
		return "@{pid}"
	case i < 4 || !digits(parts[i]):
		return ""
	case parts[i-1] == "task":
		return "@{tid}"
	case parts[i-1] == "fd" || parts[i-1] == "fdinfo":
		return "[0-9]*"
	}
	return ""
}

// openName returns a pattern for a name that is another one each time, and an empty string for any other name.
func openName(name string, temporary bool) string {
	switch {
	case isUUID(name):
		return "????????-????-????-????-????????????"
	case len(name) >= 32 && all(name, hexadecimal):
		return "[0-9a-f]*"
	case len(name) > 1 && name[0] == '#' && digits(name[1:]): // O_TMPFILE
		return "#[0-9]*"
	case len(name) >= 6 && digits(name):
		return "[0-9]*"
	}
	if !temporary {
		return ""
	}
	return randomTail(name, false)
}

// randomTail returns a pattern for a name that ends, but for an extension, in random letters and digits as mkstemp(3),
// mktemp(1) and Python write them; or an empty string. strict asks for letters of both cases, or digits among them.
func randomTail(name string, strict bool) string {
	stem, extension := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 && len(name)-dot <= 5 && !looksRandom(name[dot+1:], strict) {
		stem, extension = name[:dot], name[dot:]
	}
	begin := len(stem)
	for begin > 0 && alphanumeric(stem[begin-1]) {
		begin--
	}
	tail := stem[begin:]
	switch {
	case strings.HasPrefix(stem, "tmp") && begin == 0 && len(tail) == 11: // Python's tempfile
		tail = tail[3:]
	case begin == 0 || len(tail) > 12:
		tail = tail[max(0, len(tail)-6):]
	}
	if len(tail) < 6 || !looksRandom(tail, strict) {
		return ""
	}
	return literal(stem[:len(stem)-len(tail)]) + strings.Repeat("?", len(tail)) + literal(extension)
}

// looksRandom reports whether a text of letters and digits is none that a person would write: cases and digits change in it.
func looksRandom(text string, strict bool) bool {
	least := 1
	if strict {
		least = 2
	}
	changes := 0
	for i := 1; i < len(text); i++ {
		if sort := class(text[i]); sort != class(text[i-1]) && (i > 1 || sort != 'a') { // one capital letter begins a word
			changes++
		}
	}
	return len(text) >= 6 && changes >= least
}

func class(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return '0'
	case c >= 'A' && c <= 'Z':
		return 'A'
	}
	return 'a'
}

func all(text string, is func(byte) bool) bool {
	for i := range len(text) {
		if !is(text[i]) {
			return false
		}
	}
	return text != ""
}

func digits(text string) bool { return all(text, func(c byte) bool { return c >= '0' && c <= '9' }) }

func hexadecimal(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

func isUUID(name string) bool {
	if len(name) != 36 {
		return false
	}
	for i := range len(name) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (name[i] == '-') || !dash && !hexadecimal(name[i]|0x20) {
			return false
		}
	}
	return true
}

// ownedAt reports whether rules about a path say owner where only owners were seen: a process's own files in /proc, and
// where everybody may make files. Elsewhere root owns what root reads, and a rule with owner would say nothing.
func ownedAt(glob string) bool {
	for _, dir := range []string{"@{PROC}/@{pid}/", "/tmp/", "/var/tmp/", "/dev/shm/", "/home/", "/run/user/"} {
		if strings.HasPrefix(glob, dir) {
			return true
		}
	}
	return false
}
