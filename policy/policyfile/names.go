package policyfile

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode"

	"github.com/oci-apparmor/oci-apparmor/policy"
)

// anID is an image's id, or the beginning of a pattern for ids.
var anID = regexp.MustCompile(`^(sha256:|[0-9a-f]{64}$)`)

// imageName has the grammar of an image's full name, REGISTRY/PATH:TAG or REGISTRY/PATH@DIGEST, and its path. It is that
// of github.com/distribution/reference, with the digests that engines know. That package compiles its expressions at each
// start of a program that has it, which took a quarter of the time of a short command.
var imageName = sync.OnceValue(func() *regexp.Regexp {
	const (
		label = `[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?`
		host  = `(?:` + label + `(?:\.` + label + `)*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?`
		part  = `[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*`
		end   = `:\w[\w.-]{0,127}|@sha256:[a-f0-9]{64}|@sha384:[a-f0-9]{96}|@sha512:[a-f0-9]{128}`
	)
	return regexp.MustCompile(`^(?:` + host + `|` + part + `)/(` + part + `(?:/` + part + `)*)(?:` + end + `)$`)
})

// isImageName reports whether an image can have this name, short or full.
func isImageName(name string) bool {
	const longest = 255 // bytes of the path
	m := imageName().FindStringSubmatch(policy.CanonicalImage(name))
	return m != nil && len(m[1]) <= longest
}

// checkImage returns an error if no image has a name that the pattern fits. full is one of the patterns for full names that
// it stands for: see policy.ImagePatterns. Both must be patterns of path.Match.
func checkImage(pattern, full string) error {
	if anID.MatchString(pattern) {
		return errors.New("is for an image's id, and an image that is run by its id has no name: write a name, as in " +
			"nginx@sha256:DIGEST")
	}
	if scheme, rest, ok := strings.Cut(pattern, "://"); ok {
		return fmt.Errorf("no image's name begins with %.64q: write %.64q", scheme+"://", rest)
	}
	registry, rest, _ := strings.Cut(literal(full), "/")
	name, suffix := rest, ""
	if i := strings.IndexAny(rest, ":@"); i >= 0 {
		name, suffix = rest[:i], rest[i:]
	}
	for _, c := range name {
		if unicode.IsUpper(c) {
			return fmt.Errorf("no image has %q in its name, where all letters are small: write %q", c, unicode.ToLower(c))
		}
	}
	switch {
	case suffix == ":" || suffix == "@":
		return fmt.Errorf("no image has an empty tag or digest: leave out the %s", suffix)
	case strings.Contains("/"+name+"/", "//"):
		return errors.New("no image has an empty part in its name")
	}
	for _, c := range strings.TrimPrefix(registry, "[") + name + suffix { // brackets stand around an IPv6 address
		known := unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune(".-_/:@+]", c) || c == wild
		if c > unicode.MaxASCII || !known {
			return fmt.Errorf("no image has %q in its name", c)
		}
	}
	if plain(pattern) == len(pattern) {
		if !isImageName(pattern) {
			return errors.New("no image has this name: invalid reference format")
		}
	}
	return nil
}

// checkKubernetesName returns an error if no namespace or pod, as key says, has a name that the pattern fits. The
// pattern must be one of path.Match. Namespaces are DNS labels (RFC 1123), and pods DNS subdomains.
func checkKubernetesName(key, pattern string) error {
	more := "-"
	if key == "pod" {
		more = "-."
	}
	for _, c := range literal(pattern) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == wild || strings.ContainsRune(more, c) {
			continue
		}
		if c == ',' {
			return fmt.Errorf("no %s has a comma in its name: write [a, b] for several patterns", key)
		}
		return fmt.Errorf("no %s has %q in its name", key, c)
	}
	return nil
}

// wild is what stands for a special character of a pattern, or for a range, in literal.
const wild = '\x00'

// literal returns a pattern with NULs in place of what fits more than one text.
func literal(pattern string) string {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*', '?':
			b.WriteByte(wild)
		case '\\':
			if i++; i < len(pattern) {
				b.WriteByte(pattern[i])
			}
		case '[':
			for i++; i < len(pattern) && pattern[i] != ']'; i++ {
				if pattern[i] == '\\' {
					i++
				}
			}
			b.WriteByte(wild)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
