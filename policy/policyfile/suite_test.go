package policyfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// tested is the policy that the tests in testdata/suite are of.
const tested = `version: 1
profiles:
  docker-nginx:  {file: profiles/docker-nginx}
  node-baseline: {file: profiles/node-baseline}
policies:
  web:       {profile: docker-nginx}
  hands-off: {profile: keep}
assign:
  - {namespace: kube-system, policy: hands-off}
  - {policy: web, floor: node-baseline}
`

// parseSuite reads one file of tests.
func parseSuite(t testing.TB, text []byte) (*Suite, error) {
	t.Helper()
	c, err := parseOne([]byte(tested))
	if err != nil {
		t.Fatal(err)
	}
	s := &Suite{Files: []string{testsFile}}
	return s, s.parse([]file{{name: testsFile, path: mainFile, text: text}}, c)
}

// describeSuite prints a suite, or its faults.
func describeSuite(s *Suite, err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	patterns := func(list []Pattern) (texts []string) {
		for _, p := range list {
			texts = append(texts, fmt.Sprintf("%s at %d", p.Value, p.At.Line))
		}
		return texts
	}
	for _, one := range s.Tests {
		fmt.Fprintf(&b, "test %q at %s: %+v\n  policy %+v label %+v refused %+v\n  allow %q\n  deny %q\n", one.Name, one.At,
			one.Container, one.Policy, one.Label, one.Refused, patterns(one.Allow), patterns(one.Deny))
	}
	for _, one := range s.Nevers {
		fmt.Fprintf(&b, "never %q at %s: %q except %q\n", one.Name, one.At, patterns(one.Allow), one.Except)
	}
	for _, one := range s.Floors {
		fmt.Fprintf(&b, "floor at %s: %s except %q\n", one.At, one.Profile, one.Except)
	}
	return b.String()
}

// The documents in testdata/suite/good are read and accepted by the schema; those in shape are refused by both; those in
// meaning have faults that no schema can express.
func TestSuiteReaderAndSchemaAgree(t *testing.T) {
	schema := compileSchema(t, SuiteSchema())
	for _, kind := range []struct {
		name                 string
		readable, schemaGood bool
	}{{"suite/good", true, true}, {"suite/shape", false, false}, {"suite/meaning", false, true}} {
		for _, path := range corpus(t, kind.name) {
			t.Run(kind.name+"/"+strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				s, err := parseSuite(t, text)
				golden(t, strings.TrimSuffix(path, ".yaml")+".golden", describeSuite(s, err))
				if (err == nil) != kind.readable {
					t.Errorf("the reader says %v", err)
				}
				if err != nil {
					wantErrors(t, err, text)
				}
				if err := schema.Validate(generic(t, text)); (err == nil) != kind.schemaGood {
					t.Errorf("the schema says %v", err)
				}
			})
		}
	}
}

// Every fault that the schema can see is refused by it alone, and by the reader.
func TestSuiteSchemaSeesEachFaultOfShape(t *testing.T) {
	schema := compileSchema(t, SuiteSchema())
	for _, path := range corpus(t, "suite/shape") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var root yaml.Node
		if err := yaml.Unmarshal(text, &root); err != nil {
			t.Fatal(err)
		}
		top := root.Content[0].Content
		for i := 0; i < len(top); i += 2 {
			values := []*yaml.Node{top[i+1]}
			if top[i+1].Kind == yaml.SequenceNode && len(top[i+1].Content) > 0 {
				values = nil
				for _, item := range top[i+1].Content {
					values = append(values, &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{item}})
				}
			}
			for _, value := range values {
				alone, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{top[i], value}})
				if err != nil {
					t.Fatal(err)
				}
				_, err = parseSuite(t, alone)
				if refused := schema.Validate(generic(t, alone)); err == nil || refused == nil {
					t.Errorf("%s: the reader says\n%v\nthe schema says\n%v\nof\n%s", path, err, refused, alone)
				}
			}
		}
	}
}

// The schema has the facts of package policy and the engines of package engine.
func TestSuiteSchemaHasTheFacts(t *testing.T) {
	var schema struct {
		Defs struct {
			Container struct {
				Properties map[string]struct {
					Description string
					Enum        []any
				}
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(SuiteSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	has := schema.Defs.Container.Properties
	if got := fmt.Sprint(has["engine"].Enum); got != fmt.Sprint(engine.Names()) {
		t.Errorf("the schema has the engines %v, want %v", got, engine.Names())
	}
	for _, key := range containerKeys {
		if has[key].Description == "" {
			t.Errorf("the schema does not describe %s of a container", key)
		}
	}
	if len(has) != len(containerKeys) {
		t.Errorf("the schema has %d keys of a container, and the reader %v", len(has), containerKeys)
	}
	for _, k := range policy.Keys() {
		if k.Kind == policy.Patterns && k.Name != "engine" && !slices.Contains(containerKeys, factKey(k)) {
			t.Errorf("a container cannot have the fact %s", k.Name)
		}
	}
}

// The files of a directory are one suite, in which a name is there once.
func TestReadSuite(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(mainFile, "version: 1\nassign: [{policy: keep}]\n")
	c, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	read := func() (*Suite, error) { return ReadSuite(dir, c) }
	if s, err := read(); err != nil || len(s.Files) != 0 {
		t.Errorf("a directory without tests has %+v, %v", s, err)
	}
	write("tests.d/b.yaml", "tests: [{name: b, container: {}, deny: userns}]\n")
	write("tests.yaml", "tests: [{name: a, container: {}, deny: userns}]\n")
	s, err := read()
	if err != nil || len(s.Tests) != 2 || !slices.Equal(s.Files, []string{"tests.d/b.yaml", "tests.yaml"}) {
		t.Errorf("got %+v, %v", s, err)
	} else if where := s.Where(s.Tests[0].At); where != "tests.d/b.yaml:1" {
		t.Errorf("the first test is at %s", where)
	}
	if s, err := ReadSuite(filepath.Join(dir, mainFile), c); err != nil || len(s.Tests) != 2 {
		t.Errorf("beside the file there is %+v, %v", s, err)
	}
	again, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	one, err1 := c.Encode()
	two, err2 := again.Encode()
	if string(one) != string(two) || err1 != nil || err2 != nil {
		t.Errorf("tests change the policy: %v, %v", err1, err2)
	}
	write("tests.d/c.yaml", "tests: [{name: a, container: {}, deny: userns}]\nnever: [{allow: userns, except: {policy: x}}]\n")
	_, err = read()
	want := filepath.Join(dir, "tests.d/c.yaml") + ":2:42: policy \"x\" is not defined\n" +
		filepath.Join(dir, "tests.yaml") + ":1:9: name \"a\" is there twice, first at " + filepath.Join(dir, "tests.d/c.yaml") + ":1"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	write("tests.yml", "")
	var faults Errors
	if _, err := read(); !errors.As(err, &faults) || !strings.Contains(err.Error(), "tests.yml: is not read because of its name: call it tests.yaml") {
		t.Errorf("got %v", err)
	}
}

// YAML cuts an access without quotes at its commas.
func TestAnAccessThatYAMLHasCutIsToBeQuoted(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		mainFile:     "version: 1\nassign: [{policy: keep}]\n",
		"tests.yaml": "never:\n  - allow: [signal send set=(term, kill)]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ReadSuite(dir, c)
	if err == nil || !strings.Contains(err.Error(), "tests.yaml:2:13: access ") || !strings.Contains(err.Error(), "goes between quotes") {
		t.Errorf("the error is %v", err)
	}
}

func TestAFileOfTestsMayBeginWithoutItsVersion(t *testing.T) {
	_, err := parseSuite(t, nil)
	if err == nil || strings.Contains(err.Error(), "version") || !strings.Contains(err.Error(), `is empty: it begins with "tests:"`) {
		t.Errorf("an empty file: %v", err)
	}
}

// The examples of the two pages are one policy and its tests.
func TestExamplesOfThePagesCanBeRead(t *testing.T) {
	c, err := parseOne(exampleOf(t, "oci-apparmor-policy.yaml.5"))
	if err != nil {
		t.Fatal(err)
	}
	s := &Suite{Files: []string{testsFile}}
	if err := s.parse([]file{{name: testsFile, path: testsFile, text: exampleOf(t, "oci-apparmor-tests.yaml.5")}}, c); err != nil {
		t.Error(err)
	}
	if len(s.Tests) == 0 || len(s.Nevers) == 0 {
		t.Errorf("%d tests and %d nevers", len(s.Tests), len(s.Nevers))
	}
}

// exampleOf returns the example of a page.
func exampleOf(t *testing.T, page string) []byte {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, examples, _ := strings.Cut(string(text), "\n.SH EXAMPLES\n")
	_, examples, _ = strings.Cut(examples, ".nf\n")
	examples, _, found := strings.Cut(examples, ".fi\n")
	if !found {
		t.Fatalf("%s has no example", page)
	}
	return []byte(strings.ReplaceAll(examples, `\-`, "-"))
}
