package wrapper

import (
	"os"
	"regexp"
	"testing"
)

// The man page has each command on which the wrapper acts, and its variable.
func TestPageHasCommands(t *testing.T) {
	page, err := os.ReadFile("../oci-apparmor-runtime/oci-apparmor-runtime.8")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{RuntimeVar}
	for command := range commands {
		want = append(want, command)
	}
	for _, w := range want {
		if !regexp.MustCompile(`(?m)^\.BR? .*\b` + w + `\b`).Match(page) {
			t.Errorf("the page has no entry for %s", w)
		}
	}
}
