package templates

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

//go:embed variants/docker-default-2015
var dockerDefault2015 string

// A Variant is another edition of a template, to compare profiles with.
type Variant struct {
	Template, Name string
	Text           []byte
	Notes          []string // which of its rules no longer do what they say, as seen on kernels 6.1 to 7.2
}

// Variants returns the other editions of the templates. There is one: docker-default in the first edition of Docker's
// page on AppArmor, of 2015.
func Variants() []Variant {
	return []Variant{{
		Template: "docker-default", Name: "2015", Text: []byte(dockerDefault2015),
		Notes: []string{
			"All of it still compiles. These parts no longer protect, or never did:",
			"deny @{PROC}/{*,**^[0-9*],sys/kernel/shm*} wkx: a ^ outside of brackets is a mere ^, so that what is meant as " +
				"\"everything but /proc/PID\" matches nothing. A container with the rights can write to " +
				"/proc/sys/kernel/core_pattern, and with that run programs on the host.",
			"the same rule denies /proc/sys/kernel/shm*, the only part of /proc/sys that containers are meant to write to.",
			"deny @{PROC}/mem and @{PROC}/kmem: no kernel has such files.",
			"deny /sys/firmware/efi/efivars/**: the rest of /sys/firmware can be read, as can /sys/devices/virtual/powercap, " +
				"from which a container can learn what others compute.",
			"network: that includes the sockets of the kernel's cryptography (alg).",
			"there are no rules for ptrace: a container's processes cannot trace each other.",
			"there are no rules for signals of runc, crun and a confined engine, which so cannot stop the container where they have " +
				"a profile (AppArmor 4.0 and later).",
			"there are no rules for a stack: under a floor, or where the node restricts unconfined programs, processes cannot even " +
				"signal themselves.",
			"no ABI is named: what is mediated besides depends on the parser's configuration.",
		},
	}}
}

// FindVariant returns the variant of a template that is called name.
func FindVariant(template, name string) (Variant, error) {
	var known []string
	for _, v := range Variants() {
		if v.Template == template && v.Name == name {
			return v, nil
		}
		known = append(known, v.Template+" "+v.Name)
	}
	return Variant{}, fmt.Errorf("there is no variant %s of %s: there is %s", oneline.Quote(name), oneline.Quote(template),
		strings.Join(known, ", "))
}
