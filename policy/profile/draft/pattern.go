package draft

import (
	"path"
	"strings"
)

// escaped returns a pattern that matches a path and nothing else.
func escaped(path string) string {
	var b strings.Builder
	for i := range len(path) {
		if strings.IndexByte(`*?[]{}^\,"`, path[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// word returns a pattern as a rule has it: in quotes where it has a character that could mean something else to a parser.
func word(pattern string) string {
	plain := func(c rune) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune(`/._+-:*?[]{},^`, c)
	}
	if strings.ContainsFunc(pattern, func(c rune) bool { return !plain(c) }) {
		return `"` + pattern + `"`
	}
	return pattern
}

// merged are directories that are links in most images, and those of old ones that are not.
var merged = []struct{ path, pattern string }{
	{"/bin", "/{usr/,}bin"}, {"/sbin", "/{usr/,}sbin"}, {"/lib", "/{usr/,}lib"}, {"/lib64", "/{usr/,}lib64"},
	{"/var/run", "/{var/,}run"}, {"/var/lock", "/{var,run}/lock"}, {"/run", "/{var/,}run"},
}

// pattern returns a pattern of a path in the container, with the links of the image resolved: those that are in the image,
// or if that is not known those that most images have.
func (w *writer) pattern(name string) string {
	if w.Files != nil {
		// What a mount is at may not be in the image yet: the runtime makes it.
		for dir, rest := name, ""; ; dir, rest = path.Dir(dir), path.Join(path.Base(dir), rest) {
			if real, ok := w.Files.Real(dir); ok && printable(real) {
				return escaped(path.Join(real, rest))
			}
			if dir == "/" {
				break
			}
		}
	}
	for _, m := range merged {
		if rest, below := under(name, m.path); below {
			return m.pattern + escaped(rest)
		}
	}
	return escaped(name)
}

// under reports whether a path is a directory or below it, and returns the rest, which is empty or begins with a slash.
func under(name, dir string) (rest string, is bool) {
	if dir == "/" {
		if name == "/" {
			return "", true
		}
		return name, true
	}
	rest, is = strings.CutPrefix(name, dir)
	return rest, is && (rest == "" || rest[0] == '/')
}

// printable reports whether a path can stand in a text.
func printable(path string) bool {
	return strings.HasPrefix(path, "/") && !strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}
