package suggest

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A protection is something that keeps a container in its bounds, and that a rule gives up which allows one of some accesses.
type protection struct {
	lines  []string // in the language of package access
	says   string   // what a container can do then
	others bool     // it is about processes under other profiles than the rule's own
}

// protections are what rules can give up. A rule is judged by what it compiles to, so that one with a pattern is too.
func protections() []protection {
	return append(engines(), []protection{
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
		{lines: []string{"rw /proc/*/mem"}, others: false, says: "it is the memory of a process, which may be another one than the container's own"},
		{lines: []string{"r /proc/*/{,task/*/}environ"}, says: "the environment of processes often has passwords and keys in it"},
		{lines: []string{"w /sys/[^f]*/**", "w /sys/f[^s]*/**", "w /sys/fs/[^c]*/**", "w /sys/fs/c[^g]*/**", "w /sys/fs/cg[^r]*/**", "kl /sys/[^f]*/**"},
			says: "these files steer devices and the kernel; docker-default denies it"},
		{lines: []string{"r /sys/firmware/**", "r /sys/devices/virtual/powercap/**", "r /sys/kernel/security/**"},
			says: "these files tell of the node's firmware, power and security; docker-default denies it"},
		{lines: []string{"w /sys/fs/cgroup/**/release_agent", "w /sys/fs/cgroup/release_agent"}, says: "the kernel runs the program that this file names, as root of the node"},
		{lines: []string{"w /sys/module/**", "w /lib/modules/**", "w /usr/lib/modules/**"}, says: "it is about modules of the kernel"},
		{lines: []string{"rw /dev/{sd,hd,vd,xvd}[a-z]*", "rw /dev/nvme[0-9]*", "rw /dev/mmcblk*", "rw /dev/dm-*", "rw /dev/mapper/**",
			"rw /dev/loop*", "rw /dev/md*", "rw /dev/disk/**"}, says: "it is a disk, and everything that is on it"},
		{lines: []string{"rw /etc/{,g}shadow{,-}"}, says: "it has the hashes of passwords"},
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
func engines() (all []protection) {
	for _, socket := range engine.Sockets() {
		p := protection{says: "who can write to " + path.Base(socket) + " starts containers as root of the node"}
		for _, at := range []string{"/", "/**/"} {
			p.lines = append(p.lines, "w "+at+path.Base(socket))
		}
		all = append(all, p)
	}
	return all
}

// A judge is a protection with its accesses read.
type judge struct {
	protection
	patterns []access.Pattern
	kinds    []string // of the rules that the patterns are about
}

// judges are those of all protections.
var judges = sync.OnceValue(func() (all []judge) {
	for _, p := range protections() {
		one := judge{protection: p}
		for _, line := range p.lines {
			pattern, err := access.Parse(line)
			if err != nil {
				panic(err) // TestProtections asks for each line
			}
			one.patterns, one.kinds = append(one.patterns, pattern), append(one.kinds, kindOf(line))
		}
		all = append(all, one)
	}
	return all
})

// alone compiles rules, each as the only one of a profile, and a profile without any.
func (s *search) alone(ctx context.Context, rules ...string) (each []*meaning.Profile, none *meaning.Profile, err error) {
	// Without a rule about files, some kernels let every file be locked.
	const neutral = "deny /oci-apparmor/no/file r,"
	named := func(i int) string { return fmt.Sprintf("oci-apparmor-suggests-%d", i) }
	var text strings.Builder
	text.WriteString(s.written.Head() + "\n")
	for i, rule := range append(slices.Clip(rules), "") {
		fmt.Fprintf(&text, "profile %s {\n%s\n%s\n}\n", named(i), neutral, rule)
	}
	read, err := s.reader.Read(ctx, s.path, []byte(text.String()))
	if err != nil {
		return nil, nil, fmt.Errorf("compile the rules that are added one by one: %w", err)
	}
	for i := range len(rules) + 1 {
		p, err := read.Enforced(named(i))
		if err != nil {
			return nil, nil, err
		}
		each = append(each, p)
	}
	return each[:len(rules)], each[len(rules)], nil
}

// protections says of each rule what it is for, and what it gives up.
func (s *search) protections(out *Suggestion) error {
	none := s.none
	for i, p := range s.each {
		added := &out.Rules[i]
		added.For = s.denialsOf(s.chosen[i], p)
		for _, j := range judges() {
			if given, err := j.given(added.Text, p, none, s.chosen[i].block.Name); err != nil {
				return err
			} else if given {
				added.Gives = append(added.Gives, j.says)
			}
		}
		after, err := s.after.Enforced(s.chosen[i].block.Name)
		if err != nil {
			return err
		}
		if !s.chosen[i].OfFile() {
			continue
		}
		if at, both := writtenAndRun(p, none, after); both {
			added.Gives = append(added.Gives, fmt.Sprintf("what is at %s can be both written and executed then, so that whoever writes it chooses "+
				"what runs", oneline.Quote(at)))
		}
	}
	return nil
}

// denialsOf returns the denials of which a rule allows a part.
func (s *search) denialsOf(a addition, p *meaning.Profile) (all []int) {
	for _, w := range s.open() {
		if w.block.Name == a.block.Name && !slices.Contains(all, w.denial) && s.allows(p, w.access) != 0 {
			all = append(all, w.denial)
		}
	}
	return all
}

// kindOf returns the kind of a line of accesses, or of a rule: those that kernels look up in the same rules have the same.
func kindOf(line string) string {
	word, _, _ := strings.Cut(strings.TrimRight(line, ","), " ")
	switch word {
	case "mount", "remount", "bind", "umount", "pivot_root":
		return "mount"
	case "network", "unix":
		return "network"
	case "capability", "ptrace", "signal", "change_profile", "userns", "io_uring", "mqueue", "dbus":
		return word
	}
	return "file"
}

// given reports whether a rule allows what the protection is about, where a profile without rules does not. own is the name
// of the rule's profile.
func (j *judge) given(rule string, with, none *meaning.Profile, own string) (bool, error) {
	for i, pattern := range j.patterns {
		if j.kinds[i] != kindOf(rule) {
			continue
		}
		example, allowed, err := pattern.Allowed(meaning.Stack{with})
		if err != nil {
			return false, err
		}
		if !allowed || j.others && peerOf(example) == own {
			continue
		}
		if _, anyway, err := pattern.Allowed(meaning.Stack{none}); err != nil || !anyway {
			return err == nil, err
		}
	}
	return false, nil
}

// peerOf returns the label of the other process of an access.
func peerOf(a meaning.Access) string {
	switch a := a.(type) {
	case meaning.PtraceAccess:
		return a.Peer
	case meaning.SignalAccess:
		return a.Peer
	}
	return ""
}

// writtenAndRun returns a path that a rule lets be written or executed, and of which the profile allows the other.
func writtenAndRun(rule, none, whole *meaning.Profile) (at string, both bool) {
	const written, run = meaning.MayWrite | meaning.MayAppend, meaning.MayExec | meaning.MayMmapExec
	at, both, err := meaning.WherePaths("/{,**}", true, func(perms []uint32) bool {
		of, all := perms[0]&^perms[1], perms[2]
		return of&written != 0 && all&run != 0 || of&run != 0 && all&written != 0
	}, meaning.View{Profile: rule}, meaning.View{Profile: none}, meaning.View{Profile: whole})
	return at, both && err == nil
}
