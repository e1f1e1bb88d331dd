package access

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// changeProfile reads "change_profile [now|onexec|request] [stack] [[owner|other] PROGRAM] [-> LABEL]": a change at once,
// one with the exec of a program, or only the request for that ahead of the exec. Without the word it is about the first
// two or, with a program, about the second. "-> &LABEL" is "stack -> LABEL".
func (p *parser) changeProfile() error {
	p.at++
	now, onExec := true, true
	like := meaning.ChangeProfileAccess{}
	switch {
	case p.skip("now"):
		onExec = false
	case p.skip("onexec"):
		now = false
	case p.skip("request"):
		now, onExec, like.OnExec = false, false, true
	}
	stacks := []bool{false, true}
	if p.skip("stack") {
		stacks = []bool{true}
	}
	programs := glob{kind: files}
	whose, owned := p.whose()
	if owned || p.more() && !p.words[p.at].is("->") {
		if !onExec {
			return fmt.Errorf("a program is wrong behind now and request: only onexec is about one")
		}
		var err error
		if programs, err = p.text(files, "the path of a program"); err != nil {
			return err
		}
		now = false
	}
	label := glob{kind: labels}
	if p.skip("->") {
		var stack bool
		var err error
		if label, stack, err = p.newLabel(); err != nil {
			return err
		}
		stacks = []bool{stack || len(stacks) == 1}
	}
	for _, stack := range stacks {
		like.Stack = stack
		if now || like.OnExec {
			p.asks([]meaning.Access{like}, label)
		}
		if !onExec {
			continue
		}
		var all []meaning.Access
		for _, owner := range whose {
			all = append(all, meaning.ChangeProfileAccess{OnExec: true, Stack: stack, Program: "/", Owner: owner})
		}
		p.asks(all, programs, label)
	}
	return p.end(`"->" and a label`)
}

// newLabel reads the label of a change, which may have an & before it.
func (p *parser) newLabel() (label glob, stack bool, err error) {
	if p.more() && p.words[p.at].key == "" {
		w := &p.words[p.at]
		if rest, ok := strings.CutPrefix(w.text, "&"); ok && rest != "" {
			changed := *w
			changed.text = rest
			p.at++
			label, err = globOf(labels, changed)
			return label, true, err
		}
	}
	label, err = p.text(labels, "a label")
	return label, false, err
}

// changeHat reads "change_hat [HAT]".
func (p *parser) changeHat() error {
	p.at++
	hat := glob{kind: names}
	if p.more() {
		var err error
		if hat, err = p.text(names, "a hat"); err != nil {
			return err
		}
	}
	p.asks([]meaning.Access{meaning.ChangeHatAccess{}}, hat)
	return p.end("")
}

func formatChangeProfile(a meaning.ChangeProfileAccess) string {
	text := "change_profile now"
	switch {
	case a.OnExec && a.Program == "":
		text = "change_profile request"
	case a.OnExec:
		text = "change_profile onexec"
	}
	if a.Stack {
		text += " stack"
	}
	if a.OnExec && a.Program != "" {
		text += " " + whose(a.Owner) + literal(a.Program)
	}
	return text + " -> " + literal(a.Label)
}
