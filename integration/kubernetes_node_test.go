package integration

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/oci-apparmor/oci-apparmor/install/agent"
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

// daemonSetImage is the image of the DaemonSet, and laterImage that of a later version. No registry has them.
const (
	daemonSetImage = "oci-apparmor.test/node:1"
	laterImage     = "oci-apparmor.test/node:2"
)

// hidden is where hidePrograms has our programs.
const hidden = "/run/image"

// hidePrograms moves our programs off the node until the test ends, and returns the directory in which they are, with what else
// is in the image.
func hidePrograms(t *testing.T) (dir string) {
	t.Helper()
	dir = hidden
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
	guesttest.MustRun(t, "ctr", "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
	return importImage(t, daemonSetImage, files, files)
}

// importImage makes an image of programs and of what else is in it, which are in directories, and imports it to containerd. It returns
// its file.
func importImage(t *testing.T, name, programs, others string) (archive string) {
	t.Helper()
	built := image.Image{
		Builds: []image.Build{{Arch: "amd64", Dir: programs}},
		Others: []string{filepath.Join(others, "place.sh"), filepath.Join(others, "oci-apparmor.service")},
		Date:   time.Unix(0, 0),
	}
	archive = filepath.Join(t.TempDir(), "image.tar")
	if err := built.Write(archive, name); err != nil {
		t.Fatal(err)
	}
	guesttest.MustRun(t, "ctr", "--namespace", "k8s.io", "images", "import", archive)
	return archive
}

// inDaemonSet runs the image's program as the DaemonSet's containers do, and returns what it printed and its exit code.
func inDaemonSet(t *testing.T, c *guesttest.CRI, args ...string) (output string, code int32) {
	t.Helper()
	return endedOf(t, startOf(t, c, daemonSetImage, args...))
}

// endedOf waits for the end of what startOf has started.
func endedOf(t *testing.T, ran *guesttest.PodContainer) (output string, code int32) {
	t.Helper()
	defer ran.Pod.Remove(t)
	return ran.Ended(t)
}

// startOf starts an image's program as the DaemonSet's containers do.
func startOf(t *testing.T, c *guesttest.CRI, image string, args ...string) *guesttest.PodContainer {
	t.Helper()
	pod := c.Pod(t, "", guesttest.PrivilegedPod, func(p *cri.PodSandboxConfig) {
		p.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_NODE
	})
	return pod.Start(t, args[0], []string{"-"}, guesttest.Privileged, func(c *cri.ContainerConfig) {
		c.Image.Image = image
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
	looking := startOf(t, c, daemonSetImage, "agent", "--configmap=/policy")
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
	wantNodeLeft(t, before, archive)
	c.Ready(t)
	if _, err := c.TryPod(t, "apparmor"); err == nil || !strings.Contains(err.Error(), "apparmor") {
		t.Errorf("a pod by our runtime: %v", err)
	}
	c.Pod(t, "") // and the engine's own works
}

// The DaemonSet's image becomes another one while pods run: the installer of the new image puts its programs beside the old ones and
// restarts nothing. Running pods go on with the shim that they were started by, new ones have the new one, and so does the agent. The old
// programs go with the last pod that needs them, and what leaves the node then gives the tree back.
func TestSystemdKubernetesUpgrade(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Forky)
	guesttest.Leave(t, "it takes two minutes; TestContainerdUpgrade has the same programs replaced")
	archive := putBareNode(t)
	importImage(t, laterImage, laterDir, hidden)
	before := treeHash(t)
	const unit = "containerd.service"
	c := guesttest.DialCRI(t, containerdSocket)
	c.Ready(t)
	writeFile(t, "/run/configmap/policy.yaml", nodePolicy)
	writeFile(t, "/run/configmap/web", texts["web"])
	t.Cleanup(func() { os.RemoveAll("/run/configmap") })
	install := func(image string) {
		t.Helper()
		if out, code := endedOf(t, startOf(t, c, image, "install", "--configmap=/policy", "--restart", "containerd")); code != 0 {
			t.Fatalf("exit code %d\n%s", code, out)
		}
		c.Ready(t)
	}
	programs := func() (versions []string) {
		t.Helper()
		entries, err := os.ReadDir("/usr/local/lib/oci-apparmor/programs")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			versions = append(versions, e.Name())
		}
		return versions
	}
	exeIs := func(what string, pid int, version string) {
		t.Helper()
		if exe := exeOf(pid); filepath.Base(filepath.Dir(exe)) != version {
			t.Errorf("%s runs %s, and not version %s", what, exe, version)
		}
	}
	shimsAre := func(want map[string]int) {
		t.Helper()
		got := map[string]int{}
		for _, pid := range guesttest.Shims(t) {
			if exe := exeOf(pid); strings.HasPrefix(exe, "/usr/local/lib/oci-apparmor/") {
				got[filepath.Base(filepath.Dir(exe))]++
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("shims of versions %v, want %v", got, want)
		}
	}
	webPod := func(name string) *guesttest.PodContainer {
		t.Helper()
		web := startPodContainer(t, c.Pod(t, "apparmor", guesttest.Annotated("oci-apparmor/policy", "web")), name)
		wantPodConfined(t, web, podWeb, "web (enforce)")
		return web
	}

	install(daemonSetImage)
	first := programs()
	if len(first) != 1 {
		t.Fatalf("there are the versions %q", first)
	}
	looking := startOf(t, c, daemonSetImage, "agent", "--configmap=/policy")
	waitFor(t, "the agent to run", func() bool { return agentRuns(t) == looking.Pid(t) })
	exeIs("the agent", looking.Pid(t), first[0])
	old := webPod("before")
	shimsAre(map[string]int{first[0]: 1})
	main := mainOf(t, unit)

	// As the kubelet does for a DaemonSet: first the old pod ends.
	looking.Pod.Remove(t)
	install(laterImage)
	if now := mainOf(t, unit); now != main {
		t.Errorf("containerd is process %d, and was %d", now, main)
	}
	if o := guesttest.Run(t, "oci-apparmor", "--version"); !strings.Contains(o.Stdout, "2.0") {
		t.Errorf("the node's program is %+v", o)
	}
	if got := programs(); !slices.Equal(got, slices.Sorted(slices.Values([]string{first[0], "2.0"}))) {
		t.Errorf("there are the versions %q", got)
	}
	wantExecSyncConfined(t, old, podWeb, "web (enforce)")
	fresh := webPod("after")
	shimsAre(map[string]int{first[0]: 1, "2.0": 1})
	looking = startOf(t, c, laterImage, "agent", "--configmap=/policy")
	waitFor(t, "the agent to run", func() bool { return agentRuns(t) == looking.Pid(t) })
	exeIs("the agent", looking.Pid(t), "2.0")
	writeFile(t, "/run/configmap/policy.yaml", strings.Replace(nodePolicy, "{web: {profile: web}}", "{web: {profile: web}, other: {profile: web}}", 1))
	waitFor(t, "the agent to apply what has changed", func() bool {
		return strings.Contains(guesttest.Run(t, "oci-apparmor", "policy", "show").Stdout, "other")
	})

	// The old programs stay while a pod needs them.
	install(laterImage)
	if got := programs(); len(got) != 2 {
		t.Errorf("there are the versions %q", got)
	}
	wantExecSyncConfined(t, old, podWeb, "web (enforce)")
	old.Pod.Remove(t)
	waitFor(t, "the old programs to go", func() bool { return slices.Equal(programs(), []string{"2.0"}) })

	looking.Pod.Remove(t)
	if out, code := endedOf(t, startOf(t, c, laterImage, "leave")); code == 0 || !strings.Contains(out, "still run") {
		t.Errorf("with a pod: exit code %d\n%s", code, out)
	}
	wantExecSyncConfined(t, fresh, podWeb, "web (enforce)")
	fresh.Pod.Remove(t)
	wantNodeLeft(t, before, archive)
}

// agentRuns returns the process of the agent that runs on the node; 0 for none.
func agentRuns(t *testing.T) int {
	t.Helper()
	s, runs, err := agent.Read(agent.Dir)
	if err != nil || !runs {
		return 0
	}
	return s.PID
}

// wantNodeLeft waits until what leaves the node has done so, and checks that nothing of ours is there. since is a file that was written when
// the tree had the hash before.
func wantNodeLeft(t *testing.T, before, since string) {
	t.Helper()
	left := func() bool {
		_, err := os.Lstat("/var/lib/oci-apparmor")
		return os.IsNotExist(err)
	}
	for late := time.Now().Add(4 * time.Minute); !left() && time.Now().Before(late); { // it restarts the engine, and tries it with a container
		time.Sleep(time.Second)
	}
	waitFor(t, "the node to be left", left)
	waitFor(t, "the unit to end", func() bool {
		return guesttest.Run(t, "systemctl", "is-active", "oci-apparmor-leave.service").Code != 0
	})
	if treeHash(t) != before {
		t.Errorf("the tree is not as it was: %s", guesttest.MustRun(t, "sh", "-c", "find /etc /usr/local -newer "+since))
	}
	for _, dir := range []string{"/var/lib/oci-apparmor", "/run/oci-apparmor"} {
		if _, err := os.Lstat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
}
