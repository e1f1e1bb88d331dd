package combine

import (
	"context"
	"errors"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// errContradict is the error that the parser does not take rules together, by which programs go on in several ways.
var errContradict = errors.New("the rules by which programs go on contradict each other, says apparmor_parser")

// mostTried bounds how many pairs of rules are compiled to find those that contradict each other.
const mostTried = 100

// contradicting says which rules of a block contradict each other, with their places.
func (c *combination) contradicting(ctx context.Context, of string) (string, error) {
	first, second := c.parts[0], c.parts[1]
	tried := 0
	for _, a := range first.rules[first.main()+of] {
		for _, b := range second.rules[second.main()+of] {
			if !couldContradict(a, b) || tried == mostTried {
				continue
			}
			tried++
			_, err := c.compile(ctx, c.head+"profile contradictory {\n"+a.text()+"\n"+b.text()+"\n}\n")
			if errors.Is(err, errContradict) {
				return fmt.Sprintf("%s and %s contradict each other, says apparmor_parser: each has a program go on in another way, or with "+
					"another environment", first.stated(c.Compiler, a), second.stated(c.Compiler, b)), nil
			}
			if err := ctx.Err(); err != nil {
				return "", err
			}
		}
	}
	return errContradict.Error(), nil
}

// couldContradict reports whether rules are of one kind by which programs go on, and in different ways.
func couldContradict(a, b rule) bool {
	if a.kind != b.kind || a.deny || b.deny {
		return false
	}
	switch a.kind {
	case "file":
		return a.what == "x" && b.what == "x" && (a.exec != b.exec || a.target != b.target)
	case "change_profile":
		return a.rest != b.rest
	}
	return false
}

// stated returns the place and the statement that a rule is a part of.
func (p *part) stated(c Compiler, r rule) string {
	text := p.statements[r]
	return fmt.Sprintf("%s: %s", p.place(c, text), oneline.Quote(text))
}
