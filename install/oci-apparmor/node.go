package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// configDir is where the policy file is.
const configDir = "/etc/oci-apparmor"

// node is what the commands read and write: this machine, or one that a test has made up.
type node struct {
	stdout, stderr io.Writer
	live           bool // stderr is a terminal, on which a line can be written over

	config string // default of --config
	store  string // default of --store
	kernel *kernel.Kernel
	uname  string // the running kernel's release, as uname -r prints it

	compiler func(features []byte) (compiler, error)
	label    func(pid int) (kernel.Label, error)
}

// compiler is the part of *profile.Compiler that the commands use.
type compiler interface {
	store.Compiler
	Version(context.Context) (string, error)
}

func thisNode() *node {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails only for a bad address
	_, err := unix.IoctlGetTermios(unix.Stderr, unix.TCGETS)
	return &node{
		stdout:   os.Stdout,
		stderr:   os.Stderr,
		live:     err == nil,
		config:   configDir,
		store:    store.Dir,
		kernel:   kernel.New(),
		uname:    unix.ByteSliceToString(u.Release[:]),
		compiler: func(features []byte) (compiler, error) { return profile.NewCompiler(features) },
		label:    kernel.Current,
	}
}

// current gives the generation in force.
func (n *node) current(dir string) (*store.Generation, error) {
	g, err := store.Store{Dir: dir}.Current()
	if err != nil {
		return nil, &failure{cannot, asRoot(err)}
	}
	return g, nil
}

// asRoot adds to an error for want of rights what gives them.
func asRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return fmt.Errorf("%w: run this as root", err)
	}
	return err
}

// newCompiler gives a compiler for the kernel whose features are in the file, or for the running kernel where file is
// empty. hash is the sha256 of the features' text.
func (n *node) newCompiler(file string) (c compiler, features []byte, err error) {
	if file != "" {
		features, err = os.ReadFile(file)
	} else if features, err = profile.ReadFeatures(n.kernel.Features()); err != nil {
		err = fmt.Errorf("%w; to compile for another machine, name a file of its kernel's features with --features, "+
			"such as one of those in /etc/apparmor.d/abi", err)
	}
	if err != nil {
		return nil, nil, &failure{cannot, err}
	}
	c, err = n.compiler(features)
	if err != nil {
		return nil, nil, &failure{cannot, err}
	}
	return c, features, nil
}

// generate fills in the texts of profiles that come from a template.
func generate(p *policy.Policy) error {
	for i := range p.Profiles {
		pr := &p.Profiles[i]
		if pr.Template == "" {
			continue
		}
		text, err := profile.Template(pr.Template, pr.Name, profile.Node{})
		if err != nil {
			return fmt.Errorf("profile %s: %w", pr.Name, err)
		}
		pr.Text = text
	}
	return nil
}
