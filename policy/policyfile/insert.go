package policyfile

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
)

// An Entry is a policy in complain mode that is put into a policy file, with its profile.
type Entry struct {
	Policy, Profile string
	File            string        // the path of the profile's text, relative to the configuration directory
	EnforceAfter    time.Duration // 0 for none
}

// Lines returns the entry as lines of a policy file that has no others.
func (e Entry) Lines() []string {
	return []string{
		fmt.Sprintf("profiles: {%s: {file: %s}}", e.Profile, e.File),
		fmt.Sprintf("policies: {%s: %s}", e.Policy, e.value()),
	}
}

func (e Entry) value() string {
	after := ""
	if e.EnforceAfter > 0 {
		after = ", enforceAfter: " + quiet.Length(e.EnforceAfter)
	}
	return fmt.Sprintf("{profile: %s, mode: complain%s}", e.Profile, after)
}

// An Insertion is how an entry comes into a policy file.
type Insertion struct {
	Path          string
	Before, After []byte          // the file's text
	Had           *policy.Profile // the profile, without its text, as policies use it before; nil if none does
}

// Insert returns how an entry comes into that policy file of a configuration directory that has its policy, or is to have it. It
// writes nothing. All else in the file stays as it is, byte for byte. A policy of that name that has the profile already gets the
// mode and the time, or loses the time if the entry has none. The error says why that cannot be, and wraps an Errors if the
// files would have a fault then.
func Insert(dir string, e Entry) (*Insertion, error) {
	names, err := policyFiles(dir)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has no policy file: create %s, with a rule for containers that get policy %s", dir, filepath.Join(dir, mainFile), e.Policy)
	}
	files := make([]file, len(names))
	at := slices.Index(names, mainFile)
	for i, name := range names {
		if files[i] = readFile(dir, name); files[i].err != nil {
			return nil, files[i].err
		}
		if hasPolicy(files[i].text, e.Policy) {
			at = i
		}
	}
	if at < 0 {
		at = len(names) - 1
	}
	in := &Insertion{Path: files[at].path, Before: files[at].text, Had: used(files, e.Profile)}
	if in.After, err = insert(in.Before, e); err != nil {
		return nil, fmt.Errorf("%s: %w; write it by hand: %s", in.Path, err, strings.Join(e.Lines(), ", "))
	}
	files[at].text = in.After
	c, err := parse(files, noText)
	if err != nil {
		return nil, fmt.Errorf("with policy %s the policy would have a fault: %w", e.Policy, err)
	}
	i := slices.IndexFunc(c.Profiles, func(p policy.Profile) bool { return p.Name == e.Profile })
	if i < 0 || c.Profiles[i].Source != e.File || c.Profiles[i].Mode != profile.Complain || c.Profiles[i].EnforceAfter != e.EnforceAfter {
		return nil, fmt.Errorf("%s: the policy has profile %s already, and not from %s in mode complain: give the new one another name",
			in.Path, e.Profile, e.File)
	}
	return in, nil
}

// noText leaves out the texts of profiles.
func noText(*policy.Profile, string) error { return nil }

// used returns a profile as policies of these files use it, or nil. Files with a fault have none: they cannot be in force.
func used(files []file, name string) *policy.Profile {
	c, err := parse(files, noText)
	if err != nil {
		return nil
	}
	i := slices.IndexFunc(c.Profiles, func(p policy.Profile) bool { return p.Name == name })
	if i < 0 || !slices.ContainsFunc(c.Policies, func(p policy.Policy) bool { return p.Profile == name }) {
		return nil
	}
	return &c.Profiles[i]
}

// TextPath returns the path at which a new profile's text is to be, relative to the configuration directory: where the policy has
// that of the name, or in profiles.
func TextPath(dir, name string) string {
	if c, err := Read(dir); err == nil {
		for _, p := range c.Profiles {
			if p.Name == name && p.Template == "" {
				return p.Source
			}
		}
	}
	return filepath.Join(profiles, name)
}

// hasPolicy reports whether the text of a policy file has a policy.
func hasPolicy(text []byte, name string) bool {
	root, err := document1(text)
	if err != nil {
		return false
	}
	_, policies := member(root, "policies")
	_, value := member(policies, name)
	return value != nil
}

// errNoPlace is the error for a file that would not be read as it should be with what was put in.
var errNoPlace = errors.New("no entry can be put into it as it is written, for example because of a comment within braces")

// document1 returns the mapping of a document. Its text was read before: with a fault, it has one by what was put into it.
func document1(text []byte) (*yaml.Node, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, errNoPlace
	}
	if len(root.Content) != 1 || root.Content[0].Kind != yaml.MappingNode || root.Content[0].Style&yaml.FlowStyle != 0 {
		return nil, errors.New("it is not of lines with a key each")
	}
	return root.Content[0], nil
}

// member returns a key of a mapping, and its value; nil if there is none.
func member(of *yaml.Node, name string) (key, value *yaml.Node) {
	if of == nil || of.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(of.Content); i += 2 {
		if of.Content[i].Value == name {
			return of.Content[i], of.Content[i+1]
		}
	}
	return nil, nil
}

// insert puts an entry into a text. yaml.v3 can write a changed document with its comments, but in a form of its own: the
// lines are put in here, by the places that it tells, and what they mean is compared with what is to come out.
func insert(text []byte, e Entry) ([]byte, error) {
	var want map[string]any
	if err := yaml.Unmarshal(text, &want); err != nil {
		return nil, err
	}
	if want == nil { // nothing is in it, or only comments
		want = map[string]any{"version": 1}
		text = append(ended(text), "version: 1\n"...)
	}
	file := map[string]any{"file": e.File}
	if !set(want, "profiles", e.Profile, file) {
		return nil, fmt.Errorf("profile %s is there with another text", e.Profile)
	}
	is := map[string]any{"profile": e.Profile, "mode": "complain"}
	if e.EnforceAfter > 0 {
		is["enforceAfter"] = quiet.Length(e.EnforceAfter)
	}
	fresh := set(want, "policies", e.Policy, is)
	if !fresh {
		have, _ := want["policies"].(map[string]any)[e.Policy].(map[string]any)
		if have == nil || have["profile"] != e.Profile {
			return nil, fmt.Errorf("policy %s is there with another profile: give the new one another name", e.Policy)
		}
		delete(have, "enforceAfter")
		maps.Copy(have, is)
	}
	var err error
	if text, err = addTo(text, "profiles", e.Profile, fmt.Sprintf("{file: %s}", e.File)); err != nil {
		return nil, err
	}
	if fresh {
		text, err = addTo(text, "policies", e.Policy, e.value())
	} else {
		text, err = setKeys(text, e)
	}
	if err != nil {
		return nil, err
	}
	var got map[string]any
	if err := yaml.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, want) {
		return nil, errNoPlace
	}
	return text, nil
}

// set adds a member to a mapping in a document. It reports false if another one of that name is there.
func set(in map[string]any, section, name string, value map[string]any) bool {
	of, _ := in[section].(map[string]any)
	if of == nil {
		of = make(map[string]any)
		in[section] = of
	}
	if have, ok := of[name]; ok {
		return reflect.DeepEqual(have, any(value))
	}
	of[name] = value
	return true
}

// addTo adds a member to a section of a document, unless it is there.
func addTo(text []byte, section, name, value string) ([]byte, error) {
	root, err := document1(text)
	if err != nil {
		return nil, err
	}
	key, of := member(root, section)
	if _, have := member(of, name); have != nil {
		return text, nil
	}
	entry := name + ": " + value
	switch {
	case key == nil:
		return fmt.Appendf(ended(text), "%s:\n  %s\n", section, entry), nil
	case of.Kind == yaml.MappingNode && of.Style&yaml.FlowStyle != 0:
		if len(of.Content) > 0 {
			entry += ", "
		}
		return put(text, of.Line, of.Column+1, entry), nil
	}
	indent := key.Column + 1
	if of.Kind == yaml.MappingNode && len(of.Content) > 0 {
		indent = of.Content[0].Column - 1
	}
	// Before the first member and the comment above it.
	return put(text, key.Line+1, 1, strings.Repeat(" ", indent)+entry+"\n"), nil
}

// ended returns a copy of a text whose last line has an end.
func ended(text []byte) []byte {
	if len(text) > 0 && text[len(text)-1] != '\n' {
		return append(slices.Clip(text), '\n')
	}
	return slices.Clip(text)
}

// setKeys sets the mode and the time of a policy that is there.
func setKeys(text []byte, e Entry) ([]byte, error) {
	keys := [][2]string{{"mode", "complain"}}
	if e.EnforceAfter > 0 {
		keys = append(keys, [2]string{"enforceAfter", quiet.Length(e.EnforceAfter)})
	} else {
		var err error
		if text, err = withoutKey(text, e.Policy, "enforceAfter"); err != nil {
			return nil, err
		}
	}
	for _, k := range slices.Backward(keys) { // each is put behind the profile
		root, err := document1(text)
		if err != nil {
			return nil, err
		}
		_, policies := member(root, "policies")
		_, of := member(policies, e.Policy)
		key, profile := member(of, "profile")
		switch _, have := member(of, k[0]); {
		case profile == nil: // it is that of an alias or of a merge key
			return nil, fmt.Errorf("policy %s is written in an unusual way", e.Policy)
		case have != nil && (have.Kind != yaml.ScalarNode || have.Style != 0):
			return nil, fmt.Errorf("%s of policy %s is written in an unusual way", k[0], e.Policy)
		case have != nil:
			at := offset(text, have.Line, have.Column)
			text = slices.Concat(text[:at], []byte(k[1]), text[at+len(have.Value):])
		case profile.Style != 0:
			return nil, fmt.Errorf("the profile of policy %s is written in an unusual way", e.Policy)
		case of.Style&yaml.FlowStyle != 0:
			text = put(text, profile.Line, profile.Column+len(profile.Value), ", "+k[0]+": "+k[1])
		default:
			text = put(text, profile.Line+1, 1, strings.Repeat(" ", key.Column-1)+k[0]+": "+k[1]+"\n")
		}
	}
	return text, nil
}

// withoutKey takes a key out of a policy that is there, with the comment behind it.
func withoutKey(text []byte, policy, name string) ([]byte, error) {
	root, err := document1(text)
	if err != nil {
		return nil, err
	}
	_, policies := member(root, "policies")
	_, of := member(policies, policy)
	key, value := member(of, name)
	if key == nil {
		return text, nil
	}
	if value.Kind != yaml.ScalarNode || value.Style != 0 || value.Line != key.Line {
		return nil, fmt.Errorf("%s of policy %s is written in an unusual way", name, policy)
	}
	if of.Style&yaml.FlowStyle == 0 {
		return slices.Concat(text[:offset(text, key.Line, 1)], text[offset(text, key.Line+1, 1):]), nil
	}
	before, behind := text[:offset(text, key.Line, key.Column)], text[offset(text, value.Line, value.Column)+len(value.Value):]
	if of.Content[0] == key { // the comma behind it goes, too
		behind = bytes.TrimLeft(bytes.TrimPrefix(bytes.TrimLeft(behind, blanks), []byte(",")), blanks)
	} else {
		before = bytes.TrimSuffix(bytes.TrimRight(before, blanks), []byte(","))
	}
	return slices.Concat(before, behind), nil
}

const blanks = " \t\r\n"

// put puts something into a text, at a line and a column, from 1. A line behind the last one begins a new one.
func put(text []byte, line, column int, what string) []byte {
	at := offset(text, line, column)
	if column == 1 && at == len(text) && at > 0 && text[at-1] != '\n' {
		what = "\n" + what
	}
	return slices.Concat(text[:at], []byte(what), text[at:])
}

// offset returns where a line's column is in a text. yaml.v3 counts columns in characters, and names and modes are of one byte
// each: a text with others before them in a line comes out as another document, which is found.
func offset(text []byte, line, column int) int {
	at := 0
	for range line - 1 {
		n := bytes.IndexByte(text[at:], '\n')
		if n < 0 {
			return len(text)
		}
		at += n + 1
	}
	return min(at+column-1, len(text))
}
