package engines

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// A runtime of ours by another name keeps the programs where they are, and nothing is taken out of any engine beside it.
func TestTiesByHand(t *testing.T) {
	const ours = "/usr/local/bin/oci-apparmor-runtime"
	const link = "/usr/local/lib/oci-apparmor/podman/crun"
	for _, c := range []struct{ file, text, want string }{
		{"/etc/docker/daemon.json", "{\"runtimes\": {\"runsc\": {\"path\": \"/usr/bin/runsc\"},\n \"x\": {\"path\": \"" + ours + "\"}}}",
			`docker is wired to them by hand: /etc/docker/daemon.json:2:2: the runtime "x" there calls "` + ours + `": take that out first, and then systemctl restart docker`},
		{"/etc/docker/daemon.json", `{"runtimes": {"x": {"runtimeType": "/usr/bin/containerd-shim-apparmor-v2"}}}`,
			`docker is wired to them by hand: /etc/docker/daemon.json:1:15: the runtime "x" there calls "/usr/bin/containerd-shim-apparmor-v2": take that out first, and then systemctl restart docker`},
		{"/etc/containerd/config.toml", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.x]\n" +
			"runtime_type = \"io.containerd.runc.v2\"\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.x.options]\nBinaryName = \"" + ours + "\"\n",
			`containerd is wired to them by hand: /etc/containerd/config.toml:2: the runtime "x" there calls "` + ours + `": take that out first, and then systemctl restart containerd`},
		{"/etc/containerd/config.toml", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.default_runtime]\nruntime_type = \"io.containerd.apparmor.v2\"\n",
			`containerd is wired to them by hand: /etc/containerd/config.toml:2: the runtime "default_runtime" there calls "io.containerd.apparmor.v2": take that out first, and then systemctl restart containerd`},
		{"/etc/crio/crio.conf.d/a.conf", "\n[crio.runtime.runtimes.x]\nruntime_path = \"" + ours + "\"\n",
			`cri-o is wired to them by hand: /etc/crio/crio.conf.d/a.conf:2: the runtime "x" there calls "` + ours + `": take that out first, and then systemctl restart crio`},
		{"/etc/containers/containers.conf", "[engine.runtimes]\nx = [\"" + link + "\"]\n",
			`podman is wired to them by hand: /etc/containers/containers.conf:2: the runtime "x" there calls "` + link + `": take that out first`},
		{"/usr/share/containers/containers.conf", "[engine]\nruntime = \"" + ours + "\"\n",
			`podman is wired to them by hand: /usr/share/containers/containers.conf:2: the runtime "` + ours + `" there calls "` + ours + `": take that out first`},
		{"/etc/containers/containers.conf", "[engine.runtimes]\nx = [\"/usr/bin/crun\"]\n", ""},
	} {
		h := host.New(t.TempDir(), "/usr/local/bin")
		at := h.Tree.Real(c.file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(c.text), 0o644)); err != nil {
			t.Fatal(err)
		}
		b, err := wire.Open(t.Context(), h.Tree)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		if c.want != "" {
			want = []string{c.want}
		}
		plans, ties := PlanRemoval(t.Context(), b, h)
		if got := ties.All(); !slices.Equal(got, want) || len(ties.Unknown) > 0 || len(plans) > 0 {
			t.Errorf("%s\n%s\nthey must stay because of %q (%q), want %q; %d plans", c.file, c.text, got, ties.Unknown, want, len(plans))
		}
		b.Close()
	}
}
