package docker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
)

// Whatever the name of a container's directory is, and wherever Docker's root is; one that cannot be read is said.
func TestMadeFindsContainersOfOurRuntime(t *testing.T) {
	root := t.TempDir()
	long := strings.Repeat("ab", 32)
	for at, text := range map[string]string{
		"containers/r9":                      `{"Runtime": "apparmor"}`,
		"containers/" + long:                 `{"Runtime": "apparmor"}`,
		"containers/other":                   `{"Runtime": "runc"}`,
		"containers/byhand":                  `{"Runtime": "confined"}`,
		"containers/bytype":                  `{"Runtime": "io.containerd.apparmor.v2"}`,
		"containers/broken":                  `{"Runtime": `,
		"100000.100000/containers/remapped1": `{"Runtime": "apparmor"}`,
	} {
		dir := filepath.Join(root, at)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/hostconfig.json", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(root+"/containers/removed", 0o755); err != nil {
		t.Fatal(err)
	}
	var need host.Need
	made(&need, []string{root, root + "/none"}, Runtime, "confined")
	slices.Sort(need.Containers)
	if want := []string{"abababababab", "byhand", "bytype", "r9", "remapped1"}; !slices.Equal(need.Containers, want) {
		t.Errorf("%q, want %q", need.Containers, want)
	}
	if len(need.Unknown) != 1 || !strings.Contains(need.Unknown[0], "/containers/broken/hostconfig.json: ") {
		t.Errorf("unknown: %q", need.Unknown)
	}
}

// The containerd that dockerd has started is Docker's, and none that is configured by hand.
func TestRunsContainerd(t *testing.T) {
	h := host.New(t.TempDir(), "/usr/local/bin")
	file := h.Tree.Real(Config)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(`{"exec-root": "/srv/docker"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]bool{
		"/var/run/docker/containerd/containerd.toml": true,
		"/run/docker/containerd/containerd.toml":     true,
		"/srv/docker/containerd/containerd.toml":     true,
		"/etc/containerd/containerd.toml":            false,
		"/run/docker/containerd/config.toml":         false,
		"":                                           false,
	} {
		if RunsContainerd(h, config) != want {
			t.Errorf("%q: %v", config, !want)
		}
	}
}

// dockerd's flags have runtimes as well.
func TestRuntimesOfOursOnTheCommandLine(t *testing.T) {
	p := host.Process{PID: 7, Args: []string{"dockerd", "--add-runtime", "x=/usr/bin/oci-apparmor-runtime", "--add-runtime=y=/usr/bin/runsc",
		"--add-runtime=z=/usr/local/bin/oci-apparmor-runtime", "--add-runtime"}}
	const place = "dockerd's flag --add-runtime, as process 7"
	want := []host.ByHand{{Name: "x", Program: "/usr/bin/oci-apparmor-runtime", Place: place}, {Name: "z", Program: "/usr/local/bin/oci-apparmor-runtime", Place: place}}
	if got := added(p); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
