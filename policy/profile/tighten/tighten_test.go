package tighten

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// needs returns the run of a workload that works if the text has some words.
func needs(words ...string) func(context.Context, string) (Outcome, error) {
	return func(_ context.Context, text string) (Outcome, error) {
		for _, w := range words {
			if !strings.Contains(text, w) {
				return Outcome{Why: "no " + w}, nil
			}
		}
		return Outcome{Works: true}, nil
	}
}

func TestDrop(t *testing.T) {
	const text = "profile a {\n  # files\n  /a r,\n  /b r,\n  deny /c r,\n  capability chown,\n\n  signal,\n  audit {\n    /d r,\n  }\n  /e r,\n}\n"
	keep := func(r syntax.Rule) string {
		if r.First() == "signal" {
			return "it stops the container"
		}
		return ""
	}
	result, err := Drop(t.Context(), text, Plan{Keep: keep, Run: needs("/b", "/e")})
	if err != nil {
		t.Fatal(err)
	}
	if want := "profile a {\n  # files\n  /b r,\n  deny /c r,\n\n  signal,\n  audit {\n    /d r,\n  }\n  /e r,\n}\n"; result.Text != want {
		t.Errorf("got\n%s", result.Text)
	}
	said := ""
	for _, k := range result.Kept {
		said += fmt.Sprintf("%d %s %v %s\n", k.Line, k.Text, k.Needed, k.Why)
	}
	if said != "4 /b r true no /b\n8 signal false it stops the container\n10 /d r false it stands in braces with others\n12 /e r true no /e\n" {
		t.Errorf("kept are\n%s", said)
	}
	if len(result.Dropped) != 2 || result.Dropped[0].Text != "/a r" || result.Dropped[1].Text != "capability chown" {
		t.Errorf("dropped are %+v", result.Dropped)
	}
}

// Whatever a workload needs, just that is left, and no rule is tried more often than it must be.
func TestDropLeavesWhatIsNeeded(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		n := 1 + random.IntN(60)
		text, want := "profile a {\n", "profile a {\n"
		var words []string
		for i := range n {
			rule := fmt.Sprintf("  /file%d/ r,\n", i)
			text += rule
			if random.IntN(4) == 0 {
				words, want = append(words, fmt.Sprintf("/file%d/", i)), want+rule
			}
		}
		result, err := Drop(t.Context(), text+"}\n", Plan{Run: needs(words...)})
		if err != nil || result.Text != want+"}\n" {
			t.Fatalf("%v: got\n%s\nwant\n%s", err, result.Text, want)
		}
		if most := 2*n + 3; result.Runs > most {
			t.Errorf("%d runs for %d rules", result.Runs, n)
		}
		used := func(r syntax.Rule) bool {
			return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(r.Text, w) })
		}
		known, err := Drop(t.Context(), text+"}\n", Plan{Used: used, Run: needs(words...)})
		if err != nil || known.Text != result.Text {
			t.Fatalf("%v: where it is known which rules are used, got\n%s", err, known.Text)
		}
		if most := len(words) + 3; known.Runs > most {
			t.Errorf("%d runs for %d rules that are needed, where that is known", known.Runs, len(words))
		}
	}
}

// A rule that must stay stays, and it is shown whether the workload needs it.
func TestDropTriesWhatStays(t *testing.T) {
	keep := func(r syntax.Rule) string { return "it stops the container" }
	result, err := Drop(t.Context(), "profile a {\n  /a r,\n  /b r,\n}\n", Plan{Keep: keep, Run: needs("/b")})
	if err != nil || len(result.Kept) != 2 || len(result.Dropped) != 0 {
		t.Fatalf("%v: %+v", err, result)
	}
	for i, want := range []Tried{{Why: "it stops the container"}, {Why: "no /b", Needed: true}} {
		if got := result.Kept[i]; got.Why != want.Why || got.Needed != want.Needed {
			t.Errorf("%s: needed %v, %s", got.Text, got.Needed, got.Why)
		}
	}
	stuck := false // the workload cannot be stopped, and is in its own way from then on
	_, err = Drop(t.Context(), "profile a {\n  /a r,\n  /b r,\n}\n", Plan{Keep: keep, Run: func(ctx context.Context, text string) (Outcome, error) {
		stuck = stuck || !strings.Contains(text, "/a")
		return Outcome{Works: !stuck, Why: "it is there already"}, nil
	}})
	if err == nil || !strings.Contains(err.Error(), "not do the same each time") {
		t.Error(err)
	}
}

func TestDropSaysWhatIsWrong(t *testing.T) {
	if _, err := Drop(t.Context(), "profile a {\n  /a r,\n}\n", Plan{Run: needs("/b")}); !errors.Is(err, ErrFails) || !strings.Contains(err.Error(), "no /b") {
		t.Error(err)
	}
	broken := errors.New("it cannot be loaded")
	for _, when := range []int{1, 2, 4} {
		runs := 0
		_, err := Drop(t.Context(), "profile a {\n  /a r,\n  /b r,\n}\n", Plan{Run: func(ctx context.Context, text string) (Outcome, error) {
			if runs++; runs == when {
				return Outcome{}, broken
			}
			return needs("/a")(ctx, text)
		}})
		if !errors.Is(err, broken) {
			t.Errorf("after %d runs: %v", when, err)
		}
	}
	runs := 0 // a workload that works by chance
	_, err := Drop(t.Context(), "profile a {\n  /a r,\n  /b r,\n}\n", Plan{Run: func(context.Context, string) (Outcome, error) {
		runs++
		return Outcome{Works: runs < 3, Why: "by chance"}, nil
	}})
	if err == nil || !strings.Contains(err.Error(), "not do the same each time") {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Drop(ctx, "profile a {\n  /a r,\n}\n", Plan{Run: needs()}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
