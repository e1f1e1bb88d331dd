package engines

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
)

// A runtime of our name that calls something else, as a path of ours that is misspelt, is told, and nothing is wired by it.
func TestRuntimeOfOurNameThatIsNotOurs(t *testing.T) {
	const missing = `which is missing, so that no container starts by it`
	for _, c := range []struct{ engine, program, file, text, want string }{
		{"docker", "dockerd", "/etc/docker/daemon.json", "{\"runtimes\":\n {\"apparmor\": {\"path\": \"/usr/local/bin/oci-aparmor-runtime\"}}}",
			`/etc/docker/daemon.json:2:3: the runtime apparmor there calls "/usr/local/bin/oci-aparmor-runtime", ` + missing},
		{"docker", "dockerd", "/etc/docker/daemon.json", `{"runtimes": {"apparmor": {"runtimeType": "io.containerd.aparmor.v2"}}}`,
			`/etc/docker/daemon.json:1:15: the runtime apparmor there calls "io.containerd.aparmor.v2", which is not ours, so that its containers start under no policy`},
		{"docker", "dockerd", "/etc/docker/daemon.json", `{"runtimes": {"other": {"path": "/usr/local/bin/other"}}}`, ""},
		{"containerd", "containerd", "/etc/containerd/config.toml", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.apparmor]\n" +
			"runtime_type = \"io.containerd.runc.v2\"\nruntime_path = \"/usr/local/bin/containerd-shim-aparmor-v2\"\n",
			`/etc/containerd/config.toml:2: the runtime apparmor there calls "/usr/local/bin/containerd-shim-aparmor-v2", ` + missing},
		{"podman", "podman", "/etc/containers/containers.conf.d/a.conf", "[engine.runtimes]\napparmor = [\"/usr/bin/podman\"]\n",
			`/etc/containers/containers.conf.d/a.conf:2: the runtime apparmor there calls "/usr/bin/podman", which is not ours, so that its containers start under no policy`},
		{"cri-o", "crio", "/etc/crio/crio.conf.d/a.conf", "[crio.runtime.runtimes.apparmor]\nruntime_path = \"/opt/oci-aparmor-runtime\"\n",
			`/etc/crio/crio.conf.d/a.conf:1: the runtime apparmor there calls "/opt/oci-aparmor-runtime", ` + missing},
	} {
		h := host.New(t.TempDir(), "/usr/local/bin")
		for name, text := range map[string]string{"/usr/bin/" + c.program: "x", c.file: c.text} {
			if err := errors.Join(os.MkdirAll(filepath.Dir(h.Tree.Real(name)), 0o755), os.WriteFile(h.Tree.Real(name), []byte(text), 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		h.Run = func(_ context.Context, _ []string, program string, _ ...string) ([]byte, error) {
			t.Errorf("it runs %s", program)
			return nil, errors.New("none")
		}
		e, err := named(c.engine)
		if err != nil {
			t.Fatal(err)
		}
		s := look(t.Context(), nil, h, e)
		if s.Err != nil || s.Wired() || s.Down || (len(s.Faults) == 0) != (c.want == "") {
			t.Errorf("%s: %+v", c.engine, s)
			continue
		}
		if c.want != "" && (len(s.Faults) != 1 || s.Faults[0].Kind != host.Foreign || s.Faults[0].What != c.want) {
			t.Errorf("%s: %+v, want %q", c.engine, s.Faults, c.want)
		}
	}
}
