package policyfile

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
)

// The names of the files that have the tests of a policy, beside those of the policy itself. No policy depends on them.
const (
	testsFile = "tests.yaml"
	testsDir  = "tests.d"
)

// A Suite is what the tests of a policy say: tests.yaml and tests.d/*.yaml of a configuration directory. The keys of a file:
//
//	version: 1
//	tests:
//	  - name: NAME
//	    container: {engine: ENGINE, id, namespace, pod, name, image: TEXT, labels, annotations: {KEY: TEXT},
//	                privileged: BOOL or partly, sandbox: BOOL, engineChoice: PROFILE}
//	    expect: {policy: POLICY, label: LABEL, refused: BOOL or TEXT}
//	    allow, deny: ACCESS or list
//	never:
//	  - {name: NAME, allow: ACCESS or list, except: {policy: POLICY or list}}
//	floor: {every: PROFILE, except: {policy: POLICY or list}}
//
// An ACCESS is a pattern of package access.
type Suite struct {
	Files  []string // names within the configuration directory
	Tests  []Test
	Nevers []Never
	Floors []Floor
}

// A Place is where something stands in a file.
type Place struct {
	File         string // its path
	Line, Column int    // from 1
}

// String returns FILE:LINE.
func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// A Text is a text of a file.
type Text struct {
	Value string
	At    Place
}

// A Test is one container, what the policy must decide for it, and what it must be able to do or not.
type Test struct {
	Name      string // empty if the file gives none
	At        Place
	Container Container

	// What is expected of the decision. Unless a refusal is expected, the container must start.
	Policy  Text // the policy that it gets; the zero Text if nothing is expected
	Label   Text // its label, in any order of a stack
	Refused Text // a part of the reason why it is refused; empty, but At set, for any reason

	Allow, Deny []Pattern
}

// A Container is a container as a test describes it.
type Container struct {
	At          Place
	Engine, ID  string
	Facts       map[string]string // by the keys of rules that ask for them
	Labels      map[string]string
	Annotations map[string]string
	Privileged  policy.Privilege
	Sandbox     bool
	Choice      string // the profile that the engine chose
	ChoiceSaid  bool   // it is known; if Choice is empty, the engine chose none
}

// A Pattern is a set of accesses, as the file has it.
type Pattern struct {
	access.Pattern
	Text
}

// A Never is what no container may ever be able to do.
type Never struct {
	Name   string // empty if the file gives none
	At     Place
	Allow  []Pattern
	Except []string // names of policies; what containers with these may do does not matter
}

// A Floor is a profile than which no container's label may be less strict.
type Floor struct {
	At      Place
	Profile string
	Except  []string // as that of Never
}

// Empty reports whether there is nothing to test.
func (s *Suite) Empty() bool { return len(s.Tests) == 0 && len(s.Nevers) == 0 && len(s.Floors) == 0 }

// ReadSuite reads the tests beside a policy. path is what Read or ReadFile has read the policy c from. Names in the tests
// must be those of c. Without a file of tests, the Suite has no Files. The error is an Errors if the fault is in a file.
func ReadSuite(path string, c *policy.Config) (*Suite, error) {
	dir := path
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.IsDir() {
		dir = filepath.Dir(path)
	}
	names, err := yamlFiles(dir, testsFile, testsDir)
	if err != nil {
		return nil, err
	}
	s := &Suite{Files: names}
	var files []file
	for _, name := range names {
		files = append(files, readFile(dir, name))
	}
	if err := s.parse(files, c); err != nil {
		return nil, err
	}
	return s, nil
}

// ParseSuite is ReadSuite for one file with this name and text.
func ParseSuite(name string, text []byte, c *policy.Config) (*Suite, error) {
	s := &Suite{Files: []string{name}}
	if err := s.parse([]file{{name: name, path: name, text: text}}, c); err != nil {
		return nil, err
	}
	return s, nil
}

// parse adds what files of tests have.
func (s *Suite) parse(files []file, c *policy.Config) error {
	var errs Errors
	order := make(map[string]int)
	for i, f := range files {
		order[f.path] = i
		p := suiteParser{parser: parser{file: f, errs: &errs}, suite: s, config: c}
		p.parse(`"tests:", "never:" or "floor:"`, p.top)
	}
	s.named(&errs)
	if len(errs) > 0 {
		errs.sort(order)
		return errs
	}
	return nil
}

// named reports names that are there twice.
func (s *Suite) named(errs *Errors) {
	first := make(map[string]Place)
	check := func(kind, name string, at Place) {
		if name == "" {
			return
		}
		if before, twice := first[kind+name]; twice {
			errs.add(place{at.File, at.Line, at.Column}, "name %.64q is there twice, first at %s", name, before)
			return
		}
		first[kind+name] = at
	}
	for _, t := range s.Tests {
		check("test ", t.Name, t.At)
	}
	for _, n := range s.Nevers {
		check("never ", n.Name, n.At)
	}
}

// suiteParser reads one file of tests.
type suiteParser struct {
	parser
	suite  *Suite
	config *policy.Config
}

// The keys of each mapping of a file of tests.
var (
	suiteKeys  = []string{"version", "tests", "never", "floor"}
	testKeys   = []string{"name", "container", "expect", "allow", "deny"}
	expectKeys = []string{"policy", "label", "refused"}
	neverKeys  = []string{"name", "allow", "except"}
	floorKeys  = []string{"every", "except"}
	exceptKeys = []string{"policy"}

	containerKeys = slices.Concat([]string{"engine", "id"}, factKeys(),
		[]string{"labels", "annotations", "privileged", "sandbox", "engineChoice"})
)

// factKeys returns the keys of a container for facts that rules match with patterns. The key of its name is name.
func factKeys() (names []string) {
	for _, k := range policy.Keys() {
		if name := factKey(k); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// factKey returns the key of a container for what a rule's key asks for, and nothing where that is no text.
func factKey(k policy.Key) string {
	switch {
	case k.Kind != policy.Patterns || k.Name == "engine":
		return ""
	case k.Name == string(engine.Container):
		return "name"
	}
	return k.Name
}

func (p *suiteParser) place(n *yaml.Node) Place { return Place{p.file.path, n.Line, n.Column} }

func (p *suiteParser) top(n *yaml.Node) {
	_, top := p.mapping(n, "a mapping with the key tests, never or floor", suiteKeys)
	if top == nil {
		return
	}
	if v := top["version"]; v != nil {
		p.version(v)
	}
	if v := top["tests"]; v != nil && p.wants(v, yaml.SequenceNode, "", "a list of tests") {
		for _, child := range v.Content {
			p.test(child)
		}
	}
	if v := top["never"]; v != nil && p.wants(v, yaml.SequenceNode, "", "a list of what no container may do") {
		for _, child := range v.Content {
			p.never(child)
		}
	}
	if v := top["floor"]; v != nil {
		p.floor(v)
	}
}

func (p *suiteParser) test(n *yaml.Node) {
	_, keys := p.mapping(n, "a mapping with the key container", testKeys)
	if keys == nil {
		return
	}
	t := Test{At: p.place(n), Name: p.name(keys["name"]), Container: Container{At: p.place(n)}}
	if v := keys["container"]; v != nil {
		t.Container = p.container(v)
	} else {
		p.fault(n, "the test has no container: add the key container; {} is one of which nothing is known")
	}
	if v := keys["expect"]; v != nil {
		p.expect(v, &t)
	}
	t.Allow, t.Deny = p.accesses(keys["allow"]), p.accesses(keys["deny"])
	if keys["expect"] == nil && keys["allow"] == nil && keys["deny"] == nil {
		p.fault(n, "the test asks for nothing: add expect, allow or deny")
	}
	for _, key := range []string{"allow", "deny"} {
		if v := keys[key]; v != nil && t.Refused.At.Line > 0 {
			p.fault(v, "%s has no meaning where the container is to be refused", key)
		}
	}
	p.suite.Tests = append(p.suite.Tests, t)
}

// aName is what a test may be called, so that it can be chosen by --run and stands in one word.
var aName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+/-]{0,99}$`)

func (p *suiteParser) name(n *yaml.Node) string {
	one, ok := p.text(n, "a name")
	if ok && !aName.MatchString(one.value) {
		p.fault(n, "name %.64q: it must be a letter or digit, then letters, digits and . _ + - /, 100 bytes at most", one.value)
	}
	return one.value
}

func (p *suiteParser) container(n *yaml.Node) Container {
	c := Container{At: p.place(n), Facts: make(map[string]string)}
	_, keys := p.mapping(n, "a mapping of what is known of a container", containerKeys)
	plain := func(key, what string) string {
		one, _ := p.text(keys[key], what)
		return one.value
	}
	if v := keys["engine"]; v != nil {
		if c.Engine = plain("engine", "an engine's name"); c.Engine != "" && !engine.Known(c.Engine) {
			p.fault(v, "unknown engine %.64q%s%s", c.Engine, meantEngine(c.Engine), oneOf(engine.Names()))
		}
	}
	c.ID = plain("id", "a container's id")
	for _, k := range policy.Keys() {
		if key := factKey(k); key != "" && keys[key] != nil {
			c.Facts[k.Name] = plain(key, "a text")
		}
	}
	c.Labels, c.Annotations = p.strings(keys["labels"]), p.strings(keys["annotations"])
	if v := keys["privileged"]; v != nil {
		c.Privileged = p.privileged(v)
	}
	if b := p.bool(keys["sandbox"]); b != nil {
		c.Sandbox = *b
	}
	if v := keys["engineChoice"]; v != nil && p.wants(v, yaml.ScalarNode, "!!str", `a profile's name, unconfined, or "" for none`) {
		c.Choice, c.ChoiceSaid = v.Value, true
	}
	return c
}

// privileged reads true, false or partly.
func (p *suiteParser) privileged(n *yaml.Node) policy.Privilege {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && n.Value == policy.PartlyPrivileged.String() {
		return policy.PartlyPrivileged
	}
	if b := p.bool(n); b != nil && *b {
		return policy.Privileged
	}
	return policy.Unprivileged
}

// strings reads a mapping of texts, which may be empty.
func (p *suiteParser) strings(n *yaml.Node) map[string]string {
	if n == nil {
		return nil
	}
	keys, values := p.mapping(n, "a mapping of texts", nil)
	all := make(map[string]string, len(keys))
	for _, key := range keys {
		if v := values[key.Value]; p.wants(v, yaml.ScalarNode, "!!str", "a text") {
			all[key.Value] = v.Value
		}
	}
	return all
}

func (p *suiteParser) expect(n *yaml.Node, t *Test) {
	_, keys := p.mapping(n, "a mapping with the key policy, label or refused", expectKeys)
	if keys != nil && len(keys) == 0 {
		p.fault(n, "expect is empty: leave it out, or add policy, label or refused")
	}
	if one, ok := p.text(keys["policy"], "a policy's name"); ok {
		t.Policy = textOf(one)
		p.policies([]name{one})
	}
	if one, ok := p.text(keys["label"], "a label"); ok {
		t.Label = textOf(one)
	}
	switch v := keys["refused"]; {
	case v == nil:
	case v.Kind == yaml.ScalarNode && v.Tag == "!!bool":
		if b := p.bool(v); b != nil && *b {
			t.Refused.At = p.place(v)
		}
	default:
		one, _ := p.text(v, "true, false, or a part of the reason")
		t.Refused = textOf(one)
	}
	for _, key := range []string{"policy", "label"} {
		if v := keys[key]; v != nil && t.Refused.At.Line > 0 {
			p.fault(v, "a container that is refused has no %s", key)
		}
	}
}

func textOf(n name) Text { return Text{n.value, Place{n.place.file, n.place.line, n.place.column}} }

// accesses reads patterns of accesses.
func (p *suiteParser) accesses(n *yaml.Node) (list []Pattern) {
	for _, one := range p.texts(n, "an access") {
		pattern, err := access.Parse(one.value)
		if err != nil {
			hint := ""
			if strings.Count(one.value, "(") > strings.Count(one.value, ")") { // cut at a comma by a list of YAML
				hint = ": an access with a comma in it goes between quotes"
			}
			p.errs.add(one.place, "access %.100q: %v%s", one.value, err, hint)
			continue
		}
		list = append(list, Pattern{pattern, textOf(one)})
	}
	return list
}

func (p *suiteParser) never(n *yaml.Node) {
	_, keys := p.mapping(n, "a mapping with the key allow", neverKeys)
	if keys == nil {
		return
	}
	if keys["allow"] == nil {
		p.fault(n, "the key allow is missing: it lists what no container may do")
	}
	p.suite.Nevers = append(p.suite.Nevers, Never{At: p.place(n), Name: p.name(keys["name"]), Allow: p.accesses(keys["allow"]),
		Except: p.except(keys["except"])})
}

func (p *suiteParser) floor(n *yaml.Node) {
	_, keys := p.mapping(n, "a mapping with the key every", floorKeys)
	if keys == nil {
		return
	}
	if keys["every"] == nil {
		p.fault(n, "the key every is missing: it names the profile than which no label may be less strict")
	}
	one, ok := p.text(keys["every"], "a profile's name")
	if names := p.profiles(); ok && !slices.Contains(names, one.value) {
		p.errs.add(one.place, "profile %.64q is not defined%s", one.value, didYouMean(one.value, names))
	}
	p.suite.Floors = append(p.suite.Floors, Floor{At: p.place(n), Profile: one.value, Except: p.except(keys["except"])})
}

// except reads the policies whose containers do not matter.
func (p *suiteParser) except(n *yaml.Node) (list []string) {
	if n == nil {
		return nil
	}
	_, keys := p.mapping(n, "a mapping with the key policy", exceptKeys)
	if keys != nil && keys["policy"] == nil {
		p.fault(n, "the key policy is missing: it names the policies whose containers do not matter")
	}
	names := p.texts(keys["policy"], "a policy's name")
	p.policies(names)
	for _, one := range names {
		list = append(list, one.value)
	}
	return list
}

// policies reports names that are no policy's.
func (p *suiteParser) policies(names []name) {
	known := []string{policy.Baseline, policy.Keep}
	for _, one := range p.config.Policies {
		known = append(known, one.Name)
	}
	for _, one := range names {
		if !slices.Contains(known, one.value) {
			hint := didYouMean(one.value, known)
			if slices.Contains(p.profiles(), one.value) && profile.CheckName(one.value) == nil {
				hint = fmt.Sprintf("; %s is a profile", one.value)
			}
			p.errs.add(one.place, "policy %.64q is not defined%s", one.value, hint)
		}
	}
}

// profiles returns the names of the policy's profiles.
func (p *suiteParser) profiles() (names []string) {
	for _, one := range p.config.Profiles {
		names = append(names, one.Name)
	}
	return names
}

// Where returns a place by the name of its file within the configuration directory: "tests.yaml:12".
func (s *Suite) Where(at Place) string {
	for _, file := range s.Files {
		if strings.HasSuffix(at.File, file) {
			return fmt.Sprintf("%s:%d", file, at.Line)
		}
	}
	return at.String()
}
