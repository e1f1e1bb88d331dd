// Package engine is what is known of container engines and runtimes, in one table.
package engine

// Program is a program that sends signals to containers, or starts what does: an engine, its daemon, a runtime, or what
// stands between them.
type Program struct {
	Name   string // of its file, in whatever directory
	Engine string // whose it is; empty for one of several engines, and for ours
	Daemon bool   // it runs all the time, so that its label can be read while it does
}

// programs is the table. An executed program without a profile of its own has the label of what executed it, if that is
// one of AppArmor's unconfined mode: so runc has Podman's label where it has none itself.
var programs = []Program{
	{"dockerd", "docker", true},
	{"docker", "docker", false},
	{"containerd", "containerd", true},
	{"containerd-shim", "containerd", false},
	{"containerd-shim-runc-v1", "containerd", false},
	{"containerd-shim-runc-v2", "containerd", false},
	{"ctr", "containerd", false},
	{"nerdctl", "containerd", false},
	{"kubelet", "", true},
	{"crio", "cri-o", true},
	{"podman", "podman", false},
	{"buildah", "podman", false},
	{"conmon", "", false},
	{"conmonrs", "", false},
	{"runc", "", false},
	{"crun", "", false},
	{"youki", "", false},
	{"oci-apparmor-runtime", "", false},
	{"containerd-shim-apparmor-v2", "", false},
}

// directories are where distributions, their engines' packages and `make install` put programs. The kernel compares
// paths in which links are resolved, so /bin is only where it is no link.
var directories = []string{
	"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin", "/usr/libexec/podman", "/usr/lib/podman",
	"/usr/libexec/crio", "/usr/lib/crio", "/usr/libexec/docker", "/opt/bin",
}

// Programs gives the table.
func Programs() []Program { return programs }

// Paths gives where the programs may be, whether they are there or not.
func Paths() []string {
	var all []string
	for _, p := range programs {
		for _, dir := range directories {
			all = append(all, dir+"/"+p.Name)
		}
	}
	return all
}
