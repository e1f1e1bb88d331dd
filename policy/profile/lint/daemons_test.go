package lint

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// The profile of an engine's daemon is none for containers, and of what is true of all texts there is nothing to say.
func TestProfilesOfDaemonsAreNotContainers(t *testing.T) {
	if _, err := os.Stat(filepath.Join(profile.BaseDir, "abstractions/base")); err != nil {
		t.Skip(err)
	}
	for _, program := range templates.Daemons() {
		text, err := templates.Daemon(program, profile.Enforce, templates.Target{})
		if err != nil {
			t.Fatal(err)
		}
		c := profiletest.Compiler(t, profiletest.Features())
		b, err := c.CompileText(t.Context(), program, text)
		if err != nil {
			t.Fatal(err)
		}
		all, err := meaning.ReadFor(b.Data, c)
		if err != nil {
			t.Fatal(err)
		}
		warnings, _, err := Text(t.Context(), string(text), Options{Compiled: all})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range warnings {
			t.Errorf("%s:%d: %s [%s]", program, w.Line, w.Message, w.Check)
		}
	}
}
