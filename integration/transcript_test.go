package integration

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// transcribe runs the commands of a transcript, which are the lines that begin with "$ ", and returns the transcript of what
// they print.
func transcribe(t *testing.T, text string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(text) {
		command, is := strings.CutPrefix(line, "$ ")
		if !is {
			continue
		}
		o := guesttest.Run(t, "sh", "-c", command)
		fmt.Fprint(&out, line, o.Stdout, o.Stderr)
	}
	return out.String()
}

// wantTranscript checks that the commands of a block print what the block shows, within the time that the documents promise.
func wantTranscript(t *testing.T, text string, commands int) {
	t.Helper()
	if n := strings.Count("\n"+text, "\n$ "); n != commands {
		t.Fatalf("it has %d commands, want %d", n, commands)
	}
	began := time.Now()
	got := transcribe(t, text)
	took := time.Since(began)
	t.Logf("it took %.1f s", took.Seconds())
	if took > 2*time.Minute {
		t.Errorf("it took %v", took)
	}
	varies := regexp.MustCompile(`\d+(\.\d+)? s\b|\b[0-9a-f]{64}\b`)
	if varies.ReplaceAllString(got, "N") != varies.ReplaceAllString(text, "N") {
		t.Errorf("the commands print\n%s\nand the documents show\n%s", got, text)
	}
}

// From nothing of ours but the programs, the README's commands under Install, and after these three commands at most, lead to a
// confined container under each engine as its package leaves it. A guest has no registry, so its own image stands for busybox.
func TestSystemdTranscripts(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Forky) // what the README says is the same everywhere
	guesttest.NeedDocker(t)
	guesttest.NeedPodman(t)
	t.Cleanup(func() { guesttest.MustRun(t, "systemctl", "disable", "--quiet", "oci-apparmor") })
	began := time.Now()
	readmePolicy(t)
	t.Logf("the README's commands under Install, after make install, took %.1f s", time.Since(began).Seconds())
	load := func(t *testing.T, engine string) {
		guesttest.MustRun(t, engine, "load", "--quiet", "--input", guesttest.Images(t))
		guesttest.MustRun(t, engine, "tag", guesttest.ProbeImage, "docker.io/library/busybox:latest")
	}
	back := func(t *testing.T, engine string) {
		t.Cleanup(func() { wantDone(t, guesttest.Run(t, "oci-apparmor", "uninstall", "--yes", engine)) })
	}
	t.Run("Docker", func(t *testing.T) {
		// As the guest's kernel has no network for containers. A node's daemon.json is not there by default.
		unitHas(t, "docker.service", "ExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock "+
			"--bridge=none --iptables=false --ip6tables=false\n")
		guesttest.MustRun(t, "sysctl", "--quiet", "net.ipv4.ip_forward=1")
		t.Cleanup(func() { guesttest.MustRun(t, "sysctl", "--quiet", "net.ipv4.ip_forward=0") })
		startUnits(t, []string{"docker.service", "containerd.service"}, "/run/docker", "/var/lib/docker", "/run/containerd", "/var/lib/containerd")
		back(t, "docker")
		load(t, "docker")
		wantTranscript(t, block(t, "shim/README.md#three-commands"), 3)
	})
	t.Run("Podman", func(t *testing.T) {
		const config = "/etc/containers/containers.conf.d/00-test.conf"
		writeFile(t, config, "[containers]\nnetns = \"none\"\n[engine]\ncgroup_manager = \"cgroupfs\"\n") // for a guest without D-Bus
		t.Cleanup(func() {
			os.Remove(config)
			guesttest.CleanEngine(t, "/run/containers", "/var/lib/containers", "/run/libpod")
		})
		back(t, "podman")
		load(t, "podman")
		wantTranscript(t, block(t, "shim/README.md#three-commands:2"), 3)
	})
	t.Run("containerd", func(t *testing.T) {
		startUnits(t, []string{"containerd.service"}, "/run/containerd", "/var/lib/containerd")
		guesttest.MustRun(t, "ctr", "images", "import", guesttest.Images(t))
		guesttest.MustRun(t, "ctr", "images", "tag", guesttest.ProbeImage, "docker.io/library/busybox:latest")
		wantTranscript(t, block(t, "shim/README.md#three-commands:3"), 2)
	})
	t.Run("pod", func(t *testing.T) {
		if _, err := exec.LookPath("crictl"); err != nil {
			t.Skip("no crictl was built: ", err)
		}
		startUnits(t, []string{"containerd.service"}, "/run/containerd", "/var/lib/containerd")
		back(t, "containerd")
		sandbox := regexp.MustCompile(`(?m)^\s*sandbox(?:_image)? = ['"](.*)['"]$`).FindStringSubmatch(guesttest.MustRun(t, "containerd", "config", "dump"))
		if sandbox == nil {
			t.Fatal("containerd names no image for sandboxes")
		}
		guesttest.MustRun(t, "ctr", "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
		for from, to := range map[string]string{guesttest.ProbeImage: "docker.io/library/busybox:latest", guesttest.PauseImage: sandbox[1]} {
			guesttest.MustRun(t, "ctr", "--namespace", "k8s.io", "images", "tag", from, to)
		}
		defer keep(t, "/etc/resolv.conf")()
		writeFile(t, "/etc/resolv.conf", "") // which a guest need not have
		files, shown := block(t, "shim/README.md#three-commands:4"), block(t, "shim/README.md#three-commands:5")
		t.Chdir(t.TempDir())
		t.Cleanup(func() {
			guesttest.Run(t, "crictl", "rmp", "--all", "--force")
			os.Remove("/etc/crictl.yaml")
		})
		guesttest.MustRun(t, "sh", "-e", "-c", files)
		guesttest.MustRun(t, "crictl", "config", "--set", "disable-pull-on-run=true") // the image is there
		wantTranscript(t, shown, 3)
	})
}
