package meaning_test

import (
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Comparisons go by the words for how a program goes on: no two ways have the same.
func TestTransitionsHaveTheirOwnWords(t *testing.T) {
	seen := make(map[string]Transition)
	for to := TargetNone; to <= TargetLearning; to++ {
		for _, label := range []string{"web", "child", "a\x01", `"a\x01"`, "web, or else unconfined", "child web", "a, on top of its own"} {
			for bits := range 8 {
				for _, other := range []Target{TargetNone, TargetSame, TargetUnconfined} {
					one := Transition{To: to, Else: other, Scrub: bits&1 != 0, Child: bits&2 != 0, Stack: bits&4 != 0}
					switch to {
					case TargetLabel:
						one.Label = label
					case TargetAttached:
						one.Stack = false
					case TargetNone, TargetLearning:
						one = Transition{To: to}
					default:
						one.Child, one.Stack = false, false
					}
					if before, is := seen[one.String()]; is && before != one {
						t.Errorf("%q stands for %#v and for %#v", one, before, one)
					}
					seen[one.String()] = one
				}
			}
		}
	}
	for _, test := range []struct {
		own   Transition
		words string
	}{
		{Transition{To: TargetLabel, Label: "main//kid"}, "under child kid"},
		{Transition{To: TargetLabel, Label: "main"}, "under main"},
		{Transition{To: TargetLabel, Label: "mainly//kid", Stack: true, Else: TargetSame}, "under mainly//kid, on top of its own, or else the same"},
	} {
		if got := test.own.Own(&Profile{Name: "main"}).String(); got != test.words {
			t.Errorf("%q, want %q", got, test.words)
		}
	}
}
