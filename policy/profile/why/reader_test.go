package why

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// counting counts the runs of the parser, and refuses some texts.
type counting struct {
	*profile.Compiler
	runs    int
	refuses func(text []byte) bool
}

func (c *counting) CompileSeveral(ctx context.Context, source string, text []byte) ([]byte, error) {
	if c.runs++; c.refuses != nil && c.refuses(text) {
		return nil, &profile.TextError{Source: source, Msg: "refused"}
	}
	return c.Compiler.CompileSeveral(ctx, source, text)
}

var read = meaning.FileAccess{Path: "/x", Want: meaning.MayRead}

// A profile of many rules takes four runs of the parser: as it is, with its includes put in, without rules, and with each
// of them. Asked again, it takes none, also under another name, until a file changes that it includes.
func TestRuns(t *testing.T) {
	_, c := reader(t, included)
	counted := &counting{Compiler: c}
	r := &Reader{Compiler: counted}
	text := "include <tunables/global>\nprofile web {\n  include <abstractions/base>\n" + strings.Repeat("  /x r,\n  deny /y w,\n  capability chown,\n", 500) + "}\n"
	ask := func(want int) {
		t.Helper()
		counted.runs = 0
		read, err := r.Read(t.Context(), "web", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := read.Why(t.Context(), "", meaning.FileAccess{Path: "/x", Want: meaning.MayRead})
		if err != nil || len(answer.By) != 500 || counted.runs != want {
			t.Errorf("%d rules by %d runs, want %d; %v", len(answer.By), counted.runs, want, err)
		}
	}
	ask(4)
	ask(0)
	if err := os.WriteFile(filepath.Join(c.Base, "abstractions/base"), []byte("  /dev/null rw,\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ask(4)
}

// Several goroutines ask about one text.
func TestConcurrently(t *testing.T) {
	r, _ := reader(t, included)
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			text, err := r.Read(t.Context(), "web", []byte(web))
			if err != nil {
				t.Error(err)
				return
			}
			for range 5 {
				answer, err := text.Why(t.Context(), "", meaning.SignalAccess{Want: meaning.MayWrite, Signal: meaning.SIGTERM, Peer: "floor//&web"})
				if err != nil || !answer.Together || len(answer.By) != 2 || answer.By[0].Text == "" {
					t.Errorf("%+v, %v", answer, err)
				}
			}
		})
	}
	askers.Wait()
}

// A profile of thousands of rules is judged in several runs.
func TestManyRules(t *testing.T) {
	_, c := reader(t, included)
	counted := &counting{Compiler: c}
	r := &Reader{Compiler: counted}
	var text strings.Builder
	text.WriteString("profile web {\n")
	for i := range 1500 {
		fmt.Fprintf(&text, "  /srv/%d r,\n", i)
	}
	text.WriteString("}\n")
	many, err := r.Read(t.Context(), "web", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := many.Why(t.Context(), "", meaning.FileAccess{Path: "/srv/1499", Want: meaning.MayRead})
	if err != nil || said("", answer) != "allowed: 1501" || counted.runs != 5 {
		t.Errorf("%s after %d runs, %v", said("", answer), counted.runs, err)
	}
}

// A text that includes files in an unusual way is put together by the parser; the places of rules are found by their lines.
func TestUnusualIncludes(t *testing.T) {
	r, c := reader(t, included)
	for _, text := range []string{
		"include <tunables/global>\nprofile web { include <abstractions/base>\n  /x r,\n}\n",
		"include <tunables/global>\nprofile web {\n  include \"" + c.Base + "/abstractions/base\"\n  /x r,\n}\n",
	} {
		text, err := r.Read(t.Context(), "web", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for access, want := range map[meaning.Access]string{
			read: "allowed: LINE",
			meaning.FileAccess{Path: "/etc/localtime", Want: meaning.MayRead}: "allowed: abstractions/base.d/x:1",
		} {
			answer, err := text.Why(t.Context(), "", access)
			if err != nil {
				t.Fatal(err)
			}
			got := said(c.Base, answer)
			got, _, _ = strings.Cut(strings.NewReplacer(": 3", ": LINE", ": 4", ": LINE").Replace(got), "<")
			if got != want || answer.Doubt != "" {
				t.Errorf("%s, want %s; %s", got, want, answer.Doubt)
			}
		}
	}
}

// A rule that the parser refuses alone leaves a doubt, and the others are judged.
func TestRefusedAlone(t *testing.T) {
	_, c := reader(t, included)
	r := &Reader{Compiler: &counting{Compiler: c, refuses: func(text []byte) bool {
		return bytes.Contains(text, []byte("profile rule")) && bytes.Contains(text, []byte("/y r,")) && !bytes.Contains(text, []byte("/x r,\n/y r,"))
	}}}
	text, err := r.Read(t.Context(), "web", []byte("profile web {\n/w r,\n/x r,\n/y r,\n/z r,\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/x": "allowed: 3", "/z": "allowed: 5", "/y": "allowed:"} {
		answer, err := text.Why(t.Context(), "", meaning.FileAccess{Path: path, Want: meaning.MayRead})
		if err != nil {
			t.Fatal(err)
		}
		if got := said(c.Base, answer); got != want || !strings.Contains(answer.Doubt, `"/y r"`) {
			t.Errorf("%s: %s, want %s; %s", path, got, want, answer.Doubt)
		}
	}
}

// Modes that let everything pass, and texts and names that are wrong.
func TestReader(t *testing.T) {
	r, _ := reader(t, included)
	for text, want := range map[string]string{
		"profile web flags=(complain) { }":            "nothing: in complain mode, passes true",
		"profile web flags=(complain) { deny /x r, }": "denied: 1 in complain mode, passes false",
		"profile web flags=(kill) { }":                "nothing: in kill mode, passes false",
		"profile web flags=(unconfined) { }":          "unmediated: in unconfined mode, passes true",
	} {
		read1, err := r.Read(t.Context(), "web", []byte(text))
		if err != nil {
			if strings.Contains(text, "kill") || strings.Contains(text, "unconfined") { // which older parsers do not know
				continue
			}
			t.Fatal(err)
		}
		answer, err := read1.Why(t.Context(), "web", read)
		if err != nil {
			t.Fatal(err)
		}
		got := said("", answer) + " in " + answer.Mode.String() + " mode, passes "
		if got += map[bool]string{true: "true", false: "false"}[answer.Decision.Allowed]; got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		if _, err := read1.Why(t.Context(), "other", read); err == nil {
			t.Error("it knows a profile that is not there")
		}
	}
	if _, err := r.Read(t.Context(), "web", []byte("profile web { /x }")); err == nil {
		t.Error("it reads what does not compile")
	}
}

// What a text says is put into other texts: nothing in it may make of these something that answers wrongly.
func FuzzWhy(f *testing.F) {
	r, _ := reader(f, included)
	f.Add(web)
	f.Add("profile web { if defined @{x} { /x r, } else if $y { deny /x r, } else { /x w, } }")
	f.Add("profile web { \"/x\" r, # }\n /y r, }")
	f.Add("profile web { /x r, } profile other { /x w, ^hat { /x r, } }")
	f.Add("@{x}=/x\nprofile web { @{x} r, audit deny { @{x}/** w, } }")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include") {
			return
		}
		read1, err := r.Read(t.Context(), "web", []byte(text))
		if err != nil {
			return
		}
		for _, a := range []meaning.Access{read, meaning.ExecAccess{Path: "/x"}, meaning.CapabilityAccess(0)} {
			answer, err := read1.Why(t.Context(), "", a)
			if err != nil {
				continue
			}
			allowed := answer.Verdict == Allowed || answer.Verdict == Unmediated
			if answer.Mode == meaning.Enforce && allowed != answer.Decision.Allowed {
				t.Errorf("%+q: %+v: %s", text, a, said("", answer))
			}
		}
	})
}
