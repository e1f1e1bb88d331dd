package explain

import (
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// Question is a question about a container. Either Bundle is set, or the fields from Annotations on describe the container.
type Question struct {
	Store  string // the directory of the applied policy
	Config string // decide by this file or directory, and not by the applied policy; empty for the applied one
	PID    int    // a process to compare with the decision; 0 for none

	Label func(pid int) (kernel.Label, error) // reads the label of a process

	Bundle, Root, Engine, ID string

	Annotations []string           // KEY=VALUE
	Labels      []string           // KEY=VALUE
	Facts       map[string]*string // facts of the container, by the keys of rules that ask for them
	Privileged  policy.Privilege
	Sandbox     bool
	Choice      string // the profile that the engine chose
	ChoiceSaid  bool   // Choice is known; if it is empty, the engine chose none
}
