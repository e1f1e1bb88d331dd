package access

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
)

// parser reads the words of a line.
type parser struct {
	words     []word
	at        int
	questions []question
	limits    []limits
}

// forms are the words that a line may begin with, beside permissions of files, and what reads the rest of the line.
var forms map[string]func(*parser) error

func init() {
	forms = map[string]func(*parser) error{
		"owner": (*parser).file, "other": (*parser).file, "file": (*parser).file, "link": (*parser).file,
		"capability": (*parser).capability, "signal": (*parser).signal, "ptrace": (*parser).ptrace,
		"userns": (*parser).userns, "io_uring": (*parser).ioURing, "change_profile": (*parser).changeProfile,
		"change_hat": (*parser).changeHat, "mount": (*parser).mount, "remount": (*parser).mount, "bind": (*parser).mount,
		"umount": (*parser).umount, "unmount": (*parser).umount, "pivot_root": (*parser).pivotRoot,
		"mqueue": (*parser).mqueue, "dbus": (*parser).dbus, "rlimit": (*parser).rlimit, "set": (*parser).rlimit,
		"network": (*parser).network,
	}
	for _, family := range kernelname.Families.Words() {
		forms[family] = (*parser).network
	}
	for protocol := range protocols {
		forms[protocol] = (*parser).network
	}
	forms["unix"] = (*parser).unix
}

// heads says what a line may begin with.
func heads() string {
	words := slices.DeleteFunc(slices.Sorted(maps.Keys(forms)), func(w string) bool {
		_, family := kernelname.Families.Number(w)
		return family && w != "unix" || w == "unmount" || w == "set"
	})
	return "a permission of a file (r, w, a, k, m, l, x, create, ...) or " + listed(words)
}

// listed returns words as a list of which one may stand.
func listed(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func (p *parser) pattern() error {
	head := p.words[0]
	if head.key == "" && !head.quoted && !head.listed {
		if (head.text == "owner" || head.text == "other") && len(p.words) > 1 && p.words[1].is("unix") {
			return p.unix()
		}
		if form, ok := forms[head.text]; ok {
			return form(p)
		}
		if _, err := permissionsOf(head.text); err == nil || strings.HasPrefix(head.text, "/") {
			return p.file()
		}
	}
	return fmt.Errorf("%s begins no access: one begins with %s", shown(head), heads())
}

// shown returns a word as errors quote it.
func shown(w word) string { return oneline.Quote(w.String()) }

// more reports whether there is another word.
func (p *parser) more() bool { return p.at < len(p.words) }

// skip steps over the next word where it is this one of the language's own.
func (p *parser) skip(text string) bool {
	if p.more() && p.words[p.at].is(text) {
		p.at++
		return true
	}
	return false
}

// end returns an error if there is another word. expected is what it could be.
func (p *parser) end(expected string) error {
	if !p.more() {
		return nil
	}
	if expected == "" {
		return fmt.Errorf("%s is too much: nothing can follow", shown(p.words[p.at]))
	}
	return fmt.Errorf("%s is wrong: here can stand %s", shown(p.words[p.at]), expected)
}

// text reads the next word as texts of a kind. expected says what it is about.
func (p *parser) text(k kind, expected string) (glob, error) {
	if !p.more() {
		return glob{}, fmt.Errorf("%s is missing at the end", expected)
	}
	w := p.words[p.at]
	if w.key != "" {
		return glob{}, fmt.Errorf("%s is wrong: here can stand %s", shown(w), expected)
	}
	p.at++
	return globOf(k, w)
}

// globOf reads a word, or each of a list, as texts of a kind.
func globOf(k kind, w word) (glob, error) {
	list := []word{w}
	if w.listed {
		if list = w.list; len(list) == 0 {
			return glob{}, fmt.Errorf("%s has nothing in it", shown(w))
		}
	}
	g := glob{kind: k}
	for _, one := range list {
		if one.listed || one.key != "" && w.listed {
			return glob{}, fmt.Errorf("%s is wrong: here can stand one of the %s", shown(one), k.what)
		}
		text, err := pattern(one.text)
		if err != nil {
			return glob{}, err
		}
		if k.what == paths.what || k.what == files.what {
			text = strings.ReplaceAll(text, "//", "/")
		}
		g.patterns = append(g.patterns, text)
	}
	return g, nil
}

// conditions reads the rest of the line, KEY=VALUE each, in any order.
func (p *parser) conditions(known map[string]func(word) error) error {
	seen := make(map[string]bool)
	for ; p.more(); p.at++ {
		w := p.words[p.at]
		read, ok := known[w.key]
		switch {
		case !ok:
			return p.end(listed(slices.Sorted(maps.Keys(known))) + ", each with = behind it")
		case seen[w.key]:
			return fmt.Errorf("%s is wrong: there is a %s= ahead of it", shown(w), w.key)
		}
		seen[w.key] = true
		if err := read(w); err != nil {
			return err
		}
	}
	return nil
}
