package engine

import "slices"

// Program is a program that sends signals to containers, or starts what does: an engine, its daemon, a runtime, or what
// stands between them.
type Program struct {
	Name   string // of its file, in whatever directory
	Daemon bool   // it runs all the time, so that its label can be read while it does
}

// shared are the programs that are of several engines, and ours. An executed program without a profile of its own has the
// label of what executed it, if that is one of AppArmor's unconfined mode: so runc has Podman's label where it has none
// itself.
var shared = []Program{
	{"kubelet", true},
	{"conmon", false},
	{"conmonrs", false},
	{"runc", false},
	{"crun", false},
	{"youki", false},
	{"oci-apparmor-runtime", false},
	{"containerd-shim-apparmor-v2", false},
}

// directories are where distributions, engines' packages and `make install` put programs. The kernel compares paths in
// which links are resolved, so /bin is only where it is no link.
var directories = []string{
	"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin", "/opt/bin",
}

// Programs returns those of all engines.
func Programs() []Program {
	var all []Program
	for i := range table {
		for _, name := range table[i].Daemons {
			all = append(all, Program{name, true})
		}
		for _, name := range table[i].Programs {
			all = append(all, Program{name, false})
		}
	}
	return append(all, shared...)
}

// Paths returns where the programs may be, whether they are there or not.
func Paths() []string {
	dirs := slices.Clone(directories)
	for i := range table {
		dirs = append(dirs, table[i].Dirs...)
	}
	var all []string
	for _, p := range Programs() {
		for _, dir := range dirs {
			all = append(all, dir+"/"+p.Name)
		}
	}
	return all
}
