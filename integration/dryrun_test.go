package integration

import (
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// A container whose request no rule allows any more runs on, and its next start is refused: a dry run of the apply says
// so, with the reason that the start has then. A rollback lets it start again.
func TestDryRunTellsWhoIsRefusedLater(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // the decision is ours
	setPolicy(t, webPolicy)
	const file = "/etc/oci-apparmor/policy.yaml"
	without := "version: 1\nprofiles: {web: {file: profiles/web}}\npolicies: {web: {profile: web}}\nassign:\n  - policy: keep\n"
	with := without + "    request: [web]\n"
	dryRun := func(t *testing.T, code int, says string) {
		t.Helper()
		o := guesttest.Run(t, "oci-apparmor", "policy", "apply", "--dry-run")
		if words := strings.Join(strings.Fields(o.Stdout), " "); o.Code != code || !strings.Contains(words, says) {
			t.Errorf("exit code %d, want %d and %q: %s%s", o.Code, code, says, o.Stdout, o.Stderr)
		}
	}
	eachRuntime(t, func(t *testing.T, rt arms) {
		write(t, file, with)
		guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
		b := guesttest.NewBundle(t, asks("web"))
		c := b.Start(t, rt.wrapped)
		wantConfined(t, c, webTries, "web")
		dryRun(t, 0, "an apply would change nothing")

		write(t, file, without)
		const reason = "is not allowed here: the rule for everyone (policy.yaml line 5) allows keep"
		dryRun(t, 4, "container "+c.ID+": would be REFUSED at its next start: policy \"web\", asked for by annotation oci-apparmor/policy, "+reason)
		wantConfined(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), webTries, "web") // nothing was applied

		guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
		wantConfined(t, c, webTries, "web")
		guesttest.MustRun(t, rt.wrapped, "delete", "--force", c.ID)
		wantRefused(t, b, rt.wrapped, reason)

		guesttest.MustRun(t, "oci-apparmor", "policy", "rollback")
		wantConfined(t, b.Start(t, rt.wrapped), webTries, "web")
	})
}
