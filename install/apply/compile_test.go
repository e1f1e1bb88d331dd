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

// In a policy, a rule that denies and does not is an error, also in complain mode, where what is denied is denied; and
// all else is a warning.
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
	for _, mode := range []profile.Mode{profile.Enforce, profile.Complain, profile.Kill} {
		for _, rule := range []string{"deny signal peer=x", "audit signal peer=x", "signal peer=x"} {
			text := []byte("abi <abi/1.0>,\nprofile web {\n  file,\n  " + rule + ",\n}\n")
			to := located(c, "/etc/oci-apparmor", &policy.Config{Profiles: []policy.Profile{{Name: "web", Source: "profiles/web", Text: text}}})
			_, err := to.Compile(t.Context(), "web", mode, "", text)
			var fault *profile.TextError
			dead := errors.As(err, &fault) && errors.Is(err, profile.ErrRefused) && fault.Source == "/etc/oci-apparmor/profiles/web" && fault.Line == 4
			if fails := rule != "signal peer=x"; fails && !dead || !fails && err != nil {
				t.Errorf("%q in %s mode: %v", rule, mode, err)
			}
			if said := to.said.of["web"]; len(said) != 1 || !strings.HasPrefix(said[0], `/etc/oci-apparmor/profiles/web:4: warning: "`+rule+`"`) {
				t.Errorf("%q in %s mode: %q", rule, mode, said)
			}
		}
	}
}

// What lets a process go is said where a policy is compiled, with the line of the file that has it.
func TestAPolicysProfilesSayWhatLeavesThem(t *testing.T) {
	c := profiletest.Compiler(t, profiletest.Features())
	c.Base = t.TempDir()
	own := filepath.Join(c.Base, "own")
	if err := os.WriteFile(own, []byte("# ours\n/srv/x pux,\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	text := "profile web {\n  signal,\n  include <own>\n  change_profile -> **,\n}\n"
	p := &policy.Config{Profiles: []policy.Profile{{Name: "web", Source: "profiles/web", Text: []byte(text)}}}
	to := located(c, "/etc/oci-apparmor", p)
	if _, err := to.Compile(t.Context(), "web", profile.Enforce, "", p.Profiles[0].Text); err != nil {
		t.Fatal(err)
	}
	said := strings.Join(to.said.lines(), "\n")
	for _, want := range []string{own + ":2: warning: what is executed as /srv/x, where the profile for it is not loaded, runs without any confinement",
		"/etc/oci-apparmor/profiles/web:4: warning: a process may change its profile to unconfined"} {
		if !strings.Contains(said, want) {
			t.Errorf("does not say %q:\n%s", want, said)
		}
	}
}
