package policy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Refusal is the error for a container that asks for a policy which it must not have.
type Refusal struct {
	Request string   // the policy that it asks for, as the workload wrote it: hostile
	Key     string   // the annotation that asks for it
	Known   bool     // there is a policy of that name
	Rule    string   // the container's rule: "rule for everyone (policy.yaml line 14)"; empty if it has none
	Allowed []string // the policies that the rule allows, the assigned one first
}

// Error returns one line of printable ASCII. It quotes and shortens what the workload wrote.
func (r *Refusal) Error() string {
	var b strings.Builder
	b.WriteString("policy " + oneline.Quote(r.Request) + ", asked for by annotation " + oneline.Word(r.Key) + ", ")
	if r.Known {
		b.WriteString("is not allowed here: ")
	} else {
		b.WriteString("does not exist: ")
	}
	if r.Rule == "" {
		b.WriteString("no rule of the node's policy is for this container, so it may not ask for any; " +
			"remove the annotation, or have an assignment with a \"request\" list added to the policy file")
		return b.String()
	}
	b.WriteString("the " + r.Rule + " allows " + words(r.Allowed) + "; ask for one of these, remove the annotation, ")
	if r.Known {
		b.WriteString("or have " + oneline.Word(r.Request) + " added to the rule's \"request\" list")
	} else {
		b.WriteString("or have the policy defined and added to the rule's \"request\" list")
	}
	return b.String()
}

// refuse returns the refusal of a request. r is the container's rule, or nil.
func (x Index) refuse(f Facts, r *rule) *Refusal {
	_, known := x.policyIndex(*f.Request)
	known = known || *f.Request == Keep || *f.Request == Baseline // the index has these only if they are used
	refusal := &Refusal{Request: *f.Request, Key: f.RequestKey, Known: known}
	if r == nil {
		return refusal
	}
	refusal.Rule = r.String()
	for _, i := range append([]int{r.policy}, r.request()...) {
		if e, err := x.policy(i); err == nil && !slices.Contains(refusal.Allowed, e.name) {
			refusal.Allowed = append(refusal.Allowed, e.name)
		}
	}
	return refusal
}

// most is how many items of a list an error shows.
const most = 4

// words returns a list for people: "a", "a and b", "a, b, c, d and 12 more".
func words(list []string) string {
	shown := make([]string, 0, most+1)
	for _, s := range list[:min(len(list), most)] {
		shown = append(shown, oneline.Word(s))
	}
	if n := len(list) - most; n > 0 {
		shown = append(shown, strconv.Itoa(n)+" more")
	}
	return cmp.Or(oneline.And(shown), "nothing")
}
