package hook

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/oci-apparmor/oci-apparmor/hook/internal/jsonread"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// powers are the ways past its namespaces by which a container reaches the node, as its spec has them. No engine writes
// into the spec that a container is privileged. But the spec shows what the engine grants to a privileged container.
type powers struct {
	capabilities []string // those of owning that are in one of the process's sets
	ptrace       bool     // CAP_SYS_PTRACE is in one of them

	blocks       deviceRules // block devices that the control group allows to read or write
	characters   deviceRules // the same of character devices, see nodeCharacters
	procReadOnly bool        // /proc is mounted read-only
	procClosed   [len(procPaths)]closing
	sys          sysState
	pids         pidState
}

// procPaths are the parts of /proc by which root in a container reaches the node without any capability, or with one of
// owning. Each engine masks them or makes them read-only for all containers but privileged ones: Docker 20.10 to 28, Podman
// 4.3 to 5.8, containerd 1.6 to 2.4 and the kubelet. What only informs about the node is not among them, such as /proc/keys,
// /proc/timer_list and /sys/firmware: these lists differ.
var procPaths = [...]struct {
	path  string
	reads bool // reading it is as bad as writing it
}{
	{"/proc/acpi", false},          // settings of the hardware
	{"/proc/bus", false},           // the configuration of PCI devices
	{"/proc/fs", false},            // settings of file systems and of the NFS server
	{"/proc/irq", false},           // which processor serves an interrupt
	{"/proc/kcore", true},          // the kernel's memory
	{"/proc/scsi", false},          // takes disks from the kernel
	{"/proc/sys", false},           // programs that the kernel starts as the node's root
	{"/proc/sysrq-trigger", false}, // restarts the node, ends its processes
}

// closing is how a part of /proc is closed.
type closing uint8

const (
	pathOpen closing = iota
	pathReadOnly
	pathMasked
)

// pidState is which PID namespace a container is in.
type pidState uint8

const (
	pidsUnsaid   pidState = iota // the spec has none, so it is the runtime's own: the node's
	pidsOfOthers                 // a new one, or that of another container
	pidsOfNode                   // the node's, or one that may be the node's
)

// sysState is how /sys is mounted.
type sysState uint8

const (
	sysClosed   sysState = iota // read-only, or not at all
	sysBound                    // the node's /sys, or something else, is bound there writable
	sysWritable                 // mounted anew and writable, which engines do for privileged containers and no others
)

// owning are capabilities. With any one of them, root in a container can take over the node: see capabilities(7).
// CAP_MAC_ADMIN is one because it allows to replace AppArmor profiles.
var owning = []string{
	"CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_MAC_ADMIN",
	"CAP_DAC_READ_SEARCH", "CAP_MAC_OVERRIDE", "CAP_BPF", "CAP_SYS_BOOT",
}

// granted are those that every engine grants to a privileged container.
var granted = owning[:4]

// privilege returns how far a container is privileged. For one that is partly privileged, it also returns by what.
func (p *powers) privilege() (policy.Privilege, []string) {
	all := !slices.ContainsFunc(granted, func(c string) bool { return !slices.Contains(p.capabilities, c) })
	writable, readable := p.openProc()
	if all && p.sys == sysWritable && slices.Contains(writable, "/proc/sys") {
		return policy.Privileged, nil
	}
	if p.procClosed == [len(procPaths)]closing{} && len(writable) > 0 {
		writable = []string{"/proc"}
	}
	by := slices.Clone(p.capabilities)
	for _, sign := range []struct {
		there bool
		name  string
	}{
		{p.ptrace && p.pids != pidsOfOthers, "CAP_SYS_PTRACE among the node's processes"},
		{len(p.blocks) > 0, p.blocks.names("block")},
		{len(p.characters) > 0, p.characters.names("character")},
		{len(writable) > 0, "a writable " + oneline.And(writable)},
		{len(readable) > 0, "a readable " + oneline.And(readable)},
		{p.sys != sysClosed, "a writable /sys"},
	} {
		if sign.there {
			by = append(by, sign.name)
		}
	}
	if len(by) == 0 {
		return policy.Unprivileged, nil
	}
	return policy.PartlyPrivileged, by
}

// openProc returns the parts of /proc that the container can write, and those that it can read and must not.
func (p *powers) openProc() (writable, readable []string) {
	for i, part := range procPaths {
		switch {
		case part.reads && p.procClosed[i] != pathMasked:
			readable = append(readable, part.path)
		case !part.reads && p.procClosed[i] == pathOpen && !p.procReadOnly:
			writable = append(writable, part.path)
		}
	}
	return writable, readable
}

// closeProc takes down that a path is masked or made read-only. All that is below it is closed, too.
func (p *powers) closeProc(name string, as closing) {
	name = path.Clean(name)
	for i, part := range procPaths {
		if within(name, "/proc") && within(part.path, name) {
			p.procClosed[i] = max(p.procClosed[i], as)
		}
	}
}

// within reports whether a path is dir, or below it. Both are clean.
func within(name, dir string) bool { return strings.HasPrefix(name+"/", dir+"/") }

// parseCapabilities reads process.capabilities: five sets of names. All five count here, because a process can bring a
// capability of another set into effect.
func (d *document) parseCapabilities(dec *jsontext.Decoder) error {
	return jsonread.Strings(dec, func(name string) {
		name = strings.ToUpper(name) // crun takes them in any case
		d.powers.ptrace = d.powers.ptrace || name == "CAP_SYS_PTRACE"
		if slices.Contains(owning, name) && !slices.Contains(d.powers.capabilities, name) {
			d.powers.capabilities = append(d.powers.capabilities, name)
		}
	})
}

func (d *document) parseLinux(dec *jsontext.Decoder) error {
	if dec.PeekKind() == 'n' {
		return dec.SkipValue()
	}
	known := []string{"maskedPaths", "readonlyPaths", "resources", "namespaces", "cgroupsPath"}
	return jsonread.Object(dec, known, func(key string) (err error) {
		switch key {
		case "cgroupsPath":
			d.cgroupsPath, err = jsonread.Text(dec)
			return err
		case "maskedPaths":
			return jsonread.Strings(dec, func(name string) { d.powers.closeProc(name, pathMasked) })
		case "readonlyPaths":
			return jsonread.Strings(dec, func(name string) { d.powers.closeProc(name, pathReadOnly) })
		case "namespaces":
			return jsonread.Objects(dec, d.parseNamespace)
		case "resources":
			return d.parseResources(dec)
		}
		return dec.SkipValue()
	})
}

// parseNamespace reads an entry of linux.namespaces. An entry with a path joins that namespace: another container's, or the
// node's. If there are several for PIDs, the node's counts. Runtimes refuse such a spec.
func (d *document) parseNamespace(dec *jsontext.Decoder) error {
	var kind, at string
	err := jsonread.Object(dec, []string{"type", "path"}, func(key string) (err error) {
		switch key {
		case "type":
			kind, err = jsonread.Text(dec)
			return err
		case "path":
			at, err = jsonread.Text(dec)
			return err
		}
		return dec.SkipValue()
	})
	if kind == "pid" && d.powers.pids != pidsOfNode {
		d.powers.pids = pidsOfNode
		if at == "" || isAnother(at, "/proc/1/ns/pid") {
			d.powers.pids = pidsOfOthers
		}
	}
	return err
}

// isAnother reports whether the file at is surely of another namespace than the node's file nodes: see namespaces(7).
func isAnother(at, nodes string) bool {
	if !filepath.IsAbs(at) {
		return false
	}
	one, err1 := os.Stat(at)
	other, err2 := os.Stat(nodes)
	return err1 == nil && err2 == nil && !os.SameFile(one, other)
}

func (d *document) parseResources(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '{' {
		return dec.SkipValue()
	}
	return jsonread.Object(dec, []string{"devices"}, func(key string) error {
		if key == "devices" {
			return jsonread.Objects(dec, d.parseDevice)
		}
		return dec.SkipValue()
	})
}

// parseMount reads an entry of mounts. A later mount covers an earlier one.
func (d *document) parseMount(dec *jsontext.Decoder) error {
	var at, kind string
	readOnly := false
	err := jsonread.Object(dec, []string{"destination", "type", "options"}, func(key string) (err error) {
		switch key {
		case "destination":
			at, err = jsonread.Text(dec)
		case "type":
			kind, err = jsonread.Text(dec)
		case "options":
			err = jsonread.Strings(dec, func(option string) {
				switch option {
				case "ro", "rro":
					readOnly = true
				case "rw", "rrw":
					readOnly = false
				}
			})
		default:
			err = dec.SkipValue()
		}
		return err
	})
	switch path.Clean("/" + at) {
	case "/sys":
		switch {
		case readOnly:
			d.powers.sys = sysClosed
		case kind == "sysfs":
			d.powers.sys = sysWritable
		default:
			d.powers.sys = sysBound
		}
	case "/proc":
		d.powers.procReadOnly = readOnly
	}
	return err
}
