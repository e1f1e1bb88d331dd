package suggest

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// hold notes, for the denials of rules that give up a protection, that these are held back. It reports whether there was one.
//
// What one rule gives up can depend on another one, as where one lets a file be written that the other lets be executed. So the
// search is made again without these denials.
func hold(found *Suggestion, held map[int]Answer) (more bool, err error) {
	for _, r := range found.Rules {
		if len(r.Gives) == 0 {
			continue
		}
		if len(r.For) == 0 {
			return false, fmt.Errorf("nothing is suggested: the rule %s gives up a protection, and for which denial it is added is not known",
				oneline.Whole(r.Text))
		}
		for _, denial := range r.For {
			held[denial] = Answer{Profile: r.Profile, Outcome: Held,
				Message: fmt.Sprintf("held back is the rule %s: %s", oneline.Whole(r.Text), strings.Join(r.Gives, "; "))}
			more = true
		}
	}
	return more, nil
}
