package combine_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	. "github.com/oci-apparmor/oci-apparmor/policy/profile/combine"
)

// Of what is not combined, the error says what and where it is.
func TestNotCombined(t *testing.T) {
	for text, says := range map[string]string{
		"alias /a -> /b,\nprofile a { /a r, }":                          `a:1: "alias /a -> /b" changes what rules are about`,
		"profile a xattrs=(security.x=\"1\") {\n /a r, }":               `a:1: profile "a" attaches to programs`,
		"profile a {\n /a r,\n profile b xattrs=(user.x=y) { /a r, } }": `a:3: profile "a//b" attaches to programs`,
		"profile a /usr/bin/a xattrs=(security.x=\"1\") { /a r, }":      `a:1: profile "a" attaches to programs`,
	} {
		if _, err := merging(t)(Source{"a", []byte(text)}, source("b", "/yes r,")); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", text, err, says)
		}
	}
}

// A priority is not combined, with the place of the rule also where a file that is included has it.
func TestPriorityIsNotCombined(t *testing.T) {
	for text, says := range map[string]string{
		"profile a {\n  /a r,\n  priority=2 allow /a rw,\n}":      `a:3: "priority=2 allow /a rw" has a priority`,
		"profile a {\n  include <abstractions/first>\n  /x r,\n}": `/abi/abstractions/first:2, included at a:2: "priority=-1 /b w" has a priority`,
	} {
		_, err := Merge(t.Context(), prioritized{}, Target{Name: "m"}, Source{"a", []byte(text)}, source("b", "/x r,"))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", text, err, says)
		}
	}
}

// prioritized is a compiler whose parser knows priorities: it takes any text.
type prioritized struct{}

func (prioritized) Supports(string) bool { return true }

func (prioritized) CompileText(context.Context, string, []byte) (profile.Blob, error) {
	data, err := os.ReadFile("../meaning/testdata/web.permissions3")
	return profile.Blob{Data: data}, err
}

func (p prioritized) Preprocess(_ context.Context, text []byte) ([]byte, error) {
	whole, _ := p.Expand(text)
	return []byte(whole.Text), nil
}

func (prioritized) Expand(text []byte) (profile.Expanded, bool) {
	var whole profile.Expanded
	line := 0
	for l := range strings.Lines(string(text)) {
		line++
		from := profile.Origin{Line: line}
		if strings.Contains(l, "include") {
			for i, in := range []string{"  /b r,\n", "  priority=-1 /b w,\n"} {
				whole.Text += in
				whole.Lines = append(whole.Lines, profile.Origin{File: "/abi/abstractions/first", Line: i + 1, By: &from})
			}
			continue
		}
		whole.Text += l
		whole.Lines = append(whole.Lines, from)
	}
	return whole, true
}
