package integration

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// treeHash returns a hash of all that install may change: names, types, modes, owners, links and contents.
func treeHash(t *testing.T) string {
	t.Helper()
	sum := sha256.New()
	for _, root := range []string{"/etc", "/usr/local/bin", "/usr/local/lib"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			owner := info.Sys().(*syscall.Stat_t)
			fmt.Fprintf(sum, "%q %v %d:%d\n", path, info.Mode(), owner.Uid, owner.Gid)
			switch info.Mode().Type() {
			case fs.ModeSymlink:
				target, err := os.Readlink(path)
				if err != nil {
					return err
				}
				fmt.Fprintf(sum, "%q\n", target)
			case 0:
				if strings.HasPrefix(path, "/usr/local") { // large, and never written by it
					fmt.Fprintf(sum, "%d %v\n", info.Size(), info.ModTime())
					break
				}
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				fmt.Fprintf(sum, "%x\n", sha256.Sum256(data))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// wiring returns what runs install and uninstall, which look for engines' programs in bin first.
func wiring(t *testing.T, bin string) func(args ...string) guesttest.Outcome {
	return func(args ...string) guesttest.Outcome {
		t.Helper()
		cmd := exec.Command("oci-apparmor", args...)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		return guesttest.RunCommand(t, cmd)
	}
}

// wantDone fails unless a command has done what it was asked to.
func wantDone(t *testing.T, o guesttest.Outcome) {
	t.Helper()
	if o.Code != 0 {
		t.Fatalf("exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
}

// wantSubsequence fails unless every line of before is in after, in the same order.
func wantSubsequence(t *testing.T, before, after string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(after, "\n"), "\n")
	for _, line := range strings.Split(strings.TrimSuffix(before, "\n"), "\n") {
		for len(lines) > 0 && lines[0] != line {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			t.Errorf("the line %q is lost or has moved:\n%s", line, after)
			return
		}
		lines = lines[1:]
	}
}

// containerdTrees are configurations as nodes have them, below testdata/install/containerd; "none", "empty" and
// "default" are made.
var containerdTrees = []struct {
	name    string
	from    int    // the oldest major version that reads it
	refused string // part of why it is not wired; empty where it is
	handled bool   // ours is in it already, so that its lines change
	ways    bool   // it is tried with flags as well
}{
	{name: "none"}, {name: "empty"}, {name: "default", ways: true}, {name: "commented", ways: true}, {name: "no-version"},
	{name: "nvidia"}, {name: "imports", from: 2, ways: true}, {name: "older-us", handled: true},
	{name: "docker-package", refused: "config.toml:2 turns CRI off"},
	{name: "broken", refused: "config.toml:2:48: "},
	{name: "foreign", refused: "config.toml:4: there is a runtime apparmor that is not ours"},
	{name: "inline", refused: "/etc/containerd/config.toml:"},
}

// putTree makes a configuration the node's, until the test ends.
func putTree(t *testing.T, v guesttest.ContainerdVersion, name string) {
	t.Helper()
	const dir, kept = "/etc/containerd", "/run/containerd.kept"
	if _, err := os.Stat(kept); err != nil {
		guesttest.MustRun(t, "cp", "-a", dir, kept)
		t.Cleanup(func() {
			guesttest.MustRun(t, "sh", "-c", "rm -rf "+dir+" && mv "+kept+" "+dir)
		})
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	switch name {
	case "none":
	case "empty":
		writeFile(t, containerdConfig, "")
	case "default":
		writeFile(t, containerdConfig, defaultConfig(t, v))
	default:
		guesttest.MustRun(t, "cp", "-a", "testdata/install/containerd/"+name, dir)
	}
}

// putDefaultConfig makes the node's configuration the one that containerd prints as its default, with the tests' image for
// pods. A test puts back what was there before by putTree.
func putDefaultConfig(t *testing.T, v guesttest.ContainerdVersion) {
	t.Helper()
	sandbox := regexp.MustCompile(`(?m)^(\s*sandbox(?:_image)? = )['"].*['"]$`)
	writeFile(t, containerdConfig, sandbox.ReplaceAllString(defaultConfig(t, v), fmt.Sprintf("${1}%q", guesttest.PauseImage)))
}

// What install makes of a configuration is read by containerd itself as our runtime and all else as before, keeps every
// line, and is gone without a trace after uninstall.
func TestContainerdInstallTrees(t *testing.T) {
	guesttest.OldestAndPresent(t, func(t *testing.T, v guesttest.ContainerdVersion) {
		run := wiring(t, v.Bin)
		for _, tree := range containerdTrees {
			ways := [][]string{nil}
			if tree.ways {
				ways = append(ways, []string{"--default"}, []string{"--via", "wrapper"})
			}
			for _, flags := range ways {
				t.Run(tree.name+strings.Join(flags, " "), func(t *testing.T) {
					if tree.from == 2 && strings.HasPrefix(v.Name, "1.") {
						t.Skipf("containerd %s does not read this file, which takes version 2", v.Name)
					}
					setPolicy(t, podPolicy)
					putTree(t, v, tree.name)
					hash := treeHash(t)
					refused := tree.refused
					if tree.name == "no-version" && regexp.MustCompile(`^2\.[0-2]\.`).MatchString(v.Name) {
						refused = "nothing was found" // these ignore what such a file says
					}
					install := append([]string{"install", "--yes", "containerd"}, flags...)
					if refused != "" {
						if o := run(install...); o.Code != 3 || !strings.Contains(o.Stderr, refused) {
							t.Errorf("exit code %d, %q, want %q", o.Code, o.Stderr, refused)
						}
						if treeHash(t) != hash {
							t.Error("something has changed all the same")
						}
						return
					}
					if tree.name == "nvidia" && (len(flags) == 2 || ignoresRuntimePath(v)) ||
						tree.name == "imports" && len(flags) == 2 {
						if o := run(install...); o.Code != 3 || !strings.Contains(o.Stderr, "nvidia-container-runtime") || treeHash(t) != hash {
							t.Errorf("a wrapper before another one: exit code %d, %q", o.Code, o.Stderr)
						}
						return
					}
					before, main := map[string]string{}, ""
					if data, err := os.ReadFile(containerdConfig); err == nil {
						before, main = dumped(t, v), string(data)
					}
					if tree.ways {
						if o := run(append(install, "--dry-run")...); o.Code != 0 || treeHash(t) != hash {
							t.Errorf("a dry run: exit code %d, %s; the tree is the same: %v", o.Code, o.Stderr, treeHash(t) == hash)
						}
					}
					wantDone(t, run(install...))
					wired := treeHash(t)
					if wired == hash {
						t.Fatal("nothing was changed")
					}
					wantWired(t, before, dumped(t, v), len(flags) == 1 || tree.handled)
					if !tree.handled && !(len(flags) == 1 && strings.Contains(main, "default_runtime_name")) {
						wantSubsequence(t, main, read(t, containerdConfig))
					}
					wantDone(t, run("install", "--yes", "containerd")) // as it is wired
					if treeHash(t) != wired {
						t.Error("a second install has changed something")
					}
					wantDone(t, run("uninstall", "--yes"))
					if treeHash(t) != hash && !tree.handled {
						t.Error("uninstall has not given the same tree back")
					}
					if main != "" && strings.Contains(guesttest.MustRun(t, filepath.Join(v.Bin, "containerd"), "config", "dump"), "apparmor-v2") {
						t.Error("ours is still there")
					}
				})
			}
		}
	})
}

// wantWired compares what containerd reads before and after an install. before is empty where there was no main file.
func wantWired(t *testing.T, before, after map[string]string, isDefault bool) {
	t.Helper()
	found := false
	for key, value := range after {
		_, ours, is := strings.Cut(key, ".containerd.runtimes.apparmor.")
		switch {
		case is:
			found = found || ours == "pod_annotations" && strings.Contains(value, "oci-apparmor/*")
		case strings.HasSuffix(key, ".containerd.default_runtime_name"):
			if (value == "apparmor") != isDefault {
				t.Errorf("the default is %s", value)
			}
		case len(before) > 0 && before[key] != value && key != "imports":
			t.Errorf("%s is %s, and was %q before", key, value, before[key])
		}
	}
	for key := range before {
		if _, ok := after[key]; !ok && !strings.Contains(key, ".runtimes.apparmor.") {
			t.Errorf("%s = %s is lost", key, before[key])
		}
	}
	if !found {
		t.Error("containerd has no runtime of ours that takes annotations")
	}
}

// From a node's own configuration to a confined pod and back, with the pod running all the time.
func TestContainerdInstallPod(t *testing.T) {
	guesttest.EachContainerd(t, func(t *testing.T, v guesttest.ContainerdVersion) {
		for _, via := range []string{"shim", "wrapper"} {
			t.Run(via, func(t *testing.T) {
				if via == "shim" && ignoresRuntimePath(v) {
					t.Skipf("containerd %s ignores runtime_path, and install refuses --via shim for it", v.Name)
				}
				if via == "wrapper" && guesttest.Suite() == guesttest.Trixie {
					guesttest.Leave(t, "make test has the wrapper with the oldest containerd and with the newest")
				}
				setPolicy(t, podPolicy)
				run := wiring(t, v.Bin)
				putTree(t, v, "none")
				putDefaultConfig(t, v)
				if via == "wrapper" { // uninstall looks for what calls a link where the configuration has containerd's state
					const state = "/run/elsewhere"
					t.Cleanup(func() { guesttest.CleanEngine(t, state) })
					write(t, containerdConfig, regexp.MustCompile("(?m)^state = .*$").ReplaceAllString(read(t, containerdConfig),
						fmt.Sprintf("state = %q", state)))
				}
				c := guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{CRI: true, File: containerdConfig})
				c.MustCtr(t, "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
				if _, err := exec.LookPath("podman"); err == nil {
					guesttest.MustRun(t, "podman", "info") // install asks it, and its first call makes directories
				}
				hash := treeHash(t) // so does containerd when it starts first
				wantDone(t, run("install", "--yes", "--via", via))
				c.Restart(t)
				engine := guesttest.DialCRI(t, c.Socket)
				pod := engine.Pod(t, "apparmor", guesttest.Annotated("oci-apparmor/policy", "web"))
				front := startPodContainer(t, pod, "front")
				wantPodConfined(t, front, podWeb, "web (enforce)")
				wantExecSyncConfined(t, front, podWeb, "web (enforce)")
				if via == "shim" || ignoresRuntimePath(v) || guesttest.Everything() { // once with each version
					c.Restart(t)
					engine.Ready(t)
					wantExecSyncConfined(t, front, podWeb, "web (enforce)")
				}

				// Uninstall needs no policy.
				kept := "/var/lib/oci-apparmor/kept"
				if err := os.Rename("/var/lib/oci-apparmor/current", kept); err != nil {
					t.Fatal(err)
				}
				o := run("uninstall", "--yes")
				wantDone(t, o)
				if via == "shim" && treeHash(t) != hash {
					t.Error("uninstall has not given the same tree back")
				}
				if via == "wrapper" && !strings.Contains(o.Stdout, front.ID) {
					t.Errorf("uninstall does not name the container that calls a link: %s", o.Stdout)
				}
				if err := os.Rename(kept, "/var/lib/oci-apparmor/current"); err != nil {
					t.Fatal(err)
				}
				c.Restart(t)
				engine.Ready(t)
				if strings.HasPrefix(v.Name, "1.") { // 2.x has no runtime for it any more, as uninstall says
					wantExecSyncConfined(t, front, podWeb, "web (enforce)")
				}
				after := engine.Pod(t, "")
				wantPodConfined(t, startPodContainer(t, after, "plain"), podEngine, "cri-containerd.apparmor.d (enforce)")
				after.Remove(t)
				pod.Remove(t)
				wantDone(t, run("uninstall", "--yes"))
				if treeHash(t) != hash {
					t.Error("uninstall has not given the same tree back when the pod is gone")
				}
			})
		}
	})
}

// From a running dockerd to a confined container and back. Its configuration is where its own flag says.
func TestContainerdInstallDocker(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm, guesttest.Forky) // the oldest Docker, and the newest
	setPolicy(t, webPolicy)
	versions := guesttest.Containerds(t)
	d := guesttest.StartDocker(t, guesttest.StartContainerd(t, versions[0], guesttest.ContainerdConfig{}), map[string]map[string]any{})
	// With live-restore containers run on while dockerd is restarted.
	write(t, d.Config, strings.Replace(read(t, d.Config), "{", `{"live-restore":true,`, 1))
	before, run := read(t, d.Config), wiring(t, versions[0].Bin)
	for _, via := range []string{"wrapper", "shim"} {
		t.Run(via, func(t *testing.T) {
			wantDone(t, run("install", "--yes", "docker", "--via", via))
			wired := read(t, d.Config)
			wantDone(t, run("install", "--yes", "docker"))
			if got := read(t, d.Config); got != wired {
				t.Errorf("a second install makes of it %s", got)
			}
			d.Reload(t)
			waitFor(t, "Docker to take its runtimes over", func() bool {
				return strings.Contains(d.MustDocker(t, "info", "--format", "{{json .Runtimes}}"), `"apparmor"`)
			})
			script := webTries.script()
			id := d.MustDocker(t, "run", "--detach", "--network", "none", "--runtime", "apparmor", "--annotation", "oci-apparmor/policy=web",
				guesttest.ProbeImage, "/bin/sh", "-c", script+"; exec probe sleep")
			waitFor(t, "the container to try its operations", func() bool {
				return strings.Count(d.MustDocker(t, "logs", id), "\n") >= len(webTries)
			})
			webTries.check(t, "the container's process", d.MustDocker(t, "logs", id), "web")
			webTries.check(t, "docker exec", d.MustDocker(t, "exec", id, "/bin/sh", "-c", script), "web")
			if via == "wrapper" || guesttest.Everything() {
				d.Restart(t)
				webTries.check(t, "docker exec after a restart", d.MustDocker(t, "exec", id, "/bin/sh", "-c", script), "web")
			}
			o := run("uninstall", "--yes")
			wantDone(t, o)
			if !strings.Contains(o.Stdout, id[:12]) {
				t.Errorf("uninstall does not name container %s: %s", id[:12], o.Stdout)
			}
			if got := read(t, d.Config); got != before {
				t.Errorf("uninstall gives back %s, and it was %s", got, before)
			}
			d.Reload(t)
			webTries.check(t, "docker exec after uninstall", d.MustDocker(t, "exec", id, "/bin/sh", "-c", script), "web")
			d.MustDocker(t, "rm", "--force", id)
			d.MustDocker(t, "run", "--rm", "--network", "none", guesttest.ProbeImage, "/bin/true")
		})
	}
}

// dockerFiles are configurations of Docker, below testdata/install/docker.
var dockerFiles = []struct{ name, refused string }{
	{name: "commented"}, {name: "nvidia"}, {name: "bom"}, {name: "crun"},
	{name: "broken", refused: "/etc/docker/daemon.json:2:16: this comma is too many"},
	{name: "twice", refused: "/etc/docker/daemon.json:3:3: "},
	{name: "foreign", refused: "/etc/docker/daemon.json:2:2: there is a runtime apparmor that is not ours"},
}

// What install makes of daemon.json is read by dockerd's own check, and gone without a trace after uninstall: of a
// file, of a link to one, of an empty one that only root may read, and of none.
func TestInstallDockerFiles(t *testing.T) {
	guesttest.Require(t)
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip("this guest has no Docker: ", err)
	}
	const dir, config, real = "/etc/docker", "/etc/docker/daemon.json", "/srv/daemon.json"
	run := wiring(t, "/usr/bin")
	clean := func() {
		for _, p := range []string{dir, real} {
			if err := os.RemoveAll(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() { clean(); os.Mkdir(dir, 0o755) })
	back := func(t *testing.T) {
		t.Helper()
		hash := treeHash(t)
		wantDone(t, run("install", "--yes", "docker"))
		wired := treeHash(t)
		if wired == hash && !exists(real) {
			t.Error("nothing was changed")
		}
		guesttest.MustRun(t, "dockerd", "--validate", "--config-file", config)
		if !strings.Contains(read(t, config), `"apparmor"`) {
			t.Errorf("ours is not in it: %s", read(t, config))
		}
		wantDone(t, run("install", "--yes", "docker"))
		wantDone(t, run("uninstall", "--yes", "docker"))
		if treeHash(t) != hash {
			t.Error("uninstall has not given the same tree back")
		}
	}
	for _, f := range dockerFiles {
		t.Run(f.name, func(t *testing.T) {
			clean()
			os.Mkdir(dir, 0o755)
			text := read(t, "testdata/install/docker/"+f.name+".json")
			write(t, real, text)
			if err := os.Symlink(real, config); err != nil {
				t.Fatal(err)
			}
			if f.refused != "" {
				if o := run("install", "--yes", "docker"); o.Code != 3 || !strings.Contains(o.Stderr, f.refused) || read(t, real) != text {
					t.Errorf("exit code %d, %q, want %q", o.Code, o.Stderr, f.refused)
				}
				return
			}
			back(t)
			if got := read(t, real); got != text {
				t.Errorf("it is %s, and was %s", got, text)
			}
		})
	}
	t.Run("empty", func(t *testing.T) {
		clean()
		os.Mkdir(dir, 0o700)
		if err := os.WriteFile(config, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		back(t)
	})
	t.Run("none", func(t *testing.T) {
		clean()
		back(t)
	})
}

// containerd and Docker are wired in one call and go in one call, although both have links below one directory. Where the
// second fails, the first one's change is told, and a default is kept only while there is a policy.
func TestContainerdInstallBoth(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // what is written is ours
	setPolicy(t, podPolicy)
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip("this guest has no Docker: ", err)
	}
	v := guesttest.Containerds(t)[0]
	run := wiring(t, v.Bin)
	putTree(t, v, "default")
	const dir, config = "/etc/docker", "/etc/docker/daemon.json"
	os.MkdirAll(dir, 0o755)
	write(t, config, read(t, "testdata/install/docker/crun.json")) // the link is then named crun
	t.Cleanup(func() { os.Remove(config) })
	hash := treeHash(t)
	both := []string{"install", "--yes", "--via", "wrapper", "containerd", "docker"}

	o := run(both...)
	wantDone(t, o)
	for _, name := range []string{"containerd/runc", "docker/crun"} {
		if !exists("/usr/local/lib/oci-apparmor/" + name) {
			t.Errorf("%s is missing: %s", name, o.Stdout)
		}
	}
	wantDone(t, run("uninstall", "--yes"))
	if treeHash(t) != hash {
		t.Error("uninstall has not given the same tree back")
	}

	guesttest.MustRun(t, "mount", "--bind", dir, dir)
	guesttest.MustRun(t, "mount", "-o", "remount,bind,ro", dir)
	o = run(both...)
	guesttest.MustRun(t, "umount", dir)
	if o.Code != 3 || !strings.Contains(o.Stdout, "containerd: changed") || strings.Contains(o.Stdout, "docker: changed") ||
		!strings.Contains(o.Stderr, "docker: ") || !strings.Contains(o.Stderr, "read-only") {
		t.Errorf("Docker's directory cannot be written: exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	wantDone(t, run("uninstall", "--yes"))
	if treeHash(t) != hash {
		t.Error("uninstall has not given the same tree back after an install that failed for Docker")
	}

	wantDone(t, run("install", "--yes", "--default", "--via", "wrapper", "containerd"))
	const current = "/var/lib/oci-apparmor/current"
	if err := os.Rename(current, current+".kept"); err != nil {
		t.Fatal(err)
	}
	o = run("install", "--yes", "--default=false", "--via", "shim", "containerd") // needs no policy
	wantDone(t, o)
	wantDone(t, run("install", "--yes", "--dry-run", "--default", "containerd"))
	if o := run("install", "--yes", "--default", "containerd"); o.Code != 3 || !strings.Contains(o.Stderr, "run oci-apparmor policy apply") {
		t.Errorf("a default without a policy: exit code %d, %s", o.Code, o.Stderr)
	}
	if err := os.Rename(current+".kept", current); err != nil {
		t.Fatal(err)
	}
	wantDone(t, run("install", "--yes", "--default", "containerd"))
	if err := os.Rename(current, current+".kept"); err != nil {
		t.Fatal(err)
	}
	if o := run("install", "--yes", "--via", "wrapper", "containerd"); o.Code != 3 || !strings.Contains(o.Stderr, "run oci-apparmor policy apply") {
		t.Errorf("a default that is recorded, without a policy: exit code %d, %s", o.Code, o.Stderr)
	}
	if err := os.Rename(current+".kept", current); err != nil {
		t.Fatal(err)
	}
	wantDone(t, run("uninstall", "--yes"))
	if treeHash(t) != hash {
		t.Error("uninstall has not given the same tree back at the end")
	}
}
