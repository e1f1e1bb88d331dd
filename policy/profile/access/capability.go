package access

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// capabilities are the names that rules have for capabilities, by the kernel's numbers (include/uapi/linux/capability.h).
var capabilities = []string{"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
	"setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
	"sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource",
	"sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin",
	"syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore"}

// capability reads "capability [NAME ...]". Without a name it is about all capabilities.
func (p *parser) capability() error {
	p.at++
	var like []meaning.Access
	for ; p.more(); p.at++ {
		w := p.words[p.at]
		names := []word{w}
		if w.listed && w.key == "" {
			names = w.list
		}
		for _, name := range names {
			number := slices.Index(capabilities, name.text)
			if number < 0 || !name.is(name.text) {
				return fmt.Errorf("%s is no capability: here can stand %s", shown(name), listed(capabilities))
			}
			like = append(like, meaning.CapabilityAccess(number))
		}
	}
	if like == nil {
		for number := range capabilities {
			like = append(like, meaning.CapabilityAccess(number))
		}
	}
	p.asks(like)
	return nil
}

func formatCapability(a meaning.CapabilityAccess) string {
	if int(a) < len(capabilities) {
		return "capability " + capabilities[a]
	}
	return "capability " + strconv.Itoa(int(a)) // which no kernel has
}
