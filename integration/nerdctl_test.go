package integration

import (
	"cmp"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// nerdctl reaches us by the name of a runtime type, or by the path of the wrapper, which the stock shim calls for runc.
func TestContainerdNerdctl(t *testing.T) {
	const nerdctl = "/usr/local/nerdctl/nerdctl"
	guesttest.EnoughIn(t, guesttest.Trixie) // it is one version, and so is its containerd
	guesttest.Require(t)
	if _, err := os.Stat(nerdctl); err != nil {
		t.Skip("this guest has no nerdctl: it is built for trixie's containerd tests, which say so where that fails")
	}
	setPolicy(t, webPolicy)
	versions := guesttest.Containerds(t)
	c := guesttest.StartContainerd(t, versions[len(versions)-1], guesttest.ContainerdConfig{})
	c.MustCtr(t, "--namespace", "default", "images", "import", guesttest.Images(t))
	t.Setenv("PATH", c.Bin+":"+os.Getenv("PATH"))
	state := t.TempDir()
	try := func(args ...string) guesttest.Outcome {
		global := []string{"--address", c.Socket, "--data-root", state, "--cgroup-manager", "cgroupfs"}
		return guesttest.RunCommand(t, exec.Command(nerdctl, append(global, args...)...))
	}
	must := func(t *testing.T, args ...string) string {
		t.Helper()
		o := try(args...)
		if o.Code != 0 {
			t.Fatalf("nerdctl %s: exit code %d: %s", strings.Join(args, " "), o.Code, o.Stderr)
		}
		return strings.TrimSpace(o.Stdout)
	}
	for _, arm := range []guesttest.Arm{guesttest.Type, guesttest.Wrapper} {
		t.Run(arm.Name, func(t *testing.T) {
			runtime := cmp.Or(arm.Runtime, arm.Type)
			args := func(policy string, more ...string) []string {
				return append([]string{"run", "--network", "none", "--runtime", runtime, "--annotation", "oci-apparmor/policy=" + policy}, more...)
			}
			script := webTries.script()
			id := must(t, args("web", "--detach", guesttest.ProbeImage, "/bin/sh", "-c", script+"; exec probe sleep")...)
			waitFor(t, "the container to try its operations", func() bool {
				return strings.Count(must(t, "logs", id), "\n")+1 >= len(webTries)
			})
			pid, err := strconv.Atoi(must(t, "inspect", "--format", "{{.State.Pid}}", id))
			if err != nil {
				t.Fatal(err)
			}
			wantLabelText(t, "the container's process", guesttest.Label(t, pid), "web")
			webTries.check(t, "the container's process", must(t, "logs", id), "web")
			webTries.check(t, "nerdctl exec", must(t, "exec", id, "/bin/sh", "-c", script), "web")
			webTries.check(t, "nerdctl exec --privileged", must(t, "exec", "--privileged", id, "/bin/sh", "-c", script), "web")
			must(t, "rm", "--force", id)

			// Its default is nobody's choice.
			id = must(t, "run", "--detach", "--network", "none", "--runtime", runtime, guesttest.ProbeImage, "/bin/probe", "sleep")
			if _, ok := guesttest.Profiles(t)["nerdctl-default"]; !ok {
				t.Error("nerdctl has not loaded its default")
			}
			workTries.check(t, "a container that asks for nothing", must(t, "exec", id, "/bin/sh", "-c", workTries.script()), "work")
			must(t, "rm", "--force", id)
			wantNothingLeft(t)

			o := try(args("nosuch", "--rm", guesttest.ProbeImage, "/bin/true")...)
			if o.Code == 0 || strings.Count(o.Stderr, "oci-apparmor: create of container ") != 1 || !strings.Contains(o.Stderr, "nosuch") ||
				strings.Contains(o.Stderr, "exit status") {
				t.Errorf("exit code %d, %q: want a line of ours that names the policy", o.Code, o.Stderr)
			}
			t.Logf("nerdctl run said: %s", o.Stderr)
			wantNothingLeft(t)
		})
	}
}
