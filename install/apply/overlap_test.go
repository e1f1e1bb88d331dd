package apply

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy"
)

// Whatever rules containers have in two policies, moves has both. And in policies with the same rules none has another one.
func TestMoves(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	patterns := []string{"a", "b", "ab", "a*", "*b", "*", "?", "[ab]", "b?*", `\a`, "a*b", "[^a]*"}
	some := func() (list []string) {
		for range random.IntN(3) {
			list = append(list, patterns[random.IntN(len(patterns))])
		}
		return list
	}
	rules := func() (list []policy.Assignment) {
		for i := range random.IntN(5) {
			a := policy.Assignment{File: "f", Line: i + 1, Policy: policy.Keep, Namespace: some(), Sandbox: random.IntN(6) == 0}
			if random.IntN(3) == 0 {
				a.Pod = some()
			}
			if random.IntN(4) == 0 {
				a.Container = some()
			}
			if privileged := random.IntN(2) == 0; random.IntN(4) == 0 {
				a.Privileged = &privileged
			}
			list = append(list, a)
		}
		return list
	}
	var containers []policy.Facts
	texts := []string{"", "a", "b", "ab", "ba", "bab"}
	for _, namespace := range texts {
		for _, pod := range texts {
			for _, name := range texts {
				for _, privileged := range []policy.Privilege{policy.Unprivileged, policy.Privileged} {
					for _, sandbox := range []bool{false, true} {
						containers = append(containers, policy.Facts{Engine: "containerd", Namespace: namespace, Pod: pod,
							Container: name, Privileged: privileged, Sandbox: sandbox})
					}
				}
			}
		}
	}
	index := func(rules []policy.Assignment) policy.Index {
		c := policy.Config{Policies: []policy.Policy{{Name: policy.Keep, Profile: policy.Keep}}, Assignments: rules}
		data, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		x, err := policy.OpenIndex(data)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	line := func(x policy.Index, f policy.Facts) int {
		d, err := x.Decide(f)
		if err != nil {
			t.Fatal(err)
		}
		return d.Line
	}
	changed := 0
	for range 150 {
		before, after := rules(), rules()
		if len(before) > 1 && random.IntN(2) == 0 { // mostly the same ones
			after = append([]policy.Assignment{before[len(before)-1]}, before[:len(before)-1]...)
		}
		found := make(map[string]bool)
		all, whole := moves(before, after)
		if !whole {
			t.Fatal("few rules are too many")
		}
		for _, m := range all {
			found[fmt.Sprint(m.from.Sandbox, m.from.Line, m.to.Line)] = true
		}
		x, y := index(before), index(after)
		for _, f := range containers {
			from, to := line(x, f), line(y, f)
			if !found[fmt.Sprint(f.Sandbox, from, to)] {
				t.Fatalf("%+v has rule %d and then %d, which is not found:\n%+v\n%+v", f, from, to, before, after)
			}
			if from != to {
				changed++
			}
		}
		all, _ = moves(before, before)
		for _, m := range all {
			if m.from.Line != m.to.Line && m.from.whom != m.to.whom {
				t.Fatalf("rule %d is taken for rule %d of the same policy: %+v", m.from.Line, m.to.Line, before)
			}
		}
	}
	if changed < 1000 {
		t.Errorf("only %d containers got another rule", changed)
	}
}

// Many rules, and patterns that are made to be slow, take little time.
func TestMovesOfManyRules(t *testing.T) {
	var before, after []policy.Assignment
	for i := range 1500 {
		before = append(before, policy.Assignment{File: "f", Line: i + 1, Namespace: []string{fmt.Sprintf("a%d-*", i)}})
		after = append(after, policy.Assignment{File: "f", Line: i + 1, Pod: []string{fmt.Sprintf("a%d-*", i)}})
	}
	if _, whole := moves(before, after); whole {
		t.Error("more is looked at than the bound allows")
	}
	if all, whole := moves(before, before); !whole || len(all) < len(before) {
		t.Errorf("%d moves within the same policy, all is %v", len(all), whole)
	}
}
