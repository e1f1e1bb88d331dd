package status

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Filter selects profiles and processes, as options of aa-status do. They must match all of it. Nil matches everything.
type Filter struct {
	Mode, Profile *regexp.Regexp
	PID, Exe      *regexp.Regexp // of processes
}

// Profiles returns those that match.
func (f Filter) Profiles(all []Profile) []Profile {
	var some []Profile
	for _, p := range all {
		if matches(f.Mode, p.Mode) && matches(f.Profile, p.Name) {
			some = append(some, p)
		}
	}
	return some
}

// Processes returns those that match.
func (f Filter) Processes(all []Process) []Process {
	var some []Process
	for _, p := range all {
		if matches(f.Mode, p.Mode) && matches(f.Profile, p.Profile) && matches(f.PID, strconv.Itoa(p.PID)) && matches(f.Exe, p.Exe) {
			some = append(some, p)
		}
	}
	return some
}

// Containers returns those that have a process which matches, or all if the filter is empty. processes are those of the
// node, with their programs.
func (f Filter) Containers(all []Container, processes []Process) []Container {
	if f == (Filter{}) || all == nil {
		return all
	}
	exes := make(map[int]string, len(processes))
	for _, p := range processes {
		exes[p.PID] = p.Exe
	}
	some := []Container{}
	for _, c := range all {
		for i := range c.Processes {
			m := &c.Processes[i]
			if len(f.Processes([]Process{{m.PID, m.profile(), m.mode(), cmp.Or(exes[m.PID], m.Exe)}})) > 0 {
				some = append(some, c)
				break
			}
		}
	}
	return some
}

func matches(re *regexp.Regexp, s string) bool { return re == nil || re.MatchString(s) }

// CompileBasic compiles a basic regular expression of POSIX, with GNU's \+, \?, \|, \w, \s, \< and so on. regcomp(3) takes
// these, and so does aa-status. CompileBasic does not support back-references.
func CompileBasic(expr string) (*regexp.Regexp, error) {
	var out strings.Builder
	out.WriteString("(?s)")
	start := true // a * or ^ means something else where an expression begins
	for i := 0; i < len(expr); i++ {
		c := expr[i]
		was := start
		start = false
		switch {
		case c == '\\' && i+1 == len(expr):
			return nil, fmt.Errorf("%q ends with a backslash", expr)
		case c == '\\':
			i++
			c = expr[i]
			if '1' <= c && c <= '9' {
				return nil, fmt.Errorf(`%q refers back by \%c, which is not supported`, expr, c)
			}
			out.WriteString(escaped(c))
			start = c == '(' || c == '|'
		case c == '[':
			end := bracketEnd(expr[i:])
			if end < 0 {
				return nil, fmt.Errorf("%q has a [ without its ]", expr)
			}
			out.WriteString(strings.ReplaceAll(expr[i:i+end], `\`, `\\`)) // it stands for itself in there
			i += end - 1
		case c == '*':
			if was {
				out.WriteByte('\\')
			}
			out.WriteByte(c)
		case c == '^' && was:
			out.WriteByte(c)
			start = true
		case c == '$' && ends(expr[i+1:]):
			out.WriteByte(c)
		case c == '.':
			out.WriteByte(c)
		default:
			out.WriteString(literal(c))
		}
	}
	re, err := regexp.Compile(out.String())
	if err != nil {
		return nil, fmt.Errorf("%q is no basic regular expression", expr)
	}
	return re, nil
}

// ends reports whether a part of an expression ends before rest. A $ has another meaning there.
func ends(rest string) bool {
	return rest == "" || strings.HasPrefix(rest, `\)`) || strings.HasPrefix(rest, `\|`)
}

// literal returns the expression for a byte of the text, which may be a part of a character.
func literal(c byte) string {
	if c >= 0x80 {
		return string([]byte{c})
	}
	return regexp.QuoteMeta(string(rune(c)))
}

// escaped returns the expression for a character after a backslash.
func escaped(c byte) string {
	switch {
	case strings.IndexByte("(|){}+?", c) >= 0:
		return string(c)
	case c == '<' || c == '>':
		return `\b`
	case strings.IndexByte("wWsSbB", c) >= 0:
		return `\` + string(c)
	case c == '`':
		return `\A`
	case c == '\'':
		return `\z`
	}
	return regexp.QuoteMeta(string(rune(c)))
}

// bracketEnd returns the length of the bracket expression at the beginning of s, or -1.
func bracketEnd(s string) int {
	i := len("[")
	if i < len(s) && s[i] == '^' {
		i++
	}
	if i < len(s) && s[i] == ']' {
		i++
	}
	for i < len(s) {
		if s[i] == ']' {
			return i + 1
		}
		if s[i] == '[' && i+1 < len(s) && strings.IndexByte(":.=", s[i+1]) >= 0 {
			end := strings.Index(s[i+2:], s[i+1:i+2]+"]")
			if end < 0 {
				return -1
			}
			i += end + 4
			continue
		}
		i++
	}
	return -1
}
