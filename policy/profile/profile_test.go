package profile

import (
	"strings"
	"testing"
)

func TestParseMode(t *testing.T) {
	for _, m := range []Mode{Enforce, Complain, Kill} {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("ParseMode(%q) = %v, %v", m, got, err)
		}
	}
	for _, s := range []string{"", "unconfined", "Enforce", "enforce ", "mode 7", "default_allow"} {
		if got, err := ParseMode(s); err == nil {
			t.Errorf("ParseMode(%q) = %v, want an error", s, got)
		}
	}
	if s := Mode(9).String(); s != "mode 9" {
		t.Errorf("an unknown mode prints as %q", s)
	}
}

// wantError fails the test unless err says all of want; an empty want is no error.
func wantError(t *testing.T, err error, want ...string) {
	t.Helper()
	if len(want) == 0 || want[0] == "" {
		if err != nil {
			t.Fatalf("unexpected error: %v", err)
		}
		return
	}
	if err == nil {
		t.Fatalf("no error, want one that says %q", want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("error %q holds control characters", err)
	}
}
