package integration

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/oci-apparmor/oci-apparmor/install/kubernetes/image"
	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// nodePolicy is what a ConfigMap has in these tests, beside the text of web.
const nodePolicy = `version: 1
profiles: {web: {file: profiles/web}}
policies: {web: {profile: web}}
assign: [{policy: keep, request: [web]}]
`

// daemonSetImage is the image of the DaemonSet. No registry has it.
const daemonSetImage = "oci-apparmor.test/node:1"

// hidePrograms moves our programs off the node until the test ends, and returns the directory in which they are, with what else
// is in the image.
func hidePrograms(t *testing.T) (dir string) {
	t.Helper()
	dir = "/run/image"
	guesttest.MustRun(t, "sh", "-c", `mkdir `+dir+` && mv /usr/local/bin/oci-apparmor* /usr/local/bin/containerd-shim-apparmor-v2 `+dir+` &&
		mv /usr/local/lib/systemd/system/oci-apparmor.service `+dir+` && cp `+filepath.Join(testDir, placeScript)+` `+dir+`/place.sh`)
	t.Cleanup(func() {
		guesttest.MustRun(t, "sh", "-c", `mv `+dir+`/oci-apparmor.service /usr/local/lib/systemd/system/ && rm `+dir+`/place.sh && mv `+dir+`/* /usr/local/bin/ && rmdir `+dir)
	})
	return dir
}

const containerdSocket = "/run/containerd/containerd.sock"

// putBareNode makes this a node with containerd as a unit of systemd and nothing of ours, until the test ends. The image of the
// DaemonSet is in containerd and in the file that is returned.
func putBareNode(t *testing.T) (archive string) {
	t.Helper()
	guesttest.Require(t)
	guesttest.RemoveProfilesAtEnd(t)
	guesttest.MustRun(t, "sh", "-c", "rm -rf /etc/oci-apparmor /var/lib/oci-apparmor /run/oci-apparmor /etc/apparmor.d/*.oci-apparmor")
	v := guesttest.Containerds(t)[0]
	putTree(t, v, "none")
	putDefaultConfig(t, v)
	files := hidePrograms(t)
	startUnits(t, []string{"containerd.service"}, "/run/containerd", "/var/lib/containerd")
	built := image.Image{
		Builds: []image.Build{{Arch: "amd64", Dir: files}},
		Others: []string{filepath.Join(files, "place.sh"), filepath.Join(files, "oci-apparmor.service")},
		Date:   time.Unix(0, 0),
	}
	archive = filepath.Join(t.TempDir(), "image.tar")
	if err := built.Write(archive, daemonSetImage); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{guesttest.Images(t), archive} {
		guesttest.MustRun(t, "ctr", "--namespace", "k8s.io", "images", "import", file)
	}
	return archive
}

// inDaemonSet runs the image's program as the DaemonSet's containers do, and returns what it printed and its exit code.
func inDaemonSet(t *testing.T, c *guesttest.CRI, args ...string) (output string, code int32) {
	t.Helper()
	ran := startInDaemonSet(t, c, args...)
	defer ran.Pod.Remove(t)
	return ran.Ended(t)
}

func startInDaemonSet(t *testing.T, c *guesttest.CRI, args ...string) *guesttest.PodContainer {
	t.Helper()
	pod := c.Pod(t, "", guesttest.PrivilegedPod, func(p *cri.PodSandboxConfig) {
		p.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_NODE
	})
	return pod.Start(t, args[0], []string{"-"}, guesttest.Privileged, func(c *cri.ContainerConfig) {
		c.Image.Image = daemonSetImage
		c.Command, c.Args = nil, append([]string{"kubernetes"}, args...)
		c.Mounts = []*cri.Mount{{HostPath: "/run/configmap", ContainerPath: "/policy", Readonly: true}}
	})
}

// The DaemonSet's installer puts programs, policy and wiring on a node that has nothing of ours, from a container; a pod is then
// confined, and what leaves the node leaves nothing behind, once the last pod has ended.
func TestSystemdKubernetesNode(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Forky)
	guesttest.Leave(t, "it takes two minutes; the parts of install have tests of their own")
	archive := putBareNode(t)
	before := treeHash(t)
	const unit = "containerd.service"
	c := guesttest.DialCRI(t, containerdSocket)
	c.Ready(t)

	configMap := func(policy string) {
		writeFile(t, "/run/configmap/policy.yaml", policy)
		writeFile(t, "/run/configmap/web", texts["web"])
	}
	t.Cleanup(func() { os.RemoveAll("/run/configmap") })
	configMap("version: 1\npolicies: {web: {profile: none}}\n")
	if out, code := inDaemonSet(t, c, "install", "--configmap=/policy", "--restart", "containerd"); code == 0 || !strings.Contains(out, "no policy can be put in force") {
		t.Fatalf("a first policy that is bad: exit code %d\n%s", code, out)
	}
	configMap(nodePolicy)
	main := mainOf(t, unit)
	out, code := inDaemonSet(t, c, "install", "--configmap=/policy", "--restart", "containerd")
	if code != 0 || mainOf(t, unit) == main {
		t.Fatalf("exit code %d, containerd is process %d, and was %d\n%s", code, mainOf(t, unit), main, out)
	}
	t.Log(out)
	main = mainOf(t, unit)
	configMap("version: 1\npolicies: {web: {profile: none}}\n")
	if out, code := inDaemonSet(t, c, "install", "--configmap=/policy", "--restart", "containerd"); code != 0 || mainOf(t, unit) != main ||
		!strings.Contains(out, "the last good one stays in force") {
		t.Errorf("again, with a bad policy: exit code %d, containerd is process %d, and was %d\n%s", code, mainOf(t, unit), main, out)
	}

	c.Ready(t)
	pod := c.Pod(t, "apparmor", guesttest.Annotated("oci-apparmor/policy", "web"))
	web := pod.Start(t, "web", []string{"write /tmp/x", "write /etc/x"})
	if label := guesttest.Label(t, web.Pid(t)); label != "web (enforce)" {
		t.Errorf("label %q", label)
	}
	if got := web.Answers(t, 2); got[0] != "ok" || got[1] != denied {
		t.Errorf("writing to /tmp and to /etc: %q", got)
	}

	// The agent is a process of the node, and follows the ConfigMap.
	looking := startInDaemonSet(t, c, "agent", "--configmap=/policy")
	writeFile(t, "/run/configmap/policy.yaml", strings.Replace(nodePolicy, "{web: {profile: web}}", "{web: {profile: web}, other: {profile: web}}", 1))
	waitFor(t, "the agent to apply what has changed", func() bool {
		return strings.Contains(guesttest.Run(t, "oci-apparmor", "policy", "show").Stdout, "other")
	})
	if exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(looking.Pid(t)), "exe")); err != nil || !strings.HasPrefix(exe, "/usr/local/lib/oci-apparmor/programs/") {
		t.Errorf("the agent runs %s, %v", exe, err)
	}
	looking.Pod.Remove(t)
	if _, err := os.Stat("/usr/local/bin/oci-apparmor"); err != nil {
		t.Error("the agent's end took the programs away")
	}

	if out, code := inDaemonSet(t, c, "leave"); code == 0 || !strings.Contains(out, "still run") {
		t.Errorf("with a pod: exit code %d\n%s", code, out)
	}
	time.Sleep(2 * time.Second) // so that the unit has tried once
	if got := web.ExecSync(t, "/bin/sh", "-c", "true"); got.Code != 0 {
		t.Errorf("nothing can be executed in the pod that was there: %+v", got)
	}
	pod.Remove(t)
	waitFor(t, "the node to be left", func() bool {
		_, err := os.Lstat("/var/lib/oci-apparmor")
		return os.IsNotExist(err)
	})
	waitFor(t, "the unit to end", func() bool {
		return guesttest.Run(t, "systemctl", "is-active", "oci-apparmor-leave.service").Code != 0
	})
	if treeHash(t) != before {
		t.Errorf("the tree is not as it was: %s", guesttest.MustRun(t, "sh", "-c", "find /etc /usr/local -newer "+archive))
	}
	for _, dir := range []string{"/var/lib/oci-apparmor", "/run/oci-apparmor"} {
		if _, err := os.Lstat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
	c.Ready(t)
	if _, err := c.TryPod(t, "apparmor"); err == nil || !strings.Contains(err.Error(), "apparmor") {
		t.Errorf("a pod by our runtime: %v", err)
	}
	c.Pod(t, "") // and the engine's own works
}
