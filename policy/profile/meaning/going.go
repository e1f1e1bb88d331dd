package meaning

import (
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Own returns the transition of a profile with each of its children as such, by the last part of the child's name.
func (t Transition) Own(p *Profile) Transition {
	if name, child := strings.CutPrefix(t.Label, p.Name+"//"); child && t.To == TargetLabel {
		t.Label, t.Child = name, true
	}
	return t
}

// String says how the program goes on, such as "under web, or else the same". Transitions that differ have texts that differ.
// See Own for children.
func (t Transition) String() string {
	text := ""
	switch t.To {
	case TargetNone:
		return "not at all"
	case TargetLearning:
		return "under a profile that complain mode makes"
	case TargetSame:
		text = "under the same profile"
	case TargetUnconfined:
		text = "unconfined"
	case TargetAttached:
		if text = "under the profile that attaches to it"; t.Child {
			text = "under the child that attaches to it"
		}
	case TargetLabel:
		if text = "under " + shown(t.Label); t.Child {
			text = "under child " + shown(t.Label)
		}
		if t.Stack {
			text += ", on top of its own"
		}
	}
	scrubbed := ""
	if t.Scrub {
		scrubbed = ", with its environment scrubbed"
	}
	switch t.Else {
	case TargetSame: // for which it is not scrubbed
		return text + scrubbed + ", or else the same"
	case TargetUnconfined:
		text += ", or else unconfined"
	}
	return text + scrubbed
}

// shown returns a label in a text, so that no label's looks like that of another one.
func shown(label string) string {
	if strings.Contains(label, `"`) {
		return strconv.QuoteToASCII(label)
	}
	return oneline.Name(label)
}
