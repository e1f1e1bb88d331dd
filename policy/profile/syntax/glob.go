package syntax

import (
	"regexp"
	"strings"
)

// Bounds on what the variables and braces of one pattern expand to. Expand returns nil for a pattern that exceeds one.
const (
	maxExpanded = 512       // patterns
	maxPattern  = 4096      // bytes of each
	maxBytes    = 128 << 10 // of all
)

// Expand replaces the variables and braces in a pattern, and returns all patterns without any that it stands for. It
// returns nil if these are too many, or if a variable is not known. profile is the value of @{profile_name}.
func (t *Text) Expand(pattern, profile string) []string {
	return t.expandAll([]string{pattern}, profile, 0)
}

func (t *Text) expandAll(patterns []string, profile string, depth int) []string {
	if depth > 100 {
		return nil
	}
	var out []string
	again := false
	for _, p := range patterns {
		if len(p) > maxPattern {
			return nil
		}
		if at := strings.Index(p, "@{"); at >= 0 {
			end := strings.IndexByte(p[at:], '}')
			if end < 0 {
				return nil
			}
			name := p[at+2 : at+end]
			values := t.Variables[name]
			if name == "profile_name" {
				values = []string{profile}
			}
			if len(values) == 0 {
				return nil
			}
			for _, v := range values {
				out = append(out, p[:at]+v+p[at+end+1:])
			}
			again = true
		} else if before, options, after, ok := braces(p); ok {
			for _, o := range options {
				out = append(out, before+o+after)
			}
			again = true
		} else {
			out = append(out, strings.ReplaceAll(p, "//", "/"))
		}
		if len(out) > maxExpanded || size(out) > maxBytes {
			return nil
		}
	}
	if again {
		return t.expandAll(out, profile, depth+1)
	}
	return out
}

// size returns how many bytes patterns have.
func size(patterns []string) int {
	n := 0
	for _, p := range patterns {
		n += len(p)
	}
	return n
}

// braces cuts a pattern at its first outer braces.
func braces(p string) (before string, options []string, after string, ok bool) {
	depth, class, start, from := 0, false, 0, 0
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '\\':
			i++
		case class:
			class = c != ']'
		case c == '[':
			class = true
		case c == '{':
			if depth++; depth == 1 {
				start, from = i, i+1
			}
		case c == ',' && depth == 1:
			options, from = append(options, p[from:i]), i+1
		case c == '}' && depth > 0:
			if depth--; depth == 0 {
				return p[:start], append(options, p[from:i]), p[i+1:], true
			}
		}
	}
	return "", nil, "", false
}

// Matcher returns an expression that matches what a pattern without variables and braces matches: paths or labels. In a
// path, * and ? do not match a slash.
func Matcher(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`\A`)
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '\\':
			if i++; i < len(pattern) {
				b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
			}
		case '*':
			star := "[^/]"
			if strings.HasPrefix(pattern[i:], "**") {
				i++
				star = "."
			}
			b.WriteString(star)
			// After a slash something must stand: "/x/*" does not match "/x/".
			if at := strings.TrimRight(pattern[:i+1], "*"); strings.HasSuffix(at, "/") && (i+1 == len(pattern) || pattern[i+1] == '/') {
				b.WriteString("+")
			} else {
				b.WriteString("*")
			}
		case '?':
			b.WriteString("[^/]")
		case '[':
			end := strings.IndexByte(pattern[i+1:], ']')
			if end < 0 {
				return nil
			}
			class := pattern[i+1 : i+1+end]
			b.WriteString("[")
			if rest, ok := strings.CutPrefix(class, "^"); ok {
				b.WriteString("^")
				class = rest
			}
			for _, c := range class {
				if c != '-' {
					b.WriteString(regexp.QuoteMeta(string(c)))
				} else {
					b.WriteString("-")
				}
			}
			b.WriteString("]")
			i += end + 1
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	re, err := regexp.Compile("(?s)" + b.String() + `\z`)
	if err != nil {
		return nil
	}
	return re
}
