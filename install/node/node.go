// Package node is the machine that the operator's commands work on: its directories of the policy and of the profiles for
// AppArmor's service, its kernel, its parser, and the programs that send signals to containers. It decides nothing and
// prints nothing.
package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/install/apparmord"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/handloaded"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// ConfigDir is the directory of the policy file.
const ConfigDir = "/etc/oci-apparmor"

// Node is a machine: this one, or one that a test has made up.
type Node struct {
	Root bool // this process is root, and may do what a container's start does

	Config     string        // the directory of the policy file
	Store      string        // the directory of the applied policy
	Service    apparmord.Dir // the directory of AppArmor's service, /etc/apparmor.d
	ParserConf string        // the configuration of apparmor_parser
	Kernel     *kernel.Kernel
	Programs   string // the root of the paths of engines' programs; empty for /
	Uname      string // the running kernel's release, as uname -r prints it

	CompilerOf func(features []byte) (Compiler, error)
	Detect     func() kernel.Readiness
	State      *status.Node  // what the command status looks at
	Pause      time.Duration // between two looks of a command that waits

	Warn func(sentence string) // reports something that went wrong and stops nothing

	// Unapplied is the policy about whose profiles is asked; nil stands for the one in force.
	Unapplied *Unapplied
}

// Unapplied is a policy that was read from its file, whether it is in force or not.
type Unapplied struct {
	*policy.Config
	Dir string // of policy.yaml
}

// This returns the machine that this process runs on. The caller must set Warn.
func This() *Node {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails only for a bad address
	k := kernel.New()
	hook.CountLoads(k, counts.New(counts.Path), counts.ByCommand)
	return &Node{
		Root:       os.Geteuid() == 0,
		Config:     ConfigDir,
		Store:      store.Dir,
		Service:    profile.BaseDir,
		ParserConf: profile.ConfFile,
		Kernel:     k,
		Uname:      unix.ByteSliceToString(u.Release[:]),
		CompilerOf: func(features []byte) (Compiler, error) { return profile.NewCompiler(features) },
		Detect:     k.Detect,
		State:      status.NewNode(),
		Pause:      2 * time.Second,
	}
}

// Warnf is Warn with a format.
func (n *Node) Warnf(format string, args ...any) { n.Warn(fmt.Sprintf(format, args...)) }

// Current returns the generation in force in the directory of an applied policy. The error has an exit code.
func (n *Node) Current(dir string) (*store.Generation, error) {
	g, err := store.Store{Dir: dir}.Current()
	if err != nil {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	return g, nil
}

// Ready returns an error if the kernel takes no profiles from this process. The error has an exit code.
func (n *Node) Ready() error {
	if r := n.Detect(); !r.Usable() {
		return exit.With(exit.Cannot, errors.New(r.String()))
	}
	return nil
}

// LastManifest returns the manifest of the generation in force in a directory, or the zero Manifest if there is none.
func LastManifest(dir string) store.Manifest {
	g, err := store.Store{Dir: dir}.Current()
	if err != nil {
		return store.Manifest{}
	}
	return ManifestOf(g)
}

// ManifestOf returns how a generation came to be. It is the zero Manifest where there is none, or that cannot be read.
func ManifestOf(g *store.Generation) store.Manifest {
	if g == nil {
		return store.Manifest{}
	}
	m, _ := g.Manifest()
	return m
}

// Texts returns the directory of the texts of profiles that were loaded by hand.
func (n *Node) Texts() handloaded.Dir { return handloaded.Dir(filepath.Join(n.Store, "texts")) }
