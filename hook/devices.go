package hook

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/oci-apparmor/oci-apparmor/hook/internal/jsonread"
)

// blockDevices are the rules by which a control group allows a container to read or write block devices. Any of these
// devices may be the node's disk. With CAP_MKNOD, which engines grant by default, the container can make the device's file.
type blockDevices []blockRule

// blockRule allows the use of the block devices with these numbers.
type blockRule struct {
	major, minor string // in decimal digits; "*" for all
	read, write  bool
}

// maxBlockRules bounds how many rules are kept apart. If a container has more, they count as one rule for all devices.
const maxBlockRules = 256

var everyBlock = blockRule{"*", "*", true, true}

// allow adds a rule.
func (b *blockDevices) allow(r blockRule) {
	switch {
	case !r.read && !r.write || slices.Contains(*b, r):
	case len(*b) >= maxBlockRules:
		*b = blockDevices{everyBlock}
	default:
		*b = append(*b, r)
	}
}

// deny removes the rules that r denies as a whole. A denial that is narrower than a rule leaves that rule. So does the denial
// of one access out of two, because runtimes disagree about it.
func (b *blockDevices) deny(r blockRule) {
	*b = slices.DeleteFunc(*b, func(allowed blockRule) bool {
		return (r.major == "*" || r.major == allowed.major) && (r.minor == "*" || r.minor == allowed.minor) &&
			(r.read || !allowed.read) && (r.write || !allowed.write)
	})
}

// String returns their names for people: "all block devices", or "the block devices 8:* and 253:0".
func (b blockDevices) String() string {
	const shown = 3
	var numbers []string
	for _, r := range b {
		if r.major == "*" && r.minor == "*" {
			return "all block devices"
		}
		if n := r.major + ":" + r.minor; !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	if n := len(numbers) - shown; n > 0 {
		numbers = append(numbers[:shown], strconv.Itoa(n)+" more")
	}
	if len(numbers) == 1 && !strings.Contains(numbers[0], "*") {
		return "the block device " + numbers[0]
	}
	return "the block devices " + and(numbers)
}

// parseDevice reads an entry of linux.resources.devices. A later entry overrides an earlier one. An entry without a type, or
// with type "a", is for character and block devices. Without a number, or with -1, it is for all numbers. Without an access,
// it is for every access. An entry that runtimes refuse allows everything and denies nothing.
func (d *document) parseDevice(dec *jsontext.Decoder) error {
	allow, odd := false, false
	kind, access := "a", "rwm"
	r := blockRule{major: "*", minor: "*"}
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
	switch {
	case err != nil || kind == "c" || kind == "u":
	case allow:
		d.powers.blocks.allow(r)
	case !odd && (kind == "" || kind == "a" || kind == "b"):
		d.powers.blocks.deny(r)
	}
	return err
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
