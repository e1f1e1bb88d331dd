package draft

import (
	"path"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
)

// stateful are the directories of an image in which programs keep what they write (Filesystem Hierarchy Standard 3.0), with
// a path below each rule's pattern.
var stateful = []struct{ pattern, path string }{
	{"/{,var/}{run,tmp}/**", "/run"}, {"/{,var/}{run,tmp}/**", "/tmp"}, {"/{,var/}{run,tmp}/**", "/var/tmp"},
	{"/{,var/}{run,tmp}/**", "/var/run"},
	{"/var/{cache,lib,local,log,mail,opt,spool}/**", "/var"},
}

// image writes the rules for the root file system.
func (w *writer) image() {
	w.block("The image is read, except the hashes of passwords.")
	w.rule("/ r")
	w.rule("/** r")
	w.rule("audit deny /etc/{,g}shadow{,-} rwklx")
	if w.ReadOnlyRoot {
		return
	}
	w.block("Where programs keep their state. The description lets the rest of the image be written, too; no program should.")
	last := ""
	for _, s := range stateful {
		if s.pattern != last {
			w.rule("%s rwkl", s.pattern)
		}
		last = s.pattern
		w.writable = append(w.writable, s.path)
	}
}

// ownFiles are files that engines make for a container, and mount writable. No program in the container writes them.
var ownFiles = []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}

// Directories of the node that no container should write, even if they are mounted: nodeTrees with what is below them, nodeDirs
// alone.
var (
	nodeTrees = []string{"/bin", "/boot", "/etc", "/lib", "/lib64", "/proc", "/root", "/sbin", "/sys", "/usr"}
	nodeDirs  = []string{"/", "/dev", "/home", "/run", "/var", "/var/lib", "/var/log"}
)

// source returns where on the node a mount is from, and an empty string if that is not known or not on the node.
func (m *Mount) source() string {
	switch m.Type {
	case "proc":
		return "/proc"
	case "sysfs":
		return "/sys"
	case "bind":
		if m.Source == "" {
			return ""
		}
		source := path.Clean("/" + m.Source)
		if rest, is := under(source, "/var/run"); is {
			return "/run" + rest
		}
		return source
	}
	return ""
}

// ofNode reports whether no container should write to what is mounted from a path of the node: a directory of the system's, or
// one that has a socket or the data of an engine in it.
func (w *writer) ofNode(source string) bool {
	if source == "" {
		return false
	}
	return slices.Contains(nodeDirs, source) ||
		slices.ContainsFunc(nodeTrees, func(dir string) bool { _, is := under(source, dir); return is }) ||
		slices.ContainsFunc(slices.Concat(w.to.Sockets, w.to.Data), func(p string) bool { _, is := under(p, source); return is })
}

// mounts writes the rules for the description's mounts.
func (w *writer) mounts() {
	var rules []string
	for _, m := range w.Mounts {
		if !m.mine() || slices.Contains(ownFiles, m.At) || !m.Writable {
			continue
		}
		if w.socket(&m) != "" {
			continue
		}
		if m.Type == "bind" && w.ofNode(m.source()) {
			w.note("%s is mounted writable from %s of the node, and may only be read", oneline.Name(m.At), oneline.Name(m.source()))
			continue
		}
		at := w.pattern(m.At)
		if m.Type == "bind" { // it may be a file
			rules = append(rules, word(at+"{,/**}")+" rwkl")
		} else {
			rules = append(rules, word(at+"/**")+" rwkl")
		}
		w.writable = append(w.writable, m.At)
	}
	if len(rules) > 0 {
		w.block("Mounts that may be written.")
		for _, rule := range rules {
			w.rule("%s", rule)
		}
	}
	rules = nil
	for _, m := range w.Mounts {
		if m.mine() && !m.Writable && w.within(m.At) {
			rules = append(rules, "audit deny "+word(w.pattern(m.At)+"{,/**}")+" wl")
		}
	}
	if len(rules) > 0 {
		w.block("Mounts that are read-only, in directories that may be written.")
		for _, rule := range rules {
			w.rule("%s", rule)
		}
	}
}

// socket returns the engine's socket that a mount is of: it is from there, or where programs look for it. It is empty for others.
func (w *writer) socket(m *Mount) string {
	at := Mount{Type: "bind", Source: m.At}
	for _, socket := range w.to.Sockets {
		if m.source() == socket || at.source() == socket {
			return socket
		}
	}
	return ""
}

// mine reports whether a mount is not one that the runtime makes in every container, for which there are other rules.
func (m *Mount) mine() bool {
	switch {
	case m.At == "/", m.At == "/dev", m.Type == "devpts", m.Type == "proc", m.Type == "sysfs":
		return false
	}
	return true
}

// within reports whether a path is in a directory that may be written, and none that may be is below it.
func (w *writer) within(at string) bool {
	return slices.ContainsFunc(w.writable, func(dir string) bool { _, is := under(at, dir); return is && at != dir }) &&
		!slices.ContainsFunc(w.writable, func(dir string) bool { _, is := under(dir, at); return is })
}

// devices writes the rules for the nodes in /dev.
func (w *writer) devices() {
	w.block("Devices that the runtime makes in every container, and its terminal.")
	w.rule("/dev/{null,zero,full,random,urandom,tty,console,ptmx,pts/*} rw")
	var rules []string
	for _, d := range w.Devices {
		if slices.Contains([]string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/console",
			"/dev/ptmx"}, d.Path) {
			continue
		}
		perms := "r"
		if d.Write {
			perms = "rw"
		}
		rules = append(rules, word(ruletext.Literal(d.Path))+" "+perms)
	}
	if len(rules) == 0 {
		return
	}
	slices.Sort(rules)
	w.block("Devices of the description.")
	for _, rule := range slices.Compact(rules) {
		w.rule("%s", rule)
	}
}
