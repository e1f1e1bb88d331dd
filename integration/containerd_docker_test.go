package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// Docker reaches us by the wrapper as a runtime's path, or by the shim as a runtime's type.
func TestContainerdDocker(t *testing.T) {
	setPolicy(t, webPolicy)
	c := guesttest.StartContainerd(t, guesttest.Containerds(t)[0], guesttest.ContainerdConfig{})
	d := guesttest.StartDocker(t, c, map[string]map[string]any{
		"wrapper": {"path": guesttest.DockerWrappers + "/runc"},
		"shim":    {"runtimeType": guesttest.Type.Type},
	})
	for _, runtime := range []string{"wrapper", "shim"} {
		t.Run(runtime, func(t *testing.T) {
			args := func(policy string, more ...string) []string {
				cidfile := filepath.Join(t.TempDir(), "cid")
				return append([]string{"run", "--network", "none", "--runtime", runtime, "--cidfile", cidfile,
					"--annotation", "oci-apparmor/policy=" + policy}, more...)
			}
			script := webTries.script()
			id := d.MustDocker(t, args("web", "--detach", guesttest.ProbeImage, "/bin/sh", "-c", script+"; exec probe sleep")...)
			waitFor(t, "the container to try its operations", func() bool {
				return strings.Count(d.MustDocker(t, "logs", id), "\n") >= len(webTries)
			})
			wantLabelText(t, "the container's process", guesttest.Label(t, d.Pid(t, id)), "web")
			webTries.check(t, "the container's process", d.MustDocker(t, "logs", id), "web")
			webTries.check(t, "docker exec", d.MustDocker(t, "exec", id, "/bin/sh", "-c", script), "web")
			// Docker writes the profile out that it knows of.
			webTries.check(t, "docker exec --privileged", d.MustDocker(t, "exec", "--privileged", id, "/bin/sh", "-c", script), "web")
			d.MustDocker(t, "rm", "--force", id)
			wantNothingLeft(t)

			refused := args("nosuch", "--rm", guesttest.ProbeImage, "/bin/true")
			o := d.Docker(t, refused...)
			said, _, _ := strings.Cut(o.Stderr, "\n\nRun 'docker run --help'") // what newer ones add to every error
			said = strings.TrimSpace(said)
			if o.Code != 125 || strings.Count(said, "oci-apparmor: create of container ") != 1 || !strings.Contains(said, "nosuch") ||
				strings.Contains(said, "exit status") || strings.Contains(said, "\n") {
				t.Errorf("exit code %d, %q: want one line of ours that names the policy", o.Code, o.Stderr)
			}
			t.Logf("docker run said: %s", said)
			all := noted(t)
			if last := all[len(all)-1]; last.Level != notice.Refusal || last.Engine != "docker" || last.Command != "create" ||
				!strings.Contains(said, "oci-apparmor: "+last.String()) {
				t.Errorf("the node's log ends with %+v", last)
			}
			if out := d.MustDocker(t, "ps", "--all", "--quiet"); out != "" {
				t.Errorf("containers left: %s", out)
			}
			wantNothingLeft(t)
		})
	}
}

// A container gets its policy by the commands that the documents have for Docker: those of the README and of
// shim/README.md are the same.
func TestContainerdDockerByReadme(t *testing.T) {
	text := block(t, "README.md#docker")
	if text != block(t, "shim/README.md#docker") {
		t.Error("README.md and shim/README.md have other commands")
	}
	readmePolicy(t)
	guesttest.NeedDocker(t)
	t.Cleanup(func() {
		guesttest.Run(t, "oci-apparmor", "uninstall", "docker", "--yes")
		os.RemoveAll("/etc/docker/daemon.json")
	})
	guesttest.MustRun(t, "sh", "-e", "-c", commands(text, "systemctl ", "docker "))
	var config struct{ Runtimes map[string]map[string]any }
	if err := json.Unmarshal([]byte(read(t, "/etc/docker/daemon.json")), &config); err != nil {
		t.Fatal(err)
	}
	d := guesttest.StartDocker(t, guesttest.StartContainerd(t, guesttest.Containerds(t)[0], guesttest.ContainerdConfig{}), config.Runtimes)
	d.MustDocker(t, "tag", guesttest.ProbeImage, "debian")
	runs := 0
	for line := range strings.Lines(text) {
		if args := strings.Fields(line); args[0] == "docker" {
			runs++
			args = slices.Insert(args[1:], 1, "--network", "none") // there is no network
			if out := d.MustDocker(t, args...); out != "node-baseline//&web (enforce)" {
				t.Errorf("%s prints %q", line, out)
			}
		}
	}
	if runs != 1 {
		t.Errorf("it runs Docker %d times", runs)
	}
}
