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
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	versions "github.com/oci-apparmor/oci-apparmor/hook/programs"
	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// packagesSuite is the guest whose dpkg installs our package.
const packagesSuite = guesttest.Forky

// packaged are the versions of which there is a package, as git describe would call them, and as packages are called.
var packaged = map[string]string{"v1.0.0": "1.0.0-1", "v2.0.0": "2.0.0-1"}

// packagesDir is where a guest has them.
const packagesDir = testDir + "/../packages"

// makePackage makes a package by make deb or make rpm, of programs for an architecture that stand in a directory. It returns
// the file's path.
func makePackage(t *testing.T, kind, version, arch, from string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"Makefile", "LICENSE", "install/place.sh", "install/systemd", "install/packages"} {
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", err
		}
		if out, err := exec.Command("cp", "-r", filepath.Join("..", name), to).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
	}
	page := filepath.Join(dir, "bin/share/man/man8/oci-apparmor.8") // and what else make build makes
	err := os.MkdirAll(filepath.Dir(page), 0o755)
	if err == nil {
		err = os.WriteFile(page, []byte(".TH oci-apparmor 8\n"), 0o644)
	}
	for _, name := range versions.Names {
		if err == nil {
			var program []byte
			program, err = os.ReadFile(filepath.Join(from, name))
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, "bin", name), program, 0o755))
		}
	}
	if err != nil {
		return "", err
	}
	cmd := exec.Command("make", "--old-file=build", kind, "VERSION="+version, "SOURCE_DATE_EPOCH=1700000000", "GOARCH="+arch)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "MAKEFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make %s: %w\n%s", kind, err, out)
	}
	found, err := filepath.Glob(filepath.Join(dir, "bin/packages/oci-apparmor?"+packaged[version]+"?*."+kind))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("make %s has made %q", kind, found)
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// buildPackages makes the packages for a guest, if a test wants them. files are those of the guest.
func buildPackages(t *testing.T, files map[string]string) map[string]string {
	wanted := func(test string) bool {
		is, err := regexp.MatchString(pattern(), test)
		return is || err != nil
	}
	if !wanted("TestContainerdPackages") && !wanted("TestSystemdRemovePackage") {
		return nil
	}
	made := map[string]string{}
	for version := range packaged {
		deb, err := makePackage(t, "deb", version, "amd64", filepath.Dir(files["/usr/local/bin/oci-apparmor"]))
		if err != nil {
			fmt.Fprintln(os.Stderr, "not shown: packages:", err)
			return nil
		}
		made[path.Join(packagesDir, version+".deb")] = deb
	}
	return made
}

// One machine has our package installed, wired, refused to be removed, upgraded under a running pod, removed, installed
// again, and purged.
func TestContainerdPackages(t *testing.T) {
	guesttest.Require(t)
	guesttest.EnoughIn(t, packagesSuite)
	v := guesttest.Containerds(t)[0]
	if ignoresRuntimePath(v) {
		t.Skipf("containerd %s starts no shim by a path", v.Name)
	}
	if !exists(packagesDir) {
		if guesttest.Suite() == packagesSuite {
			t.Fatalf("this guest has no packages in %s", packagesDir)
		}
		t.Skipf("packages are made for the guest %s alone", packagesSuite)
	}
	for _, dir := range []string{"/etc/oci-apparmor", "/var/lib/oci-apparmor"} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	moveFlat(t)

	installDeb(t, "v1.0.0")
	if entries, err := os.ReadDir("/etc/oci-apparmor/profiles"); err != nil || len(entries) > 0 {
		t.Errorf("the configuration is not empty: %v (%v)", entries, err)
	}
	enabled, _ := filepath.Glob("/etc/systemd/system/*/oci-apparmor*.service")
	if len(enabled) > 0 || exists("/var/lib/oci-apparmor/current") {
		t.Errorf("installing puts something in force: %q", enabled)
	}

	setPolicy(t, podPolicy)
	run := wiring(t, v.Bin)
	putTree(t, v, "none")
	putDefaultConfig(t, v)
	c := guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{CRI: true, File: containerdConfig})
	c.MustCtr(t, "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
	wantDone(t, run("install", "--yes", "containerd"))
	wired := read(t, containerdConfig)
	wired += strings.Join(readAll(t, "/etc/containerd/conf.d/*.toml"), "")
	if !strings.Contains(wired, "/usr/bin/containerd-shim-apparmor-v2") || strings.Contains(wired, "programs/") {
		t.Errorf("containerd is not pointed at what stays at an upgrade:\n%s", wired)
	}
	c.Restart(t)
	engine := guesttest.DialCRI(t, c.Socket)
	pod := engine.Pod(t, "apparmor", guesttest.Annotated("oci-apparmor/policy", "web"))
	before := startPodContainer(t, pod, "before")
	wantPodConfined(t, before, podWeb, "web (enforce)")

	wantNotRemoved(t, before.ID, "containerd is wired to them: run oci-apparmor uninstall containerd first")

	installDeb(t, "v2.0.0")
	if now := read(t, containerdConfig) + strings.Join(readAll(t, "/etc/containerd/conf.d/*.toml"), ""); now != wired {
		t.Errorf("the upgrade has changed containerd's configuration to\n%s", now)
	}
	wantExecSyncConfined(t, before, podWeb, "web (enforce)")
	const home = "/usr/lib/oci-apparmor"
	if exe := exeOf(shimOf(t, pod)); exe != home+"/programs/v1.0.0/containerd-shim-apparmor-v2" || !exists(exe) {
		t.Errorf("the pod's shim runs from %s", exe)
	}
	next := engine.Pod(t, "apparmor", guesttest.Annotated("oci-apparmor/policy", "web"))
	if exe := exeOf(shimOf(t, next)); exe != home+"/programs/v2.0.0/containerd-shim-apparmor-v2" {
		t.Errorf("the next pod's shim runs from %s", exe)
	}
	pod.Remove(t)
	waitFor(t, "the old version to go", func() bool { return !exists(home + "/programs/v1.0.0") })

	wantDone(t, run("uninstall", "--yes", "containerd"))
	wantNotRemoved(t, next.ID)
	next.Remove(t)
	waitFor(t, "the last shim to end", func() bool { return len(guesttest.Shims(t)) == 0 })
	c.MustCtr(t, "images", "import", guesttest.Images(t))
	c.MustCtr(t, "run", "--detach", "--runtime", "/usr/bin/containerd-shim-apparmor-v2", "--annotation", "oci-apparmor/policy=web",
		guesttest.ProbeImage, "hand", "/bin/probe", "sleep")
	wantNotRemoved(t, "default/hand") // a container that is no pod's
	c.MustCtr(t, "tasks", "delete", "--force", "hand")
	c.MustCtr(t, "containers", "delete", "hand")
	waitFor(t, "its shim to end", func() bool { return len(guesttest.Shims(t)) == 0 })
	wantNotRemoved(t, "containerd is not wired to them any more, and calls them until it is restarted by systemctl restart containerd")
	c.Restart(t)
	wantDone(t, dpkg(t, "--remove", "oci-apparmor"))
	left, err := filepath.Glob("/usr/bin/*-apparmor*")
	units, _ := filepath.Glob("/usr/lib/systemd/system/oci-apparmor*")
	if left = append(left, units...); exists(home) || len(left) > 0 || err != nil {
		t.Errorf("removing leaves %q (%v) or /usr/lib/oci-apparmor", left, err)
	}

	installDeb(t, "v2.0.0")
	if got := guesttest.MustRun(t, "oci-apparmor", "policy", "show"); !strings.Contains(got, "web") {
		t.Errorf("after it was removed and installed again, the policy in force is %s", got)
	}
	const foreign = "/etc/apparmor.d/theirs.oci-apparmor"
	writeFile(t, foreign, "# somebody else's\n")
	t.Cleanup(func() { os.Remove(foreign) })
	loaded := guesttest.Profiles(t)
	wantDone(t, dpkg(t, "--purge", "oci-apparmor"))
	for _, dir := range []string{"/etc/oci-apparmor", "/var/lib/oci-apparmor", "/run/oci-apparmor", home} {
		if exists(dir) {
			t.Errorf("purging leaves %s", dir)
		}
	}
	if files, err := filepath.Glob("/etc/apparmor.d/*.oci-apparmor"); err != nil || !slices.Equal(files, []string{foreign}) {
		t.Errorf("purging leaves %q (%v), want the file that is not ours", files, err)
	}
	if now := guesttest.Profiles(t); len(loaded) == 0 || fmt.Sprint(now) != fmt.Sprint(loaded) {
		t.Errorf("purging has changed the profiles in the kernel from %v to %v", loaded, now)
	}
	installDeb(t, "v1.0.0")
}

// To remove the package takes ours out of an engine first, where nothing is lost by that: containerd is restarted with a container
// running, and is as it was before.
func TestSystemdRemovePackage(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, packagesSuite)
	if !exists(packagesDir) {
		if guesttest.Suite() == packagesSuite {
			t.Fatalf("this guest has no packages in %s", packagesDir)
		}
		t.Skipf("packages are made for the guest %s alone", packagesSuite)
	}
	const unit = "containerd.service"
	v := guesttest.Containerds(t)[0]
	putTree(t, v, "none")
	putDefaultConfig(t, v)
	startUnits(t, []string{unit}, "/run/containerd", "/var/lib/containerd")
	guesttest.MustRun(t, "ctr", "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
	guesttest.MustRun(t, "ctr", "--namespace", "k8s.io", "run", "--detach", guesttest.ProbeImage, "plain", "/bin/probe", "sleep")
	moveFlat(t)
	installDeb(t, "v1.0.0")
	setPolicy(t, podPolicy)
	hash := treeHash(t)
	running := func() string { return guesttest.MustRun(t, "ctr", "--namespace", "k8s.io", "tasks", "list") }
	before := running()
	for _, restarted := range []bool{true, false} {
		t.Run(fmt.Sprintf("containerd was restarted since: %v", restarted), func(t *testing.T) {
			installDeb(t, "v1.0.0")
			if !restarted {
				time.Sleep(6 * time.Second) // one that was started just before may have read what was written next
			}
			guesttest.MustRun(t, "systemctl", "start", agentUnit)
			if wantDone(t, guesttest.Run(t, "/usr/bin/oci-apparmor", "install", "--yes", "--via", "wrapper", "containerd")); restarted {
				guesttest.MustRun(t, "systemctl", "restart", unit)
				pod := guesttest.DialCRI(t, "/run/containerd/containerd.sock").Pod(t, "apparmor", guesttest.Annotated("oci-apparmor/policy", "web"))
				front := startPodContainer(t, pod, "front")
				wantPodConfined(t, front, podWeb, "web (enforce)")
				wantNotRemoved(t, front.ID)
				pod.Remove(t)
			}
			if wantAgentRuns(t, "v1.0.0"); restarted {
				installDeb(t, "v2.0.0")
				wantAgentRuns(t, "v2.0.0")
			}
			old := mainOf(t, unit)
			o := dpkg(t, "--remove", "oci-apparmor")
			wantDone(t, o)
			t.Logf("%s%s", o.Stdout, o.Stderr)
			if now := mainOf(t, unit); now == 0 || (now != old) != restarted {
				t.Errorf("containerd is process %d, and was %d", now, old)
			}
			if exists("/usr/bin/oci-apparmor") || exists("/usr/lib/oci-apparmor") || mainOf(t, agentUnit) != 0 {
				t.Error("removing it leaves something, or the agent runs on")
			}
			if now := running(); now != before {
				t.Errorf("there run\n%s\nand before\n%s", now, before)
			}
		})
	}
	installDeb(t, "v1.0.0")
	if treeHash(t) != hash {
		t.Error("the tree is not as it was")
	}
	if o := guesttest.Run(t, "/usr/bin/oci-apparmor", "doctor"); strings.Contains(o.Stdout, "containerd  wired") {
		t.Errorf("doctor says %s", o.Stdout)
	}
}

// moveFlat moves the program of the other tests and its agent's unit away, until the test ends, and with it the package is gone.
func moveFlat(t *testing.T) {
	t.Helper()
	flat := []string{"/usr/local/bin/oci-apparmor", "/usr/local/lib/systemd/system/" + agentUnit}
	for _, name := range flat {
		if err := os.Rename(name, name+".moved"); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		exec.Command("dpkg", "--purge", "oci-apparmor").Run()
		for _, name := range flat {
			if err := os.Rename(name+".moved", name); err != nil {
				t.Error(err)
			}
		}
		exec.Command("systemctl", "daemon-reload").Run()
	})
}

// wantAgentRuns checks that the agent runs as a unit, with the program of a version of the package.
func wantAgentRuns(t *testing.T, version string) {
	t.Helper()
	if exe, want := exeOf(mainOf(t, agentUnit)), "/usr/lib/oci-apparmor/programs/"+version+"/oci-apparmor"; exe != want {
		t.Errorf("the agent is %q, want %s", exe, want)
	}
}

// dpkg runs a command of dpkg. Guests have no manuals, and ours are to be there.
func dpkg(t *testing.T, args ...string) guesttest.Outcome {
	t.Helper()
	return guesttest.RunCommand(t, exec.Command("dpkg", append([]string{"--force-unsafe-io", "--path-include=/usr/share/*"}, args...)...))
}

// installDeb installs the package of a version, and checks that its programs are the ones that are called.
func installDeb(t *testing.T, version string) {
	t.Helper()
	wantDone(t, dpkg(t, "--install", path.Join(packagesDir, version+".deb")))
	wantDone(t, dpkg(t, "--verify", "oci-apparmor"))
	got := guesttest.MustRun(t, "dpkg-query", "--show", "--showformat", "${Status} ${Version}", "oci-apparmor")
	if got != "install ok installed "+packaged[version] {
		t.Errorf("dpkg says %q of version %s", got, version)
	}
	for _, name := range versions.Names {
		at, err := filepath.EvalSymlinks("/usr/bin/" + name)
		if want := "/usr/lib/oci-apparmor/programs/" + version + "/" + name; err != nil || at != want {
			t.Errorf("/usr/bin/%s leads to %s (%v), want %s", name, at, err, want)
		}
	}
}

// wantNotRemoved checks that the package cannot be removed, that dpkg says why, and that it works as before.
func wantNotRemoved(t *testing.T, why ...string) {
	t.Helper()
	o := dpkg(t, "--remove", "oci-apparmor")
	for _, words := range append(why, "the programs must stay: ") {
		if o.Code == 0 || !strings.Contains(o.Stderr, words) {
			t.Errorf("removing it: %+v, want %q", o, words)
		}
	}
	guesttest.MustRun(t, "/usr/bin/oci-apparmor", "policy", "show")
}

// readAll returns the contents of the files that a pattern fits.
func readAll(t *testing.T, pattern string) (all []string) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		all = append(all, read(t, name))
	}
	return all
}

// The rpm package, by rpm's own tools in a directory that is an image: there is a shell in it, and nothing runs.
func TestRPMInADirectory(t *testing.T) {
	guesttest.Outside(t)
	for _, name := range []string{"make", "rpm", "busybox"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("there is no program %s, by which the package is made or installed: %v", name, err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("rpm runs scripts with chroot(2), which takes root")
	}
	from := t.TempDir()
	for _, name := range versions.Names[1:] { // which the scripts do not call
		write(t, filepath.Join(from, name), name)
	}
	program := filepath.Join(from, versions.Names[0])
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "../install/oci-apparmor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	packages := map[string]string{}
	for version := range packaged {
		var err error
		if packages[version], err = makePackage(t, "rpm", version, runtime.GOARCH, from); err != nil {
			t.Fatal(err)
		}
	}
	root := t.TempDir()
	image := func(p string) string { return filepath.Join(root, p) }
	if err := os.MkdirAll(image("bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	guesttest.MustRun(t, "cp", busybox, image("bin/busybox"))
	for _, applet := range []string{"sh", "cat", "tr", "mkdir", "ln", "rm", "mv", "readlink", "printf"} {
		if err := os.Symlink("busybox", image("bin/"+applet)); err != nil {
			t.Fatal(err)
		}
	}
	rpm := func(args ...string) guesttest.Outcome {
		t.Helper()
		return guesttest.RunCommand(t, exec.Command("rpm", append([]string{"--force-debian", "--root", root}, args...)...))
	}
	wantInstalled := func(version string) {
		t.Helper()
		if o := rpm("-q", "oci-apparmor"); !strings.HasPrefix(o.Stdout, "oci-apparmor-"+packaged[version]+".") {
			t.Errorf("rpm says %+v of version %s", o, version)
		}
		wantDone(t, rpm("-V", "oci-apparmor"))
		if to, err := os.Readlink(image("usr/lib/oci-apparmor/current")); to != "programs/"+version {
			t.Errorf("the current version is %s (%v), want %s", to, err, version)
		}
		if entries, err := os.ReadDir(image("usr/lib/oci-apparmor/programs")); err != nil || len(entries) != 1 {
			t.Errorf("there are the versions %v (%v), want %s alone", entries, err, version)
		}
		guesttest.MustRun(t, "chroot", root, "/usr/bin/oci-apparmor", "version")
	}
	wantDone(t, rpm("--nodeps", "-i", packages["v1.0.0"]))
	wantInstalled("v1.0.0")
	wantDone(t, rpm("--nodeps", "-U", packages["v2.0.0"]))
	wantInstalled("v2.0.0")

	write(t, image("etc/oci-apparmor/policy.yaml"), "version: 1\n")
	if err := os.Mkdir(image("etc/docker"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, image("etc/docker/daemon.json"), `{"runtimes": {"apparmor": {"path": "/usr/bin/oci-apparmor-runtime"}}}`)
	const why = "the programs must stay: docker is wired to them: run oci-apparmor uninstall docker first"
	if o := rpm("-e", "oci-apparmor"); o.Code == 0 || !strings.Contains(o.Stderr, why) {
		t.Errorf("removing it while Docker is wired: %+v", o)
	}
	wantInstalled("v2.0.0")
	write(t, image("etc/docker/daemon.json"), "{}")

	// On a node where the program does not run, it may be needed; in an image it is another machine's.
	const record = "var/lib/oci-apparmor/wiring/record.json"
	cli := image("usr/lib/oci-apparmor/programs/v2.0.0/oci-apparmor")
	if err := os.Chmod(cli, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"proc/self", filepath.Dir(record)} {
		if err := os.MkdirAll(image(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, image("proc/self/exe"), "")
	for _, engines := range []string{"{\n  \"docker\": {}\n }", "{},\n \"changes\": {\n  \"docker\": {}\n }"} {
		write(t, image(record), "{\n \"version\": 1,\n \"engines\": "+engines+"\n}\n")
		if o := rpm("-e", "oci-apparmor"); o.Code == 0 || !strings.Contains(o.Stderr, "oci-apparmor does not run, and engines may be wired to it") {
			t.Errorf("removing it while it does not run, with %s: %+v", engines, o)
		}
	}
	if err := os.RemoveAll(image("proc/self")); err != nil {
		t.Fatal(err)
	}
	wantDone(t, rpm("-e", "oci-apparmor"))
	var left []string
	for _, dir := range []string{"usr/lib/oci-apparmor", "usr/bin", "etc/oci-apparmor", "usr/lib/systemd", "usr/share"} {
		err := filepath.WalkDir(image(dir), func(p string, e fs.DirEntry, err error) error {
			if err == nil && (!e.IsDir() || e.Name() == "oci-apparmor") {
				left = append(left, strings.TrimPrefix(p, root))
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if want := []string{"/etc/oci-apparmor", "/etc/oci-apparmor/policy.yaml"}; !slices.Equal(left, want) {
		t.Errorf("removing leaves %q, want %q", left, want)
	}
	wantDone(t, rpm("--nodeps", "-i", packages["v2.0.0"]))
	wantInstalled("v2.0.0")
}

func TestPackagesAreTheSameWhereverTheyAreMade(t *testing.T) {
	guesttest.Outside(t)
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("needs make")
	}
	for _, kind := range []string{"deb", "rpm"} {
		var made []string
		for n := range 2 {
			time.Sleep(time.Duration(n) * time.Second) // the files' times differ
			from := t.TempDir()
			for _, name := range versions.Names {
				write(t, filepath.Join(from, name), name)
			}
			at, err := makePackage(t, kind, "v1.0.0", runtime.GOARCH, from)
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, read(t, at))
		}
		if made[0] != made[1] {
			t.Errorf("made twice, the %s is not the same", kind)
		}
	}
}

func TestVersionsOfPackages(t *testing.T) {
	guesttest.Outside(t)
	for version, want := range map[string]string{
		"v1.2.0":                      "1.2.0",
		"v1.2.0-rc1":                  "1.2.0~rc1",
		"v1.2.0-5-gabc1234":           "1.2.0+5.gabc1234",
		"v1.2.0-rc1-5-gabc1234-dirty": "1.2.0~rc1+5.gabc1234+dirty",
		"abc1234-dirty":               "0~git20231114221320.abc1234+dirty",
		"1.2":                         "1.2",
		"unknown":                     "",
		"":                            "",
	} {
		out, err := exec.Command("../install/packages/version.sh", version, "1700000000").Output()
		if got := strings.TrimSpace(string(out)); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is version %q of a package (%v), want %q", version, got, err, want)
		}
	}
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Skip("needs dpkg for the order")
	}
	ascending := []string{"0~git20231114221320.abc1234", "1.2.0~rc1", "1.2.0~rc1+5.gabc1234", "1.2.0", "1.2.0+5.gabc1234",
		"1.2.1"}
	for i := range ascending[1:] {
		if err := exec.Command(dpkg, "--compare-versions", ascending[i], "lt", ascending[i+1]).Run(); err != nil {
			t.Errorf("%s is not before %s: %v", ascending[i], ascending[i+1], err)
		}
	}
}
