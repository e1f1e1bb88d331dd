package suggest

import "github.com/oci-apparmor/oci-apparmor/policy/profile/why"

// An Answer is what came of a denial.
type Answer struct {
	Profile string // of a stack, the part that is to be changed
	Outcome Outcome
	By      []why.Use // for Blocked: the rules that deny it
	Message string    // what happened, and what to do; empty for Suggested
}

// An Outcome is what came of a denial.
type Outcome uint8

const (
	Suggested Outcome = iota
	Already           // the text allows it: what denied it was another text
	Blocked           // a rule of the text denies it, and no other one can allow it
	Elsewhere         // the profile is not in the text, but in a file that it includes, or in none
	NoRule            // no rule that is known here allows it
	Held              // a rule would allow it, and gives up a protection: Options.Hold
)

// String returns a word or two for an outcome.
func (o Outcome) String() string {
	return [...]string{"suggested", "already allowed", "blocked", "elsewhere", "no rule", "held back"}[o]
}
