package command

import (
	"encoding/json"
	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What install and uninstall do to engines is shown in guests, by TestContainerdInstallTrees and others.
func TestInstallWithoutAnEngine(t *testing.T) {
	m := newMachine(t)
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "tmp"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line     string
		code     int
		out, err string // parts of what is printed
	}{
		{"install --yes", 0, "containerd: not wired: there is no program containerd\n" +
			"k3s, rke2, k0s, microk8s: not wired: it is not on this node\ndocker: not wired: there is no program dockerd\n" +
			"podman: not wired: there is no program podman\ncri-o: not wired: there is no program crio\n", ""},
		{"install --dry-run", 0, "not wired", ""},
		{"install docker --yes", 3, "", "docker: there is no program dockerd"},
		{"uninstall nosuch --yes", 2, "", `"nosuch" is no engine that can be wired: there are containerd, k3s, rke2, k0s, microk8s, docker, podman, cri-o`},
		{"install --via foo", 2, "", `no engine reaches us by "foo": there are shim, wrapper, hook`},
		{"install nosuch --yes", 2, "", `"nosuch" is no engine that can be wired: there are containerd, k3s, rke2, k0s, microk8s, docker, podman, cri-o`},
		{"install Docker --yes", 2, "", "podman, cri-o; did you mean docker?"},
		{"uninstall pdoman", 2, "", "; did you mean podman?"},
		{"install kubernetes", 2, "", "; did you mean containerd or cri-o?"},
		{"uninstall --yes", 0, "nothing of ours is in any engine's configuration", ""},
		{"uninstall docker", 0, "docker: nothing changes", ""},
		{"install runc", 3, "", "oci-apparmor-hook cannot be run, and an engine must not be pointed at it: run make install first"},
		{"install runc docker", 2, "", "runc is no engine, and is asked about by itself"},
		{"install --bin relative", 2, "", "--bin relative is not an absolute path"},
		{"install --via wrapper --default=maybe", 2, "", "--default=maybe: it is true or false"},
		{"install --restart --yes", 2, "", "--restart is for engines that run, and --root names an image"},
		{"uninstall --stop-containers --yes", 2, "", "--stop-containers goes with --restart"},
	} {
		code, out := m.run(append(strings.Fields(c.line), "--root", root)...)
		said := m.errOut.String()
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(said, c.err) || c.err == "" && said != "" {
			t.Errorf("%s: exit code %d\n%s%s", c.line, code, out, said)
		}
		m.errOut.Reset()
	}
	code, out := m.run("install", "--json", "--root", root)
	var got struct {
		Done    bool
		Engines []struct {
			Engine, Absent string
			Changed        []string
		}
	}
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil || got.Done || len(got.Engines) != len(engines.Names()) ||
		got.Engines[0].Engine != "containerd" || got.Engines[0].Absent == "" || got.Engines[0].Changed == nil {
		t.Errorf("exit code %d, %v:\n%s", code, err, out)
	}
	if code, _ := m.run("install", "--root", root+"/none"); code != 2 {
		t.Errorf("no such root: exit code %d", code)
	}
}

// A file that cannot be parsed is named with line and column, whether its engine was asked for or found.
func TestInstallNamesThePlaceInABrokenFile(t *testing.T) {
	m := newMachine(t)
	root := t.TempDir()
	for name, text := range map[string]string{
		"usr/bin/containerd": "#!/bin/false\n", "usr/bin/dockerd": "#!/bin/false\n",
		"etc/containerd/config.toml": "version = 2\n[plugins\n", "etc/docker/daemon.json": "{}",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const want = "/etc/containerd/config.toml:2:9: "
	for _, verb := range []string{"install", "uninstall"} {
		code, out := m.run(verb, "--yes", "--root", root)
		if code != 3 || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d\n%s", verb, code, out)
		}
		code, _ = m.run(verb, "--yes", "--root", root, "containerd")
		if said := m.errOut.String(); code != 3 || !strings.Contains(said, "oci-apparmor: containerd: "+want) {
			t.Errorf("%s containerd: exit code %d\n%s", verb, code, said)
		}
		m.errOut.Reset()
	}
}
