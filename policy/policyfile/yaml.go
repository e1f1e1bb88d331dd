package policyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/oci-apparmor/oci-apparmor/policy/nearest"
)

// parser reads one file into a document.
type parser struct {
	file file
	doc  *document
	errs *Errors
}

func (p *parser) at(n *yaml.Node) place { return place{p.file.path, n.Line, n.Column} }

func (p *parser) fault(n *yaml.Node, format string, args ...any) {
	p.errs.add(p.at(n), format, args...)
}

// parse parses the file, and calls top with what it holds. begins says how a file begins that is not empty.
func (p *parser) parse(begins string, top func(*yaml.Node)) {
	if p.file.err != nil {
		p.errs.add(place{file: p.file.path}, "cannot be read: %v", p.file.err)
		return
	}
	if at, what := unprintable(p.file.text); what != "" {
		at.file = p.file.path
		p.errs.add(at, "%s: a policy file is UTF-8 text", what)
		return
	}
	d := yaml.NewDecoder(bytes.NewReader(p.file.text))
	var root, second yaml.Node
	switch err := d.Decode(&root); {
	case errors.Is(err, io.EOF):
		p.errs.add(place{p.file.path, 1, 1}, "is empty: it begins with %s", begins)
		return
	case err != nil:
		p.syntax(err)
		return
	}
	switch err := d.Decode(&second); {
	case err == nil:
		p.fault(&second, "another document begins here: a policy file holds one")
	case !errors.Is(err, io.EOF):
		p.syntax(err)
	}
	p.plainYAML(&root)
	top(root.Content[0])
}

// unprintable looks for what YAML forbids: bytes that are not UTF-8, and control characters. YAML's library reports these
// without a place.
func unprintable(text []byte) (at place, what string) {
	at = place{line: 1, column: 1}
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			return at, fmt.Sprintf("byte %#02x", text[0])
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', 0x7f <= r && r < 0xa0 && r != 0x85, r == 0xfffe, r == 0xffff:
			return at, fmt.Sprintf("control character %U", r)
		case r == '\n':
			at.line, at.column = at.line+1, 0
		}
		at.column++
		text = text[n:]
	}
	return place{}, ""
}

// yamlError is the form of the YAML library's syntax errors. An error without a line is about the first line, unless it is
// about an alias without its anchor, for which the library reports no line.
var (
	yamlError   = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)$`)
	yamlNoAlias = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

func (p *parser) syntax(err error) {
	at, what := place{p.file.path, 1, 1}, err.Error()
	if m := yamlError.FindStringSubmatch(what); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			at.line = line
		}
		what = m[2]
	}
	if m := yamlNoAlias.FindStringSubmatch(what); m != nil {
		before, _, _ := bytes.Cut(p.file.text, []byte("*"+m[1]))
		at.line = 1 + bytes.Count(before, []byte("\n"))
	}
	at, hint := p.hint(at, what)
	if hint == "" {
		p.errs.add(at, "is not YAML, near here: %s", what)
		return
	}
	p.errs.add(at, "is not YAML: %s (%s)", hint, what)
}

// plainYAML reports aliases, anchors, merge keys and tags. They make a file mean something else than it seems to, or far
// more.
func (p *parser) plainYAML(n *yaml.Node) {
	switch {
	case n.Kind == yaml.AliasNode:
		p.fault(n, "alias %.64q: aliases are not allowed here, write the value out", "*"+n.Value)
	case n.Tag == "!!merge":
		p.fault(n, "merge keys are not allowed here, write the keys out")
	case n.Style&yaml.TaggedStyle != 0:
		p.fault(n, "tag %.64q: tags are not allowed here", n.Tag)
	case n.Anchor != "":
		p.fault(n, "anchor %.64q: anchors are not allowed here", "&"+n.Anchor)
	}
	for _, child := range n.Content {
		p.plainYAML(child)
	}
}

// refused reports whether plainYAML has reported the node.
func refused(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || n.Tag == "!!merge" || n.Style&yaml.TaggedStyle != 0
}

// is returns what a node is, for errors.
func is(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty"
	case n.Tag == "!!str":
		return fmt.Sprintf("the text %.64q", n.Value)
	case n.Tag == "!!bool":
		return n.Value
	case n.Tag == "!!int" || n.Tag == "!!float":
		return fmt.Sprintf("the number %.64s", n.Value)
	}
	return fmt.Sprintf("%.64q, which is no text in YAML", n.Value)
}

// wants reports whether a node has a kind and a type. If not, it adds an error.
func (p *parser) wants(n *yaml.Node, kind yaml.Kind, tag, what string) bool {
	if refused(n) {
		return false
	}
	if n.Kind == kind && (kind != yaml.ScalarNode || n.Tag == tag) {
		return true
	}
	hint := ""
	if tag == "!!str" && n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		hint = "; a text that looks like this goes between quotes"
	}
	p.fault(n, "must be %s, is %s%s", what, is(n), hint)
	return false
}

// mapping returns the keys of a mapping in the order of the file, and the values by their keys. If known is not nil, any
// other key is an error.
func (p *parser) mapping(n *yaml.Node, what string, known []string) (keys []*yaml.Node, values map[string]*yaml.Node) {
	if !p.wants(n, yaml.MappingNode, "", what) {
		return nil, nil
	}
	var misspelt []misspeltKey
	values = make(map[string]*yaml.Node, len(n.Content)/2)
	places := make(map[string]place, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if !p.wants(key, yaml.ScalarNode, "!!str", "a name") {
			continue
		}
		if first, twice := places[key.Value]; twice {
			p.fault(key, "%.64q is there twice, first at line %d", key.Value, first.line)
			continue
		}
		if known != nil && !slices.Contains(known, key.Value) {
			if word, text, colon := strings.Cut(key.Value, ":"); colon && slices.Contains(known, word) {
				p.fault(key, "unknown key %.64q: a blank is missing after the colon", key.Value)
				meant := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Line: key.Line, Column: key.Column}
				misspelt = append(misspelt, misspeltKey{word, meant})
				continue
			}
			p.fault(key, "unknown key %.64q%s%s", key.Value, didYouMean(key.Value, known), oneOf(known))
			if meant := nearest.Of(key.Value, known); meant != "" {
				misspelt = append(misspelt, misspeltKey{meant, n.Content[i+1]})
			}
			continue
		}
		places[key.Value] = p.at(key)
		values[key.Value] = n.Content[i+1]
		keys = append(keys, key)
	}
	// A misspelt key is read as the one that was meant, so that nothing is said to be missing for it.
	for _, one := range misspelt {
		if values[one.meant] == nil {
			values[one.meant] = one.value
		}
	}
	return keys, values
}

// misspeltKey is an unknown key that is similar to a known one.
type misspeltKey struct {
	meant string
	value *yaml.Node
}

func oneOf(words []string) string { return " (there is " + strings.Join(words, ", ") + ")" }

// text reads a text that is not empty. It returns the zero name if there is no node.
func (p *parser) text(n *yaml.Node, what string) (name, bool) {
	if n == nil || !p.wants(n, yaml.ScalarNode, "!!str", what) {
		return name{}, false
	}
	if n.Value == "" {
		p.fault(n, "must be %s, is empty", what)
		return name{}, false
	}
	return name{n.Value, p.at(n)}, true
}

// texts reads a text or a list of them.
func (p *parser) texts(n *yaml.Node, what string) []name {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		if one, ok := p.text(n, what+", or a list of such"); ok {
			return []name{one}
		}
		return nil
	}
	if refused(n) {
		return nil
	}
	if len(n.Content) == 0 {
		p.fault(n, "the list is empty: leave its key out")
	}
	var list []name
	seen := make(map[string]bool, len(n.Content))
	for _, child := range n.Content {
		one, ok := p.text(child, what)
		switch {
		case !ok:
		case seen[one.value]:
			p.fault(child, "%.64q is in the list twice", one.value)
		default:
			seen[one.value] = true
			list = append(list, one)
		}
	}
	return list
}

func (p *parser) bool(n *yaml.Node) *bool {
	if n == nil || !p.wants(n, yaml.ScalarNode, "!!bool", "true or false") {
		return nil
	}
	var b bool
	if err := n.Decode(&b); err != nil {
		p.fault(n, "must be true or false: %v", err)
		return nil
	}
	return &b
}

// choice reads one of several words. It returns the zero value if the node has none of them.
func choice[V any](p *parser, n *yaml.Node, words map[string]V) (value V) {
	list := sortedKeys(words)
	word, ok := p.text(n, "one of "+strings.Join(list, ", "))
	if !ok {
		return value
	}
	if value, ok = words[word.value]; !ok {
		p.fault(n, "unknown word %.64q%s%s", word.value, didYouMean(word.value, list), oneOf(list))
	}
	return value
}
