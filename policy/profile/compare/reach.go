package compare

import (
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// mostReached is how many texts one Reach asks for.
const mostReached = 64

// Reach adds to the side's Others its own profiles with their children, and those to which programs under these go on, and
// those to which programs under those go on, and so on. read returns all profiles that the text of a profile defines, and
// none if it is not known. Where a rule leads to a child or a stack, it is asked for the parents and for each part.
func (s *Side) Reach(read func(name string) ([]*meaning.Profile, error)) error {
	if s.Others == nil {
		s.Others = make(map[string]*meaning.Profile)
	}
	var queue []string
	var add func(p *meaning.Profile)
	add = func(p *meaning.Profile) {
		s.Others[p.Name] = p
		queue = append(queue, leads(p)...)
		for _, child := range p.Children {
			add(child)
		}
	}
	for _, p := range s.named() {
		queue = append(queue, leads(p)...)
	}
	for _, p := range s.Stack {
		add(p)
	}
	asked := make(map[string]bool)
	for ; len(queue) > 0 && len(asked) < mostReached; queue = queue[1:] {
		name := queue[0]
		if asked[name] || s.Others[name] != nil {
			continue
		}
		asked[name] = true
		all, err := read(name)
		if err != nil {
			return err
		}
		for _, p := range all {
			if s.Others[p.Name] == nil {
				add(p)
			}
		}
	}
	return nil
}

// leads returns the names of the profiles to which programs under a profile go on: of a child its parent's, and those of all
// parts of a stack. Profiles of other namespaces are left out.
func leads(p *meaning.Profile) (names []string) {
	for _, label := range p.Names {
		for _, part := range parts(label) {
			if name, _, _ := strings.Cut(part, "//"); !strings.ContainsAny(name, ":\x00") {
				names = append(names, name)
			}
		}
	}
	return names
}

// parts returns the parts of a label in a rule that confine.
func parts(label string) (names []string) {
	for name := range strings.SplitSeq(strings.TrimPrefix(label, "&"), "//&") {
		if !meaning.IsUnconfined(name) {
			names = append(names, name)
		}
	}
	return names
}
