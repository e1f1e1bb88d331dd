package explain

import (
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// Question is what is asked. Either there is a bundle, or the fields from Annotations on describe a container.
type Question struct {
	Store, File string // decide by the applied policy in a directory, or by a file
	PID         int    // a process that is compared with the decision; 0 for none

	Label func(pid int) (kernel.Label, error) // reads the label of a process

	Bundle, Root, Engine, ID string

	Annotations []string           // KEY=VALUE
	Labels      []string           // KEY=VALUE
	Facts       map[string]*string // what patterns of the keys of rules are matched against
	Privileged  policy.Privilege
	Sandbox     bool
	Choice      string // the profile that the engine chose
	ChoiceSaid  bool   // also where Choice is empty, as the engine chose none
}
