package hook

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy"
)

// Parts of specs as engines write them: Docker 26 and 28, Podman 5.4 and 5.8, containerd's CRI.
const (
	dockerCapabilities = `"CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FSETID","CAP_FOWNER","CAP_MKNOD","CAP_NET_RAW","CAP_SETGID","CAP_SETUID",` +
		`"CAP_SETFCAP","CAP_SETPCAP","CAP_NET_BIND_SERVICE","CAP_SYS_CHROOT","CAP_KILL","CAP_AUDIT_WRITE"`
	allCapabilities = dockerCapabilities + `,"CAP_SYS_ADMIN","CAP_SYS_MODULE","CAP_SYS_RAWIO","CAP_MAC_ADMIN","CAP_NET_ADMIN","CAP_SYS_PTRACE",` +
		`"CAP_MAC_OVERRIDE","CAP_SYS_BOOT","CAP_BPF","CAP_DAC_READ_SEARCH"`
	masked   = `"maskedPaths":["/proc/asound","/proc/acpi","/proc/kcore","/proc/scsi","/sys/firmware"]`
	readOnly = `"readonlyPaths":["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]`
	ownPIDs  = `"namespaces":[{"type":"mount"},{"type":"pid"}]`
	sysRO    = `{"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]}`
	sysRW    = `{"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev"]}`
	procRW   = `{"destination":"/proc","type":"proc","source":"proc","options":["nosuid","noexec","nodev"]}`
	procRO   = `{"destination":"/proc","type":"proc","source":"proc","options":["nosuid","noexec","nodev","ro"]}`
	noDevice = `{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":5,"access":"rwm"},{"allow":true,"type":"c","access":"m"},{"allow":true,"type":"b","access":"m"}`
)

// spec puts a spec together. An empty part is left out.
func specOf(capabilities, mount, devices string, linux ...string) string {
	parts := []string{`"resources":{"devices":[` + devices + `]}`}
	for _, one := range linux {
		if one != "" {
			parts = append(parts, one)
		}
	}
	return fmt.Sprintf(`{"process":{"capabilities":{"bounding":[%s],"effective":[%[1]s],"permitted":[%[1]s]}},"mounts":[%s,%s],"linux":{%s}}`,
		capabilities, procRW, mount, strings.Join(parts, ","))
}

// manyDevices are n rules, of different block devices.
func manyDevices(n int) string {
	var rules strings.Builder
	for i := range n {
		fmt.Fprintf(&rules, `{"allow":true,"type":"b","major":8,"minor":%d},`, i)
	}
	return rules.String()
}

func TestNamespaceOfAnotherContainer(t *testing.T) {
	dir := t.TempDir()
	node, other := dir+"/node", dir+"/other"
	put(t, node, "")
	put(t, other, "")
	if err := os.Symlink(node, dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		at, node string
		want     bool
	}{
		{other, node, true}, {node, node, false}, {dir + "/link", node, false}, {dir + "/gone", node, false},
		{other, dir + "/gone", false}, {"powers_test.go", node, false},
	} {
		if got := isAnother(test.at, test.node); got != test.want {
			t.Errorf("%s beside %s: %v", test.at, test.node, got)
		}
	}
}

// What engines close of /proc and /sys for an ordinary container.
var closed = map[string]string{
	"Docker 20.10": `"maskedPaths":["/proc/asound","/proc/acpi","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/timer_list",` +
		`"/proc/timer_stats","/proc/sched_debug","/proc/scsi","/sys/firmware"],` + readOnly,
	"Docker 28": `"maskedPaths":["/proc/asound","/proc/acpi","/proc/interrupts","/proc/kcore","/proc/keys","/proc/latency_stats",` +
		`"/proc/timer_list","/proc/timer_stats","/proc/sched_debug","/proc/scsi","/sys/firmware","/sys/devices/virtual/powercap",` +
		`"/sys/devices/system/cpu/cpu0/thermal_throttle"],` + readOnly,
	"Podman 4.3": `"maskedPaths":["/proc/acpi","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/timer_list","/proc/timer_stats",` +
		`"/proc/sched_debug","/proc/scsi","/sys/firmware","/sys/fs/selinux","/sys/dev/block"],` +
		`"readonlyPaths":["/proc/asound","/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]`,
	"Podman 5.8": `"maskedPaths":["/proc/acpi","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/sched_debug","/proc/scsi",` +
		`"/proc/timer_list","/proc/timer_stats","/sys/devices/virtual/powercap","/sys/firmware","/sys/fs/selinux","/proc/interrupts"],` +
		`"readonlyPaths":["/proc/asound","/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]`,
	"containerd 1.6": `"maskedPaths":["/proc/acpi","/proc/asound","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/timer_list",` +
		`"/proc/timer_stats","/proc/sched_debug","/sys/firmware","/proc/scsi"],` + readOnly,
	"the kubelet": `"maskedPaths":["/proc/asound","/proc/acpi","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/timer_list",` +
		`"/proc/timer_stats","/proc/sched_debug","/proc/scsi","/sys/firmware","/sys/devices/virtual/powercap"],` + readOnly,
}

func TestNoEnginesDefaultIsPrivileged(t *testing.T) {
	for engine, paths := range closed {
		if f, err := Identify([]byte(specOf(dockerCapabilities, sysRO, noDevice, paths, ownPIDs)), Caller{}, "id", ""); err != nil ||
			f.Privileged != policy.Unprivileged {
			t.Errorf("%s: %v by %q, %v", engine, f.Privileged, f.PrivilegedBy, err)
		}
	}
}

func TestMajorsThatTheKernelChooses(t *testing.T) {
	const list = "Character devices:\n  1 mem\n240 hidraw\n241 nvme-generic\n242 bsg\n243 nvme\n243 other\n244 dax\n\nBlock devices:\n245 bsg\n511 loop\n"
	for major, want := range map[string]bool{
		"1": false, "233": false, "240": false, "241": true, "242": true, "243": true, "244": true,
		"245": true, "254": true, "511": true, "384": true, "383": false, "512": false, // 245, 254, 511 and 384 are nobody's yet
		"2.1e1": true,
	} {
		if got := (deviceRule{major: major, minor: "0"}).reachesNode(func() string { return list }); got != want {
			t.Errorf("%s:0: %v", major, got)
		}
	}
	if (deviceRule{major: "240", minor: "0"}).reachesNode(func() string { return "" }) != true {
		t.Error("a list that cannot be read")
	}
}

func TestIdentifyTellsHowFarAContainerIsPrivileged(t *testing.T) {
	without := func(list, part string) string { return strings.ReplaceAll(list, `"`+part+`",`, "") }
	const seccomp = `"seccomp":{"defaultAction":"SCMP_ACT_ALLOW"}`
	for _, test := range []struct {
		name, spec string
		want       string // the privilege, and what it is for
	}{
		{"docker run", specOf(dockerCapabilities, sysRO, noDevice, masked, readOnly, ownPIDs), "no"},
		{"docker run --privileged", specOf(allCapabilities, sysRW, `{"allow":true,"access":"rwm"}`, ownPIDs), "yes"},
		{"--privileged with a seccomp profile", specOf(allCapabilities, sysRW, `{"allow":true,"access":"rwm"}`, seccomp, ownPIDs), "yes"},
		{"--privileged with masks", specOf(allCapabilities, sysRW, `{"allow":true,"access":"rwm"}`, seccomp, ownPIDs,
			`"maskedPaths":["/proc/kcore"]`), "yes"},
		{"--privileged with empty lists", specOf(allCapabilities, sysRW, `{"allow":true,"access":"rwm"}`, ownPIDs,
			`"maskedPaths": [ ], "readonlyPaths": null`), "yes"},
		{"--privileged --cap-drop SYS_MODULE", strings.ReplaceAll(specOf(allCapabilities, sysRW, `{"allow":true,"access":"rwm"}`),
			`"CAP_SYS_MODULE",`, ""), "partly: CAP_SYS_ADMIN"},
		{"--cap-add ALL", specOf(allCapabilities, sysRO, noDevice, masked, readOnly, ownPIDs), "partly: CAP_SYS_ADMIN"},
		{"--cap-add ALL and an open /proc", specOf(allCapabilities, sysRO, noDevice, ownPIDs), "partly: CAP_SYS_ADMIN"},
		{"--cap-add ALL and the node's /sys", specOf(allCapabilities, `{"destination":"/sys","type":"bind","source":"/sys","options":["rbind"]}`,
			noDevice, ownPIDs), "partly: CAP_SYS_ADMIN"},
		{"--cap-add SYS_ADMIN", specOf(`"CAP_CHOWN","CAP_SYS_ADMIN"`, sysRO, noDevice, masked, readOnly, ownPIDs), "partly: CAP_SYS_ADMIN"},
		{"as crun takes it, too", specOf(`"cap_sys_\u0061dmin"`, sysRO, noDevice, masked, readOnly, ownPIDs), "partly: CAP_SYS_ADMIN"},
		{"--cap-add SYS_PTRACE", specOf(`"CAP_SYS_PTRACE"`, sysRO, noDevice, masked, readOnly, ownPIDs), "no"},
		{"--cap-add SYS_PTRACE --pid host", specOf(`"CAP_SYS_PTRACE"`, sysRO, noDevice, masked, readOnly, `"namespaces":[{"type":"mount"}]`),
			"partly: CAP_SYS_PTRACE among the node's processes"},
		{"--cap-add SYS_PTRACE --pid container:x, x with --pid host", specOf(`"CAP_SYS_PTRACE"`, sysRO, noDevice, masked, readOnly,
			fmt.Sprintf(`"namespaces":[{"type":"pid","path":"/proc/%d/ns/pid"}]`, os.Getpid())), "partly: CAP_SYS_PTRACE among the node's processes"},
		{"as another name", specOf(`"CAP_SYS_PTRACE"`, sysRO, noDevice, masked, readOnly,
			`"namespaces":[{"type":"pid","path":"/proc/self/ns/pid"}]`), "partly: CAP_SYS_PTRACE among the node's processes"},
		{"--cap-add SYS_PTRACE --pid container:x, x gone", specOf(`"CAP_SYS_PTRACE"`, sysRO, noDevice, masked, readOnly,
			`"namespaces":[{"type":"pid","path":"/proc/0/ns/pid"}]`), "partly: CAP_SYS_PTRACE among the node's processes"},
		{"a namespace from here", specOf(`"CAP_SYS_PTRACE"`, sysRO, noDevice, masked, readOnly,
			`"namespaces":[{"type":"pid","path":"powers_test.go"}]`), "partly: CAP_SYS_PTRACE among the node's processes"},
		{"the node's, and then one of its own", specOf(`"CAP_SYS_PTRACE"`, sysRO, noDevice, masked, readOnly,
			`"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"},{"type":"pid"}]`), "partly: CAP_SYS_PTRACE among the node's processes"},
		{"--pid host", specOf(dockerCapabilities, sysRO, noDevice, masked, readOnly), "no"},
		{"--device /dev/sda", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"b","major":8,"minor":0,"access":"rwm"}`,
			masked, readOnly), "partly: the block device 8:0"},
		{"--device-cgroup-rule 'b 8:* rwm'", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"b","major":8,"minor":-1,"access":"rwm"}`,
			masked, readOnly), "partly: the block devices 8:*"},
		{"--device-cgroup-rule 'a 8:0 r'", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"a","major":8,"minor":0,"access":"r"}`,
			masked, readOnly), "partly: the block device 8:0"},
		{"several devices", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"b","major":8,"minor":0},`+
			`{"allow":true,"type":"b","major":9,"access":""},{"allow":true,"type":"b","major":9,"access":"w"}`, masked, readOnly),
			"partly: the block devices 8:0 and 9:*"},
		{"--device /dev/sg0", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"c","major":21,"minor":0,"access":"rwm"}`,
			masked, readOnly), "partly: the character device 21:0"},
		{"--device /dev/sg0:r", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"u","major":21,"minor":0,"access":"r"}`,
			masked, readOnly), "partly: the character device 21:0"},
		{"--device-cgroup-rule 'c *:* rwm'", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"c","major":-1,"minor":-1,"access":"rwm"}`,
			masked, readOnly), "partly: all character devices"},
		{"the first of each major", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"c","minor":0,"access":"rw"}`,
			masked, readOnly), "partly: the character devices *:0"},
		{"--device-cgroup-rule 'c 1:* r'", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"c","major":1,"access":"r"}`,
			masked, readOnly), "partly: the character devices 1:*"},
		{"/dev/mem, /dev/kmem and /dev/port", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"c","major":1,"minor":1,"access":"r"},`+
			`{"allow":true,"type":"c","major":1,"minor":2,"access":"r"},{"allow":true,"type":"c","major":1,"minor":4,"access":"w"}`,
			masked, readOnly), "partly: the character devices 1:1, 1:2 and 1:4"},
		{"all devices, and no block device", specOf(dockerCapabilities, sysRO, `{"allow":true},{"allow":false,"type":"b"}`, masked, readOnly),
			"partly: all character devices"},
		{"/dev/sg0, and then no character device", specOf(dockerCapabilities, sysRO, `{"allow":true,"type":"c","major":21,"minor":0},`+
			`{"allow":false,"type":"c"}`, masked, readOnly), "no"},
		{"/dev/sg0, and then no block device", specOf(dockerCapabilities, sysRO, `{"allow":true,"type":"c","major":21,"minor":0},`+
			`{"allow":false,"type":"b"}`, masked, readOnly), "partly: the character device 21:0"},
		{"/dev/fuse, /dev/kvm and /dev/net/tun", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"c","major":10,"minor":229},`+
			`{"allow":true,"type":"c","major":10,"minor":232},{"allow":true,"type":"c","major":10,"minor":200},`+
			`{"allow":true,"type":"c","major":226},{"allow":true,"type":"c","major":136}`, masked, readOnly), "no"},
		{"to make files of devices", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"b","major":8,"minor":0,"access":"m"}`,
			masked, readOnly), "no"},
		{"a terminal", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"c","major":8,"minor":0,"access":"rwm"}`, masked, readOnly), "no"},
		{"reading denied, and not writing", specOf(dockerCapabilities, sysRO, `{"allow":true,"type":"b","access":"rw"},`+
			`{"allow":false,"type":"b","access":"r"}`, masked, readOnly), "partly: all block devices"},
		{"one of all denied", specOf(dockerCapabilities, sysRO, `{"allow":true,"type":"b"},{"allow":false,"type":"b","major":8,"minor":0}`,
			masked, readOnly), "partly: all block devices"},
		{"one minor of a major denied", specOf(dockerCapabilities, sysRO, `{"allow":true,"type":"b","major":8},{"allow":false,"type":"b","minor":0}`,
			masked, readOnly), "partly: the block devices 8:*"},
		{"character devices denied", specOf(dockerCapabilities, sysRO, `{"allow":true},{"allow":false,"type":"c"}`, masked, readOnly),
			"partly: all block devices"},
		{"a major allowed, and all denied", specOf(dockerCapabilities, sysRO, `{"allow":true,"type":"b","major":8},{"allow":false,"type":"b","access":"rw"}`,
			masked, readOnly), "no"},
		{"what no runtime denies", specOf(dockerCapabilities, sysRO, `{"allow":true,"type":"b"},{"allow":false,"type":"x"},{"allow":false,"major":"y"}`,
			masked, readOnly), "partly: all block devices"},
		{"more rules than anybody has", specOf(dockerCapabilities, sysRO, manyDevices(maxDeviceRules+1)+`{"allow":false,"type":"b","major":8}`,
			masked, readOnly), "partly: all block devices"},
		{"many rules", specOf(dockerCapabilities, sysRO, manyDevices(maxDeviceRules)+`{"allow":false,"type":"b","minor":0}`,
			masked, readOnly), "partly: the block devices 8:1, 8:2, 8:3 and 252 more"},
		{"--device-cgroup-rule 'b *:* rwm'", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"b","major":-1,"minor":-1,"access":"rwm"}`,
			masked, readOnly), "partly: all block devices"},
		{"all devices, and then none", specOf(dockerCapabilities, sysRO, `{"allow":true,"access":"rwm"},`+noDevice, masked, readOnly), "no"},
		{"/proc read-only, and then not", strings.Replace(specOf(dockerCapabilities, sysRO, noDevice, masked), procRW, procRO+","+procRW, 1),
			"partly: a writable /proc/bus, /proc/fs, /proc/irq, /proc/sys and /proc/sysrq-trigger"},
		{"/proc read-only at last", strings.Replace(specOf(dockerCapabilities, sysRO, noDevice, masked), procRW, procRW+","+procRO, 1), "no"},
		{"/proc read-only without masks", strings.Replace(specOf(dockerCapabilities, sysRO, noDevice), procRW, procRW+","+procRO, 1),
			"partly: a readable /proc/kcore"},
		{"systempaths=unconfined", specOf(dockerCapabilities, sysRO, noDevice, `"maskedPaths":[],"readonlyPaths":[]`),
			"partly: a writable /proc, a readable /proc/kcore"},
		{"unmask=/proc/sys", specOf(dockerCapabilities, sysRO, noDevice, masked, without(readOnly, "/proc/sys")), "partly: a writable /proc/sys"},
		{"unmask=/proc/sysrq-trigger", specOf(dockerCapabilities, sysRO, noDevice, masked,
			`"readonlyPaths":["/proc/bus","/proc/fs","/proc/irq","/proc/sys"]`), "partly: a writable /proc/sysrq-trigger"},
		{"unmask=/proc/kcore", specOf(dockerCapabilities, sysRO, noDevice, without(masked, "/proc/kcore"), readOnly), "partly: a readable /proc/kcore"},
		{"/proc/kcore read-only", specOf(dockerCapabilities, sysRO, noDevice, without(masked, "/proc/kcore"),
			`"readonlyPaths":["/proc"]`), "partly: a readable /proc/kcore"},
		{"unmask=/proc/scsi:/proc/acpi", specOf(dockerCapabilities, sysRO, noDevice, without(without(masked, "/proc/scsi"), "/proc/acpi"), readOnly),
			"partly: a writable /proc/acpi and /proc/scsi"},
		{"unmask=/sys/firmware and what else only informs", specOf(dockerCapabilities, sysRO, noDevice,
			`"maskedPaths":["/proc/acpi","/proc/kcore","/proc/scsi"]`, readOnly), "no"},
		{"no mask but /proc/acpi", specOf(dockerCapabilities, sysRO, noDevice, `"maskedPaths":["/proc/acpi"]`, readOnly),
			"partly: a writable /proc/scsi, a readable /proc/kcore"},
		{"mask=/proc", specOf(dockerCapabilities, sysRO, noDevice, `"maskedPaths":["/proc/"]`), "no"},
		{"mask=/", specOf(dockerCapabilities, sysRO, noDevice, `"maskedPaths":["/"]`), "partly: a writable /proc, a readable /proc/kcore"},
		{"a part of /proc/sys", specOf(dockerCapabilities, sysRO, noDevice, masked, strings.ReplaceAll(readOnly, "/proc/sys\"", "/proc/sys/kernel\"")),
			"partly: a writable /proc/sys"},
		{"masks with nothing but blanks", specOf(dockerCapabilities, sysRO, noDevice, `"maskedPaths": [ ]`, readOnly),
			"partly: a writable /proc/acpi and /proc/scsi, a readable /proc/kcore"},
		{"masks that are null", specOf(dockerCapabilities, sysRO, noDevice, `"maskedPaths":null`, readOnly),
			"partly: a writable /proc/acpi and /proc/scsi, a readable /proc/kcore"},
		{"the case that was passed by", `{"process":{"capabilities":{"bounding":["CAP_SYS_ADMIN","CAP_SYS_MODULE","CAP_SYS_RAWIO",` +
			`"CAP_MAC_ADMIN","CAP_NET_ADMIN"]}},"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW"}}}`, "partly: CAP_SYS_ADMIN"},
		{"nothing said", `{"process":{}}`, "partly: a writable /proc, a readable /proc/kcore"},
		{"what no runtime takes", `{"process":{"capabilities":["CAP_SYS_BOOT",[{}],1]},"mounts":[null,1,{}],"linux":{"namespaces":[1,"x"],` +
			`"resources":{"devices":[null,[]]}}}`, "partly: CAP_SYS_BOOT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := Identify([]byte(test.spec), Caller{}, "id", "")
			if err != nil {
				t.Fatal(err)
			}
			got := f.Privileged.String()
			if len(f.PrivilegedBy) > 0 {
				got += ": " + strings.Join(f.PrivilegedBy, ", ")
			}
			if !strings.HasPrefix(got, test.want) || (f.Privileged == policy.PartlyPrivileged) != (len(f.PrivilegedBy) > 0) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
