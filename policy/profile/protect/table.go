package protect

import (
	"path"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// written is a protection as the table has it.
type written struct {
	lines  []string // the accesses of which a rule gives it up that allows one, in the language of package access
	says   string   // what a container can do then
	others bool     // it is about processes under other profiles than the rule's own
}

// table has what rules can give up.
func table() []written {
	return append(engines(), []written{
		{lines: []string{"capability sys_admin"}, says: "sys_admin is most of what root can do: mount, leave namespaces, load BPF programs of old kernels"},
		{lines: []string{"capability sys_module"}, says: "sys_module loads code into the kernel"},
		{lines: []string{"capability sys_rawio"}, says: "sys_rawio reads and writes the machine's memory and ports"},
		{lines: []string{"capability sys_ptrace"}, says: "sys_ptrace looks into every process that the container sees"},
		{lines: []string{"capability dac_read_search"}, says: "dac_read_search opens files of the node by handles, past the container's root"},
		{lines: []string{"capability (mac_admin, mac_override)"}, says: "mac_admin and mac_override change what AppArmor enforces"},
		{lines: []string{"capability (bpf, perfmon)"}, says: "bpf and perfmon run programs in the kernel and read its memory"},
		{lines: []string{"capability (sys_boot, sys_time)"}, says: "sys_boot and sys_time restart the node and set its clock"},
		{lines: []string{"capability (net_admin)"}, says: "net_admin changes the network and its firewall, of the node where the container shares its network"},
		{lines: []string{"capability (syslog, audit_control, audit_read)"}, says: "these capabilities read the node's log, or keep it from being written"},
		{lines: []string{"capability checkpoint_restore"}, says: "checkpoint_restore reads the memory of processes that the container sees"},
		{lines: []string{"capability mknod"}, says: "mknod makes files by which devices are used"},
		{lines: []string{"mount", "remount", "bind", "umount", "pivot_root"}, says: "a process that can mount can change what its profile's paths " +
			"lead to, and uncover what the engine hides; docker-default denies mounts"},
		{lines: []string{"ptrace (trace, read)"}, others: true, says: "the container looks into processes under another profile"},
		{lines: []string{"signal send"}, others: true, says: "the container sends signals to processes under another profile"},
		{lines: []string{"change_profile"}, says: "the process leaves this profile for another one"},
		{lines: []string{"ux /**", "x /** -> unconfined"}, says: "the program runs without confinement"},
		{lines: []string{"w /proc/sysrq-trigger"}, says: "whoever writes to it restarts the node or stops its processes; docker-default denies it"},
		{lines: []string{"w /proc/sys/**"}, says: "settings of the kernel are the node's, and some name a program that the kernel runs as root, " +
			"as core_pattern does; docker-default denies it"},
		{lines: []string{"w /proc/*", "w /proc/[^0-9s]*/**"}, says: "these files steer the kernel; docker-default denies it"},
		{lines: []string{"r /proc/kcore", "w /proc/kcore", "rw /dev/{mem,kmem,port}"}, says: "it is the memory of the whole node"},
		{lines: []string{"rw /proc/*/mem"}, says: "it is the memory of a process, which may be another one than the container's own"},
		{lines: []string{"r /proc/*/{,task/*/}environ"}, says: "the environment of processes often has passwords and keys in it"},
		{lines: []string{"w /sys/[^f]*/**", "w /sys/f[^s]*/**", "w /sys/fs/[^c]*/**", "w /sys/fs/c[^g]*/**", "w /sys/fs/cg[^r]*/**", "kl /sys/[^f]*/**"},
			says: "these files steer devices and the kernel; docker-default denies it"},
		{lines: []string{"r /sys/firmware/**", "r /sys/devices/virtual/powercap/**", "r /sys/kernel/security/**"},
			says: "these files tell of the node's firmware, power and security; docker-default denies it"},
		{lines: []string{"w /sys/fs/cgroup/**/release_agent", "w /sys/fs/cgroup/release_agent"}, says: "the kernel runs the program that this file names, as root of the node"},
		{lines: []string{"w /sys/module/**", "w /lib/modules/**", "w /usr/lib/modules/**"}, says: "it is about modules of the kernel"},
		{lines: []string{"rw /dev/{sd,hd,vd,xvd}[a-z]*", "rw /dev/nvme[0-9]*", "rw /dev/mmcblk*", "rw /dev/dm-*", "rw /dev/mapper/**",
			"rw /dev/loop*", "rw /dev/md*", "rw /dev/disk/**"}, says: "it is a disk, and everything that is on it"},
		{lines: []string{"rw /etc/{,g}shadow{,-}", "l /** -> /etc/{,g}shadow{,-}"}, says: "it has the hashes of passwords"},
		{lines: []string{"network alg"}, says: "the kernel's crypto sockets have often had faults by which programs became root; docker-default denies them"},
		{lines: []string{"network packet", "network inet raw", "network inet6 raw"}, says: "raw sockets read and forge what others send"},
		{lines: []string{"network vsock"}, says: "vsock reaches the host of a virtual machine"},
		{lines: []string{"userns"}, says: "in a user namespace of its own a process has all capabilities, and reaches more of the kernel"},
		{lines: []string{"io_uring override_creds"}, says: "requests run with the credentials of another process"},
		{lines: []string{"dbus send bus=system peer=(name=org.freedesktop.systemd1)"}, says: "systemd starts programs as root of the node"},
		{lines: []string{"dbus eavesdrop"}, says: "the process reads what others send"},
	}...)
}

// engines are the sockets of engines, wherever they are mounted.
func engines() (all []written) {
	for _, socket := range engine.Sockets() {
		p := written{says: "who can write to " + path.Base(socket) + " starts containers as root of the node"}
		for _, at := range []string{"/", "/**/"} {
			p.lines = append(p.lines, "w "+at+path.Base(socket))
		}
		all = append(all, p)
	}
	return all
}
