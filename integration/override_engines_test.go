package integration

import (
	"strconv"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/inside"
)

// Docker's options next to a policy. Its own default, which it loads itself, counts as no choice.
func TestContainerdDockerSecurityOpt(t *testing.T) {
	setPolicy(t, overridePolicy)
	inside.LoadProfile(t, byHand)
	inside.LoadProfile(t, loose("other"))
	c := inside.StartContainerd(t, inside.Containerds(t)[0], inside.ContainerdConfig{})
	d := inside.StartDocker(t, c, map[string]map[string]any{"wrapper": {"path": inside.DockerWrappers + "/runc"}})
	for name, tc := range map[string]struct {
		options string
		what    tries
		label   string
	}{
		"nothing":                      {"", workTries, "work"},
		"one that is not listed":       {"--security-opt apparmor=other", workTries, "work"},
		"privileged":                   {"--privileged", workTries, "work"}, // Docker writes unconfined
		"privileged, and a listed one": {"--privileged --security-opt apparmor=by-hand", byHandTries, "by-hand"},
	} {
		t.Run(name, func(t *testing.T) {
			script := tc.what.script()
			args := append([]string{"run", "--detach", "--network", "none", "--runtime", "wrapper"}, strings.Fields(tc.options)...)
			id := d.MustDocker(t, append(args, inside.ProbeImage, "/bin/sh", "-c", script+"; exec probe sleep")...)
			defer d.MustDocker(t, "rm", "--force", id)
			waitFor(t, "the container to try its operations", func() bool {
				return strings.Count(d.MustDocker(t, "logs", id), "\n") >= len(tc.what)
			})
			pid, err := strconv.Atoi(d.MustDocker(t, "inspect", "--format", "{{.State.Pid}}", id))
			if err != nil {
				t.Fatal(err)
			}
			wantLabelText(t, "the container's process", inside.Label(t, pid), tc.label)
			tc.what.check(t, "the container's process", d.MustDocker(t, "logs", id), tc.label)
			tc.what.check(t, "docker exec", d.MustDocker(t, "exec", id, "/bin/sh", "-c", script), tc.label)
		})
	}
}

// In Kubernetes' words. What containerd's own default and a choice that is not listed come to, TestContainerdPods shows.
func TestContainerdPodAppArmorProfile(t *testing.T) {
	inside.EachContainerd(t, func(t *testing.T, v inside.ContainerdVersion) {
		_, engine := startCRI(t, v)
		apply(t, overridePolicy)
		inside.LoadProfile(t, byHand)          // the engine wants to see it before we are called
		pod := engine.Pod(t, inside.Type.Name) // which every containerd heeds: see ignoresRuntimePath
		c := startPodContainer(t, pod, "floored-1", inside.WithAppArmor("localhost/by-hand"))
		wantPodConfined(t, c, byHandFlooredTries, "base//&by-hand (enforce)")
		wantExecSyncConfined(t, c, byHandFlooredTries, "base//&by-hand (enforce)")
		pod.Remove(t)
	})
}
