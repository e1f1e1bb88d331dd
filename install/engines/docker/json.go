package docker

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// file is a file of one JSON object that is edited by splices of its text, so that order, indents and unknown keys stay. An
// empty text stands for an object without members, as dockerd has it.
type file struct {
	path string
	text []byte
}

// member is a member of an object, by offsets in the text.
type member struct {
	name       string
	start, end int // from the name's quote to the value's end
	value      int // where the value begins
}

// object is an object's members, and where its braces are.
type object struct {
	members     []member
	open, close int
}

// bom is what dockerd skips at the beginning of a file.
var bom = []byte("\xef\xbb\xbf")

// at returns an error with the place of an offset.
func (f *file) at(offset int, err error) error { return fmt.Errorf("%s: %w", f.placeOf(offset), err) }

// placeOf returns FILE:LINE:COLUMN of an offset, the column in characters from 1.
func (f *file) placeOf(offset int) string {
	before := bytes.TrimPrefix(f.text[:min(max(offset, 0), len(f.text))], bom)
	line := bytes.LastIndexByte(before, '\n') + 1
	return fmt.Sprintf("%s:%d:%d", f.path, 1+bytes.Count(before, []byte("\n")), 1+utf8.RuneCount(before[line:]))
}

// place returns FILE:LINE:COLUMN of a member, or the file's path where there is none.
func (f *file) place(names ...string) string {
	_, m, err := f.find(names...)
	if err != nil || m == nil {
		return f.path
	}
	return f.placeOf(m.start)
}

// usual returns what people write into JSON by mistake and where it is, if the text has that at the offset of a fault, and
// else the offset and the error.
func usual(text []byte, offset int, err error) (int, error) {
	at := min(offset, len(text))
	rest := text[at:]
	for _, comment := range []string{"//", "/*", "#"} {
		if bytes.HasPrefix(rest, []byte(comment)) {
			return at, errors.New("JSON has no comments")
		}
	}
	comma := at // or the fault is at the bracket after it
	if bytes.HasPrefix(rest, []byte(",")) {
		rest = bytes.TrimSpace(rest[1:])
	} else {
		comma = len(bytes.TrimRight(text[:at], " \t\r\n")) - 1
	}
	if comma >= 0 && text[comma] == ',' && (bytes.HasPrefix(rest, []byte("}")) || bytes.HasPrefix(rest, []byte("]"))) {
		return comma, errors.New("this comma is too many, as nothing follows it")
	}
	return at, err
}

// blank reports whether the text says nothing.
func (f *file) blank() bool { return len(bytes.TrimSpace(bytes.TrimPrefix(f.text, bom))) == 0 }

// check returns an error, with its line and column, unless the text is one object in which no name stands twice.
func (f *file) check() error {
	if f.blank() {
		return nil
	}
	_, err := f.object(0, len(f.text))
	return err
}

// object reads the object in a part of the text, and nothing may follow it there.
func (f *file) object(from, to int) (*object, error) {
	part := f.text[from:to]
	if from == 0 && bytes.HasPrefix(part, bom) {
		from, part = len(bom), part[len(bom):]
	}
	d := jsontext.NewDecoder(bytes.NewReader(part))
	fail := func(err error) error {
		offset := int(d.InputOffset())
		if syntax := new(jsontext.SyntacticError); errors.As(err, &syntax) {
			offset, err = usual(part, int(syntax.ByteOffset), syntax.Err)
		}
		return f.at(from+offset, err)
	}
	if d.PeekKind() != '{' {
		if _, err := d.ReadToken(); err != nil {
			return nil, fail(err)
		}
		return nil, f.at(from, errors.New("this is no JSON object"))
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, fail(err)
	}
	o := &object{open: from + int(d.InputOffset()) - 1}
	for d.PeekKind() != '}' {
		name, err := d.ReadValue()
		if err != nil {
			return nil, fail(err)
		}
		m := member{end: from + int(d.InputOffset())}
		m.start = m.end - len(name)
		unquoted, err := jsontext.AppendUnquote(nil, name)
		if err != nil {
			return nil, fail(err)
		}
		m.name = string(unquoted)
		value, err := d.ReadValue()
		if err != nil {
			return nil, fail(err)
		}
		m.end = from + int(d.InputOffset())
		m.value = m.end - len(value)
		o.members = append(o.members, m)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, fail(err)
	}
	o.close = from + int(d.InputOffset()) - 1
	if rest := bytes.TrimSpace(f.text[o.close+1 : to]); len(rest) > 0 {
		return nil, f.at(o.close+1, errors.New("something follows the JSON object"))
	}
	return o, nil
}

// find returns the object at a path of names, its member of a name, and nil where either is missing.
func (f *file) find(names ...string) (*object, *member, error) {
	if f.blank() {
		return nil, nil, nil
	}
	from, to := 0, len(f.text)
	for i, name := range names {
		o, err := f.object(from, to)
		if err != nil {
			return nil, nil, err
		}
		var found *member
		for j := range o.members {
			if o.members[j].name == name {
				found = &o.members[j]
			}
		}
		if i == len(names)-1 {
			return o, found, nil
		}
		if found == nil || string(f.text[found.value:found.end]) == "null" { // dockerd takes null for none
			return nil, nil, nil
		}
		from, to = found.value, found.end
	}
	return nil, nil, nil
}

// get returns the text of the value at a path; nil for none.
func (f *file) get(names ...string) (jsontext.Value, error) {
	_, m, err := f.find(names...)
	if err != nil || m == nil {
		return nil, err
	}
	return jsontext.Value(f.text[m.value:m.end]), nil
}

// set sets the member at a path to a value, which is JSON in one line: in place of the one it has, or after the last member
// of the object, written as that is.
func (f *file) set(value string, names ...string) error {
	last := len(names) - 1
	if f.blank() {
		f.text = append(bytes.TrimSuffix(f.text, []byte("\n")), "{}\n"...)
	}
	o, m, err := f.find(names...)
	switch {
	case err != nil:
		return err
	case m != nil:
		f.splice(m.value, m.end, value)
	case o == nil:
		return f.set(`{`+quote(names[last])+`: `+value+`}`, names[:last]...)
	default:
		f.insert(o, quote(names[last])+": "+value)
	}
	return f.check()
}

// insert adds a member at an object's end.
func (f *file) insert(o *object, text string) {
	if n := len(o.members); n > 0 {
		end := o.members[n-1].end
		f.splice(end, end, ","+f.gap(o.members[n-1].start, " ")+text)
		return
	}
	outer := f.gap(o.open, "\n")
	if !strings.Contains(outer, "\n") {
		outer = "\n"
	}
	f.splice(o.open+1, o.close, outer+"  "+text+outer)
}

// gap returns the blanks before an offset; otherwise where there are none.
func (f *file) gap(at int, otherwise string) string {
	head := f.text[:at]
	if gap := head[len(bytes.TrimRight(head, " \t\r\n")):]; len(gap) > 0 {
		return string(gap)
	}
	return otherwise
}

// drop removes the member at a path. There is no error where it is missing.
func (f *file) drop(names ...string) error {
	o, m, err := f.find(names...)
	if err != nil || m == nil {
		return err
	}
	i := 0
	for o.members[i].name != m.name {
		i++
	}
	switch {
	case len(o.members) == 1:
		f.splice(o.open+1, o.close, "")
	case i+1 < len(o.members):
		f.splice(m.start, o.members[i+1].start, "")
	default:
		f.splice(o.members[i-1].end, m.end, "")
	}
	return f.check()
}

func (f *file) splice(start, end int, text string) {
	f.text = []byte(string(f.text[:start]) + text + string(f.text[end:]))
}

// quote writes a string in JSON.
func quote(s string) string {
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil { // not UTF-8, with what stands for it in its place
		return string(b)
	}
	return string(b)
}
