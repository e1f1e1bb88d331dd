package integration

import (
	"archive/tar"
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// The work that engines' daemons do under their profiles in tests.

// A dockerWork is a dockerd at its work, and what tests ask of it.
type dockerWork struct {
	*testing.T
	*guesttest.Docker
}

// dockerWorks starts a containerd and a dockerd, each under its profile, and has dockerd do all that it does on a node. more are
// settings of its configuration.
func dockerWorks(t *testing.T, more map[string]any) *guesttest.Docker {
	t.Helper()
	c := guesttest.StartContainerd(t, guesttest.Containerds(t)[0], guesttest.ContainerdConfig{Profile: "containerd"})
	settings := map[string]any{}
	if !nat() {
		settings["iptables"], settings["ip6tables"] = false, false
	}
	maps.Copy(settings, more)
	w := dockerWork{t, guesttest.StartDockerUnder(t, c, "dockerd", settings)}
	w.labels()
	w.containers()
	w.images()
	w.networks()
	w.ours()
	w.restarts()
	return w.Docker
}

// must runs a command of docker.
func (w dockerWork) must(args ...string) string {
	w.Helper()
	return w.MustDocker(w.T, args...)
}

// saying wants words in the output of a command of docker.
func (w dockerWork) saying(wants string, args ...string) {
	w.Helper()
	if out := w.must(args...); !strings.Contains(out, wants) {
		w.Errorf("docker %s: %q, want %q in it", strings.Join(args, " "), out, wants)
	}
}

// once wants words in the output of a container.
func (w dockerWork) once(wants string, args ...string) {
	w.Helper()
	w.saying(wants, append([]string{"run", "--rm"}, args...)...)
}

// labels wants containers to keep their labels, with no_new_privs as well. No loader takes from them what their environment says.
func (w dockerWork) labels() {
	const label = "docker-default (enforce)"
	w.once(label, guesttest.ProbeImage, "probe", "label")
	w.once(label, "--security-opt", "no-new-privileges", guesttest.ProbeImage, "probe", "label")
	w.once("0", guesttest.ProbeImage, "probe", "secure")
	w.once("unconfined", "--privileged", guesttest.ProbeImage, "probe", "label")
	w.once(label, "--init", "--memory", "64m", "--user", "1:1", "--read-only", "--sysctl", "kernel.msgmax=9000",
		"--device", "/dev/zero", guesttest.ProbeImage, "probe", "label")
}

// containers runs one, and does with it what can be done.
func (w dockerWork) containers() {
	id := w.must("run", "--detach", "--name", "one", "--volume", "data:/data", "--volume", "/srv/given:/given:ro",
		"--tmpfs", "/scratch", guesttest.ProbeImage, "/bin/sh", "-c", "echo logged; exec probe sleep")
	wantLabelText(w.T, "the container", guesttest.Label(w, w.Pid(w, id)), "docker-default")
	for _, pid := range guesttest.Shims(w) {
		if label := guesttest.Label(w, pid); label != "runc (unconfined)" {
			w.Errorf("a shim runs under %s", label)
		}
	}
	w.saying("ok", "exec", "one", "probe", "write", "/data/x")
	w.saying("logged", "logs", "one")
	w.saying("probe sleep", "top", "one")
	w.saying("one", "stats", "--no-stream", "one")
	w.must("cp", "/etc/passwd", "one:/etc/passwd2")
	w.must("cp", "one:/etc", filepath.Join(w.TempDir(), "etc"))
	w.saying("/etc/passwd2", "diff", "one")
	w.must("commit", "one", "committed")
	w.must("export", "--output", filepath.Join(w.TempDir(), "exported"), "one")
	for _, args := range [][]string{{"pause"}, {"unpause"}, {"update", "--memory", "64m"}, {"restart", "--time", "1"}, {"stop", "--time", "1"}, {"start"}, {"kill"}} {
		w.must(append(args, "one")...)
	}
	w.must("rm", "--force", "one")
}

// images takes an image out to an archive and in again, and builds one.
func (w dockerWork) images() {
	archive := filepath.Join(w.TempDir(), "archive")
	w.must("save", "--output", archive, "committed")
	w.must("rmi", "committed")
	w.must("load", "--input", archive)
	w.once("ok", "committed", "probe", "read", "/etc/passwd2")
	build := w.TempDir()
	write(w.T, filepath.Join(build, "Dockerfile"), "FROM "+guesttest.ProbeImage+"\nRUN probe write /made\nCOPY Dockerfile /copied\nADD files.tar.gz /unpacked\n")
	guesttest.MustRun(w, "tar", "-C", "/etc", "-czf", filepath.Join(build, "files.tar.gz"), "passwd", "shadow", "apparmor.d/local")
	cmd := exec.Command("docker", "--host", "unix://"+w.Socket(), "build", "--tag", "built", build)
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0") // Debian has no client for the other builder
	if o := guesttest.RunCommand(w, cmd); o.Code != 0 {
		w.Errorf("docker build: %+v", o)
	}
	w.once("ok", "built", "probe", "read", "/unpacked/shadow")
	odd := filepath.Join(w.TempDir(), "odd")
	writeOddFiles(w.T, odd)
	w.must("import", odd, "odd")
	w.must("create", "--name", "odd", "odd", "/none")
	w.must("cp", "odd:/d", filepath.Join(w.TempDir(), "d"))
	w.must("rm", "odd")
}

// writeOddFiles writes an archive of files of kinds that are not in other images of tests: of another user, with the rights of that
// user or with capabilities, devices, the directories of /dev, and names with which /dev, /proc and /sys begin.
func writeOddFiles(t *testing.T, path string) {
	t.Helper()
	var archive bytes.Buffer
	out := tar.NewWriter(&archive)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeReg, Name: "of-other", Mode: 0o4755, Uid: 1000, Gid: 1000},
		{Typeflag: tar.TypeReg, Name: "capable", Mode: 0o755, PAXRecords: map[string]string{
			// struct vfs_cap_data of linux/capability.h, revision 2: effective, with cap_net_raw permitted
			"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		}},
		{Typeflag: tar.TypeDir, Name: "dev/", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "dev/pts/", Mode: 0o755},
		{Typeflag: tar.TypeChar, Name: "dev/console", Mode: 0o600, Devmajor: 5, Devminor: 1},
		{Typeflag: tar.TypeReg, Name: "d", Mode: 0o644},
		{Typeflag: tar.TypeReg, Name: "pro", Mode: 0o644},
		{Typeflag: tar.TypeReg, Name: "sy", Mode: 0o644},
	} {
		if err := out.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, path, archive.String())
}

// networks makes one, and has a container join it and leave it.
func (w dockerWork) networks() {
	w.must("network", "create", "net")
	w.must("run", "--detach", "--name", "two", "--network", "net", "--publish", "80:80", "--publish", "8080:80/udp", guesttest.ProbeImage, "probe", "sleep")
	w.must("network", "connect", "bridge", "two")
	w.must("network", "disconnect", "net", "two")
	w.must("rm", "--force", "two")
	w.must("network", "rm", "net")
	w.once("ok", "--network", "host", guesttest.ProbeImage, "probe", "socket", "inet", "stream")
}

// ours installs our runtime under dockerd, has it give containers their profile, and takes it away again.
func (w dockerWork) ours() {
	writePolicy(w.T, webPolicy, texts)
	guesttest.MustRun(w, "oci-apparmor", "policy", "apply")
	guesttest.MustRun(w, "oci-apparmor", "policy", "load")
	guesttest.MustRun(w, "oci-apparmor", "install", "docker", "--yes")
	w.Reload(w)
	waitFor(w.T, "dockerd to have our runtime", func() bool {
		return strings.Contains(w.must("info", "--format", "{{json .Runtimes}}"), "oci-apparmor-runtime")
	})
	asking := []string{"--runtime", "apparmor", "--annotation", "oci-apparmor/policy=web", guesttest.ProbeImage, "probe"}
	w.once("web (enforce)", append(asking, "label")...)
	w.must(append(append([]string{"run", "--detach", "--name", "ours"}, asking...), "sleep")...)
	w.saying("web (enforce)", "exec", "ours", "probe", "label")
	w.must("stop", "--time", "1", "ours")
	w.must("rm", "ours")
	guesttest.MustRun(w, "oci-apparmor", "uninstall", "docker", "--yes")
}

// restarts ends and starts dockerd, which starts the container again, and has it remove all that there is.
func (w dockerWork) restarts() {
	w.must("run", "--detach", "--name", "three", "--restart", "always", guesttest.ProbeImage, "probe", "sleep")
	w.Restart(w)
	waitFor(w.T, "the container to be started again", func() bool {
		return w.must("inspect", "--format", "{{.State.Running}}", "three") == "true"
	})
	w.must("rm", "--force", "three")
	w.must("system", "prune", "--all", "--force", "--volumes")
}

// containerdWorks starts a containerd under its profile, and has it do what its client and the kubelet ask of it.
func containerdWorks(t *testing.T) {
	t.Helper()
	c := guesttest.StartContainerd(t, guesttest.Containerds(t)[0], guesttest.ContainerdConfig{CRI: true, Profile: "containerd"})
	containerdRuns(t, c)
	containerdRunsPods(t, c)
}

// containerdRuns has a containerd do what its client asks.
func containerdRuns(t *testing.T, c *guesttest.Containerd) {
	t.Helper()
	c.MustCtr(t, "image", "import", guesttest.Images(t))
	ctr := func(wants string, args ...string) {
		t.Helper()
		if out := c.MustCtr(t, args...); !strings.Contains(out, wants) {
			t.Errorf("ctr %s: %q, want %q in it", strings.Join(args, " "), out, wants)
		}
	}
	ctr("own-default (enforce)", "run", "--rm", "--apparmor-default-profile", "own-default", guesttest.ProbeImage, "once", "probe", "label")
	ctr("", "run", "--detach", "--null-io", "--apparmor-default-profile", "own-default", guesttest.ProbeImage, "one", "probe", "sleep")
	ctr("own-default (enforce)", "task", "exec", "--exec-id", "label", "one", "probe", "label")
	ctr("one", "task", "ls")
	ctr("", "task", "pause", "one")
	ctr("", "task", "resume", "one")
	ctr("", "task", "metrics", "one")
	c.Restart(t)
	ctr("", "task", "kill", "--signal", "SIGKILL", "one")
	waitFor(t, "the task to end", func() bool { return strings.Contains(c.MustCtr(t, "task", "ls"), "STOPPED") })
	ctr("", "task", "rm", "one")
	ctr("", "container", "rm", "one")
	archive := filepath.Join(t.TempDir(), "archive")
	ctr("", "image", "export", archive, guesttest.ProbeImage)
}

// containerdRunsPods has a containerd do what the kubelet asks.
func containerdRunsPods(t *testing.T, c *guesttest.Containerd) {
	t.Helper()
	c.MustCtr(t, "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
	pods := guesttest.DialCRI(t, c.Socket)
	pods.Ready(t)
	if guesttest.Suite() != guesttest.Bookworm { // which lacks the plugins
		guesttest.NetworkPods(t)
	}
	p := pods.Pod(t, "stock", func(c *cri.PodSandboxConfig) {
		if guesttest.Suite() != guesttest.Bookworm {
			c.Linux.SecurityContext.NamespaceOptions.Network = cri.NamespaceMode_POD
		}
	})
	container := p.Start(t, "main", []string{"label"})
	waitFor(t, "the container's program to be executed", func() bool { // until then it is runc's, as Start does not wait for it
		return !strings.HasPrefix(guesttest.Label(t, container.Pid(t)), "runc")
	})
	wantLabelText(t, "the pod's container", guesttest.Label(t, container.Pid(t)), "cri-containerd.apparmor.d")
	if o := container.ExecSync(t, "probe", "label"); !strings.Contains(o.Stdout, "cri-containerd.apparmor.d (enforce)") {
		t.Errorf("ExecSync: %+v", o)
	}
	container.Remove(t)
	p.Remove(t)
}
