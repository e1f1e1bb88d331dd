package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

const podmanConfig = "/etc/containers/containers.conf"

// podmanTrees are configurations as nodes have them, below testdata/install/podman; "none" has none. Each is wired in some ways.
var podmanTrees = []struct {
	name    string
	ways    []string
	refused string // part of why it is not wired by any of them
	handled bool   // ours is in it already, as the default
	each    bool   // make test has it with each version of Podman, the others with one
}{
	{name: "none", ways: []string{"", "--default", "--via hook", "--via hook --default"}, each: true},
	{name: "commented", ways: []string{"--default"}},
	{name: "hooked", ways: []string{"", "--via hook"}, each: true},
	{name: "older-us", ways: []string{""}, handled: true},
	{name: "foreign", ways: []string{""}, refused: "theirs.conf:3: there is a runtime apparmor that is not ours"},
	{name: "broken", ways: []string{""}, refused: "theirs.conf:3:17: "},
	{name: "late", ways: []string{""}},
	{name: "late", ways: []string{"--default"}, refused: "zz-theirs.conf:3: runtime is set there"},
	{name: "late", ways: []string{"--via hook"}, refused: "zz-theirs.conf:4: hooks_dir is set there"},
	{name: "elsewhere", ways: []string{""}},
	{name: "elsewhere", ways: []string{"--default"}, refused: "/opt/theirs/crun"},
}

// putPodman makes a configuration the node's Podman's, until the test ends.
func putPodman(t *testing.T, name string) {
	t.Helper()
	const dir, kept = "/etc/containers", "/run/containers.kept"
	guesttest.NeedPodman(t)
	if !exists(kept) {
		guesttest.MustRun(t, "cp", "-a", dir, kept)
		t.Cleanup(func() { guesttest.MustRun(t, "sh", "-c", "rm -rf "+dir+" /opt/theirs && mv "+kept+" "+dir) })
	}
	guesttest.MustRun(t, "sh", "-c", "rm -rf "+dir+" && cp -a "+kept+" "+dir)
	if name != "none" {
		guesttest.MustRun(t, "cp", "-a", "testdata/install/podman/"+name+"/.", dir)
	}
	os.MkdirAll("/opt/theirs", 0o755)
	guesttest.MustRun(t, "cp", "/usr/bin/crun", "/opt/theirs/crun")
}

// podmanVersion returns the version of the node's Podman.
func podmanVersion(t *testing.T) (major, minor int) {
	t.Helper()
	version := guesttest.MustRun(t, "podman", "--version")
	if _, err := fmt.Sscanf(version, "podman version %d.%d", &major, &minor); err != nil {
		t.Fatalf("%s: %v", version, err)
	}
	return major, minor
}

// unnamedPolicy is webPolicy without its rule about names. Podman before 4.6 reports neither id nor name to the hook, and a
// container that may be another rule's is refused.
var unnamedPolicy = strings.Replace(webPolicy, "  - container: [\"kept-*\"]\n    policy: hands-off\n", "", 1)

// podmanReads returns what Podman has for the options of its command line, by the node's configuration.
func podmanReads(t *testing.T) string {
	t.Helper()
	return guesttest.MustRun(t, "podman", "--help")
}

var (
	hooksOption   = regexp.MustCompile(`(?m)^ +--hooks-dir .*default \[(.*)\]\)$`)
	runtimeOption = regexp.MustCompile(`(?m)^ +--runtime .*default "(.*)"\)$`)
)

// What install makes of a configuration is read by Podman itself as our runtime or our hook and all else as before, leaves every
// file of others as it is, and is gone without a trace after uninstall.
//
// Each call of Podman takes most of a second in a guest, and install makes four. So what is our own doing, a dry run and a
// second install, is tried with each way once, on a node without files.
func TestInstallPodmanTrees(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie, guesttest.Forky) // TestInstallPodman has the oldest version
	guesttest.Require(t)
	setPolicy(t, webPolicy)
	run := wiring(t, "/usr/bin")
	reads := map[string]string{} // by tree: what Podman reads before anything is installed
	for _, tree := range podmanTrees {
		for _, flags := range tree.ways {
			t.Run(tree.name+" "+flags, func(t *testing.T) {
				if !tree.each && guesttest.Suite() != guesttest.Forky {
					guesttest.Leave(t, "make test has this tree with forky's Podman")
				}
				putPodman(t, tree.name)
				hash := treeHash(t)
				install := append([]string{"install", "--yes", "podman"}, strings.Fields(flags)...)
				if tree.refused != "" {
					if o := run(install...); o.Code != 3 || !strings.Contains(o.Stderr, tree.refused) {
						t.Errorf("exit code %d, %q, want %q", o.Code, o.Stderr, tree.refused)
					}
					if treeHash(t) != hash {
						t.Error("something has changed all the same")
					}
					return
				}
				if reads[tree.name] == "" {
					reads[tree.name] = podmanReads(t)
				}
				before := reads[tree.name]
				ours := tree.name == "none" && !strings.Contains(flags, "--default")
				if ours {
					if o := run(append(install, "--dry-run")...); o.Code != 0 || treeHash(t) != hash {
						t.Errorf("a dry run: exit code %d, %s; the tree is the same: %v", o.Code, o.Stderr, treeHash(t) == hash)
					}
				}
				wantDone(t, run(install...))
				wired := treeHash(t)
				if wired == hash {
					t.Fatal("nothing was changed")
				}
				wantPodmanWired(t, before, strings.Contains(flags, "hook"), strings.Contains(flags, "--default") || tree.handled)
				if ours || tree.handled {
					wantDone(t, run("install", "--yes", "podman"))
					if treeHash(t) != wired {
						t.Error("a second install has changed something")
					}
				}
				wantDone(t, run("uninstall", "--yes", "podman"))
				after := podmanReads(t)
				if tree.handled {
					before = strings.Replace(before, `(default "apparmor")`, `(default "crun")`, 1)
				} else if treeHash(t) != hash {
					t.Error("uninstall has not given the same tree back")
				}
				if after != before {
					t.Errorf("after uninstall Podman reads\n%s\nand before\n%s", after, before)
				}
			})
		}
	}
}

// wantPodmanWired compares what Podman reads now with what it read before.
func wantPodmanWired(t *testing.T, before string, hook, isDefault bool) {
	t.Helper()
	now := podmanReads(t)
	option := func(of *regexp.Regexp, text string) string {
		t.Helper()
		m := of.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("%s is not in %s", of, text)
		}
		return strings.ReplaceAll(m[1], " ", ",")
	}
	wantHooks, wantRuntime := option(hooksOption, before), option(runtimeOption, before)
	if hook {
		wantHooks += ",/usr/local/lib/oci-apparmor/podman-hooks.d"
	} else {
		named := guesttest.MustRun(t, "podman", "--runtime", "apparmor", "info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}")
		if !strings.HasPrefix(named, "apparmor /usr/local/lib/oci-apparmor/podman/") {
			t.Errorf("the runtime apparmor is %s", named)
		}
		if isDefault {
			wantRuntime = "apparmor"
		}
	}
	if got := option(hooksOption, now); got != wantHooks {
		t.Errorf("the directories of hooks are %s, want %s", got, wantHooks)
	}
	if got := option(runtimeOption, now); got != wantRuntime {
		t.Errorf("the default runtime is %s, want %s", got, wantRuntime)
	}
	rest := func(text string) string {
		return runtimeOption.ReplaceAllString(hooksOption.ReplaceAllString(text, ""), "")
	}
	if rest(now) != rest(before) {
		t.Errorf("Podman has other options now:\n%s\nand had\n%s", now, before)
	}
}

// nodePodman is the node's own Podman, with an image.
type nodePodman struct{ *testing.T }

const podmanImage = "localhost/probe:1"

// startPodman gives the node's Podman a configuration for a guest, and an image, until the test ends.
func startPodman(t *testing.T) nodePodman {
	t.Helper()
	putPodman(t, "none")
	writeFile(t, podmanConfig, "# the guest's\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n[containers]\nlog_driver = \"k8s-file\"\n")
	guesttest.CleanPodman(t)
	root := guesttest.NewBundle(t).Rootfs()
	guesttest.MustRun(t, "tar", "--directory", root, "--create", "--file", root+"/../image.tar", ".")
	p := nodePodman{t}
	p.must("import", root+"/../image.tar", podmanImage)
	return p
}

func (p nodePodman) must(args ...string) string {
	p.Helper()
	return strings.TrimSpace(guesttest.MustRun(p.T, "podman", args...))
}

// start starts a container that tries its operations and stays, and returns its id.
func (p nodePodman) start(tries tries, options ...string) string {
	p.Helper()
	i := slices.Index(options, "run") + 1
	args := append(slices.Clone(options[:i]), "--detach", "--network", "none", "--pull", "never")
	id := p.must(append(append(args, options[i:]...), podmanImage, "/bin/sh", "-c", tries.script()+"; exec probe sleep")...)
	waitFor(p.T, "the container to try its operations", func() bool { return strings.Count(p.must("logs", id), "\n")+1 >= len(tries) })
	return id
}

// From the node's own Podman to a confined container and back, with the container running all the time. Podman can stop and remove
// it until it is gone, although ours was taken out.
func TestInstallPodman(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm, guesttest.Forky) // the oldest Podman, and the newest
	setPolicy(t, unnamedPolicy)
	p := startPodman(t)
	run := wiring(t, "/usr/bin")
	hash := treeHash(t)
	leave := func(t *testing.T, flags string) {
		ways := []string{"--default", "--via hook"}
		if guesttest.Suite() == guesttest.Forky {
			ways = []string{"", "--default --via wrapper", "--via hook --default"}
		}
		if !slices.Contains(ways, flags) {
			guesttest.Leave(t, "make test has this way with another Podman")
		}
	}
	for _, way := range []struct {
		flags string
		run   string // how a container comes to us
		tries tries
		label string
	}{
		{"", "--runtime apparmor run --annotation oci-apparmor/policy=web", webTries, "web"},
		{"--default", "run --annotation oci-apparmor/policy=web", webTries, "web"},
		{"--default --via wrapper", "run", workTries, "work"},
	} {
		t.Run("wrapper "+way.flags, func(t *testing.T) {
			leave(t, way.flags)
			p := nodePodman{t}
			t.Cleanup(func() { guesttest.Run(t, "oci-apparmor", "uninstall", "--yes") })
			wantDone(t, run(append([]string{"install", "--yes", "podman"}, strings.Fields(way.flags)...)...))
			id := p.start(way.tries, strings.Fields(way.run)...)
			way.tries.check(t, "the container's process", p.must("logs", id), way.label)
			way.tries.check(t, "podman exec", p.must("exec", id, "/bin/sh", "-c", way.tries.script()), way.label)
			p.must("run", "--rm", "--network", "none", "--cgroups", "disabled", podmanImage, "/bin/true")

			o := run("uninstall", "--yes", "podman")
			wantDone(t, o)
			if !strings.Contains(o.Stdout, id[:12]) {
				t.Errorf("uninstall does not name the container: %s", o.Stdout)
			}
			way.tries.check(t, "podman exec after uninstall", p.must("exec", id, "/bin/sh", "-c", way.tries.script()), way.label)
			if got := p.must("run", "--rm", "--network", "none", podmanImage, "cat", "/proc/self/attr/current"); !strings.HasPrefix(got, "containers-default-") {
				t.Errorf("a container after uninstall has the label %s", got)
			}
			p.must("stop", "--time", "0", id)
			p.must("rm", id)
			wantDone(t, run("uninstall", "--yes", "podman"))
			if treeHash(t) != hash {
				t.Error("uninstall has not given the same tree back")
			}
		})
	}
	for _, way := range []struct {
		flags, run string
		tries      tries
		label      string
	}{
		{"--via hook", "run --annotation oci-apparmor/policy=web", webTries, "web"},
		{"--via hook --default", "run", workTries, "work"},
	} {
		t.Run(way.flags, func(t *testing.T) {
			leave(t, way.flags)
			p := nodePodman{t}
			t.Cleanup(func() { guesttest.Run(t, "oci-apparmor", "uninstall", "--yes") })
			theirs := othersHook(t)
			wantDone(t, run(append([]string{"install", "--yes", "podman"}, strings.Fields(way.flags)...)...))
			id := p.start(way.tries, strings.Fields(way.run)...)
			way.tries.check(t, "the container's process", p.must("logs", id), way.label)
			if !exists(theirs) {
				t.Error("somebody else's hook was not run")
			}
			plain := p.must("run", "--rm", "--network", "none", podmanImage, "cat", "/proc/self/attr/current")
			if strings.HasPrefix(plain, "work ") != strings.Contains(way.flags, "--default") {
				t.Errorf("a container that asks for nothing has the label %s", plain)
			}
			p.must("build", "--network", "none", "--pull=never", "--no-cache", "--file", containerfile(t), t.TempDir())
			o := run("uninstall", "--yes", "podman")
			wantDone(t, o)
			if treeHash(t) != hash || strings.Contains(o.Stdout, id[:12]) {
				t.Errorf("uninstall has not given the same tree back with a container running: %s", o.Stdout)
			}
			p.must("rm", "--force", "--time", "0", id)
			if got := p.must("run", "--rm", "--network", "none", podmanImage, "cat", "/proc/self/attr/current"); !strings.HasPrefix(got, "containers-default-") {
				t.Errorf("a container after uninstall has the label %s", got)
			}
		})
	}
	p.must("run", "--rm", "--network", "none", podmanImage, "/bin/true")
}

// A container gets its policy by the first commands that the documents have for Podman.
func TestInstallPodmanByReadme(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky)
	readmePolicy(t)
	p := startPodman(t)
	lines := strings.Split(strings.TrimSpace(block(t, "shim/README.md#podman")), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[1], "podman ") {
		t.Fatalf("it has %q", lines)
	}
	guesttest.MustRun(t, "sh", "-c", lines[0]+" --yes")
	defer guesttest.MustRun(t, "oci-apparmor", "uninstall", "--yes")
	args := strings.Fields(strings.Replace(lines[1], " debian ", " --network none "+podmanImage+" ", 1))
	if got := p.must(args[1:]...); got != "node-baseline//&web (enforce)" {
		t.Errorf("it prints %s", got)
	}
}

// othersHook puts a hook into Podman's own directory, and returns the path that it makes.
func othersHook(t *testing.T) string {
	t.Helper()
	const dir = "/usr/share/containers/oci/hooks.d"
	made := filepath.Join(t.TempDir(), "ran")
	had := exists(dir)
	writeFile(t, dir+"/theirs.json", `{"version": "1.0.0", "when": {"always": true}, "stages": ["createRuntime"], "hook": {"path": "/usr/bin/touch", "args": ["touch", "`+
		made+`"]}}`)
	t.Cleanup(func() {
		os.Remove(dir + "/theirs.json")
		if !had {
			os.RemoveAll("/usr/share/containers/oci")
		}
	})
	return made
}

func containerfile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Containerfile")
	write(t, file, "FROM "+podmanImage+"\nRUN cat /proc/self/attr/current >/label\n")
	return file
}

// Where ours is the default, what podman build runs is under the policy. It is refused where it may be another rule's, because nobody
// tells its name.
func TestInstallPodmanBuild(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky)
	setPolicy(t, unnamedPolicy)
	p := startPodman(t)
	run := wiring(t, "/usr/bin")
	t.Cleanup(func() { run("uninstall", "--yes") })
	wantDone(t, run("install", "--yes", "--default", "podman"))
	build := func(options ...string) guesttest.Outcome {
		t.Helper()
		return guesttest.Run(t, "podman", append(options, "build", "--network", "none", "--pull=never", "--no-cache", "--tag", "localhost/built:1",
			"--file", containerfile(t), t.TempDir())...)
	}
	if o := build(); o.Code != 0 {
		t.Fatalf("podman build: %+v", o)
	}
	if got := p.must("--runtime", "crun", "run", "--rm", "--network", "none", "localhost/built:1", "cat", "/label"); got != "work (enforce)" {
		t.Errorf("what podman build ran had the label %s", got)
	}
	apply(t, webPolicy)
	if o := build(); o.Code == 0 || !strings.Contains(o.Stderr, "nobody knows whether it is") {
		t.Errorf("a step of a build that may be another rule's: %+v", o)
	}
	if o := build("--runtime", "crun"); o.Code != 0 {
		t.Errorf("a build by another runtime: %+v", o)
	}
}

// What somebody has written to our drop-in since stays when ours is taken out.
func TestInstallPodmanKeepsWhatOthersWrote(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // which has a file for other users besides
	setPolicy(t, webPolicy)
	putPodman(t, "none")
	run := wiring(t, "/usr/bin")
	wantDone(t, run("install", "--yes", "--default", "podman"))
	const dropIn = podmanConfig + ".d/oci-apparmor.conf"
	write(t, dropIn, strings.Replace(read(t, dropIn), "[engine]\n", "[engine]\nstop_timeout = 20 # theirs\n", 1)+"theirs = [\"/opt/theirs/crun\"]\n")
	const rootless = "/etc/containers/containers.rootless.conf.d/oci-apparmor.conf"
	major, minor := podmanVersion(t)
	if spares := major > 5 || major == 5 && minor >= 6; spares != exists(rootless) || spares && !strings.Contains(read(t, rootless), `runtime = "crun"`) {
		t.Errorf("Podman %d.%d: there is a file for other users than root: %v", major, minor, exists(rootless))
	}
	wantDone(t, run("uninstall", "--yes", "podman"))
	const want = "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n[engine]\nstop_timeout = 20 # theirs\n\n" +
		"[engine.runtimes]\ntheirs = [\"/opt/theirs/crun\"]\n"
	if got := read(t, dropIn); got != want {
		t.Errorf("what is left is\n%s\nwant\n%s", got, want)
	}
	if exists(rootless) {
		t.Error("the file for other users is still there")
	}
	if got := guesttest.MustRun(t, "podman", "--runtime", "theirs", "info", "--format", "{{.Host.OCIRuntime.Path}}"); strings.TrimSpace(got) != "/opt/theirs/crun" {
		t.Errorf("Podman has the runtime %s", got)
	}
}

// A quadlet's unit calls Podman, and so comes to us: where ours is the default as it is, and else by its own GlobalArgs.
func TestSystemdQuadlet(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Forky) // TestInstallPodman has both versions of Podman
	setPolicy(t, webPolicy)
	p := startPodman(t)
	if err := os.Remove(podmanConfig); err != nil { // systemd makes the cgroups
		t.Fatal(err)
	}
	run := wiring(t, "/usr/bin")
	hash := treeHash(t)
	const quadlet, unit = "/etc/containers/systemd/shop.container", "shop.service"
	for flag, args := range map[string]string{"--default": "", "--default=false": "GlobalArgs=--runtime apparmor\n"} {
		t.Run(flag, func(t *testing.T) {
			wantDone(t, run("install", "--yes", flag, "podman"))
			writeFile(t, quadlet, "[Container]\nContainerName=shop\nImage="+podmanImage+"\nPull=never\nNetwork=none\nAnnotation=oci-apparmor/policy=web\n"+args+
				"Exec=probe sleep\n")
			guesttest.MustRun(t, "systemctl", "daemon-reload")
			guesttest.MustRun(t, "systemctl", "start", unit)
			if got := p.must("exec", "shop", "cat", "/proc/1/attr/current"); got != "web (enforce)" {
				t.Errorf("the unit's container has the label %s", got)
			}
			webTries.check(t, "podman exec", p.must("exec", "shop", "/bin/sh", "-c", webTries.script()), "web")
			guesttest.MustRun(t, "systemctl", "stop", unit)
			if err := os.Remove(quadlet); err != nil {
				t.Fatal(err)
			}
			guesttest.MustRun(t, "systemctl", "daemon-reload")
			wantDone(t, run("uninstall", "--yes", "podman"))
		})
	}
	if treeHash(t) != hash {
		t.Error("uninstall has not given the same tree back")
	}
}
