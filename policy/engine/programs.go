package engine

import (
	"path"
	"slices"
	"strings"
)

// Program is a program that sends signals to containers, or starts such a program: an engine, its daemon, a runtime, or a
// program between them.
type Program struct {
	Name   string // of its file, in any directory
	Daemon bool   // it runs all the time, so its label can be read
}

// What engines know us by.
const (
	Runtime = "apparmor"                    // the name of our runtime in an engine's configuration
	Wrapper = "oci-apparmor-runtime"        // the file's name of our runtime wrapper
	Shim    = "containerd-shim-apparmor-v2" // the file's name of our shim for containerd
	Type    = "io.containerd.apparmor.v2"   // by which containerd finds Shim in PATH
)

// shared are the programs that several engines use, and ours. A program without a profile of its own runs under the label
// of the program that executed it, if that label's profile is in mode unconfined. So runc runs under Podman's label.
var shared = []Program{
	{"kubelet", true},
	{"conmon", false},
	{"conmonrs", false},
	{"runc", false},
	{"crun", false},
	{"youki", false},
	{Wrapper, false},
	{Shim, false},
}

// directories are where distributions, engines' packages and `make install` put programs. The kernel compares paths after
// it has resolved links. So /bin counts only if it is no link.
var directories = []string{
	"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin", "/opt/bin",
}

// RuntimeDirs are the directories in which our wrapper looks for any engine's runtime, in this order. They do not depend on PATH,
// because engines call their runtime with any PATH or none.
var RuntimeDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// RuntimeDirsFor returns the directories in which our wrapper looks for a runtime when it is called by a path. Those of the
// engine come first, if it is called through a link in a directory of the engine's.
func RuntimeDirsFor(argv0 string) []string {
	link := path.Base(path.Dir(argv0))
	for i := range table {
		if e := &table[i]; e.Link != "" && e.Link == link && e.Runtimes != nil {
			return append(slices.Clone(e.Runtimes), RuntimeDirs...)
		}
	}
	return RuntimeDirs
}

// IsLink reports whether a path is that of a link by which an engine calls our wrapper: PREFIX/lib/oci-apparmor/LINK/RUNTIME.
func IsLink(p string) bool {
	dir, name := path.Split(p)
	of, link := path.Split(path.Clean(dir))
	return path.IsAbs(p) && (name == "runc" || name == "crun") && strings.HasSuffix(path.Clean(of), "/lib/oci-apparmor") &&
		slices.ContainsFunc(table, func(e Engine) bool { return e.Link != "" && e.Link == link })
}

// Programs returns the programs of all engines.
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

// ServiceOf returns the service of systemd's that has a daemon; empty if no engine has a daemon of this name.
func ServiceOf(daemon string) string {
	for i := range table {
		if slices.Contains(table[i].Daemons, daemon) {
			return table[i].Service
		}
	}
	return ""
}

// commLen is how many bytes the kernel keeps of a process's name (TASK_COMM_LEN in include/linux/sched.h, without the zero byte).
const commLen = 15

// HoldsContainer reports whether a process of this name, as the kernel has it, may end with a container, or a container with it: it is
// no daemon, and sends signals to containers, as docker run does, a shim, or conmon.
func HoldsContainer(comm string) bool {
	return slices.ContainsFunc(Programs(), func(p Program) bool { return !p.Daemon && p.Name[:min(commLen, len(p.Name))] == comm })
}

// Paths returns the paths where the programs may be. Some of them do not exist.
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
