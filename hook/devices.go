package hook

import (
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/oci-apparmor/oci-apparmor/hook/internal/jsonread"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// deviceRules are the rules by which a control group allows a container to read or write devices of one type. Block devices
// all count, because any may be the node's disk. Of character devices these count that reach the node's disks or memory.
// With CAP_MKNOD, which engines grant by default, the container can make the device's file.
type deviceRules []deviceRule

// deviceRule allows the use of the devices with these numbers.
type deviceRule struct {
	major, minor string // in decimal digits; "*" for all
	read, write  bool
}

// maxDeviceRules bounds how many rules are kept apart. If a container has more, they count as one rule for all devices.
const maxDeviceRules = 256

var everyDevice = deviceRule{"*", "*", true, true}

// allow adds a rule.
func (d *deviceRules) allow(r deviceRule) {
	switch {
	case !r.read && !r.write || slices.Contains(*d, r):
	case len(*d) >= maxDeviceRules:
		*d = deviceRules{everyDevice}
	default:
		*d = append(*d, r)
	}
}

// deny removes the rules that r denies as a whole. A denial that is narrower than a rule leaves that rule. So does the
// denial of one access out of two, because runtimes disagree about it.
func (d *deviceRules) deny(r deviceRule) {
	*d = slices.DeleteFunc(*d, func(allowed deviceRule) bool {
		return (r.major == "*" || r.major == allowed.major) && (r.minor == "*" || r.minor == allowed.minor) &&
			(r.read || !allowed.read) && (r.write || !allowed.write)
	})
}

// names returns their names for people: "all block devices", or "the block devices 8:* and 253:0".
func (d deviceRules) names(kind string) string {
	const shown = 3
	var numbers []string
	for _, r := range d {
		if r.major == "*" && r.minor == "*" {
			return "all " + kind + " devices"
		}
		if n := r.major + ":" + r.minor; !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	if n := len(numbers) - shown; n > 0 {
		numbers = append(numbers[:shown], strconv.Itoa(n)+" more")
	}
	if len(numbers) == 1 && !strings.Contains(numbers[0], "*") {
		return "the " + kind + " device " + numbers[0]
	}
	return "the " + kind + " devices " + oneline.And(numbers)
}

// nodeCharacters are the character devices with fixed numbers that reach the node's disks or memory: see
// Documentation/admin-guide/devices.txt of the kernel.
var nodeCharacters = []deviceRule{
	{major: "1", minor: "1"},   // /dev/mem
	{major: "1", minor: "2"},   // /dev/kmem
	{major: "1", minor: "4"},   // /dev/port
	{major: "21", minor: "*"},  // /dev/sg0: SCSI commands to a disk
	{major: "90", minor: "*"},  // /dev/mtd0: flash memory
	{major: "162", minor: "*"}, // /dev/raw/raw1: a block device; until Linux 5.13
}

// nodeDrivers are the drivers of such devices whose majors the kernel chooses, as /proc/devices names them.
var nodeDrivers = []string{
	"bsg",          // SCSI commands to a disk
	"dax",          // persistent memory
	"nvme",         // commands to an NVMe disk, as in /dev/nvme0
	"nvme-generic", // the same, as in /dev/ng0n1
}

// reachesNode reports whether a rule for character devices is for one that reaches the node's disks or memory. A major that
// the kernel chooses counts if no driver has it yet, because one of these drivers may get it. drivers returns the text of
// /proc/devices.
func (r deviceRule) reachesNode(drivers func() string) bool {
	meets := func(a, b string) bool { return a == "*" || b == "*" || a == b }
	for _, c := range nodeCharacters {
		if meets(r.major, c.major) && meets(r.minor, c.minor) {
			return true
		}
	}
	major, err := strconv.ParseUint(r.major, 10, 64)
	chosen := 234 <= major && major <= 254 || 384 <= major && major <= 511 // find_dynamic_major of fs/char_dev.c
	if err == nil && !chosen {
		return false
	}
	names := driversOf(drivers(), r.major)
	return len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return slices.Contains(nodeDrivers, name) })
}

// driversOf returns the drivers of a major of character devices in a text of /proc/devices.
func driversOf(list, major string) []string {
	var names []string
	characters, _, _ := strings.Cut(list, "Block devices:")
	for line := range strings.Lines(characters) {
		if n, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok && n == major {
			names = append(names, name)
		}
	}
	return names
}

// nodesDrivers returns the text of /proc/devices, which is empty if it cannot be read. Few containers make it necessary.
func (d *document) nodesDrivers() string {
	if d.drivers == nil {
		d.drivers, _ = os.ReadFile("/proc/devices")
	}
	return string(d.drivers)
}

// parseDevice reads an entry of linux.resources.devices. A later entry overrides an earlier one. An entry without a type, or
// with type "a", is for character and block devices. Without a number, or with -1, it is for all numbers. Without an access,
// it is for every access. An entry that runtimes refuse allows everything and denies nothing.
func (d *document) parseDevice(dec *jsontext.Decoder) error {
	allow, odd := false, false
	kind, access := "a", "rwm"
	r := deviceRule{major: "*", minor: "*"}
	number := func(to *string) error {
		n, err := deviceNumber(dec)
		odd = odd || n == ""
		*to = cmp.Or(n, "*")
		return err
	}
	err := jsonread.Object(dec, []string{"allow", "type", "major", "minor", "access"}, func(key string) (err error) {
		switch key {
		case "allow":
			v, _, err := jsonread.Value(dec)
			allow = v.Kind() == 't'
			return err
		case "type":
			kind, err = jsonread.Text(dec)
		case "access":
			access, err = jsonread.Text(dec)
		case "major":
			err = number(&r.major)
		case "minor":
			err = number(&r.minor)
		default:
			err = dec.SkipValue()
		}
		return err
	})
	r.read = access == "" || strings.Contains(access, "r")
	r.write = access == "" || strings.Contains(access, "w")
	if err != nil {
		return err
	}
	block, character := kind != "c" && kind != "u", kind != "b"
	switch {
	case allow:
		if block {
			d.powers.blocks.allow(r)
		}
		if character && r.reachesNode(d.nodesDrivers) {
			d.powers.characters.allow(r)
		}
	case !odd && slices.Contains([]string{"", "a", "b", "c", "u"}, kind):
		if block {
			d.powers.blocks.deny(r)
		}
		if character {
			d.powers.characters.deny(r)
		}
	}
	return nil
}

// deviceNumber reads a number of a device. It returns "*" for all numbers, and an empty string if the value is no number.
func deviceNumber(dec *jsontext.Decoder) (string, error) {
	v, _, err := jsonread.Value(dec)
	switch {
	case err != nil || v.Kind() == 'n' || v.Kind() == '0' && strings.HasPrefix(string(v), "-"):
		return "*", err
	case v.Kind() == '0' && len(v) <= len("18446744073709551615"):
		return string(v), nil
	}
	return "", nil
}
