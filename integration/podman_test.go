package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

func TestPodmanSecurityOpt(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // which has the newest Podman
	setPolicy(t, enginePolicy)
	p := guesttest.NewPodman(t, guesttest.PodmanWrappers+"/crun", "")
	guesttest.LoadProfile(t, byHand)
	guesttest.LoadProfile(t, loose("other"))
	root := guesttest.NewBundle(t).Rootfs()
	defaultProfile := ""
	for _, o := range overrides {
		t.Run(o.name, func(t *testing.T) {
			wantOverride(t, p.Podman, o, defaultProfile, o.brief, "--rootfs", root)
		})
		for name := range guesttest.Profiles(t) {
			if strings.HasPrefix(name, "containers-default-") { // which it has loaded for the first of them
				defaultProfile = name
			}
		}
		if defaultProfile == "" {
			t.Fatal("Podman has not loaded its own profile")
		}
	}
}

// As a hook of the stage precreate we are called by Podman itself, which calls the runtime as it always does. What it
// executes in the container later is not covered, as shim/README.md says.
func TestPodmanPrecreateHook(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // TestPodmanFacts has both versions of Podman
	setPolicy(t, webPolicy)
	hooks := t.TempDir()
	write(t, filepath.Join(hooks, "oci-apparmor.json"), block(t, "shim/README.md#podman:3"))
	root := guesttest.NewBundle(t).Rootfs()
	p := guesttest.NewPodman(t, program(t, "crun"), hooks)
	unload(t, "web")
	wantOverride(t, p.Podman, override{options: "--annotation oci-apparmor/policy=web", label: "web", what: webTries}, "", false,
		"--rootfs", root)
	wantOverride(t, p.Podman, override{options: "--privileged", label: "work", what: workTries}, "", false, "--rootfs", root)
	log := guesttest.KernelLog(t)
	o := p.Podman(t, "run", "--rm", "--network", "none", "--annotation", "oci-apparmor/policy=nosuch", "--rootfs", root,
		"/bin/touch", "/tmp/ran")
	// Podman does not say what a hook says.
	said := strings.Join(log.Grep(t, "oci-apparmor: level=refusal "), "\n")
	if o.Code == 0 || !strings.Contains(o.Stderr, "oci-apparmor-hook precreate") || !strings.Contains(said, "nosuch") || exists(filepath.Join(root, "tmp/ran")) {
		t.Errorf("a request for what there is not: %+v; the kernel's log has %q", o, said)
	}
	t.Logf("podman run said: %s", o.Stderr)
	if all := noted(t); len(all) == 0 || all[len(all)-1].Engine != "podman" || all[len(all)-1].Command != "precreate" || all[len(all)-1].ID == "" {
		t.Errorf("the node's log has %+v", all)
	}
}

// A container gets its policy by the commands that the documents have for Podman.
func TestPodmanByReadme(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // TestPodmanFacts has both versions of Podman
	readmePolicy(t)
	t.Cleanup(func() { os.RemoveAll("/usr/local/lib/oci-apparmor/podman") })
	text := block(t, "shim/README.md#podman:2")
	guesttest.MustRun(t, "sh", "-e", "-c", commands(text, "podman "))
	var run []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "podman ") {
			run = strings.Fields(line)
		}
	}
	if len(run) < 4 || run[1] != "--runtime" {
		t.Fatalf("it runs Podman by %q", run)
	}
	p := guesttest.NewPodman(t, run[2], "")
	var args []string
	for _, a := range run[3:] {
		if a == "debian" { // there is no registry
			args = append(args, "--network", "none", "--rootfs", guesttest.NewBundle(t).Rootfs())
			continue
		}
		args = append(args, a)
	}
	if o := p.Podman(t, args...); strings.TrimSpace(o.Stdout) != "node-baseline//&web (enforce)" {
		t.Errorf("%q: %+v", args, o)
	}
}

// Podman tells a container's name and image in its storage, and labels nowhere.
func TestPodmanFacts(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky)
	setPolicy(t, factsPolicy)
	p := guesttest.NewPodman(t, guesttest.PodmanWrappers+"/crun", "")
	root := guesttest.NewBundle(t).Rootfs()
	guesttest.MustRun(t, "tar", "--directory", root, "--create", "--file", root+"/../image.tar", ".")
	must := func(args ...string) string {
		t.Helper()
		o := p.Podman(t, args...)
		if o.Code != 0 {
			t.Fatalf("podman %q: exit code %d: %s%s", args, o.Code, o.Stdout, o.Stderr)
		}
		return o.Stdout
	}
	for _, image := range []string{"docker.io/library/told:1.27", "localhost/other:1"} {
		must("import", root+"/../image.tar", image)
	}
	const other = "localhost/other:1"
	engine := func(t testing.TB, args ...string) guesttest.Outcome { return p.Podman(t, args...) }
	for _, test := range []struct{ name, options, image, label string }{
		{"privileged, with a seccomp profile", "--privileged --security-opt seccomp=SECCOMP", other, "work"},
		{"privileged, with masks", "--privileged --security-opt mask=/proc/kcore", other, "work"},
		{"with one file of /proc to write", "--security-opt unmask=/proc/sysrq-trigger", other, "work"},
		{"its name", "--name shop-1", other, "web"},
		{"its image", "", "told:1.27", "web"},
		{"an annotation for its name", "--name desk --annotation oci-apparmor/policy.desk=web", other, "web"},
	} {
		t.Run(test.name, func(t *testing.T) {
			seccomp := t.TempDir() + "/seccomp.json"
			write(t, seccomp, allowAll)
			what := map[string]tries{"web": webTries, "work": workTries}[test.label]
			options := strings.ReplaceAll(test.options, "SECCOMP", seccomp) + " --pull never"
			wantOverride(t, engine, override{options: options, label: test.label, what: what}, "", false, test.image)
		})
	}

	t.Run("the name of one without an image", func(t *testing.T) {
		wantOverride(t, engine, override{options: "--name shop-2", label: "web", what: webTries}, "", false, "--rootfs", root)
	})
	t.Run("the name of one that goes with its end", func(t *testing.T) {
		id := strings.TrimSpace(must("run", "--rm", "--detach", "--network", "none", "--pull", "never", "--name", "shop-3", other, "/bin/sleep", "600"))
		defer must("rm", "--force", "--time", "0", "shop-3")
		if c := statusOf(t, id); c.Name != "shop-3" {
			t.Errorf("status calls it %q: %+v", c.Name, c)
		}
	})
	apply(t, strings.Replace(factsPolicy, "engine: docker, ", "", 1))
	o := p.Podman(t, "run", "--rm", "--network", "none", "--label", "com.docker.compose.project=shop", other, "/bin/true")
	if o.Code == 0 || !strings.Contains(o.Stderr, "Podman does not report labels") {
		t.Errorf("a label that is not told: %+v", o)
	}
}
