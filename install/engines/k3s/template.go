package k3s

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/containerd"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
)

// A template of text/template is no TOML, and most of what stands in it is nothing to us. So it is read table by table, and
// all is taken for a comment but the tables that have our runtime, or that make it the default.

// parse parses a template, or a file in TOML.
func parse(p string, text []byte) (*tomlfile.File, error) {
	if path.Ext(p) != ".tmpl" {
		return tomlfile.Parse(p, text)
	}
	if at := foreign.FindIndex(masked(text, func(s section) bool { return !s.ours })); at != nil {
		return nil, fmt.Errorf("%s:%d: a runtime %s stands here that is not ours, or in a way that is not understood: take it out by hand",
			p, 1+bytes.Count(text[:at[0]], []byte("\n")), containerd.Runtime)
	}
	return tomlfile.ParseMasked(p, text, func(text []byte) []byte { return masked(text, func(s section) bool { return s.ours }) })
}

// foreign is a line that has our runtime's name, where its table is not one that is ours.
var foreign = regexp.MustCompile(`(?m)^[^#\n]*(\bruntimes\b.*\b` + containerd.Runtime + `\b|\bdefault_runtime_name\s*=\s*["']` + containerd.Runtime + `\b)`)

// section is a part of a template: a table's head with the lines below it, up to the next head or action, or lines that are
// in no table.
type section struct {
	start, end int
	ours       bool // a table that is our runtime's, that makes it the default, or that could and has nothing
	found      containerd.Found
}

// sections returns the parts of a template.
func sections(text []byte) []section {
	all := []section{{}}
	at := 0
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte("{{")) || bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("[")) {
			all[len(all)-1].end = at
			all = append(all, section{start: at})
		}
		at += len(line)
	}
	all[len(all)-1].end = at
	var tables []byte // of our name
	for i := range all {
		s := &all[i]
		if f, err := tomlfile.Parse("", text[s.start:s.end]); err == nil {
			if s.found = containerd.Find(f); s.found.Table {
				tables = append(tables, text[s.start:s.end]...)
			}
		}
	}
	f, err := tomlfile.Parse("", tables)
	areOurs := err == nil && containerd.Find(f).Ours
	for i := range all {
		s := &all[i]
		s.ours = s.found.Table && areOurs || s.found.Default || s.found.Empty
	}
	return all
}

// masked returns a template with # for every character but those of the sections to keep, so that all else is a comment.
func masked(text []byte, keep func(section) bool) []byte {
	text = bytes.Clone(text)
	for _, s := range sections(text) {
		for i := s.start; i < s.end && !keep(s); i++ {
			if text[i] != '\n' {
				text[i] = '#'
			}
		}
	}
	return text
}

// ours returns the text of the tables of a template that are ours.
func ours(text []byte) string {
	var all strings.Builder
	for _, s := range sections(text) {
		if s.ours && !s.found.Empty {
			all.Write(text[s.start:s.end])
		}
	}
	return all.String()
}
