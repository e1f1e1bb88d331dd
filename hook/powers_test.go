package hook

import (
	"fmt"
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
	masked   = `"maskedPaths":["/proc/asound","/proc/acpi","/proc/kcore","/sys/firmware"]`
	readOnly = `"readonlyPaths":["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]`
	ownPIDs  = `"namespaces":[{"type":"mount"},{"type":"pid"}]`
	sysRO    = `{"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]}`
	sysRW    = `{"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev"]}`
	procRW   = `{"destination":"/proc","type":"proc","source":"proc","options":["nosuid","noexec","nodev"]}`
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

func TestIdentifyTellsHowFarAContainerIsPrivileged(t *testing.T) {
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
		{"--pid host", specOf(dockerCapabilities, sysRO, noDevice, masked, readOnly), "no"},
		{"--device /dev/sda", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"b","major":8,"minor":0,"access":"rwm"}`,
			masked, readOnly), "no"},
		{"--device-cgroup-rule 'b *:* rwm'", specOf(dockerCapabilities, sysRO, noDevice+`,{"allow":true,"type":"b","major":-1,"minor":-1,"access":"rwm"}`,
			masked, readOnly), "partly: all block devices"},
		{"all devices, and then none", specOf(dockerCapabilities, sysRO, `{"allow":true,"access":"rwm"},`+noDevice, masked, readOnly), "no"},
		{"systempaths=unconfined", specOf(dockerCapabilities, sysRO, noDevice, `"maskedPaths":[],"readonlyPaths":[]`),
			"partly: a writable /proc/sys"},
		{"unmask=/proc/sys", specOf(dockerCapabilities, sysRO, noDevice, masked, `"readonlyPaths":["/proc/bus"]`), "partly: a writable /proc/sys"},
		{"masks with nothing but blanks", specOf(dockerCapabilities, sysRO, noDevice, `"maskedPaths": [ ]`, readOnly), "partly: no masks on /proc"},
		{"masks that are null", specOf(dockerCapabilities, sysRO, noDevice, `"maskedPaths":null`, readOnly), "partly: no masks on /proc"},
		{"the case that was passed by", `{"process":{"capabilities":{"bounding":["CAP_SYS_ADMIN","CAP_SYS_MODULE","CAP_SYS_RAWIO",` +
			`"CAP_MAC_ADMIN","CAP_NET_ADMIN"]}},"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW"}}}`, "partly: CAP_SYS_ADMIN"},
		{"nothing said", `{"process":{}}`, "partly: a writable /proc/sys"},
		{"what no runtime takes", `{"process":{"capabilities":["CAP_SYS_BOOT",[{}],1]},"mounts":[null,1,{}],"linux":{"namespaces":[1,"x"],` +
			`"resources":{"devices":[null,[]]}}}`, "partly: CAP_SYS_BOOT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := Identify([]byte(test.spec), Wiring{}, "id", "")
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
