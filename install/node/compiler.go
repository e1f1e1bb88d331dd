package node

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Compiler is the part of *profile.Compiler that the commands use.
type Compiler interface {
	store.Compiler
	Version(context.Context) (string, error)
	CompileText(ctx context.Context, source string, text []byte) (profile.Blob, error)
	CompileSeveral(ctx context.Context, source string, text []byte) ([]byte, error)
	Expand(text []byte) (profile.Expanded, bool)
	Preprocess(ctx context.Context, text []byte) ([]byte, error)
	Standalone(ctx context.Context, text []byte, mode profile.Mode, want func() (profile.Blob, error)) ([]byte, error)
	AsLoaded(ctx context.Context, text []byte) (profile.Blob, error)
	Supports(feature string) bool
	ABIs(feature string) []string
	Included(preprocessed []byte) []profile.Text
	Theirs(path string) bool
	Shipped(path string) string
	Outcomes(ctx context.Context, text []byte, is func(profile.Blob) bool) (found bool, all []profile.Blob, err error)
	Inputs(before *seen.Files) (*profile.Inputs, error)
}

// NewCompiler returns a Compiler for the kernel whose features are in the file, and the text of these features. If file is
// empty, it is for the running kernel, unless apparmor_parser is configured to compile for another one.
func (n *Node) NewCompiler(ctx context.Context, file string) (c Compiler, features []byte, err error) {
	if file == "" {
		conf, err := profile.ReadConf(n.ParserConf)
		if err != nil {
			return nil, nil, exit.With(exit.Cannot, exit.AsRoot(err))
		}
		file = conf.KernelFeatures
	}
	if file != "" {
		return n.compilerFor(ctx, file)
	}
	if features, err = profile.ReadFeatures(n.Kernel.Features()); err != nil {
		return nil, nil, exit.With(exit.Cannot, fmt.Errorf("%w; to compile for another machine, name a file of its kernel's "+
			"features, such as /etc/apparmor.d/abi/3.0, with --features", err))
	}
	if c, err = n.CompilerOf(features); err != nil {
		return nil, nil, exit.With(exit.Cannot, err)
	}
	return c, features, nil
}

// compilerFor returns a Compiler for the kernel whose features are in the file. It compiles an empty profile as a check,
// because the parser takes any text for features, and then compiles for a kernel of ten years ago.
func (n *Node) compilerFor(ctx context.Context, file string) (c Compiler, features []byte, err error) {
	if features, err = os.ReadFile(file); err != nil {
		return nil, nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	c, err = n.CompilerOf(features)
	if errors.Is(err, profile.ErrNoParser) {
		return nil, nil, exit.With(exit.Cannot, err)
	}
	if err == nil {
		_, err = c.Compile(ctx, "empty", profile.Enforce, "an empty profile", []byte("profile empty {\n}\n"))
	}
	if err != nil {
		return nil, nil, exit.With(exit.Cannot, fmt.Errorf("%s is no features file of a kernel that apparmor_parser can "+
			"compile for, such as /etc/apparmor.d/abi/3.0 is: %w", file, err))
	}
	return c, features, nil
}
