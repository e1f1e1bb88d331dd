package apply

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// In a policy, a rule that denies and does not is an error, unless the profile complains, and all else a warning.
func TestAPolicysProfilesHoldWhatTheySay(t *testing.T) {
	features := profiletest.Features()
	c := profiletest.Compiler(t, features)
	c.Base = t.TempDir()
	c.Conf = filepath.Join(c.Base, "parser.conf")
	signals := regexp.MustCompile(`(?m)^signal \{[^{}]*(\{[^{}]*\}[^{}]*)*\}\n?`)
	if err := errors.Join(os.Mkdir(filepath.Join(c.Base, "abi"), 0o755),
		os.WriteFile(filepath.Join(c.Base, "abi/1.0"), signals.ReplaceAll(features, nil), 0o644)); err != nil {
		t.Fatal(err)
	}
	text := func(name string) []byte {
		return []byte("abi <abi/1.0>,\nprofile " + name + " {\n  file, signal,\n  deny signal peer=x,\n}\n")
	}
	p := &policy.Config{Profiles: []policy.Profile{
		{Name: "web", Source: "profiles/web", Text: text("web")},
		{Name: "work", Source: "profiles/work", Text: text("work"), Mode: profile.Complain},
	}}
	to := located(c, "/etc/oci-apparmor", p)
	_, err := to.Compile(t.Context(), "web", profile.Enforce, "", p.Profiles[0].Text)
	var fault *profile.TextError
	if !errors.As(err, &fault) || fault.Source != "/etc/oci-apparmor/profiles/web" || fault.Line != 4 || !strings.Contains(fault.Msg, "denies nothing") {
		t.Errorf("%v", err)
	}
	if _, err := to.Compile(t.Context(), "work", profile.Complain, "", p.Profiles[1].Text); err != nil {
		t.Error(err)
	}
	if said := to.said.of["work"]; len(said) != 2 || !strings.HasPrefix(said[1], `/etc/oci-apparmor/profiles/work:4: warning: "deny signal peer=x"`) {
		t.Errorf("%q", said)
	}
}
