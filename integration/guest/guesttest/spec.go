package guesttest

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/bundle"
)

// DefaultSpec returns the spec of a container as engines start it, see bundle.EngineSpec. It runs "probe hold".
func DefaultSpec() *specs.Spec {
	s := bundle.EngineSpec("/bin/probe", "hold")
	// Go's preemption sends signals to the process itself, which a profile may deny and the kernel would log.
	s.Process.Env = append(s.Process.Env, "GODEBUG=asyncpreemptoff=1")
	return s
}
