package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/inside"
)

func TestPodmanSecurityOpt(t *testing.T) {
	setPolicy(t, enginePolicy)
	p := inside.NewPodman(t, inside.PodmanWrappers+"/crun", "")
	inside.LoadProfile(t, byHand)
	inside.LoadProfile(t, loose("other"))
	root := inside.NewBundle(t).Rootfs()
	defaultProfile := ""
	for _, o := range overrides {
		t.Run(o.name, func(t *testing.T) {
			wantOverride(t, p.Podman, o, defaultProfile, o.brief, "--rootfs", root)
		})
		for name := range inside.Profiles(t) {
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
// executes in the container later is not covered, as README says.
func TestPodmanPrecreateHook(t *testing.T) {
	setPolicy(t, webPolicy)
	hooks := t.TempDir()
	write(t, filepath.Join(hooks, "oci-apparmor.json"), `{"version": "1.0.0", "when": {"always": true}, "stages": ["precreate"],
		"hook": {"path": "/usr/local/bin/oci-apparmor-hook", "args": ["oci-apparmor-hook", "precreate", "--engine", "podman"]}}`)
	root := inside.NewBundle(t).Rootfs()
	p := inside.NewPodman(t, program(t, "crun"), hooks)
	unload(t, "web")
	wantOverride(t, p.Podman, override{options: "--annotation oci-apparmor/policy=web", label: "web", what: webTries}, "", false,
		"--rootfs", root)
	wantOverride(t, p.Podman, override{options: "--privileged", label: "work", what: workTries}, "", false, "--rootfs", root)
	log := inside.KernelLog(t)
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
