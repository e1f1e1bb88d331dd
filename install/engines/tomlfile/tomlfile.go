// Package tomlfile edits a file in TOML as a person would: an edit is a splice of its text, so that comments, order,
// blanks and keys that nobody here knows stay as they are.
package tomlfile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// File is a file that has been parsed.
type File struct {
	Path   string         // for errors
	Text   []byte         // as it is, with all edits
	Values map[string]any // what it says, with all edits
	items  []item
	mask   func([]byte) []byte
}

// item is a table's head, or a key with its value.
type item struct {
	path       []string // of the table, or of the key with that of its table before it
	table      bool
	array      bool // a table's head in double brackets
	start, end int  // of the head's line, or of the key and its value
	value      span // of a value that is a string, a number or a boolean
	strings    []String
}

type span struct{ start, end int }

// String is a string in an array, and where it stands in the text with its quotes.
type String struct {
	Value      string
	start, end int
}

// Parse parses a file. An error names the path, the line and the column.
func Parse(path string, text []byte) (*File, error) {
	f := &File{Path: path}
	return f, f.load(text)
}

// ParseMasked parses what a mask leaves of a file that is not all TOML, as a template. The mask returns a text of the same
// length, in which all else is a comment or blank. All of the file is in Text, and stays as it is.
func ParseMasked(path string, text []byte, mask func(text []byte) []byte) (*File, error) {
	f := &File{Path: path, mask: mask}
	return f, f.load(text)
}

// load parses a text and takes it in place of what there was.
func (f *File) load(all []byte) error {
	text := all
	if f.mask != nil {
		text = f.mask(all)
	}
	values := map[string]any{}
	if err := toml.Unmarshal(text, &values); err != nil {
		line, column := 1, 1
		if at := new(toml.DecodeError); errors.As(err, &at) {
			line, column = at.Position()
		}
		return fmt.Errorf("%s:%d:%d: %w", f.Path, line, column, err)
	}
	var p unstable.Parser
	p.Reset(text)
	var items []item
	var table []string
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			names, at := keys(e.Key())
			table = names
			start := bytes.LastIndexByte(text[:at], '\n') + 1
			items = append(items, item{path: names, table: true, array: e.Kind == unstable.ArrayTable, start: start,
				end: lineEnd(text, at)})
		case unstable.KeyValue:
			names, at := keys(e.Key())
			it := item{path: append(table[:len(table):len(table)], names...), start: at, end: at + int(e.Raw.Length)}
			switch v := e.Value(); v.Kind {
			case unstable.Array:
				for c := v.Children(); c.Next(); {
					if n := c.Node(); n.Kind == unstable.String {
						it.strings = append(it.strings, String{string(n.Data), int(n.Raw.Offset), int(n.Raw.Offset + n.Raw.Length)})
					}
				}
			case unstable.InlineTable:
			default:
				it.value = span{int(v.Raw.Offset), int(v.Raw.Offset + v.Raw.Length)}
			}
			items = append(items, it)
		}
	}
	if err := p.Error(); err != nil { // Unmarshal has it, too
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	f.Text, f.Values, f.items = all, values, items
	return nil
}

// keys returns the names of a dotted key, and where the first begins.
func keys(it unstable.Iterator) (names []string, at int) {
	for it.Next() {
		n := it.Node()
		if names == nil {
			at = int(n.Raw.Offset)
		}
		names = append(names, string(n.Data))
	}
	return names, at
}

// lineEnd returns where the line of an offset ends, with its newline.
func lineEnd(text []byte, at int) int {
	if n := bytes.IndexByte(text[at:], '\n'); n >= 0 {
		return at + n + 1
	}
	return len(text)
}

// Get returns the value at a path of keys, and nil where there is none.
func (f *File) Get(path ...string) any { return Get(f.Values, path...) }

// Get returns the value at a path of keys in decoded tables, and nil where there is none.
func Get(values map[string]any, path ...string) any {
	var v any = values
	for _, name := range path {
		table, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		if v, ok = table[name]; !ok {
			return nil
		}
	}
	return v
}

// Line returns the line of a table's head or of a key, from 1. Where neither has just this path, that is the line of the
// first below it, or of the inline table that has it.
func (f *File) Line(path ...string) int {
	for i := range f.items {
		it := &f.items[i]
		if begins(it.path, path) || !it.table && begins(path, it.path) {
			return 1 + bytes.Count(f.Text[:it.start], []byte("\n"))
		}
	}
	return 1
}

// Strings returns the strings of the array at a path.
func (f *File) Strings(path ...string) []String {
	if i := f.find(path); i >= 0 {
		return f.items[i].strings
	}
	return nil
}

// find returns the index of a key's item; -1 where the key is not written with a line of its own.
func (f *File) find(path []string) int {
	for i := range f.items {
		if !f.items[i].table && equal(f.items[i].path, path) {
			return i
		}
	}
	return -1
}

// Replace replaces strings of an array by others, as Strings has returned them and in their order.
func (f *File) Replace(all []String, with func(string) string) error {
	var out []byte
	at := 0
	for _, s := range all {
		out = append(append(out, f.Text[at:s.start]...), Quote(with(s.Value))...)
		at = s.end
	}
	return f.load(append(out, f.Text[at:]...))
}

// Quote writes a string as both versions of TOML and all of their readers have it.
func Quote(s string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String() + `"`
}

// SetString sets the key of a table to a string: in place of its value where it has one, else in a line of its own, first in
// the table. A table that is nowhere is appended.
func (f *File) SetString(table []string, key, value string) error {
	path := append(table[:len(table):len(table)], key)
	text := bare(key) + " = " + Quote(value)
	if i := f.find(path); i >= 0 {
		v := f.items[i].value
		if v.end == 0 {
			return fmt.Errorf("%s:%d: %s is no string", f.Path, f.Line(path...), key)
		}
		return f.splice(v.start, v.end, Quote(value))
	}
	for i := range f.items {
		it := &f.items[i]
		if !it.table || it.array || !equal(it.path, table) {
			continue
		}
		indent := indentOf(f.Text, it.start)
		if i+1 < len(f.items) && !f.items[i+1].table {
			indent = indentOf(f.Text, bytes.LastIndexByte(f.Text[:f.items[i+1].start], '\n')+1)
		} else {
			indent += "  "
		}
		if it.end > 0 && f.Text[it.end-1] != '\n' {
			text = "\n" + indent + text
		} else {
			text = indent + text + "\n"
		}
		return f.splice(it.end, it.end, text)
	}
	return f.Append(Head(table) + "\n  " + text + "\n")
}

func indentOf(text []byte, at int) string {
	line := text[at:]
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

// Drop removes a key with its line. There is no error where it is missing.
func (f *File) Drop(path ...string) error {
	i := f.find(path)
	if i < 0 {
		return nil
	}
	it := f.items[i]
	return f.splice(bytes.LastIndexByte(f.Text[:it.start], '\n')+1, lineEnd(f.Text, it.end), "")
}

// DropEmpty removes a table's head with its line, where no key stands below it. There is no error where there is none.
func (f *File) DropEmpty(table ...string) error {
	for i := range f.items {
		it := &f.items[i]
		if it.table && !it.array && equal(it.path, table) && (i+1 == len(f.items) || f.items[i+1].table) {
			return f.splice(it.start, it.end, "")
		}
	}
	return nil
}

// DropStrings removes strings from an array, and the array with its line where no string is left in it. There is no error
// where it is missing.
func (f *File) DropStrings(is func(string) bool, path ...string) error {
	for {
		all := f.Strings(path...)
		i := slices.IndexFunc(all, func(s String) bool { return is(s.Value) })
		switch {
		case i < 0:
			return nil
		case !slices.ContainsFunc(all, func(s String) bool { return !is(s.Value) }):
			return f.Drop(path...)
		}
		start, end := all[i].start, all[i].end
		if i+1 < len(all) {
			end = all[i+1].start
		} else {
			start = all[i-1].end
		}
		if err := f.splice(start, end, ""); err != nil {
			return err
		}
	}
}

// Append appends lines, with an empty one before them.
func (f *File) Append(lines string) error {
	text := bytes.Clone(f.Text)
	if len(text) > 0 {
		if text[len(text)-1] != '\n' {
			text = append(text, '\n')
		}
		text = append(text, '\n')
	}
	return f.load(append(text, lines...))
}

// Cut removes a table and all tables below it, each from its head to its last key, and the line above a head that is just
// mark. Other comments stay. One that is written in another way than by heads is an error.
func (f *File) Cut(table []string, mark string) error {
	for i := len(f.items) - 1; i >= 0; i-- {
		it := f.items[i]
		if !it.table || !begins(it.path, table) {
			continue
		}
		end := it.end
		for _, key := range f.items[i+1:] {
			if key.table {
				break
			}
			end = lineEnd(f.Text, key.end)
		}
		start := it.start
		above := bytes.LastIndexByte(f.Text[:max(start-1, 0)], '\n') + 1
		if start > 0 && strings.TrimSpace(string(f.Text[above:start])) == mark {
			start = above
			if above > 1 && f.Text[above-1] == '\n' && f.Text[above-2] == '\n' {
				start--
			}
		}
		if err := f.splice(start, end, ""); err != nil {
			return err
		}
	}
	if f.Get(table...) != nil {
		return fmt.Errorf("%s:%d: %s is written in a way that is not understood here: take it out by hand", f.Path, f.Line(table...),
			strings.Join(table, "."))
	}
	return nil
}

// Empty reports whether the file says nothing but what the keys of its top are that are named.
func (f *File) Empty(but ...string) bool {
	n := len(f.Values)
	for _, key := range but {
		if _, ok := f.Values[key]; ok {
			n--
		}
	}
	return n == 0
}

// Whole reports whether all of the file is TOML.
func (f *File) Whole() bool { return f.mask == nil }

// Says reports whether the file has any value, and not tables alone.
func (f *File) Says() bool { return says(f.Values) }

func says(values map[string]any) bool {
	for _, v := range values {
		if sub, ok := v.(map[string]any); !ok || says(sub) {
			return true
		}
	}
	return false
}

func (f *File) splice(start, end int, text string) error {
	return f.load([]byte(string(f.Text[:start]) + text + string(f.Text[end:])))
}

// Head returns the head of a table.
func Head(table []string) string {
	parts := make([]string, len(table))
	for i, name := range table {
		parts[i] = bare(name)
	}
	return "[" + strings.Join(parts, ".") + "]"
}

// bare writes a key, in quotes where it needs them.
func bare(key string) string {
	if strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" || key == "" {
		return Quote(key)
	}
	return key
}

// Value writes a string, a boolean, an integer, or an array of these. Any other value is an error.
func Value(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return Quote(v), nil
	case bool, int64:
		return fmt.Sprint(v), nil
	case []any:
		all := make([]string, len(v))
		for i := range v {
			var err error
			if all[i], err = Value(v[i]); err != nil {
				return "", err
			}
		}
		return "[" + strings.Join(all, ", ") + "]", nil
	}
	return "", fmt.Errorf("%v is neither a string, a boolean, an integer nor an array", v)
}

func equal(a, b []string) bool { return len(a) == len(b) && begins(a, b) }

// begins reports whether a path has another at its beginning.
func begins(path, with []string) bool {
	if len(path) < len(with) {
		return false
	}
	for i := range with {
		if path[i] != with[i] {
			return false
		}
	}
	return true
}
