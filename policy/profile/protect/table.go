package protect

import (
	"path"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
)

// written is a row of the table: a protection, or what some texts that this program makes allow none of, or both.
type written struct {
	lines  []string // the accesses of which a rule gives it up that allows one, in the language of package access
	says   string   // what a container can do then; empty if the row is no protection, but a finer part of one
	others bool     // it is about processes under other profiles than the rule's own
	never  Maker    // whose texts allow none of the accesses
}

// A Maker is what makes texts of profiles, or several.
type Maker uint8

const (
	Drafts     Maker = 1 << iota // first profiles of containers; see package draft for what depends on the container
	Dockerd                      // the profile of Docker's daemon
	Containerd                   // the profile of containerd

	daemons  = Dockerd | Containerd
	everyone = Drafts | daemons
)

// table has what rules can give up, and what texts that this program makes do not.
func table() []written {
	return append(engines(), []written{
		{lines: []string{"capability sys_admin"}, says: "sys_admin is most of what root can do: mount, leave namespaces, load BPF programs of old kernels"},
		{lines: []string{"capability sys_module"}, never: daemons, says: "sys_module loads code into the kernel"},
		{lines: []string{"capability sys_rawio"}, never: daemons, says: "sys_rawio reads and writes the machine's memory and ports"},
		{lines: []string{"capability sys_ptrace"}, says: "sys_ptrace looks into every process that the container sees"},
		{lines: []string{"capability dac_read_search"}, says: "dac_read_search opens files of the node by handles, past the container's root"},
		{lines: []string{"capability (mac_admin, mac_override)"}, never: daemons, says: "mac_admin and mac_override change what AppArmor enforces"},
		{lines: []string{"capability (bpf, perfmon)"}, says: "bpf and perfmon run programs in the kernel and read its memory"},
		{lines: []string{"capability (sys_boot, sys_time)"}, never: daemons, says: "sys_boot and sys_time restart the node and set its clock"},
		{lines: []string{"capability (net_admin)"}, says: "net_admin changes the network and its firewall, of the node where the container shares its network"},
		{lines: []string{"capability (syslog, audit_control, audit_read)"}, says: "these capabilities read the node's log, or keep it from being written"},
		{lines: []string{"capability checkpoint_restore"}, says: "checkpoint_restore reads the memory of processes that the container sees"},
		{lines: []string{"capability mknod"}, says: "mknod makes files by which devices are used"},
		{lines: []string{"mount", "remount", "bind", "umount", "pivot_root"}, never: Drafts, says: "a process that can mount can change what its profile's paths " +
			"lead to, and uncover what the engine hides; docker-default denies mounts"},
		{lines: []string{"ptrace (trace, read)"}, others: true, says: "the container looks into processes under another profile"},
		{lines: []string{"signal send"}, others: true, says: "the container sends signals to processes under another profile"},
		{lines: []string{"change_profile"}, never: everyone, says: "the process leaves this profile for another one"},
		{lines: []string{"ux /**", "x /** -> unconfined"}, never: Drafts, says: "the program runs without confinement"},
		{lines: []string{"w /proc/sysrq-trigger"}, never: everyone, says: "whoever writes to it restarts the node or stops its processes; docker-default denies it"},
		{lines: []string{"w /proc/sys/**"}, says: "settings of the kernel are the node's, and some name a program that the kernel runs as root, " +
			"as core_pattern does; docker-default denies it"},
		{lines: []string{"w /proc/*", "w /proc/[^0-9s]*/**"}, says: "these files steer the kernel; docker-default denies it"},
		{lines: []string{"r /proc/kcore", "w /proc/kcore"}, never: everyone, says: "it is the memory of the whole node"},
		{lines: []string{"rw /dev/{mem,kmem,port}"}, never: daemons, says: "it is the memory of the whole node"},
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
		{lines: []string{"network alg"}, never: everyone, says: "the kernel's crypto sockets have often had faults by which programs became root; docker-default denies them"},
		{lines: []string{"network packet", "network inet raw", "network inet6 raw"}, never: Drafts | Containerd, says: "raw sockets read and forge what others send"},
		{lines: []string{"network vsock"}, says: "vsock reaches the host of a virtual machine"},
		{lines: []string{"userns"}, says: "in a user namespace of its own a process has all capabilities, and reaches more of the kernel"},
		{lines: []string{"io_uring override_creds"}, says: "requests run with the credentials of another process"},
		{lines: []string{"dbus send bus=system peer=(name=org.freedesktop.systemd1)"}, says: "systemd starts programs as root of the node"},
		{lines: []string{"dbus eavesdrop"}, says: "the process reads what others send"},

		// Parts of these that a text keeps which gives up others.
		{never: Drafts, lines: []string{"r /proc/sysrq-trigger", "w /proc/sys/kernel/core_pattern", "w /proc/sys/[^k]**", "w /sys/kernel/**",
			"r /sys/firmware/**", "r /sys/kernel/security/**", "rw /etc/shadow"}},
		{never: daemons, lines: []string{"capability (audit_control, syslog)", "w /sys/kernel/**", "w /sys/power/**", "rw /dev/kmsg", "rw /dev/sda"}},
		{never: Dockerd, lines: []string{"inet raw", "packet raw", "w /proc/sys/kernel/core_pattern", "w /proc/sys/vm/**", "rw /dev/nvme0n1"}},
		{never: Containerd, lines: []string{"w /proc/sys/**", "pivot_root", "r /etc/shadow", "rw /run/docker.sock"}},

		// What a daemon has no business with, beside them: a shell, and what somebody may have put where others write.
		{never: daemons, lines: []string{"x /usr/bin/dash", "x /usr/bin/bash", "x /tmp/**", "x /home/**"}},
		{never: Dockerd, lines: []string{"x /var/lib/docker/overlay2/**", "x /var/lib/docker/volumes/**"}},
		{never: Containerd, lines: []string{"x /var/lib/containerd/**", "x /run/containerd/**"}},
		// Mounts over what the node runs by; other processes.
		{never: daemons, lines: []string{"mount -> /etc/**", "mount -> /usr/**", "bind -> /etc/**", "bind -> /usr/**", "remount /", "umount /",
			"umount /proc/**"}},
		{never: daemons, lines: []string{"ptrace trace", "signal send set=(hup, kill, stop, term) peer=unconfined"}},
		// The node's files, our policy, and the whole node by way of systemd.
		{never: daemons, lines: []string{"w /etc/oci-apparmor/**", "w /var/lib/oci-apparmor/**", "rw /run/systemd/private"}},
		{never: Containerd, lines: []string{"r " + ruletext.RootsHome + "/**", "r /home/*/.ssh/**", "w /etc/passwd", "w /etc/systemd/**", "w /home/**", "w /lib/**",
			"w /usr/**", "w /var/spool/**"}},
	}...)
}

// Never returns the accesses that no text of a maker allows one of, as lines of package access.
func Never(of Maker) (lines []string) {
	for _, w := range table() {
		if w.never&of != 0 {
			lines = append(lines, w.lines...)
		}
	}
	return lines
}

// daemonsNamed are the makers of daemons' profiles, by the names of the daemons' programs.
var daemonsNamed = map[string]Maker{"dockerd": Dockerd, "containerd": Containerd}

// OfDaemon returns the maker of the profile of a daemon, by the name of its program. It returns 0 for one that there is none of.
func OfDaemon(program string) Maker { return daemonsNamed[program] }

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
