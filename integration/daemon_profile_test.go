package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/containerd"
	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// The profiles of engines' daemons, in enforce mode: the daemon does all of its work, and nothing that it has no business
// with. Containers keep the labels that they had.

// confinedDaemons loads the profiles of daemons in a mode. Tests' daemons have files where a node's have none, and what a
// node has besides goes into a local file.
func confinedDaemons(t *testing.T, mode string, programs ...string) {
	t.Helper()
	guesttest.RemoveProfilesAtEnd(t)
	const runc = "/etc/apparmor.d/runc" // of AppArmor 4.0 and later, which its service loads
	if text, err := os.ReadFile(runc); err == nil {
		guesttest.LoadProfile(t, string(text))
	}
	for _, program := range programs {
		addLocal(t, program)
		file := filepath.Join(t.TempDir(), program)
		text, other := daemonText(t, program, mode)
		write(t, file, text)
		if !other {
			guesttest.MustRun(t, "oci-apparmor", "profile", "check", file)
		}
		guesttest.MustRun(t, "oci-apparmor", "profile", "load", file)
		t.Cleanup(func() { guesttest.Run(t, "oci-apparmor", "profile", "unload", program) })
	}
}

// addLocal writes the local file of a daemon's profile, for the files that only a test's daemon has.
func addLocal(t *testing.T, program string) {
	t.Helper()
	local := "/etc/apparmor.d/local/" + program
	if err := os.MkdirAll(filepath.Dir(local), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, local, "owner /tmp/Test*/** rwk,\n/var/lib/bundles/** rwk,\n")
	t.Cleanup(func() { os.Remove(local) })
}

// daemonText returns the text of a daemon's profile: what our program writes, or that of a file which the environment names. other
// reports the latter.
func daemonText(t *testing.T, program, mode string) (text string, other bool) {
	t.Helper()
	if data, err := os.ReadFile(filepath.Join(os.Getenv(daemonTexts), program)); err == nil && os.Getenv(daemonTexts) != "" {
		return string(data), true
	}
	return guesttest.MustRun(t, "oci-apparmor", "profile", "daemon", program, "--mode", mode), false
}

// daemonTexts is a variable of the environment. If it is not empty, it names a directory in which a daemon's profile is that of the
// file with the daemon's name, and a test has the daemons only do their work: see TestContainerdDaemonsNeedTheirRules.
const daemonTexts = "OCI_APPARMOR_DAEMON_TEXTS"

// A daemonIntrusion is what a daemon has no business with.
type daemonIntrusion struct {
	try    []string // of the probe
	record []string // words of the record of its denial
}

// daemonIntrusions are those that both daemons' profiles deny.
var daemonIntrusions = []daemonIntrusion{
	{[]string{"exec", "/bin/sh", "-c", "true"}, []string{`operation="exec"`}},
	{[]string{"exec", "/tmp/intruder"}, []string{`operation="exec"`, `name="/tmp/intruder"`}},
	{[]string{"write", "/proc/sysrq-trigger"}, []string{`name="/proc/sysrq-trigger"`}},
	{[]string{"write", "/proc/sys/kernel/core_pattern"}, []string{`operation="open"`, `name="/proc/sys/kernel/core_pattern"`}},
	{[]string{"write", "/sys/kernel/security/apparmor/.replace"}, []string{`operation="open"`, `.replace"`}},
	{[]string{"open", "/dev/kmsg", "w"}, []string{`operation="open"`, `name="/dev/kmsg"`}},
	{[]string{"write", "/etc/oci-apparmor/policy.yaml"}, []string{`name="/etc/oci-apparmor/policy.yaml"`}},
	{[]string{"mount", "/mnt"}, []string{`operation="mount"`, `fstype="tmpfs"`}},
	{[]string{"bind", "/etc", "/mnt"}, []string{`operation="mount"`, `srcname="/etc/"`}},
	{[]string{"pivot-root", "/mnt"}, []string{`operation="pivotroot"`}},
	{[]string{"ptrace", "1"}, []string{`operation="ptrace"`, `peer="unconfined"`}},
	{[]string{"kill", "1"}, []string{`operation="signal"`, `peer="unconfined"`}},
	{[]string{"change-profile", "unconfined"}, []string{`/attr/`}},
	{[]string{"socket", "inet", "raw"}, []string{`operation="create"`, `sock_type="raw"`}},
	{[]string{"socket", "alg", "seqpacket"}, []string{`operation="create"`, `family="alg"`}},
}

// wantIntrusionsDenied runs each intrusion under a daemon's profile, and wants the operation to fail and the kernel to say that the
// profile is why.
func wantIntrusionsDenied(t *testing.T, profile string, all []daemonIntrusion) {
	t.Helper()
	probe := program(t, "probe")
	guesttest.MustRun(t, "cp", probe, "/tmp/intruder")
	t.Cleanup(func() { os.Remove("/tmp/intruder") })
	if err := os.MkdirAll("/etc/oci-apparmor", 0o755); err != nil {
		t.Fatal(err)
	}
	as := func(try []string) string {
		return strings.TrimSpace(guesttest.RunCommand(t, containerd.Under(profile, probe, try...)).Stdout)
	}
	if label := as([]string{"label"}); label != profile+" (enforce)" {
		t.Fatalf("the probe runs under %s: nothing below shows anything", label)
	}
	for _, i := range all {
		if out := strings.TrimSpace(guesttest.Run(t, probe, i.try...).Stdout); out == denied {
			t.Errorf("%q is denied without the profile as well", i.try)
		}
		guesttest.Run(t, "umount", "/mnt")
		log := guesttest.KernelLog(t)
		if out := as(i.try); out != denied {
			t.Errorf("%s, %q: %s, want %s", profile, i.try, out, denied)
		}
		words := append([]string{`apparmor="DENIED"`, fmt.Sprintf("profile=%q", profile)}, i.record...)
		if len(log.Grep(t, words...)) == 0 {
			t.Errorf("%s, %q: the kernel has no record with %q; it has %q", profile, i.try, words, log.Lines(t))
		}
	}
}

// nat reports whether the guest's kernel can translate addresses, as Docker's networks need. One in user mode cannot.
func nat() bool {
	if exec.Command("iptables", "-t", "nat", "-N", "TRIED").Run() != nil {
		return false
	}
	return exec.Command("iptables", "-t", "nat", "-X", "TRIED").Run() == nil
}

func TestContainerdDockerdUnderItsProfile(t *testing.T) {
	guesttest.Require(t)
	guesttest.NeedDocker(t)
	guesttest.EnoughIn(t, guesttest.Forky) // in emulation it takes minutes
	confinedDaemons(t, "enforce", "containerd", "dockerd")
	log := guesttest.KernelLog(t)
	dockerWorks(t, nil)
	log.WantNoDenials(t, "dockerd at its work")
	if os.Getenv(daemonTexts) != "" {
		return
	}

	// aa-status has what Docker's page shows of an engine that is confined with its programs.
	status := guesttest.MustRun(t, "aa-status")
	for _, line := range []string{"dockerd", "dockerd//firewall", "dockerd//modprobe", "dockerd//docker-proxy", "docker-default"} {
		if !slices.Contains(strings.Fields(status), line) {
			t.Errorf("aa-status does not list %s:\n%s", line, status)
		}
	}
	wantIntrusionsDenied(t, "dockerd", daemonIntrusions)
}

// Docker's images can be containerd's, which then unpacks them and has their layers.
func TestContainerdDockerdWithItsImagesUnderItsProfile(t *testing.T) {
	guesttest.Require(t)
	guesttest.NeedDocker(t)
	guesttest.EnoughIn(t, guesttest.Forky)
	guesttest.Leave(t, "make test has dockerd with images of its own, in TestContainerdDockerdUnderItsProfile")
	confinedDaemons(t, "enforce", "containerd", "dockerd")
	log := guesttest.KernelLog(t)
	d := dockerWorks(t, map[string]any{"features": map[string]bool{"containerd-snapshotter": true}})
	if store := d.MustDocker(t, "info", "--format", "{{.DriverStatus}}"); !strings.Contains(store, "io.containerd.snapshotter.v1") {
		t.Errorf("images are kept by %s", store)
	}
	log.WantNoDenials(t, "dockerd at its work")
}

// By the client of containerd and by the socket of the kubelet.
func TestContainerdUnderItsProfile(t *testing.T) {
	guesttest.Require(t)
	guesttest.EnoughIn(t, guesttest.Forky) // in emulation it takes minutes
	confinedDaemons(t, "enforce", "containerd")
	log := guesttest.KernelLog(t)
	containerdWorks(t)
	log.WantNoDenials(t, "containerd at its work")
	if os.Getenv(daemonTexts) != "" {
		return
	}

	wantIntrusionsDenied(t, "containerd", append(slices.Clone(daemonIntrusions),
		daemonIntrusion{[]string{"read", "/etc/shadow"}, []string{`operation="open"`, `name="/etc/shadow"`}},
		daemonIntrusion{[]string{"write", "/etc/intruder"}, []string{`name="/etc/intruder"`}},
		daemonIntrusion{[]string{"write", "/boot/intruder"}, []string{`name="/boot/intruder"`}},
		daemonIntrusion{[]string{"socket", "packet", "dgram"}, []string{`operation="create"`, `family="packet"`}},
	))
}

// By the commands of install/README.md the daemon of a node runs under its profile in complain mode.
func TestSystemdDaemonByReadme(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Trixie) // how systemd starts a service is the same everywhere
	guesttest.NeedDocker(t)
	guesttest.RemoveProfilesAtEnd(t)
	const unit, config = "docker.service", "/etc/docker/daemon.json"
	writeFile(t, config, `{"iptables": false, "ip6tables": false, "ip-forward": false, "bridge": "none"}`+"\n")
	t.Cleanup(func() { guesttest.MustRun(t, "rm", config) })
	startUnits(t, []string{unit, "containerd.service"}, "/run/docker", "/var/lib/docker", "/run/containerd", "/var/lib/containerd")
	text := block(t, "install/README.md#an-engines-daemon")
	t.Chdir(t.TempDir())
	t.Cleanup(func() {
		guesttest.MustRun(t, "rm", "-rf", "/etc/systemd/system/docker.service.d")
		guesttest.MustRun(t, "systemctl", "daemon-reload")
		guesttest.MustRun(t, "systemctl", "restart", unit)
		guesttest.MustRun(t, "oci-apparmor", "profile", "unload", "dockerd")
	})
	guesttest.MustRun(t, "sh", "-e", "-c", text)
	if label := guesttest.Label(t, mainOf(t, unit)); label != "dockerd (complain)" {
		t.Errorf("dockerd runs under %s", label)
	}
	guesttest.MustRun(t, "docker", "load", "--quiet", "--input", guesttest.Images(t))
	if out := guesttest.MustRun(t, "docker", "run", "--rm", "--network", "none", guesttest.ProbeImage, "probe", "label"); !strings.Contains(out, "docker-default (enforce)") {
		t.Errorf("a container has %s", out)
	}

	// What Docker's page on AppArmor shows.
	status := guesttest.MustRun(t, "aa-status")
	complain := status[strings.Index(status, "profiles are in complain mode"):]
	for _, line := range []string{"dockerd", "dockerd//apparmor_parser", "dockerd//docker-proxy", "dockerd//firewall", "dockerd//modprobe", "dockerd//unpack",
		fmt.Sprintf("(%d)", mainOf(t, unit))} {
		if !slices.Contains(strings.Fields(complain), line) {
			t.Errorf("aa-status does not list %s in complain mode:\n%s", line, status)
		}
	}
}

// Why the daemons' profiles have runtimes run as the profile runc: one that is confined, even if it may do everything, starts no
// container with no_new_privs under the container's profile.
func TestContainerdRuntimeUnderAProfile(t *testing.T) {
	guesttest.Require(t)
	guesttest.RemoveProfilesAtEnd(t)
	guesttest.LoadProfile(t, "abi <abi/3.0>,\nprofile confined-runtime flags=(attach_disconnected) {\n  file,\n  mount,\n  remount,\n  umount,\n  pivot_root,\n"+
		"  capability,\n  network,\n  signal,\n  ptrace,\n  change_profile unsafe /** -> **,\n}\n")
	guesttest.LoadProfile(t, "abi <abi/3.0>,\nprofile of-container flags=(attach_disconnected) {\n  file,\n  signal,\n  network,\n}\n")
	for _, nnp := range []bool{false, true} {
		b := guesttest.NewBundle(t, func(s *specs.Spec) {
			s.Process.ApparmorProfile, s.Process.NoNewPrivileges = "of-container", nnp
			s.Process.Args = []string{"/bin/probe", "label"}
		})
		run := func(profile string) guesttest.Outcome {
			return guesttest.RunCommand(t, containerd.Under(profile, program(t, "runc"), "run", "--bundle", b.Dir, b.ID))
		}
		const label = "of-container (enforce)"
		if o := run(""); !strings.Contains(o.Stdout, label) {
			t.Errorf("no_new_privs %v, by a runtime that is not confined: %+v", nnp, o)
		}
		o := run("confined-runtime")
		t.Logf("no_new_privs %v, by a confined runtime: %+v", nnp, o)
		if strings.Contains(o.Stdout, label) == nnp {
			t.Errorf("no_new_privs %v, by a confined runtime: %+v", nnp, o)
		}
	}
}
