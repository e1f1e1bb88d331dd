package templates

import (
	"bytes"
	"embed"
	"fmt"
	"slices"
	"strings"
	texttemplate "text/template"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// A file of the directory daemons is the profile of an engine's daemon, which is called as the daemon's program is. It is in
// the language of the other templates. What it never allows stands in the table of package protect.
//
//go:embed daemons children
var daemonFiles embed.FS

// Daemons returns the programs of the daemons that there are profiles for, sorted. A policy gives no container such a
// profile, so Names has none of them.
func Daemons() []string {
	entries, err := daemonFiles.ReadDir("daemons")
	if err != nil {
		panic(err) // it is part of the program
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// Daemon returns the text of the profile of an engine's daemon. The profile is called as the daemon's program is. mode is
// that of the profile and of its children.
func Daemon(program string, mode profile.Mode, n Target) ([]byte, error) {
	if !slices.Contains(Daemons(), program) {
		return nil, fmt.Errorf("there is no profile for a daemon %s: there is one for %s", oneline.Quote(program),
			strings.Join(Daemons(), ", "))
	}
	t, err := texttemplate.ParseFS(daemonFiles, "daemons/*", "children/*")
	if err != nil {
		return nil, err
	}
	flags := ""
	if mode != profile.Enforce {
		flags = mode.String() + ","
	}
	var text bytes.Buffer
	err = t.ExecuteTemplate(&text, program, daemonFields{fields{Name: program, node: n}, flags})
	return indented(text.Bytes()), err
}

// indented returns a text whose lines stand as far to the right as they are in blocks: what several profiles have in common
// does not know where it stands.
func indented(text []byte) []byte {
	var out bytes.Buffer
	depth, blank := 0, false
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			blank = true
			continue
		}
		if line[0] == '}' {
			depth--
		} else if blank {
			out.WriteByte('\n')
		}
		blank = false
		fmt.Fprintf(&out, "%*s%s\n", 2*depth, "", line)
		if bytes.HasSuffix(line, []byte(" {")) {
			depth++
		}
	}
	return out.Bytes()
}

// daemonFields are what the template of a daemon may use.
type daemonFields struct {
	fields
	Flags string // flags of the mode, each with a comma behind it
}
