package profile

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// Bounds on what expand puts together.
const (
	maxExpanded = 4 * MaxText // bytes
	maxDepth    = 20          // files that include one another
)

// includeLine is an include as almost every text has it: alone in a line, and by a plain name in <>.
var includeLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[ \t]*#?include[ \t]+(if[ \t]+exists[ \t]+)?<([A-Za-z0-9_][A-Za-z0-9_./+-]*)>[ \t\r]*\n?$`)
})

// expand returns a text with its includes put in. It knows only how texts usually include files, and ok is false for a text
// that does so in another way. It takes a fraction of the time of Preprocess, which asks the parser. But expand decides by
// itself what the parser would read, so a caller must prove that the text compiles to the same as before.
func (c *Compiler) expand(text []byte) (whole string, ok bool) {
	e := expansion{base: cmp.Or(c.Base, BaseDir)}
	e.put(string(text), "", nil, 0)
	return e.b.String(), !e.failed
}

// An Origin is where a line of an expanded text comes from.
type Origin struct {
	File string  // path of the included file; empty for the text itself
	Line int     // counts from 1
	By   *Origin // the statement that includes the file; nil for the text itself
}

// An Expanded is a text with its includes put in, and where each of its lines comes from.
type Expanded struct {
	Text  string
	Lines []Origin
}

// Expand returns a text with its includes put in. It knows only how texts usually include files, and decides by itself
// what the parser would read, so a caller must prove that the text compiles to the same as before. ok is false for a
// text that includes files in another way.
func (c *Compiler) Expand(text []byte) (whole Expanded, ok bool) {
	e := expansion{base: cmp.Or(c.Base, BaseDir), keep: true}
	e.put(string(text), "", nil, 0)
	whole = Expanded{e.b.String(), e.lines}
	return whole, !e.failed && syntax.IncludesNothing([]byte(syntax.Read(whole.Text).WithMode("")))
}

type expansion struct {
	base   string // the directory of includes
	b      strings.Builder
	keep   bool // where lines come from
	lines  []Origin
	failed bool
}

// write adds a line, or the end of one that is empty.
func (e *expansion) write(line string, from Origin) {
	e.b.WriteString(line)
	if e.keep {
		e.lines = append(e.lines, from)
	}
}

// put adds a text with its includes put in. file and by are those of its lines' Origin, and depth is how many files include
// one another so far.
func (e *expansion) put(text, file string, by *Origin, depth int) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		at := Origin{file, number, by}
		var m []string
		if strings.Contains(line, "include") {
			m = includeLine().FindStringSubmatch(line)
		}
		if m == nil {
			e.write(line, at)
		} else {
			e.include(filepath.Join(e.base, m[2]), m[1] != "", &at, depth+1)
		}
		if e.failed = e.failed || e.b.Len() > maxExpanded; e.failed {
			return
		}
	}
}

// include adds what is at a path: a file, or those of a directory. optional is that of an include "if exists".
func (e *expansion) include(path string, optional bool, by *Origin, depth int) {
	info, err := os.Stat(path)
	if depth > maxDepth || err != nil && !(optional && os.IsNotExist(err)) {
		e.failed = true
		return
	}
	switch {
	case err != nil:
	case info.Mode().IsRegular() && info.Size() <= MaxText:
		e.file(path, by, depth)
	case info.IsDir():
		entries, err := os.ReadDir(path)
		if err != nil || slices.ContainsFunc(entries, func(f os.DirEntry) bool { return f.IsDir() || leftOut(f.Name()) }) {
			e.failed = true
			return
		}
		for _, f := range entries {
			e.file(filepath.Join(path, f.Name()), by, depth)
		}
	default:
		e.failed = true
	}
}

func (e *expansion) file(path string, by *Origin, depth int) {
	text, err := os.ReadFile(path)
	if err != nil {
		e.failed = true
		return
	}
	e.write("\n", *by)
	e.put(string(text), path, by, depth)
	if strings.HasSuffix(e.b.String(), "\n") {
		e.write("\n", *by)
	} else {
		e.b.WriteByte('\n')
	}
}

// leftOut reports whether the parser may pass over a file of a directory because of its name (_aa_is_blacklisted in
// libraries/libapparmor/src/private.c).
func leftOut(name string) bool {
	backups := []string{".dpkg", ".pac", ".rpm", ".orig", ".rej"}
	ext := filepath.Ext(name)
	return name[0] == '.' || name == "README" || strings.HasSuffix(name, "~") ||
		slices.ContainsFunc(backups, func(end string) bool { return strings.HasPrefix(ext, end) })
}
