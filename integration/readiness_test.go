package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// Where AppArmor is there and cannot be used, the container does not start, and the reason is the right one.
func TestWhatKeepsAppArmorFromBeingUsed(t *testing.T) {
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		for name, tc := range map[string]struct {
			how  []string // runs what follows it
			says string
		}{
			"its files are not mounted": {
				[]string{"unshare", "--mount", "sh", "-c", `umount /sys/kernel/security; exec "$0" "$@"`}, "mount securityfs"},
			"no right to load": {
				[]string{"setpriv", "--bounding-set=-mac_admin", "--inh-caps=-mac_admin"}, "CAP_MAC_ADMIN"},
		} {
			t.Run(name, func(t *testing.T) {
				unload(t, "web")
				b := guesttest.NewBundle(t, asks("web"))
				o := guesttest.Run(t, tc.how[0], append(tc.how[1:], rt.wrapped, "run", "--detach", "--bundle", b.Dir, b.ID)...)
				if o.Code == 0 || !strings.Contains(o.Stderr, tc.says) || !strings.Contains(o.Stderr, b.ID) {
					t.Errorf("exit code %d, %q", o.Code, o.Stderr)
				}
				if guesttest.Run(t, rt.bare, "state", b.ID).Code == 0 {
					t.Error("the container is there")
				}
			})
		}
	})
}

// In a policy namespace of AppArmor's, as LXD and Incus make them, profiles go into it and confine as everywhere.
func TestInsideAPolicyNamespace(t *testing.T) {
	setPolicy(t, webPolicy)
	const ns = securityfs + "/policy/namespaces/inner"
	if err := os.Mkdir(ns, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(ns); err != nil {
			t.Error(err)
		}
	})
	rt := armsOf(t, "runc")
	// What is known of the profile outside says nothing of the inside, and the other way round.
	wantConfined(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), webTries, "web")
	unload(t, "web")
	b := guesttest.NewBundle(t, asks("web"))
	t.Cleanup(func() { guesttest.Run(t, rt.wrapped, "delete", "--force", b.ID) })
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("sh", "-c", `echo "exec :inner:unconfined" >/proc/self/attr/exec; exec "$0" "$@"`,
		rt.wrapped, "run", "--detach", "--bundle", b.Dir, b.ID)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, read(t, log.Name()))
	}
	c := &guesttest.Container{Bundle: b, Runtime: rt.bare}
	if label := c.Label(t); !strings.Contains(label, ":inner") || !strings.Contains(label, "web") {
		t.Errorf("the label is %q, want web of the namespace inner", label)
	}
	if _, ok := guesttest.Profiles(t)["web"]; ok {
		t.Error("the profile was loaded outside of the namespace")
	}
	cmd = exec.Command("sh", "-c", `echo "exec :inner:unconfined" >/proc/self/attr/exec; exec "$0" "$@"`,
		rt.wrapped, "exec", b.ID, "/bin/probe", "write", "/etc/x")
	if o := guesttest.RunCommand(t, cmd); strings.TrimSpace(o.Stdout) != denied {
		t.Errorf("write /etc/x: %q %q, want %s", o.Stdout, o.Stderr, denied)
	}
	cmd = exec.Command("sh", "-c", `echo "exec :inner:unconfined" >/proc/self/attr/exec; exec "$0" "$@"`,
		rt.wrapped, "exec", b.ID, "/bin/probe", "write", "/tmp/x")
	if o := guesttest.RunCommand(t, cmd); strings.TrimSpace(o.Stdout) != "ok" {
		t.Errorf("write /tmp/x: %q %q, want ok", o.Stdout, o.Stderr)
	}
	cmd = exec.Command("sh", "-c", `echo "exec :inner:unconfined" >/proc/self/attr/exec; exec "$0" "$@"`, "oci-apparmor", "doctor", "--json")
	r := parseDoctor(t, guesttest.RunCommand(t, cmd))
	if !slices.ContainsFunc(r.Findings, func(f finding) bool { return f.ID == "policy-namespace" }) ||
		strings.Contains(strings.Join(r.Unseen, "\n"), "run this as root") { // who is root already
		t.Errorf("inside, doctor says %+v", r)
	}
	wantConfined(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), webTries, "web")
}
