package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// What a profile counts for that the engine was told to use, next to a policy: policy/policyfile/README.md has the table.

// overridePolicy gives work, which denies writes to /mnt, unless the engine chose one of two others: web, of which the
// policy has the text, or by-hand, which somebody else loads. Base, a floor, denies writes to /etc.
const overridePolicy = `version: 1
profiles:
  web:  {file: profiles/web}
  work: {file: profiles/work}
  base: {file: profiles/base}
policies:
  web:       {profile: web}
  work:      {profile: work}
  floored:   {profile: work, floor: base}
  hands-off: {profile: keep}
assign:
  - container: ["kept-*"]
    policy: hands-off
  - container: ["floored-*"]
    policy: floored
    acceptChoice: [web, by-hand]
  - policy: work
    request: [web]
    acceptChoice: [web, by-hand]
`

// byHand denies writes to /tmp.
var byHand = confining("by-hand", "  file,\n  audit deny /tmp/** w,\n")

// byHandTries show by-hand; with base below it, writes to /etc are denied as well.
var (
	byHandTries        = tries{"write /etc/x": "ok", "write /mnt/x": "ok", "write /tmp/x": denied}
	byHandFlooredTries = tries{"write /etc/x": denied, "write /mnt/x": "ok", "write /tmp/x": denied}
)

// called returns a bundle whose container has an id that begins with prefix.
func called(prefix string, b *guesttest.Bundle) *guesttest.Bundle {
	b.ID = prefix + b.ID
	return b
}

func TestEngineChoice(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // the decision is ours, and the label a stack as everywhere
	setPolicy(t, overridePolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		guesttest.LoadProfile(t, byHand)
		t.Run("a listed profile of the policy stands, and is loaded", func(t *testing.T) {
			unload(t, "web")
			c := guesttest.NewBundle(t, names("web")).Start(t, rt.wrapped)
			wantConfined(t, c, webTries, "web")
		})
		t.Run("a listed profile that is loaded by hand stands on the floor", func(t *testing.T) {
			c := called("floored-", guesttest.NewBundle(t, names("by-hand"), guarded("createRuntime"))).Start(t, rt.wrapped)
			wantConfined(t, c, byHandFlooredTries, "base", "by-hand")
			const label = "base//&by-hand (enforce)"
			wantExecConfined(t, c, byHandFlooredTries, label, byFile(t, c, new("by-hand")))
			wantExecConfined(t, c, byHandFlooredTries, label, byFile(t, c, new("unconfined")))

			if err := os.RemoveAll("/run/oci-apparmor/containers"); err != nil { // as if the record were lost
				t.Fatal(err)
			}
			wantExecConfined(t, c, byHandFlooredTries, label, byFile(t, c, new("by-hand")))
		})
		t.Run("a listed profile that is loaded by hand is held on to", func(t *testing.T) {
			c := guesttest.NewBundle(t, names("by-hand")).Start(t, rt.wrapped)
			wantConfined(t, c, byHandTries, "by-hand")
			guesttest.LoadProfile(t, loose("by-hand"))
			if got := c.Ask(t, "write /tmp/x"); got != "ok" {
				t.Fatalf("the profile was not loosened: %s", got)
			}
			if o := c.Exec(t, "/bin/probe", "label"); o.Code == 0 || !strings.Contains(o.Stderr, "by-hand") ||
				!strings.Contains(o.Stderr, "is not what it was") {
				t.Errorf("exec after the profile was loosened: %+v", o)
			}
			guesttest.LoadProfile(t, byHand)
			wantExecConfined(t, c, byHandTries, "by-hand (enforce)", byCommandLine(c))
		})
	})
}

func TestEngineChoiceThatDoesNotStand(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // the decision is ours
	setPolicy(t, overridePolicy)
	rt := armsOf(t, "runc")
	for name, tc := range map[string]struct {
		choice string
		warns  bool
	}{
		"a profile that is not listed": {"other", true},
		"a stack of a listed one":      {"by-hand//&unconfined", true},
		"unconfined":                   {"unconfined", false},
	} {
		t.Run(name, func(t *testing.T) {
			guesttest.LoadProfile(t, byHand)
			guesttest.LoadProfile(t, loose("other"))
			c, o := guesttest.NewBundle(t, privileged, names(tc.choice)).TryStart(t, rt.wrapped)
			if c == nil {
				t.Fatalf("%+v", o)
			}
			wantConfined(t, c, workTries, "work")
			if strings.Contains(o.Stderr, `does not list under \"acceptChoice\"`) != tc.warns {
				t.Errorf("standard error is %q; want a warning: %v", o.Stderr, tc.warns)
			}
		})
	}
	t.Run("beside a request", func(t *testing.T) {
		guesttest.LoadProfile(t, byHand)
		wantConfined(t, guesttest.NewBundle(t, asks("web"), names("by-hand")).Start(t, rt.wrapped), webTries, "web")
	})
	t.Run("a profile that is not loaded", func(t *testing.T) {
		wantRefused(t, guesttest.NewBundle(t, names("by-hand")), rt.wrapped, "by-hand", "is not loaded")
	})
	t.Run("a profile that confines nothing", func(t *testing.T) {
		guesttest.LoadProfile(t, "profile by-hand flags=(unconfined) { }")
		wantRefused(t, guesttest.NewBundle(t, names("by-hand")), rt.wrapped, "by-hand", "mode unconfined")
	})
}

func TestEngineChoiceIsKept(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm) // the decision is ours
	setPolicy(t, overridePolicy)
	guesttest.LoadProfile(t, byHand)
	rt := armsOf(t, "runc")
	for choice, what := range map[string]tries{"by-hand": byHandTries, "unconfined": freeTries} {
		c := called("kept-", guesttest.NewBundle(t, names(choice))).Start(t, rt.wrapped)
		if label := c.Label(t); strings.TrimSuffix(label, " (enforce)") != choice {
			t.Errorf("label %q, want %s", label, choice)
		}
		for op, want := range what {
			if got := c.Ask(t, op); got != want {
				t.Errorf("%s: %s, want %s", op, got, want)
			}
		}
	}
}

// privileged makes a container what engines make one by --privileged.
func privileged(s *specs.Spec) {
	all := []string{"CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_MAC_ADMIN", "CAP_KILL"}
	s.Process.Capabilities.Bounding, s.Process.Capabilities.Effective, s.Process.Capabilities.Permitted = all, all, all
	s.Process.NoNewPrivileges = false
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths, s.Linux.Seccomp = nil, nil, nil
}
