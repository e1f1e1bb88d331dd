// Package node is the machine that the operator's commands work on: where its policy is and the profiles for AppArmor's service,
// its kernel, its parser, and the programs that send signals to containers. It decides nothing and prints nothing.
package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/apparmord"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/handloaded"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// ConfigDir is where the policy file is.
const ConfigDir = "/etc/oci-apparmor"

// Node is a machine: this one, or one that a test has made up.
type Node struct {
	Root bool // this process may do what a container's start does

	Config     string        // the directory of the policy file
	Store      string        // the directory of the applied policy
	Service    apparmord.Dir // where AppArmor's service looks for profiles
	ParserConf string        // the configuration of apparmor_parser
	Kernel     *kernel.Kernel
	Programs   string // below which engines' programs are; empty for /
	Uname      string // the running kernel's release, as uname -r prints it

	CompilerOf func(features []byte) (Compiler, error)
	Detect     func() kernel.Readiness
	State      *status.Node  // where status looks
	Pause      time.Duration // between two looks at what is waited for

	Warn func(sentence string) // says what went wrong and stops nothing
}

// This returns the machine that this process runs on. Whoever takes it sets Warn.
func This() *Node {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails only for a bad address
	k := kernel.New()
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

// Warnf warns with a sentence that is put together.
func (n *Node) Warnf(format string, args ...any) { n.Warn(fmt.Sprintf(format, args...)) }

// Current returns the generation in force in a directory.
func (n *Node) Current(dir string) (*store.Generation, error) {
	g, err := store.Store{Dir: dir}.Current()
	if err != nil {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	return g, nil
}

// Ready refuses what needs a kernel that takes profiles from this process.
func (n *Node) Ready() error {
	if r := n.Detect(); !r.Usable() {
		return exit.With(exit.Cannot, errors.New(r.String()))
	}
	return nil
}

// LastManifest returns how the generation in force in a directory came to be. It is the zero Manifest where there is none.
func LastManifest(dir string) store.Manifest {
	g, err := store.Store{Dir: dir}.Current()
	if err != nil {
		return store.Manifest{}
	}
	m, _ := g.Manifest()
	return m
}

// Texts returns where the texts are kept of profiles that are loaded by hand.
func (n *Node) Texts() handloaded.Dir { return handloaded.Dir(filepath.Join(n.Store, "texts")) }

// Version is the module's version, or the commit that it was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return strings.Trim(info.Main.Version, "()")
}
