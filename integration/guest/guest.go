// Package guest builds and boots small Debian machines whose kernels have AppArmor. Tests and demonstrations use them,
// since the kernel of their own machine may have no AppArmor. A guest is a root file system, a kernel and an initramfs.
// Guest.Build makes it once from Debian's packages and keeps it in a cache. Image.Run boots it and runs one command in it.
// Image.Run returns the command's output, its exit code and the files that it left.
//
// The kernel runs under QEMU, by KVM or in software emulation, or as a process of the host, in user mode (see
// AccelVariable).
//
// Package guesttest has what tests need inside of a guest. The tests themselves are in package integration.
package guest

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// A Guest is a Debian suite and the packages to install from it.
type Guest struct {
	Suite    string
	Packages []string // Build fails if the suite lacks one of these
	Optional []string // Build leaves these out if the suite lacks them; Image.Missing has the reason
}

// common is what every guest has: a kernel, the runtimes, and the tools that tests call.
// mount is not part of Debian's util-linux, and minimal systems do without it.
var common = []string{
	"linux-image-cloud-amd64", "apparmor", "runc", "crun", "containerd",
	"busybox-static", "iproute2", "kmod", "mount", "procps", "strace", "systemd", "util-linux",
}

// docker is Docker's daemon and its command. Since trixie Debian has them in two packages.
var docker = []string{"docker.io", "docker-cli"}

// podman is Podman without the packages that it only recommends: containers of tests need no network.
var podman = []string{"podman"}

// webserver are the packages that the example in Docker's manual needs.
var webserver = []string{"nginx", "iputils-ping"}

// network is the package that gives a pod its own network. A pod without one cannot have a user namespace.
var network = []string{"containernetworking-plugins"}

// auditing is the package of auditd. Where it is installed and systemd runs, the kernel's log has no records any more. So
// only a guest has it whose tests do not run under systemd.
var auditing = []string{"auditd"}

// Guests are the machines on which the project is tested, the oldest first. Packages that all of them need are in
// common. forky is Debian's testing suite, in which packages come and go. So a package that tests can do without
// belongs into Optional.
var Guests = []Guest{
	{Suite: "bookworm", Packages: slices.Concat(common, podman, webserver, auditing), Optional: []string{"criu"}},
	{Suite: "trixie", Packages: slices.Concat(common, docker, podman, webserver, network), Optional: []string{"criu"}},
	{Suite: "forky", Packages: common, Optional: slices.Concat(docker, podman, webserver, network, []string{"criu"})},
}

// Select returns the guests for a comma-separated list of suites, in the order of Guests. "all" stands for every guest.
// The error names a suite that has no guest.
func Select(suites string) ([]Guest, error) {
	if suites == "all" {
		return Guests, nil
	}
	var chosen []Guest
	wanted := strings.Split(suites, ",")
	for _, g := range Guests {
		if i := slices.Index(wanted, g.Suite); i >= 0 {
			chosen = append(chosen, g)
			wanted = slices.Delete(wanted, i, i+1)
		}
	}
	if len(wanted) > 0 {
		var known []string
		for _, g := range Guests {
			known = append(known, g.Suite)
		}
		return nil, fmt.Errorf("no guest is called %q: choose from %s, or say all", wanted[0], strings.Join(known, ", "))
	}
	return chosen, nil
}

// A Variant is a way to boot a guest. The zero value is the usual boot.
type Variant struct {
	Name       string
	KernelArgs []string // appended to the kernel's command line; the kernel takes the last of two values
	Tests      string   // regular expression for the names of the tests that run in this variant, and in no other
	Systemd    bool     // whether systemd is process 1
	Suites     []string // suites whose guests have the variant; nil stands for all
	Memory     int      // MiB; 0 stands for that of a job
}

// NoAppArmor boots a kernel that has AppArmor and audit records compiled in and switched off.
var NoAppArmor = Variant{Name: "no-apparmor", KernelArgs: []string{"apparmor=0", "audit=0"}, Tests: "NoAppArmor"}

// Containerd is the usual boot. Its tests take as long as all others together, so they have a machine of their own.
var Containerd = Variant{Name: "containerd", Tests: "^TestContainerd"}

// Systemd boots with systemd, as real machines do. That takes long, and its tests do not depend on the kernel. So two
// suites have it: trixie, whose kernel is a machine's, and forky, which runs in user mode where that works. There is room for a
// cluster of one node.
var Systemd = Variant{Name: "systemd", Tests: "^TestSystemd", Systemd: true, Suites: []string{"trixie", "forky"}, Memory: 4096}

// Cluster is the usual boot, of a machine that has room for a cluster of one node. It is in the suite that runs in user mode
// where that works: emulated, the API server alone takes minutes to start.
var Cluster = Variant{Name: "cluster", Tests: "^TestKubernetes", Suites: []string{"forky"}, Memory: 4096}

// Variants are all variants except the usual boot, which is the zero Variant.
var Variants = []Variant{NoAppArmor, Containerd, Systemd, Cluster}

// tools are the programs of the host that Build and Run call, and the Debian or Ubuntu package of each.
var tools = map[string]string{
	"qemu-system-x86_64": "qemu-system-x86",
	"mmdebstrap":         "mmdebstrap",
	"mke2fs":             "e2fsprogs",
	"xz":                 "xz-utils",
	"zstd":               "zstd",
}

// Requirements returns the Debian or Ubuntu packages that the host needs, sorted.
func Requirements() []string {
	packages := []string{"debian-archive-keyring"}
	for _, p := range tools {
		packages = append(packages, p)
	}
	slices.Sort(packages)
	return packages
}

// need returns an error that names the first of the programs that the host lacks.
func need(programs ...string) error {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%s is not installed; guests need: apt-get install %s", p, strings.Join(Requirements(), " "))
		}
	}
	return nil
}
