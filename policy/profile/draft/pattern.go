package draft

import (
	"path"
	"regexp"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
)

// braced finds an alternation of a pattern. What it finds is never a part of a name: ruletext.Literal writes a backslash ahead
// of the braces of names.
var braced = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{[^{}\\]*\}`) })

// word returns a pattern as a rule has it: in quotes where a name in it needs them. The commas of an alternation end no word.
func word(pattern string) string {
	if names := braced().ReplaceAllString(pattern, ""); ruletext.Quoted(names, false) == names {
		return pattern
	}
	return ruletext.Quoted(pattern, true)
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
			if real, ok := w.Files.Real(dir); ok && sayable(real) {
				return ruletext.Literal(path.Join(real, rest))
			}
			if dir == "/" {
				break
			}
		}
	}
	for _, m := range merged {
		if rest, below := under(name, m.path); below {
			return m.pattern + ruletext.Literal(rest)
		}
	}
	return ruletext.Literal(name)
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

// sayable reports whether a rule can be about a path.
func sayable(path string) bool {
	// The parser ends a path at a NUL, and U+FFFD stands for bytes that a description could not keep.
	return strings.HasPrefix(path, "/") && !strings.Contains(path, "\x00") && !strings.Contains(path, "\uFFFD")
}
