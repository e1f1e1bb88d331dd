package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

func TestEngineByCall(t *testing.T) {
	for _, tt := range []struct{ argv0, root, want string }{
		{"/usr/bin/oci-apparmor-runtime", "/run/containerd/runc/k8s.io", "containerd"},
		{"/usr/bin/oci-apparmor-runtime", "/run/containerd/runc/default", "other"},
		{"/usr/bin/oci-apparmor-runtime", "/var/run/docker/runtime-runc/moby", "docker"},
		{"/usr/bin/oci-apparmor-runtime", "/run/docker/runtime-apparmor/moby", "docker"},
		{"/usr/bin/oci-apparmor-runtime", "/run/docker/runtime-runc/plugins.moby", "other"},
		{"/usr/bin/oci-apparmor-runtime", "/moby", "other"},
		{"/usr/bin/oci-apparmor-runtime", "/run/containerd/runc/k8s.io/", "containerd"},
		{"/usr/bin/oci-apparmor-runtime", "/run/runc", "other"},
		{"/usr/bin/oci-apparmor-runtime", "/home/u/k8s.io", "other"},
		{"runc", "/run/crio", "other"},
		{"/usr/libexec/oci-apparmor/containerd/runc", "/run/x/k8s.io", "containerd"},
		{"/usr/libexec/oci-apparmor/containerd/runc", "/run/containerd/runc/default", "other"},
		{"/usr/libexec/oci-apparmor/docker/runc", "/run/whatever", "docker"},
		{"/usr/libexec/oci-apparmor/podman/crun", "/run/crun", "podman"},
		{"/usr/libexec/oci-apparmor/cri-o/crun", "/run/crun", "cri-o"},
		{"/usr/libexec/oci-apparmor/cri-o/crun", "/run/containerd/runc/k8s.io", "cri-o"},
	} {
		if got := engine.ByCall(tt.argv0, tt.root); got != tt.want {
			t.Errorf("%s with --root %s: got engine %q, want %q", tt.argv0, tt.root, got, tt.want)
		}
	}
}

func TestRuntimeDirsFor(t *testing.T) {
	const own = "/usr/libexec/crio"
	for argv0, want := range map[string]string{
		"/usr/local/lib/oci-apparmor/cri-o/crun": own, "/usr/local/lib/oci-apparmor/podman/crun": engine.RuntimeDirs[0], "crun": engine.RuntimeDirs[0],
	} {
		if got := engine.RuntimeDirsFor(argv0); got[0] != want || !slices.Equal(got[len(got)-len(engine.RuntimeDirs):], engine.RuntimeDirs) {
			t.Errorf("%s: %q, want %s first", argv0, got, want)
		}
	}
	if slices.Contains(engine.RuntimeDirs, own) {
		t.Error("every engine has the directory of one")
	}
}

func TestIDBegins(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for asked, want := range map[string]bool{"0": true, "0123": true, id: true, "": false, "1": false, id + "0": false} {
		if engine.IDBegins(id, asked) != want {
			t.Errorf("%q: not %v", asked, want)
		}
	}
	for _, chosen := range []string{"web-2", "0123", id[1:], id + "0", "x" + id[1:], ""} {
		if engine.IDBegins(chosen, chosen[:min(len(chosen), 3)]) {
			t.Errorf("of %q, which somebody chose, a beginning is enough", chosen)
		}
	}
}

func TestContainerID(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for _, path := range []string{
		"/docker/" + id, "/system.slice/docker-" + id + ".scope", "/user.slice/user-0.slice/libpod-" + id + ".scope/container",
		"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-" + id + ".scope",
		"/kubepods/burstable/pod1/" + id, "/kubepods.slice/pod1.slice/crio-" + id + ".scope", "/k8s.io/" + id,
		"/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:" + id,
	} {
		if got := engine.ContainerID(path); got != id {
			t.Errorf("%s: %q", path, got)
		}
	}
	for _, path := range []string{"", "/", "/default/web", "/x" + id, "/system.slice/crio-conmon-" + id + ".scope", "/" + id[1:]} {
		if got := engine.ContainerID(path); got != "" {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// A root of nobody's has no engine, so that the control group is asked; one of containerd's own users has that of nobody.
func TestEngineByRootAndCgroup(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for root, want := range map[string]string{
		"/run/runc": "", "/": "", "": "", "runc": "", "/run/containerd/runc/default": "other", "/run/containerd/runc/moby": "docker",
		"/run/user/1000/docker/runtime-runc/moby": "docker", "/run/k3s/containerd/runc/k8s.io": "containerd",
		"/var/run/docker/runtime-runc/moby": "docker", "/home/u/docker/runtime-runc/moby": "", "/tmp/containerd/runc/k8s.io": "",
		"/run/../home/u/docker/runtime-runc/moby": "",
	} {
		if got := engine.ByRoot(root); got != want {
			t.Errorf("root %s: %q, want %q", root, got, want)
		}
	}
	for group, want := range map[string]string{
		"": "", "/default/web": "", "/docker/" + id: "docker", "/system.slice/docker-" + id + ".scope": "docker",
		"/user.slice/libpod-" + id + ".scope/container": "podman", "/kubepods.slice/cri-containerd-" + id + ".scope": "containerd",
		"/kubepods-pod1.slice:cri-containerd:" + id: "containerd", "/kubepods.slice/pod1.slice/crio-" + id + ".scope": "cri-o",
		"/system.slice/nerdctl-" + id + ".scope": "other",
	} {
		if got := engine.ByCgroup(group); got != want {
			t.Errorf("control group %s: %q, want %q", group, got, want)
		}
	}
}

// What a row has is complete and of nobody else: two engines that cannot be told apart would trust each other's keys.
func TestRowsAreDistinct(t *testing.T) {
	if got, want := strings.Join(engine.Names(), " "), "containerd cri-o docker podman other"; got != want {
		t.Errorf("names %q, want %q", got, want)
	}
	links, namespaces, programs := map[string]string{}, map[string]string{}, map[string]bool{}
	for _, name := range engine.Names() {
		e := engine.Named(name)
		if e.Name != name || e.Title == "" {
			t.Errorf("%s has the row %+v", name, e)
		}
		if name == engine.Other {
			continue
		}
		if e.Link == "" || links[e.Link] != "" || e.Default == "" || len(e.Cgroups) == 0 {
			t.Errorf("%s has no link, default or control group of its own: %+v", name, e)
		}
		if e.ContainerdNamespace != "" && namespaces[e.ContainerdNamespace] != "" {
			t.Errorf("%s has the namespace of %s", name, namespaces[e.ContainerdNamespace])
		}
		links[e.Link], namespaces[e.ContainerdNamespace] = name, name
		if len(e.Filed) > 0 && e.Files == engine.NoFiles {
			t.Errorf("%s keeps %v in no files", name, e.Filed)
		}
		for fact := range e.Keys {
			if slices.Contains(e.Filed, fact) || slices.Contains(e.Withheld, fact) {
				t.Errorf("%s has %s in two places", name, fact)
			}
		}
	}
	for _, p := range engine.Programs() {
		if programs[p.Name] {
			t.Errorf("program %s is there twice", p.Name)
		}
		programs[p.Name] = true
	}
	for _, name := range engine.Names() {
		for _, called := range engine.Named(name).Called {
			if engine.Known(called) || !slices.Contains(engine.Meant(called), name) {
				t.Errorf("%s is called %s, which means %q", name, called, engine.Meant(called))
			}
		}
	}
	for word, want := range map[string]string{"kubernetes": "containerd cri-o", "dockerd": "docker", "CRIO": "cri-o", "nerdctl": "other", "lxc": ""} {
		if got := strings.Join(engine.Meant(word), " "); got != want {
			t.Errorf("%q means %q, want %q", word, got, want)
		}
	}
	for profile, want := range map[string]string{
		"docker-default": "Docker", "cri-containerd.apparmor.d": "containerd", "crio-default": "CRI-O", "nerdctl-default": "nerdctl",
		"containers-default-0.62.2": "Podman", "containers-default": "", "docker-default-x": "", "": "", "*": "",
	} {
		if got, is := engine.ByDefault(profile); got != want || is != (want != "") {
			t.Errorf("%q is the default of %q, want %q", profile, got, want)
		}
	}
}

// The kernel keeps 15 bytes of a name, and a daemon does not end with a container.
func TestHoldsContainer(t *testing.T) {
	for comm, want := range map[string]bool{
		"docker": true, "nerdctl": true, "ctr": true, "podman": true, "conmon": true, "containerd-shim": true, "oci-apparmor-ru": true,
		"oci-apparmor-runtime": false, "dockerd": false, "containerd": false, "kubelet": false, "sleep": false, "": false,
	} {
		if engine.HoldsContainer(comm) != want {
			t.Errorf("%q: %v", comm, !want)
		}
	}
}
