package draft

import (
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
)

// kernel writes the rules for /proc and /sys.
func (w *writer) kernel() {
	w.block("Of /proc, a process may name its threads, and say how soon it is to be killed where memory is short.")
	w.rule("owner /proc/[0-9]*/{,task/[0-9]*/}{comm,oom_score_adj} rw")
	w.block("What docker-default denies of /proc and /sys, whatever another rule says.")
	for _, rule := range []string{
		"/proc/* w",
		"/proc/{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}/** w",
		"/proc/sys/[^k]** w",
		"/proc/sys/kernel/{?,??,[^s][^h][^m]**} w",
		"/proc/{sysrq-trigger,kcore} rwklx",
		"/sys/[^f]*/** wklx",
		"/sys/f[^s]*/** wklx",
		"/sys/fs/[^c]*/** wklx",
		"/sys/fs/c[^g]*/** wklx",
		"/sys/fs/cg[^r]*/** wklx",
		"/sys/{firmware,devices/virtual/powercap,kernel/security}/** rwklx",
	} {
		w.rule("audit deny %s", rule)
	}
	if slices.Contains(w.held(), "sys_admin") {
		w.block("No mounts either. A rule that denies them would promise more than there is: kernels before Linux 6.12 do not ask AppArmor",
			"about the newer mount calls, but only about the capability sys_admin, which the description gives.")
		w.note("the description gives the capability sys_admin: on kernels before Linux 6.12 the container can mount by the newer calls, " +
			"whatever its profile says")
	} else {
		w.rule("audit deny mount")
	}
	var hidden []string
	for _, m := range w.Masked {
		if !slices.ContainsFunc([]string{"/proc/kcore", "/proc/sysrq-trigger", "/sys/firmware", "/sys/devices/virtual/powercap"},
			func(denied string) bool { return m == denied }) && m != "/" {
			hidden = append(hidden, "audit deny "+word(ruletext.Literal(m)+"{,/**}")+" rwklx")
		}
	}
	if len(hidden) == 0 {
		return
	}
	w.block("What the runtime hides.")
	slices.Sort(hidden)
	for _, rule := range slices.Compact(hidden) {
		w.rule("%s", rule)
	}
}

// guarded are files of the node by which a container would reach it, where they are mounted, with the permissions that a
// draft denies. A pattern ends in /** for a directory.
var guarded = []struct{ pattern, perms string }{
	{"/proc/sysrq-trigger", "rwklx"}, {"/proc/kcore", "rwklx"}, {"/proc/sys/**", "wklx"},
	{"/sys/firmware/**", "rwklx"}, {"/sys/kernel/security/**", "rwklx"}, {"/sys/devices/virtual/powercap/**", "rwklx"},
	{"/etc/shadow", "rwklx"}, {"/etc/gshadow", "rwklx"}, {"/etc/shadow-", "rwklx"}, {"/etc/gshadow-", "rwklx"},
}

// node writes the rules against reaching the node: through engines' sockets, and through its directories that are mounted.
func (w *writer) node() {
	w.block("Sockets of engines: whoever may connect to one owns the node. Not every kernel asks about that, as Linux 6.12 does not: only",
		"what is not mounted is out of reach there.")
	var run []string
	for _, socket := range w.to.Sockets {
		if rest, is := under(socket, "/run"); is {
			run = append(run, rest[1:])
			continue
		}
		w.rule("audit deny %s rwklx", word(socket))
	}
	for some := range slices.Chunk(run, 4) {
		one := some[0]
		if len(some) > 1 {
			one = "{" + strings.Join(some, ",") + "}"
		}
		w.rule("audit deny /{var/,}run/%s rwklx", one)
	}
	var rules []string
	for _, m := range w.Mounts {
		if socket := w.socket(&m); socket != "" {
			w.note("the socket %s of an engine is mounted at %s, and whoever may connect to it owns the node: the text denies it, but kernels "+
				"such as Linux 6.12, and 7.2 with AppArmor 4.1, do not ask about that, so do not mount it", path.Base(socket), oneline.Name(m.At))
		}
		source := m.source()
		if source == "" || m.At == source && m.Type != "bind" { // the rules of every draft are about /proc and /sys
			continue
		}
		for _, socket := range w.to.Sockets {
			if rest, is := under(socket, source); is {
				rules = append(rules, "audit deny "+word(w.pattern(m.At)+rest)+" rwklx")
			}
		}
		for _, g := range guarded {
			if rest, is := under(g.pattern, source); is {
				rules = append(rules, "audit deny "+word(w.pattern(m.At)+rest)+" "+g.perms)
			}
		}
		if _, is := under(source, "/proc"); is && m.Type == "bind" {
			rules = append(rules, "audit deny "+word(w.pattern(m.At)+"{,/**}")+" wklx")
		}
	}
	if len(rules) == 0 {
		return
	}
	slices.Sort(rules)
	w.block("The same, and the node's kernel and passwords, in its directories that the description mounts.")
	for _, rule := range slices.Compact(rules) {
		w.rule("%s", rule)
	}
}

// socketPattern returns the pattern of a socket in a container, where /var/run is a link to /run or its own directory.
func socketPattern(socket string) string {
	if rest, is := under(socket, "/run"); is {
		return "/{var/,}run" + rest
	}
	return socket
}
