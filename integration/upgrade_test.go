package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	versions "github.com/oci-apparmor/oci-apparmor/hook/programs"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// placeScript is what make install and the packages call; guests have it in the same place beside the tests.
const placeScript = "../install/place.sh"

// upgradePrefix is where the test of an upgrade installs. The other tests have their programs elsewhere.
const upgradePrefix = "/opt/upgraded"

// laterDir is where a guest has the programs of a later version.
const laterDir = testDir + "/../later"

// buildLater builds the programs as of a later version, for a guest, if a test wants them.
func buildLater(t *testing.T, root string) map[string]string {
	pattern, err := regexp.Compile(pattern())
	if err == nil && !pattern.MatchString("TestContainerdUpgrade") && !pattern.MatchString("TestSystemdKubernetesUpgrade") {
		return nil
	}
	files, dir := map[string]string{}, t.TempDir()
	for _, p := range programs {
		if name := path.Base(p); slices.Contains(versions.Names, name) {
			files[path.Join(laterDir, name)] = filepath.Join(dir, name)
			buildProgram(t, root, p, filepath.Join(dir, name), "-X github.com/oci-apparmor/oci-apparmor/hook/version.set=2.0")
		}
	}
	return files
}

// An upgrade leaves the programs that 20 running containers need until the last of them ends: exec, log, stop and delete
// of each work, by the shim that it was started with, or by the wrapper that is there now. What starts later is the new
// version's, in a pod of its own. containerd is wired by install, once by the wrapper and then by the shim.
func TestContainerdUpgrade(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // it is about our programs and containerd
	guesttest.EachContainerd(t, func(t *testing.T, v guesttest.ContainerdVersion) {
		if ignoresRuntimePath(v) {
			t.Skip("it starts no shim by a path")
		}
		if !v.Present() {
			guesttest.Leave(t, "an upgrade with the present containerd")
		}
		t.Cleanup(func() { os.RemoveAll(upgradePrefix) })
		placeVersion(t, "1.0")
		run := func(args ...string) guesttest.Outcome {
			cmd := exec.Command(upgradePrefix+"/bin/oci-apparmor", args...)
			cmd.Env = append(os.Environ(), "PATH="+v.Bin+":"+os.Getenv("PATH"))
			return guesttest.RunCommand(t, cmd)
		}
		setPolicy(t, podPolicy)
		putTree(t, v, "none")
		putDefaultConfig(t, v)
		hash := treeHash(t)
		c := guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{CRI: true, File: containerdConfig})
		c.MustCtr(t, "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
		const link = upgradePrefix + "/lib/oci-apparmor/containerd/runc"

		pods := []*guesttest.Pod{}
		var containers []*guesttest.PodContainer
		var engine *guesttest.CRI
		for _, of := range []struct {
			via  string
			pods int
		}{{"wrapper", 1}, {"shim", 4}} {
			wantDone(t, run("install", "--yes", "--via", of.via, "containerd"))
			c.Restart(t)
			engine = guesttest.DialCRI(t, c.Socket)
			engine.Ready(t)
			for range of.pods {
				pod := engine.Pod(t, "apparmor", guesttest.Annotated("oci-apparmor/policy", "web"))
				pods = append(pods, pod)
				for n := range 4 {
					containers = append(containers, pod.Start(t, fmt.Sprint("before-", n), []string{"label"}, waitsForUpgrade))
				}
			}
		}
		if at, err := os.Readlink(link); err != nil || at != upgradePrefix+"/bin/oci-apparmor-runtime" {
			t.Errorf("the link that containers call leads to %q (%v)", at, err)
		}
		wired := read(t, containerdConfig) + strings.Join(readAll(t, "/etc/containerd/conf.d/*.toml"), "")
		wantShims(t, map[string]int{"1.0": 4})

		placeVersion(t, "2.0")
		prunePrograms(t)
		wantVersions(t, "1.0", "2.0")
		if got := run("--version").Stdout; !strings.Contains(got, "2.0") {
			t.Errorf("what is called after the upgrade is %s", got)
		}
		after := engine.Pod(t, "apparmor", guesttest.Annotated("oci-apparmor/policy", "web"))
		wantPodConfined(t, startPodContainer(t, after, "after"), podWeb, "web (enforce)")
		wantShims(t, map[string]int{"1.0": 4, "2.0": 1})
		doctor := run("doctor", "--json")
		if want := "of version 1.0, which another one has replaced, 4 programs run"; !strings.Contains(doctor.Stdout, want) {
			t.Errorf("doctor does not say %q:\n%s", want, doctor.Stdout)
		}
		for _, container := range containers {
			o := container.ExecSync(t, "/bin/sh", "-c", "/bin/probe label; /bin/probe write /etc/x; : >"+upgradedFile)
			if want := "web (enforce)\n" + denied + "\n"; o.Code != 0 || o.Stdout != want {
				t.Errorf("exec in container %s: %+v, want %q", container.ID, o, want)
			}
		}
		for _, container := range containers {
			if got := container.Answers(t, 1); !slices.Equal(got, []string{"web (enforce)"}) {
				t.Errorf("container %s logs %q after the upgrade", container.ID, got)
			}
		}
		wantDone(t, run("install", "--yes", "containerd")) // which the new version has nothing to do for
		if now := read(t, containerdConfig) + strings.Join(readAll(t, "/etc/containerd/conf.d/*.toml"), ""); now != wired {
			t.Errorf("an install after the upgrade makes of containerd's configuration\n%s", now)
		}
		c.Restart(t) // as an upgrade of containerd would, which asks the shims for their containers
		engine = guesttest.DialCRI(t, c.Socket)
		engine.Ready(t)
		for _, container := range containers[:12] {
			container.Remove(t)
		}
		for _, pod := range pods[:3] {
			pod.Remove(t)
		}
		wantShims(t, map[string]int{"1.0": 2, "2.0": 1})
		prunePrograms(t)
		wantVersions(t, "1.0", "2.0")
		// The shim of the last containers removes its own version.
		var wg sync.WaitGroup
		for _, pod := range pods[3:] {
			wg.Go(func() { pod.Remove(t) })
		}
		wg.Wait()
		waitFor(t, "the old version to go", func() bool { return !exists(upgradePrefix + "/lib/oci-apparmor/programs/1.0") })
		wantVersions(t, "2.0")
		wantShims(t, map[string]int{"2.0": 1})
		t.Run("the last two at once", func(t *testing.T) { lastShimsEndAtOnce(t, engine, after) })
		wantNoPods(t)
		wantDone(t, run("uninstall", "--yes", "containerd"))
		c.Restart(t)
		wantDone(t, run("uninstall", "--yes", "containerd")) // of what containerd has called until then
		if treeHash(t) != hash || exists(link) {
			t.Error("uninstall has not given the same tree back")
		}
	})
}

// lastShimsEndAtOnce downgrades, and ends all shims of the version before at the same moment.
func lastShimsEndAtOnce(t *testing.T, engine *guesttest.CRI, pods ...*guesttest.Pod) {
	for range 3 {
		pods = append(pods, engine.Pod(t, "apparmor"))
	}
	placeVersion(t, "1.0")
	prunePrograms(t)
	wantVersions(t, "1.0", "2.0")
	var wg sync.WaitGroup
	for _, pod := range pods {
		wg.Go(func() { pod.Remove(t) })
	}
	wg.Wait()
	waitFor(t, "the version before to go", func() bool { return !exists(upgradePrefix + "/lib/oci-apparmor/programs/2.0") })
	wantVersions(t, "1.0")
}

// upgradedFile is what a container waits for that waitsForUpgrade edits.
const upgradedFile = "/tmp/upgraded"

// waitsForUpgrade has a container do nothing, and write nothing into its log, before there is upgradedFile in it.
func waitsForUpgrade(c *cri.ContainerConfig) {
	c.Command[2] = "until [ -e " + upgradedFile + " ]; do sleep 1; done\n" + c.Command[2]
}

// placeVersion puts the guest's programs, or those of a later version, into upgradePrefix, as make install and the packages do.
func placeVersion(t *testing.T, version string) {
	t.Helper()
	from := "/usr/local/bin"
	if version == "2.0" {
		from = laterDir
	}
	guesttest.MustRun(t, "sh", placeScript, from, upgradePrefix, version)
}

func prunePrograms(t *testing.T) {
	t.Helper()
	guesttest.MustRun(t, upgradePrefix+"/bin/oci-apparmor", versions.PruneCommand)
}

// wantVersions checks which versions' programs are in upgradePrefix.
func wantVersions(t *testing.T, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(upgradePrefix + "/lib/oci-apparmor/programs")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("there are the versions %q (%v), want %q", names, err, want)
	}
}

// wantShims checks how many shims of ours run from each version, and that the program of each is there.
func wantShims(t *testing.T, want map[string]int) {
	t.Helper()
	var last map[string]int
	waitFor(t, fmt.Sprintf("the shims to be %v", want), func() bool {
		last = make(map[string]int)
		for _, pid := range guesttest.Shims(t) {
			if exe := exeOf(pid); strings.HasPrefix(exe, upgradePrefix) {
				last[filepath.Base(filepath.Dir(exe))]++
				if _, err := os.Stat(exe); errors.Is(err, fs.ErrNotExist) && exeOf(pid) == exe {
					t.Errorf("shim %d runs from %s, which is gone", pid, exe)
				}
			}
		}
		return fmt.Sprint(last) == fmt.Sprint(want)
	})
}
