package profile

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// heard are the kinds of warnings that we read (warnflag_table in parser/parser_main.c; 3.0 has all of them). The
// others are left out. A compilation here uses no caches, jobs or configuration. "format" names the text's last line,
// whatever line it is about. "pound-include" is about a spelling. Package lint says more than "dangerous".
var heard = []string{"rule-not-enforced", "rule-downgraded", "abi", "deprecated", "unexpected", "missing", "override"}

const (
	maxWarnings = 100 // of one text that are kept
	maxWarning  = 500 // bytes of each
)

// A Warning is what apparmor_parser reports about a text that it compiles.
type Warning struct {
	File    string // path of the included file that the warning is about; empty for the text itself
	Line    int    // counts from 1, in File or in the text; 0 if the parser names none
	Profile string // the profile that the warning is about; empty for the text as a whole
	Message string // one line, without control characters
}

// The forms in which the parser says where (pwarnf in parser/parser_misc.c, common_warn_once in parser/parser_common.c):
//
//	Warning from FILE (FILE line N): MESSAGE
//	Warning from profile NAME (FILE): MESSAGE
//
// FILE is "stdin" for the text.
var (
	warningInLine = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^Warning from .*? \((?:(.*) )?line ([0-9]{1,9})\): (.*)$`)
	})
	warningOfProfile = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^Warning from profile (.*?) \(([^()]*)\): (.*)$`)
	})
)

// warnings reads what the parser wrote on its stderr though it succeeded. A line that begins no warning belongs to the one
// before it; what is in no known form is kept as it is. Each is kept once.
func (c *Compiler) warnings(stderr []byte) []Warning {
	var all []Warning
	dropped := 0
	for _, said := range paragraphs(stderr) {
		w := Warning{Message: said}
		if m := warningInLine().FindStringSubmatch(said); m != nil {
			w = Warning{File: m[1], Message: m[3]}
			w.Line, _ = strconv.Atoi(m[2])
		} else if m := warningOfProfile().FindStringSubmatch(said); m != nil {
			w = Warning{File: m[2], Profile: m[1], Message: m[3]}
		}
		if w.File == "stdin" {
			w.File = ""
		}
		w.Message = strings.TrimPrefix(w.Message, c.Parser+": ")
		if slices.Contains(all, w) {
			continue
		}
		if len(all) == maxWarnings {
			dropped++
			continue
		}
		all = append(all, w)
	}
	if dropped > 0 {
		all = append(all, Warning{Message: strconv.Itoa(dropped) + " more warnings of apparmor_parser are left out"})
	}
	return all
}

// paragraphs cuts what the parser said into warnings, each on one line and not longer than maxWarning.
func paragraphs(stderr []byte) []string {
	var all []string
	for line := range bytes.Lines(stderr) {
		text := oneline.Output(line)
		switch {
		case text == "":
			continue
		case len(all) == 0 || strings.HasPrefix(text, "Warning"):
			all = append(all, text)
		default:
			last := &all[len(all)-1]
			if len(*last) < maxWarning {
				*last += "; " + text
			}
		}
	}
	for i, text := range all {
		all[i] = oneline.Cut(text, maxWarning)
	}
	return all
}
