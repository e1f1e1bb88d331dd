// Package bundle makes specs of OCI containers and writes them into bundles, for the tests in guests, the demo and the
// bench. What is in a container's root file system is left to each of them.
package bundle

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Spec returns the spec of a container that runs args. It has no more than a confined container takes: no capabilities,
// no_new_privs, /proc, PID, IPC, UTS and mount namespaces of its own, and no AppArmor profile. Its root file system is
// the directory rootfs of the bundle.
func Spec(args ...string) *specs.Spec {
	return &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: args, Cwd: "/", NoNewPrivileges: true},
		Mounts:  []specs.Mount{Mount("/proc", "proc", "proc")},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
		}},
	}
}

// EngineSpec returns the spec of a container as engines start it. In addition to that of Spec, it has a few
// capabilities, network and cgroup namespaces of its own, a network without interfaces, and the usual mounts and masks.
// The container can write to its root file system.
func EngineSpec(args ...string) *specs.Spec {
	s := Spec(args...)
	s.Hostname = "container"
	s.Process.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	s.Process.Capabilities = Capabilities("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
	s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}}
	s.Mounts = append(s.Mounts,
		Mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
		Mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
		Mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
		Mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
		Mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
		Mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"))
	s.Linux.Namespaces = append(s.Linux.Namespaces,
		specs.LinuxNamespace{Type: specs.NetworkNamespace}, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	s.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
	s.Linux.MaskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
		"/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
	}
	s.Linux.ReadonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	return s
}

// Mount returns an entry of a spec's mounts.
func Mount(destination, kind, source string, options ...string) specs.Mount {
	return specs.Mount{Destination: destination, Type: kind, Source: source, Options: options}
}

// Capabilities returns the capabilities as those of a process of root: bounding, effective and permitted.
func Capabilities(names ...string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
}

// Write writes the spec into the bundle dir, as its config.json.
func Write(dir string, spec *specs.Spec) error {
	text, err := json.MarshalIndent(spec, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644)
}

// Read returns the spec of the bundle dir.
func Read(dir string) (*specs.Spec, error) {
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	spec := new(specs.Spec)
	return spec, json.Unmarshal(text, spec)
}
