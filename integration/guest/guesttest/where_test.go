package guesttest

import (
	"strings"
	"testing"
)

// skipped runs test as a subtest, and reports whether it has skipped.
func skipped(t *testing.T, name string, test func(t *testing.T)) (skipped bool) {
	t.Run(name, func(t *testing.T) {
		defer func() { skipped = t.Skipped() }()
		test(t)
	})
	return skipped
}

func TestWhatMakeTestLeavesOut(t *testing.T) {
	for _, test := range []struct {
		suite, everything string
		enough, left      bool // whether EnoughIn(trixie, forky) and Leave skip
		count             int
	}{
		{Trixie, "", false, true, 20},
		{Bookworm, "", true, true, 20},
		{Bookworm, "yes", false, false, 100},
		{"", "", false, true, 20}, // outside of a guest it is Require that skips
	} {
		t.Setenv(SuiteVariable, test.suite)
		t.Setenv(EverythingVariable, test.everything)
		name := strings.Join([]string{"in", test.suite, test.everything}, " ")
		if got := skipped(t, name, func(t *testing.T) { EnoughIn(t, Trixie, Forky) }); got != test.enough {
			t.Errorf("%s: EnoughIn skips: %v, want %v", name, got, test.enough)
		}
		if got := skipped(t, name, func(t *testing.T) { Leave(t, "a reason") }); got != test.left {
			t.Errorf("%s: Leave skips: %v, want %v", name, got, test.left)
		}
		if got := Count(t, 20, 100, "pods"); got != test.count {
			t.Errorf("%s: Count gave %d, want %d", name, got, test.count)
		}
	}
}

func TestWhatRunsInFewGuestsHasEachRuntime(t *testing.T) {
	t.Setenv(SuiteVariable, Bookworm)
	t.Setenv(EverythingVariable, "")
	EnoughIn(t, Bookworm)
	if skipped(t, "crun", func(t *testing.T) { EnoughRuntimes(t, "crun") }) {
		t.Error("it leaves crun to a guest in which it does not run")
	}
}

func TestWhatRunsInAllGuestsHasOneRuntimeInSome(t *testing.T) {
	for _, test := range []struct {
		suite, everything string
		skips             bool // what is done with crun
	}{{Bookworm, "", true}, {Bookworm, "yes", false}, {Trixie, "", false}, {Forky, "", false}, {"", "", false}} {
		t.Setenv(SuiteVariable, test.suite)
		t.Setenv(EverythingVariable, test.everything)
		if got := skipped(t, "crun in "+test.suite+test.everything, func(t *testing.T) { EnoughRuntimes(t, "crun") }); got != test.skips {
			t.Errorf("in %q, everything %q, it skips what is done with crun: %v", test.suite, test.everything, got)
		}
	}
}
