package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The man page has each stage and each option that --help lists.
func TestPageHasStagesAndOptions(t *testing.T) {
	text, err := os.ReadFile("oci-apparmor-hook.8")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(string(text), `\-`, "-")
	listed := regexp.MustCompile(`(?m)^  (--[a-z]+|[a-zA-Z]+)  ?`).FindAllStringSubmatch(usage, -1)
	if len(listed) != 7 {
		t.Errorf("--help lists %q, want 4 stages and 3 options", listed)
	}
	for _, l := range listed {
		if !regexp.MustCompile(`(?m)^\.(B|BR|BI) .*` + regexp.QuoteMeta(l[1]) + `\b`).MatchString(page) {
			t.Errorf("the page has no entry for %s", l[1])
		}
	}
}
