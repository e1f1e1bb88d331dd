package policyfile

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got to a file of testdata.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err, "(write it by: go test -update)")
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s\nIf the new one is right: go test -update", got, want)
	}
}

// describe prints a policy, or the faults of what is none.
func describe(p *policy.Config, err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	if p.RequireTests {
		b.WriteString("requires tests\n")
	}
	for _, one := range p.Profiles {
		after := ""
		if one.EnforceAfter > 0 {
			after = ", enforced after " + one.EnforceAfter.String()
		}
		fmt.Fprintf(&b, "profile %s: mode %s%s, drift %d, source %s, template %q, text %q\n",
			one.Name, one.Mode, after, one.OnDrift, one.Source, one.Template, one.Text)
	}
	for _, one := range p.Policies {
		fmt.Fprintf(&b, "policy %+v\n", one)
	}
	for _, one := range p.Assignments {
		privileged, labels := "either", ""
		for _, l := range one.Label {
			labels += fmt.Sprintf(" label %q %q", l.Key, l.Patterns)
		}
		if one.Privileged != nil {
			privileged = fmt.Sprint(*one.Privileged)
		}
		fmt.Fprintf(&b, "rule %s:%d: engine %q namespace %q pod %q container %q image %q%s sandbox %v privileged %s -> "+
			"%s, request %q, acceptChoice %q, floor %q, refused %d\n", one.File, one.Line, one.Engine, one.Namespace, one.Pod,
			one.Container, one.Image, labels, one.Sandbox, privileged, one.Policy, one.Request, one.AcceptChoice, one.Floor, one.OnRefused)
	}
	return b.String()
}

// texts stands for the profiles beside a policy file.
func texts(p *policy.Profile, path string) error {
	switch path {
	case "profiles/docker-nginx", "profiles/node-baseline", "/etc/apparmor.d/b":
		p.Text = []byte("text of " + path)
		return nil
	}
	return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

func parseOne(text []byte) (*policy.Config, error) {
	return parse([]file{{name: mainFile, path: mainFile, text: text}}, texts)
}

// corpus returns the documents of one kind in testdata.
func corpus(t testing.TB, kind string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", kind, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no %s documents: %v", kind, err)
	}
	return paths
}

// The documents in testdata/good are read and accepted by the schema; those in shape are refused by both; those in
// meaning have faults that no schema can express; those in syntax are not the plain YAML that a schema is applied to.
func TestReaderAndSchemaAgree(t *testing.T) {
	schema := compileSchema(t, Schema())
	for _, kind := range []struct {
		name                 string
		hasSchema            bool
		readable, schemaGood bool
	}{
		{"good", true, true, true},
		{"shape", true, false, false},
		{"meaning", true, false, true},
		{"syntax", false, false, false},
	} {
		for _, path := range corpus(t, kind.name) {
			t.Run(kind.name+"/"+strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				p, err := parseOne(text)
				golden(t, strings.TrimSuffix(path, ".yaml")+".golden", describe(p, err))
				if (err == nil) != kind.readable {
					t.Errorf("the reader says %v", err)
				}
				if err == nil {
					if _, err := p.Encode(); err != nil {
						t.Errorf("what was read cannot be encoded: %v", err)
					}
				}
				if err != nil {
					wantErrors(t, err, text)
				}
				if !kind.hasSchema {
					return
				}
				if err := schema.Validate(generic(t, text)); (err == nil) != kind.schemaGood {
					t.Errorf("the schema says %v", err)
				}
			})
		}
	}
}

// Every fault that a schema can see is refused by it alone, not only in company: a document of testdata/shape with
// several faults is refused for each.
func TestSchemaSeesEachFaultOfShape(t *testing.T) {
	schema := compileSchema(t, Schema())
	for _, path := range corpus(t, "shape") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var root yaml.Node
		if err := yaml.Unmarshal(text, &root); err != nil {
			t.Fatal(err)
		}
		for _, part := range parts(&root) {
			alone, err := yaml.Marshal(part)
			if err != nil {
				t.Fatal(err)
			}
			_, err = parseOne(alone)
			if refused := schema.Validate(generic(t, alone)); (err == nil) != (refused == nil) {
				t.Errorf("%s: the reader says\n%v\nthe schema says\n%v\nof\n%s", path, err, refused, alone)
			}
		}
	}
}

// The schema has the conditions of package policy, each with what it asks for, and the engines of package engine.
func TestSchemaHasTheConditions(t *testing.T) {
	type property struct {
		Description string `json:"description"`
		Ref         string `json:"$ref"`
		Type        string `json:"type"`
		OneOf       []any  `json:"oneOf"`
	}
	var schema struct {
		Defs struct {
			Engine     struct{ Enum []string }
			Assignment struct{ Properties map[string]property }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	if got := schema.Defs.Engine.Enum; !slices.Equal(got, engine.Names()) {
		t.Errorf("the schema has the engines %v, want %v", got, engine.Names())
	}
	for _, k := range policy.Keys() {
		p, ok := schema.Defs.Assignment.Properties[k.Name]
		is := map[policy.Kind]bool{
			policy.Patterns:      p.Ref == "#/$defs/patterns" || k.Name == "engine" && len(p.OneOf) == 2,
			policy.LabelPatterns: p.Type == "object",
			policy.Switch:        p.Type == "boolean",
		}
		if !ok || !is[k.Kind] {
			t.Errorf("the schema has no condition %s of its kind: %+v", k.Name, p)
		}
		if p.Description != k.Help {
			t.Errorf("the schema describes the condition %s as\n%s\nwant\n%s", k.Name, p.Description, k.Help)
		}
	}
}

// parts splits a document: one for each profile, policy and rule that it has.
func parts(root *yaml.Node) []*yaml.Node {
	top := root.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil
	}
	version := []*yaml.Node{
		{Kind: yaml.ScalarNode, Tag: "!!str", Value: "version"}, {Kind: yaml.ScalarNode, Tag: "!!int", Value: "1"},
	}
	with := func(key *yaml.Node, value *yaml.Node) *yaml.Node {
		return &yaml.Node{Kind: yaml.MappingNode, Content: append(slices.Clone(version), key, value)}
	}
	var list []*yaml.Node
	for i := 0; i < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		switch {
		case key.Value == "assign" && value.Kind == yaml.SequenceNode:
			for _, rule := range value.Content {
				list = append(list, with(key, &yaml.Node{Kind: value.Kind, Content: []*yaml.Node{rule}}))
			}
		case key.Value == "profiles" && value.Kind == yaml.MappingNode,
			key.Value == "policies" && value.Kind == yaml.MappingNode:
			for j := 0; j < len(value.Content); j += 2 {
				list = append(list, with(key, &yaml.Node{Kind: value.Kind, Content: value.Content[j : j+2]}))
			}
		case key.Value != "version":
			list = append(list, with(key, value))
		}
	}
	return list
}

func compileSchema(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// generic returns a YAML document as JSON has it.
func generic(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(stringKeys(v))
	if err != nil {
		t.Fatal(err)
	}
	v, err = jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// stringKeys makes keys that are no text ones that no schema of ours allows, as JSON has no others.
func stringKeys(v any) any {
	switch v := v.(type) {
	case map[any]any:
		m := make(map[string]any)
		for key, value := range v {
			if s, ok := key.(string); ok {
				m[s] = stringKeys(value)
			} else {
				m[fmt.Sprintf("%T %v", key, key)] = stringKeys(value)
			}
		}
		return m
	case map[string]any:
		for key, value := range v {
			v[key] = stringKeys(value)
		}
	case []any:
		for i, value := range v {
			v[i] = stringKeys(value)
		}
	}
	return v
}

// wantErrors checks that faults have places in the text, in their order.
func wantErrors(t *testing.T, err error, text []byte) {
	t.Helper()
	errs, ok := err.(Errors)
	if !ok || len(errs) == 0 {
		t.Fatalf("error %T %v, want Errors", err, err)
	}
	breaks := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n") // YAML's
	lines := strings.Split(breaks.Replace(string(text)), "\n")
	before := &Error{}
	for _, e := range errs {
		if e.Line < 1 || e.Line > len(lines)+1 || e.Column < 1 || e.Msg == "" || e.File != mainFile {
			t.Errorf("no place in the text: %v", e)
		}
		if strings.ContainsAny(e.Msg, "\n\r\x1b\x00") {
			t.Errorf("more than a line: %q", e.Msg)
		}
		if e.Line < before.Line || e.Line == before.Line && e.Column < before.Column {
			t.Errorf("%v comes after %v", e, before)
		}
		before = e
	}
}

func TestReadDirectories(t *testing.T) {
	dirs, err := os.ReadDir(filepath.Join("testdata", "directory"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if !dir.IsDir() {
			continue
		}
		t.Run(dir.Name(), func(t *testing.T) {
			path := filepath.Join("testdata", "directory", dir.Name())
			p, err := Read(path)
			golden(t, path+".golden", describe(p, err))
		})
	}
}

func TestReadWithoutADirectory(t *testing.T) {
	_, err := Read(filepath.Join(t.TempDir(), "none"))
	if err == nil || !strings.Contains(err.Error(), "version: 1") || !strings.Contains(err.Error(), "none is not there: create ") ||
		!strings.Contains(err.Error(), "none/policy.yaml") {
		t.Errorf("error %v, want one that says what to create", err)
	}
}

func TestTheExampleIsAPolicy(t *testing.T) {
	p, err := parseOne([]byte(example))
	if err != nil || len(p.Assignments) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

// A profile's text is a regular file of the configuration directory, or one that is named by an absolute path.
func TestProfileTexts(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "profiles/plain"), "plain")
	write(filepath.Join(dir, "profiles/largest"), strings.Repeat("#", maxText))
	write(filepath.Join(dir, "profiles/larger"), strings.Repeat("#", maxText+1))
	write(filepath.Join(outside, "secret"), "secret")
	for link, target := range map[string]string{
		"profiles/inside": "plain", "profiles/outside": filepath.Join(outside, "secret"), "profiles/loop": "loop",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "profiles/fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, path string
		size       int    // of the text
		want       string // in the error
	}{
		{"in the directory", "profiles/plain", 5, ""},
		{"an absolute path", filepath.Join(outside, "secret"), 6, ""},
		{"a link within the directory", "profiles/inside", 5, ""},
		{"the largest", "profiles/largest", maxText, ""},
		{"too large", "profiles/larger", 0, "more than 1 MiB"},
		{"a link out of the directory", "profiles/outside", 0, "a relative path stays inside"},
		{"out of the directory", "../" + filepath.Base(outside) + "/secret", 0, "escapes"},
		{"a link to itself", "profiles/loop", 0, "too many levels"},
		{"a directory", "profiles", 0, "not a regular file"},
		{"a FIFO", "profiles/fifo", 0, "not a regular file"},
		{"a device", "/dev/zero", 0, "not a regular file"},
		{"nothing", "profiles/none", 0, filepath.Join(dir, "profiles/none") +
			": no such file or directory: create it, or correct the path"},
		{"nothing at an absolute path", "/nonexistent", 0,
			"/nonexistent: no such file or directory: create it, or correct the path"},
		{"typographic quotes", "“profiles/none”", 0, "“profiles/none”: no such file or directory: it has typographic quotes"},
		{"a NUL", "profiles/\x00", 0, "invalid argument"},
	} {
		t.Run(test.name, func(t *testing.T) {
			write(filepath.Join(dir, mainFile), fmt.Sprintf("version: 1\nprofiles:\n  a: {file: %q}\n", test.path))
			p, err := Read(dir)
			if test.want == "" {
				if err != nil || len(p.Profiles) != 1 || len(p.Profiles[0].Text) != test.size {
					t.Errorf("%v, want a text of %d bytes", err, test.size)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "policy.yaml:3:13: ") {
				t.Errorf("error %v, want one with %q at its place", err, test.want)
			}
		})
	}
}

func TestPolicyFilesThatCannotBeRead(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"too large", func(path string) error {
			return os.WriteFile(path, []byte("version: 1\n#"+strings.Repeat("x", maxFile)), 0o644)
		}, "more than 4 MiB"},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o755) }, "not a regular file"},
		{"a FIFO", func(path string) error { return syscall.Mkfifo(path, 0o644) }, "not a regular file"},
		{"a link to nothing", func(path string) error { return os.Symlink("none", path) }, "no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := test.make(filepath.Join(dir, mainFile)); err != nil {
				t.Fatal(err)
			}
			_, err := Read(dir)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// A byte order mark, as some editors write it without showing it, is no fault of a UTF-8 file, and one of UTF-16 is named.
func TestByteOrderMark(t *testing.T) {
	const text = "version: 1\npolicies: {p: {profile: docker-default}}\nassign: [{policy: p}]\n"
	for _, test := range []struct{ text, want string }{
		{"\xef\xbb\xbf" + text, ""},
		{"\xff\xfev\x00", "a policy file is UTF-8 text"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, mainFile), []byte(test.text), 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := Read(dir)
		if test.want == "" && (err != nil || len(p.Assignments) != 1) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%q: %v", test.text[:3], err)
		}
	}
}

func TestErrorsUnwrap(t *testing.T) {
	_, err := parseOne([]byte("version: 1\nprofiles:\n  a: {file: none}\nx: y\n"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not wrap %v", err, fs.ErrNotExist)
	}
	var one *Error
	if !errors.As(err, &one) || one.Line != 3 {
		t.Errorf("the first fault of %v is %v", err, one)
	}
}

func TestSchemaKnowsTheTemplates(t *testing.T) {
	var s struct {
		Defs struct {
			Profile struct {
				Properties struct{ Template struct{ Enum []string } }
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	if got := s.Defs.Profile.Properties.Template.Enum; !slices.Equal(got, templates.Names()) {
		t.Errorf("schema.json has the templates %q, there are %q", got, templates.Names())
	}
}

func TestCovers(t *testing.T) {
	for _, test := range []struct {
		p, q string
		want bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"*", "a", true},
		{"*", "a/b", false},
		{"*", "a*", true},
		{"*", "*/*", false},
		{"*/*", "a/*", true},
		{"a*", "ab*", true},
		{"ab*", "a*", false},
		{"a*c", "abc", true},
		{"a*c", "a*b*c", true},
		{"a*b*c", "a*c", false},
		{"a*", "a?", true},
		{"a?", "a*", false},
		{"?", "*", false},
		{"*", "?", true},
		{"a*", `a\*`, false},
		{"[ab]", "a", true},
		{"[ab]", "[ab]", true},
		{"*", "[^a]", false}, // brackets match a slash
		{"*\x00*", "*", false},
	} {
		if got := covers(test.p, test.q); got != test.want {
			t.Errorf("covers(%q, %q) = %v", test.p, test.q, got)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	for _, test := range []struct {
		word, want string
	}{
		{"imgae", "image"}, {"images", "image"}, {"Image", "image"}, {"namspace", "namespace"}, {"pods", "pod"},
		{"po", "pod"}, {"opd", "pod"}, {"flor", "floor"}, {"x", ""}, {"xyz", ""}, {"", ""}, {"privileged", "privileged"}, {"labels", "label"},
	} {
		want := ""
		if test.want != "" {
			want = fmt.Sprintf("; did you mean %q?", test.want)
		}
		if got := didYouMean(test.word, assignKeys); got != want {
			t.Errorf("%q: got %q, want %q", test.word, got, want)
		}
	}
}

func TestUnclosed(t *testing.T) {
	for text, want := range map[string]string{
		"a: {\n  b: c\nd: e\n":                   "1 4",
		"a:\n  b: {c: [d, e}\n":                  "2 6",
		"a: {b: \"}\", c: '}'\nd: e\n":           "1 4",
		"a: \"{\"\nb: [x\n":                      "2 4",
		"a: b{c\nd: {e: f} # {\ng: [h, {i: j}\n": "3 4",
		"a: \"x\\\"{\"\nb: c\n":                  "",
		"# {\na: it's\nb: {c: d\n":               "3 4",
	} {
		got := ""
		if at := layoutOf([]byte(text)).open; at.line > 0 {
			got = fmt.Sprint(at.line, " ", at.column)
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// What is wrong is named where it is, and not where the YAML library has noticed.
func TestSyntaxIsPlaced(t *testing.T) {
	const head = "version: 1\npolicies:\n"
	for text, want := range map[string]string{
		head + "  web: {profile: \"web}\n  b: {profile: b}\n":                           "3:18 a quote that is opened here is not closed",
		head + "  web:\n    profile: 'web\n  b:\n    profile: b\n":                      "4:14 a quote that is opened here is not closed",
		head + "  web:\n    profile: \"web\n  b:\n    profile: \"b\"\n":                 "4:14 a quote that is opened here is closed only in line 6",
		head + "  web: {profile: \"web}\n  b: {profile: \"b\"}\n":                       "3:18 a quote that is opened here is closed only in line 4",
		head + "  web: {profile: web}\n b: {profile: b}\n":                              "4:2 this line is indented",
		head + "  web: {profile: web}\n\n  # b\n   b: {profile: b}\n":                   "6:4 this line is indented",
		head + "  web:\n    profile: web\n     mode: kill\n":                            "5:6 this line is indented",
		head + "  web:\n    profile: web\n   mode: kill\n":                              "5:4 this line is indented",
		"version: 1\nassign:\n- image: a\n  policy: web\n - policy: b\n":                "5:2 this line is indented",
		"version: 1\nassign:\n- image: a\n   policy: web\n":                             "4:4 this line is indented",
		"version: 1\nassign:\n  - image: a\n    policy: web\n- policy: b\n":             "5:1 this line is indented",
		"version: 1\nassign:\n  - image: [a,\n b]\n   policy: web\n":                    "5:4 this line is indented",
		"version: 1\nassign:\n  - image:\n    - a\n    - b\n   policy: web\n":           "6:4 this line is indented",
		"version: 1\n  policies:\n    web: {profile: web}\n":                            "2:3 this line is indented",
		head + "  web\n  b: {profile: b}\n":                                             "4:1 perhaps a colon",
		"version: 1\nassign:\n  - policy:base\n    image: a\n":                          "3:11 a blank is missing after the colon",
		"version: 1\nassign:\n  - image: a\n    policy:base\n  - policy: b\n":           "4:11 a blank is missing after the colon",
		head + "  web: {profile: web\n  b: {profile: b}\n":                              "3:8 a brace or bracket that is opened here",
		"version: 1\nassign:\n- pod: [web]\n  image: [app, web/{a,b}/c]\n  policy: a\n": "4:16 goes between quotes",
		"version: 1\nassign:\n- image: |\n    a\n      b\n policy: web\n- x: 1\n":       "5:1 near here",
	} {
		_, err := parseOne([]byte(text))
		place, said, _ := strings.Cut(want, " ")
		if err == nil || !strings.HasPrefix(err.Error(), "policy.yaml:"+place+": is not YAML") || !strings.Contains(err.Error(), said) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// manyRules is a policy file of n rules, n policies and n profiles.
func manyRules(n int, rule string) []byte {
	var b strings.Builder
	b.WriteString("version: 1\nprofiles:\n")
	for i := range n {
		fmt.Fprintf(&b, "  p%d: {template: docker-default}\n", i)
	}
	b.WriteString("policies:\n")
	for i := range n {
		fmt.Fprintf(&b, "  q%d: {profile: p%d}\n", i, i)
	}
	b.WriteString("assign:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {"+rule+", policy: q%d}\n", i, i)
	}
	return []byte(b.String())
}

func TestTenThousandRules(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	for _, rule := range []string{"engine: cri-o, image: registry.example.org/team-%d/app", "image: team-%d/*"} {
		start := time.Now()
		p, err := parseOne(manyRules(10000, rule))
		if err != nil || len(p.Assignments) != 10000 {
			t.Fatal(err)
		}
		t.Logf("%s: %v", rule, time.Since(start))
	}
	_, err := parseOne(manyRules(10000, "image: team-%.0f%[1]d/x, imgae: y"))
	if errs, ok := err.(Errors); !ok || len(errs) < 10000 {
		t.Errorf("%T of %d bytes, want a fault for each rule", err, len(err.Error()))
	}
}

func FuzzParse(f *testing.F) {
	for _, kind := range []string{"good", "shape", "meaning", "syntax"} {
		for _, path := range corpus(f, kind) {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Add([]byte("\r\r0"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parseOne(text)
		if err != nil {
			wantErrors(t, err, text)
			return
		}
		if _, err := p.Encode(); err != nil {
			t.Errorf("what was read cannot be encoded: %v", err)
		}
	})
}

func TestReadFileReadsOneFileByItself(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"policy.yaml":      "not: read",
		"policy.d/10.yaml": "not: read",
		"new":              "version: 1\nprofiles: {web: {file: profiles/web}}\nassign: [{policy: keep}]\n",
		"profiles/web":     "profile web { }\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := ReadFile(filepath.Join(dir, "new"))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Profiles) != 1 || string(p.Profiles[0].Text) != "profile web { }\n" || p.Assignments[0].File != "new" {
		t.Errorf("got %+v", p)
	}
}

// A file of policy.d by itself is no policy: what it leaves out would count as missing, and what another file says as
// unsaid.
func TestReadFileRefusesAPart(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "policy.d", "20-web.yaml")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err == nil || !strings.HasSuffix(err.Error(), "name the directory of them all, --config "+dir) {
		t.Errorf("%v", err)
	}
	if _, err := Read(dir); err != nil {
		t.Errorf("all of it: %v", err)
	}
}
