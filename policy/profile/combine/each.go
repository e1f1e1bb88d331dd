package combine

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// families are the address families and types those of sockets that rules name (parser/network.cc). A parser takes
// those that it knows.
var (
	families = strings.Fields("unix inet ax25 ipx appletalk netrom bridge atmpvc x25 inet6 rose netbeui security key netlink " +
		"packet ash econet atmsvc rds sna irda pppox wanpipe llc ib mpls can tipc bluetooth iucv rxrpc isdn phonet ieee802154 caif alg " +
		"nfc vsock kcm qipcrtr smc xdp mctp")
	types = strings.Fields("stream dgram seqpacket rdm raw packet")
)

// each takes rules about all of something apart: signals, families and types of sockets.
func each(rules []rule) (all []rule) {
	for _, r := range rules {
		switch {
		case r.kind == "signal" && r.set == "":
			for s := meaning.Signal(1); s != 0; s++ {
				if r.set = s.String(); r.set != "unknown" {
					all = append(all, r)
				}
			}
		case r.kind == "network" && r.rest == "" && (r.what == "" || r.set == ""):
			all = append(all, eachSocket(r)...)
		case r.kind == "capability" && r.what == "":
			for _, name := range capabilities {
				r.what = name
				all = append(all, r)
			}
		}
	}
	return all
}

func eachSocket(r rule) (all []rule) {
	these, those := []string{r.what}, []string{r.set}
	if r.what == "" {
		these = families
	}
	if r.set == "" {
		those = types
	}
	for _, r.what = range these {
		for _, r.set = range those {
			all = append(all, r)
		}
	}
	return all
}

// capabilities are all that Linux has, by their numbers.
var capabilities = strings.Fields("chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable " +
	"net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin " +
	"sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog " +
	"wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore")

// capabilityName returns the name of a capability in rules.
func capabilityName(number byte) string {
	if int(number) < len(capabilities) {
		return capabilities[number]
	}
	return fmt.Sprint(number)
}
