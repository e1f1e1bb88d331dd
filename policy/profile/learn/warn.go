package learn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// powers are capabilities by which a process gets out of a container, or reads and changes what is not its own.
var powers = []string{"sys_admin", "sys_module", "sys_ptrace", "sys_rawio", "sys_boot", "mac_admin", "mac_override",
	"dac_read_search", "bpf", "perfmon", "syslog"}

// warn notes what a person should look at before the profile is used.
func (w *writer) warn() {
	for _, one := range w.rules {
		what := strings.TrimSuffix(one.texts()[0], ",")
		switch {
		case one.kind == capabilities && slices.Contains(powers, strings.TrimPrefix(one.what, "capability ")),
			one.kind == mounts,
			one.kind == traces && one.Want&(meaning.MayWrite|meaning.MayAppend) != 0,
			one.kind == sockets && (strings.HasSuffix(one.what, " raw") && !strings.Contains(one.what, "netlink") || strings.Contains(one.what, "packet") || strings.Contains(one.what, " alg ")),
			one.kind == others && (strings.HasPrefix(one.what, "userns") || strings.HasPrefix(one.what, "io_uring")):
			w.notes = append(w.notes, fmt.Sprintf("%s gives a protection up: see whether %s is to do that", what, one.comment()))
		case one.kind == files && one.exec && (one.perms|one.owned)&(meaning.MayWrite|meaning.MayCreate|meaning.MayAppend) != 0:
			w.notes = append(w.notes, fmt.Sprintf("%s is written and executed: who can write it chooses the program", what))
		case one.kind == files && (one.perms|one.owned)&(meaning.MayWrite|meaning.MayAppend) != 0 && ofTheKernel(one.what):
			w.notes = append(w.notes, fmt.Sprintf("%s changes the kernel's settings: see whether %s is to do that", what, one.comment()))
		}
	}
}

func ofTheKernel(glob string) bool {
	for _, dir := range []string{"/sys/", "@{PROC}/sys/", "@{PROC}/sysrq-trigger", "@{PROC}/irq/", "@{PROC}/acpi/"} {
		if strings.HasPrefix(glob, dir) {
			return true
		}
	}
	return false
}
