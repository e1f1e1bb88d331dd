package audit

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/suggest"
)

func reads(profile, path string) *Event {
	return &Event{Kind: Denied, Trusted: true, Profile: profile, Access: []meaning.Access{meaning.FileAccess{Path: path, Want: meaning.MayRead}}}
}

// Only what was denied, is known and can be believed is wanted, each once, of the text that has the profile.
func TestWanted(t *testing.T) {
	var w Wanted
	w.Add(reads("web", "/a"))
	w.Add(reads("web", "/a"))
	w.Add(reads("web//kid", "/a"))
	w.Add(reads("floor//&web", "/b"))
	for _, change := range []func(*Event){
		func(e *Event) { e.Trusted = false },
		func(e *Event) { e.Kind = Audited },
		func(e *Event) { e.Kind = Changed },
		func(e *Event) { e.Access = nil },
		func(e *Event) { e.Namespace = "root//other" },
	} {
		e := reads("web", "/not")
		change(e)
		w.Add(e)
	}
	if got := strings.Join(w.Profiles(), " "); got != "web floor" || len(w.Of("web")) != 3 || len(w.Of("floor")) != 1 {
		t.Errorf("%s: %+v", got, w)
	}
	for i := range mostWanted + 5 {
		w.Add(reads("web", fmt.Sprint("/", i)))
	}
	if len(w.Of("web")) != mostWanted || w.Beyond != 8 {
		t.Errorf("%d denials, %d beyond", len(w.Of("web")), w.Beyond)
	}
}

func TestSuggestionIsInTheSchema(t *testing.T) {
	denials := []suggest.Denial{{Profile: "web", Accesses: reads("web", "/a\n\x1b[31mü").Access}, {Profile: "web", Accesses: reads("web", "/b").Access}}
	yes := true
	for _, s := range []struct {
		of      *suggest.Suggestion
		err     error
		written *bool
	}{
		{err: errors.New("the text of web is not known")},
		{of: &suggest.Suggestion{Answers: []suggest.Answer{{Profile: "web", Outcome: suggest.NoRule, Message: "none"}, {Outcome: suggest.Already}}}},
		{of: &suggest.Suggestion{Patch: "--- a\n", Rules: []suggest.Rule{{Profile: "web", Line: 3, Text: "/a r,", Widened: []string{"x"}, Chosen: "y", Gives: []string{"z"}}},
			Answers: []suggest.Answer{{Profile: "web"}, {Profile: "web", Outcome: suggest.Blocked, Message: "line 1"}}}, written: &yes},
	} {
		text, err := SuggestionJSON("web", "/etc/web", denials, s.of, s.err, s.written)
		if err != nil {
			t.Fatal(err)
		}
		validate(t, text)
		wantPrintable(t, strings.TrimSuffix(string(text), "\n"))
	}
}
