// Package guest builds and boots small Debian machines whose kernels have AppArmor, for tests and demonstrations on machines whose own kernel
// may have none. A guest is a root file system, a kernel and an initramfs, made once from Debian's packages and kept in a cache; Image.Run boots
// it under QEMU, by KVM or in software emulation, runs one command in it and brings back its output, its exit code and the files it left.
//
// What runs inside a guest is not here: package guesttest helps tests there, and the tests themselves are in package integration.
package guest

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// A Guest names a Debian suite and what is installed from it.
type Guest struct {
	Suite    string
	Packages []string // a guest without one of these is not built
	Optional []string // these are left out, with their reason in Image.Missing, where the suite can't give them
}

// common is what every guest has: a kernel, the runtimes, and the tools that tests call.
// mount is not part of Debian's util-linux, and minimal systems do without it.
var common = []string{
	"linux-image-cloud-amd64", "apparmor", "runc", "crun", "containerd",
	"busybox-static", "iproute2", "kmod", "mount", "procps", "strace", "systemd", "util-linux",
}

// docker is its daemon and its command, which Debian keeps apart since trixie.
var docker = []string{"docker.io", "docker-cli"}

// podman comes without what it only recommends: containers of tests need no network.
var podman = []string{"podman"}

// webserver is what the example of Docker's manual needs.
var webserver = []string{"nginx", "iputils-ping"}

// network gives a pod a network of its own, without which it can have no user namespace either.
var network = []string{"containernetworking-plugins"}

// Guests are the machines that the project is tested on, oldest first. A package that all of them need goes into common;
// forky is Debian's testing suite, where packages come and go, so what tests can do without belongs into Optional.
var Guests = []Guest{
	{Suite: "bookworm", Packages: slices.Concat(common, webserver), Optional: []string{"criu"}},
	{Suite: "trixie", Packages: slices.Concat(common, docker, podman, webserver, network), Optional: []string{"criu"}},
	{Suite: "forky", Packages: common, Optional: slices.Concat(docker, podman, webserver, network, []string{"criu"})},
}

// Select returns the guests that a comma-separated list of suites names, in the order of Guests; "all" names every one.
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

// A Variant is a way to boot a guest that differs from the usual one.
type Variant struct {
	Name       string
	KernelArgs []string // appended to the kernel's command line, where the last one wins
	Tests      string   // regular expression: the tests that run in this variant, and in no other
	Systemd    bool     // with systemd for process 1
	Suites     []string // in the guests of these suites only; nil for all
}

// NoAppArmor boots a kernel that has AppArmor compiled in and switched off.
var NoAppArmor = Variant{Name: "no-apparmor", KernelArgs: []string{"apparmor=0"}, Tests: "NoAppArmor"}

// Containerd is booted as usual. Its tests take as long as all others together, and so they get a machine of their own.
var Containerd = Variant{Name: "containerd", Tests: "^TestContainerd"}

// Systemd is a boot as real machines do it. That takes long, and what it shows does not depend on the kernel.
var Systemd = Variant{Name: "systemd", Tests: "^TestSystemd", Systemd: true, Suites: []string{"trixie"}}

// Variants are all of them besides the usual boot, which is the zero Variant.
var Variants = []Variant{NoAppArmor, Containerd, Systemd}

// tools are the programs of the host that building and booting call, and the Debian or Ubuntu package of each.
var tools = map[string]string{
	"qemu-system-x86_64": "qemu-system-x86",
	"mmdebstrap":         "mmdebstrap",
	"mke2fs":             "e2fsprogs",
	"xz":                 "xz-utils",
	"zstd":               "zstd",
}

// Requirements lists the Debian or Ubuntu packages that the host needs, sorted.
func Requirements() []string {
	packages := []string{"debian-archive-keyring"}
	for _, p := range tools {
		packages = append(packages, p)
	}
	slices.Sort(packages)
	return packages
}

// need reports the first of the programs that the host lacks.
func need(programs ...string) error {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%s is not installed; guests need: apt-get install %s", p, strings.Join(Requirements(), " "))
		}
	}
	return nil
}
