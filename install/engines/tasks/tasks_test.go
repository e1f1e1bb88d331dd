package tasks

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
)

// Tasks are found in every state that is named, and a file that cannot be read is said.
func TestCallersOfEveryState(t *testing.T) {
	h := host.New(t.TempDir(), "/usr/local/bin")
	const own, dockers = "/run/containerd", "/run/docker/containerd/daemon"
	put := func(state, id, file, text string) {
		t.Helper()
		dir := h.Tree.Real(filepath.Join(state, below, id))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(own, "moby/one", "options.json", `{"binary_name":"/usr/local/lib/oci-apparmor/docker/crun"}`)
	put(own, "moby/direct", "options.json", `{"binary_name":"/usr/local/bin/oci-apparmor-runtime"}`)
	put(own, "default/direct", "options.json", `{"binary_name":"/usr/local/bin/oci-apparmor-runtime"}`)
	put(own, "moby/plain", "options.json", `{"binary_name":"/usr/bin/runc"}`)
	put(dockers, "moby/two", "options.json", `{"binary_name":"/usr/local/lib/oci-apparmor/docker/runc"}`)
	put(own, "k8s.io/pod", "shim-binary-path", "/usr/local/bin/containerd-shim-apparmor-v2")
	put(own, "default/ctrs", "shim-binary-path", "/usr/local/bin/containerd-shim-apparmor-v2")
	put(own, "default/stock", "shim-binary-path", "/usr/bin/containerd-shim-runc-v2")
	if err := os.MkdirAll(h.Tree.Real(own+"/"+below+"/moby/odd/options.json"), 0o755); err != nil { // no file
		t.Fatal(err)
	}
	var need host.Need
	Callers(h, &need, "docker", own, dockers, "/run/none")
	Direct(h, &need, own)
	Of(h, &need, "containerd-shim-apparmor-v2", own)
	if want := []string{"moby/one", "moby/two", "default/direct", "default/ctrs", "k8s.io/pod"}; !slices.Equal(need.Containers, want) {
		t.Errorf("%q, want %q", need.Containers, want)
	}
	if len(need.Unknown) != 1 {
		t.Errorf("unknown: %q", need.Unknown)
	}
}
