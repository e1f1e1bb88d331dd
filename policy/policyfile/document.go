package policyfile

import (
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// document has the content of the policy files, with the places of what may turn out to be wrong.
type document struct {
	profiles []profileDef
	policies []policyDef
	rules    []rule

	requireTests bool
}

// name is a name and its place. The zero name means that there is none.
type name struct {
	value string
	place place
}

func (n name) given() bool { return n.place.line > 0 }

type profileDef struct {
	name           name
	file, template name // one of them
	onDrift        profile.Drift
}

type policyDef struct {
	name           name
	profile, floor name
	mode           profile.Mode
	modePlace      place
	enforceAfter   time.Duration // 0 without one
	afterPlace     place
}

type rule struct {
	policy.Assignment // without its names
	place             place
	policy, floor     name
	request           []name
	acceptChoice      []name
	faulty            bool // it has a fault, so its conditions may be incomplete
	order             int

	mayConfine, mayFree bool // one of its policies confines, or does not confine
}

// The keys of each mapping.
var (
	topKeys     = []string{"version", "profiles", "policies", "assign", "require"}
	profileKeys = []string{"file", "template", "onDrift"}
	policyKeys  = []string{"profile", "mode", "enforceAfter", "floor"}
	assignKeys  = append(conditionKeys(), "policy", "request", "acceptChoice", "floor", "onRefused")
)

func conditionKeys() (names []string) {
	for _, k := range policy.Keys() {
		names = append(names, k.Name)
	}
	return names
}

// The words that a key may have, and what they mean.
var (
	modes = map[string]profile.Mode{
		"enforce": profile.Enforce, "complain": profile.Complain, "kill": profile.Kill,
	}
	drifts   = map[string]profile.Drift{"replace": profile.ReplaceAny, "refuse": profile.RefuseDrift}
	refusals = map[string]policy.Refused{"deny": policy.Deny, "assigned": policy.Assigned}
)

func (p *parser) top(n *yaml.Node) {
	_, top := p.mapping(n, "a mapping with the key version", topKeys)
	if top == nil {
		return
	}
	if v := top["version"]; v == nil {
		p.fault(n, "the key version is missing: write \"version: 1\"")
	} else {
		p.version(v)
	}
	p.requires(top["require"])
	if v := top["profiles"]; v != nil {
		keys, values := p.mapping(v, "a mapping of profiles by their names", nil)
		for _, key := range keys {
			p.profile(key, values[key.Value])
		}
	}
	if v := top["policies"]; v != nil {
		keys, values := p.mapping(v, "a mapping of policies by their names", nil)
		for _, key := range keys {
			p.policy(key, values[key.Value])
		}
	}
	if v := top["assign"]; v != nil && p.wants(v, yaml.SequenceNode, "", "a list of rules") {
		for _, child := range v.Content {
			p.assignment(child)
		}
	}
}

// version checks the version of a file's format.
func (p *parser) version(v *yaml.Node) {
	if refused(v) {
		return
	}
	var version int
	switch {
	case v.Kind == yaml.ScalarNode && v.Tag == "!!str" && v.Value == "1":
		p.fault(v, "version must be the number 1, is %s: write it without quotes", is(v))
	case v.Kind != yaml.ScalarNode || v.Tag != "!!int" || v.Decode(&version) != nil || version != 1:
		p.fault(v, "version must be 1, is %s: this program reads version 1 only", is(v))
	}
}

// requires reads what policy apply demands beside the policy.
func (p *parser) requires(n *yaml.Node) {
	if n != nil && choice(p, n, map[string]bool{"tests": true}) {
		p.doc.requireTests = true
	}
}

func (p *parser) profile(key, value *yaml.Node) {
	if err := profile.CheckName(key.Value); err != nil {
		p.fault(key, "%v", err)
	} else if key.Value == policy.Keep {
		p.fault(key, "a profile cannot be called keep, which stands for the engine's choice")
	}
	def := profileDef{name: name{key.Value, p.at(key)}}
	_, keys := p.mapping(value, "a mapping with the key file or template", profileKeys)
	if keys != nil && (keys["file"] == nil) == (keys["template"] == nil) {
		p.fault(value, "a profile has either a file or a template")
	}
	def.file, _ = p.text(keys["file"], "a path")
	if v := keys["template"]; v != nil {
		words := make(map[string]bool)
		for _, word := range templates.Names() {
			words[word] = true
		}
		if choice(p, v, words) {
			def.template = name{v.Value, p.at(v)}
		}
	}
	if v := keys["onDrift"]; v != nil {
		def.onDrift = choice(p, v, drifts)
	}
	p.doc.profiles = append(p.doc.profiles, def)
}

func (p *parser) policy(key, value *yaml.Node) {
	if key.Value != "" && strings.HasPrefix("unconfined", key.Value) {
		p.fault(key, "policy name %.64q is a beginning of \"unconfined\": choose another name", key.Value)
	} else if profile.CheckName(key.Value) != nil {
		p.fault(key, "policy name %.64q: it must be a letter or digit, then letters, digits and . _ + -, %d bytes at "+
			"most", key.Value, profile.MaxName)
	} else if key.Value == policy.Keep {
		p.fault(key, "policy keep is built in: it leaves the engine's choice as it is; choose another name")
	}
	def := policyDef{name: name{key.Value, p.at(key)}}
	_, keys := p.mapping(value, "a mapping with the key profile", policyKeys)
	if keys != nil && keys["profile"] == nil {
		p.fault(value, "policy %.64q has no profile: give it the key profile", key.Value)
	}
	def.profile, _ = p.text(keys["profile"], "a profile's name, or keep")
	def.floor, _ = p.text(keys["floor"], "a profile's name")
	if v := keys["mode"]; v != nil {
		def.mode = choice(p, v, modes)
		def.modePlace = p.at(v)
	}
	if v := keys["enforceAfter"]; v != nil {
		def.enforceAfter, def.afterPlace = p.quietTime(v), p.at(v)
		if def.mode != profile.Complain && def.profile.value != policy.Keep {
			p.fault(v, "policy %.64q is not in mode complain, which enforceAfter ends: write mode: complain beside it, or leave it out", def.name.value)
		}
	}
	if def.profile.value == policy.Keep {
		for _, key := range []string{"mode", "enforceAfter", "floor"} {
			if v := keys[key]; v != nil {
				p.fault(v, "policy %.64q keeps the engine's choice, to which no %s can be given", def.name.value, key)
			}
		}
	}
	p.doc.policies = append(p.doc.policies, def)
}

func (p *parser) assignment(n *yaml.Node) {
	faults := len(*p.errs)
	_, keys := p.mapping(n, "a mapping with the key policy", assignKeys)
	if keys == nil {
		return
	}
	r := rule{place: p.at(n)}
	r.File, r.Line = p.file.name, n.Line
	for _, k := range policy.Keys() {
		switch v := keys[k.Name]; {
		case v == nil:
		case k.Kind == policy.Patterns:
			*k.PatternsOf(&r.Assignment) = p.patterns(k.Name, v)
		case k.Kind == policy.LabelPatterns:
			r.Label = p.labels(v)
		case k.Kind == policy.Switch:
			if b := p.bool(v); b != nil {
				k.Switch(&r.Assignment, *b)
			}
		}
	}
	if keys["policy"] == nil {
		p.fault(n, "the rule gives no policy: add the key policy")
	}
	r.policy, _ = p.text(keys["policy"], "a policy's name")
	r.request = p.texts(keys["request"], "a policy's name")
	r.acceptChoice = p.texts(keys["acceptChoice"], "a profile's name")
	for _, choice := range r.acceptChoice {
		p.choice(choice)
	}
	r.floor, _ = p.text(keys["floor"], "a profile's name")
	if v := keys["onRefused"]; v != nil {
		r.OnRefused = choice(p, v, refusals)
	}
	for _, key := range []string{"request", "onRefused"} {
		if v := keys[key]; v != nil && r.Sandbox {
			p.fault(v, "%s has no meaning in a rule for sandboxes: no annotation speaks for a pause container", key)
		}
	}
	r.faulty = len(*p.errs) > faults
	p.doc.rules = append(p.doc.rules, r)
}

// patterns reads the value of a condition: names of engines, or patterns.
func (p *parser) patterns(key string, n *yaml.Node) (list []string) {
	if key == "engine" {
		for _, at := range p.texts(n, "an engine's name") {
			if engine.Known(at.value) {
				list = append(list, at.value)
			} else {
				p.errs.add(at.place, "unknown engine %.64q%s%s", at.value, meantEngine(at.value), oneOf(engine.Names()))
			}
		}
		return list
	}
	for _, pattern := range p.texts(n, "a pattern") {
		all := []string{pattern.value}
		_, err := path.Match(pattern.value, "")
		if err != nil {
			p.errs.add(pattern.place, "pattern %.64q: what follows [ must be characters or ranges and a ], and what "+
				"follows \\ any character", pattern.value)
		} else if strings.Contains(pattern.value, "**") {
			p.errs.add(pattern.place, "pattern %.64q: ** fits no more than *, and neither fits a slash: write a pattern for each "+
				"number of slashes", pattern.value)
		} else if key == "image" {
			if all, err = policy.ImagePatterns(pattern.value); err == nil {
				err = checkImage(pattern.value, all[0])
			}
			if err != nil {
				p.errs.add(pattern.place, "pattern %.64q: %v", pattern.value, err)
			}
		} else if key == "namespace" || key == "pod" {
			if err := checkKubernetesName(key, pattern.value); err != nil {
				p.errs.add(pattern.place, "pattern %.64q: %v", pattern.value, err)
			}
		}
		for _, one := range all {
			if !slices.Contains(list, one) {
				list = append(list, one)
			}
		}
	}
	return list
}

// labels reads patterns by the labels that they are for, in the order of the file.
func (p *parser) labels(n *yaml.Node) (list []policy.Labelled) {
	keys, values := p.mapping(n, "a mapping of patterns by labels", nil)
	if values != nil && len(keys) == 0 {
		p.fault(n, "the mapping is empty: leave its key out")
	}
	for _, key := range keys {
		if key.Value == "" {
			p.fault(key, "a label must have a name")
			continue
		}
		list = append(list, policy.Labelled{Key: key.Value, Patterns: p.patterns("label", values[key.Value])})
	}
	return list
}

// choice checks the name of a profile that engines may choose.
func (p *parser) choice(at name) {
	if err := profile.CheckName(at.value); err != nil {
		p.errs.add(at.place, "%v", err)
	} else if at.value == policy.Keep {
		p.errs.add(at.place, "acceptChoice lists profiles, and keep is none: to let the engine choose whatever it likes, say "+
			"policy: keep")
	} else if title, is := engine.ByDefault(at.value); is {
		p.errs.add(at.place, "profile %.64q is what %s gives a container for which nobody chose one, so it counts as no "+
			"choice: leave it out", at.value, title)
	}
}
