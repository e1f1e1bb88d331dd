package containerd

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/BurntSushi/toml"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// runcOptions returns a container's options in the form of containerd's shim for runc, and what the engine sent.
//
// Engines send runc's own options to a runtime of type io.containerd.runc.v2. To any other type, containerd's CRI plugin
// and Docker send runtimeoptions.v1.Options. It has a configuration in TOML (config_body) or the path of one (config_path),
// with the options under the names that they have in containerd's config.toml.
func runcOptions(sent *anypb.Any) (*options.Options, sentOptions, error) {
	opts, said := new(options.Options), sentSome
	switch {
	case sent.MessageIs(opts):
		if err := proto.Unmarshal(sent.Value, opts); err != nil {
			return nil, said, err
		}
	case sent.MessageIs((*runtimeoptions.Options)(nil)):
		generic := new(runtimeoptions.Options)
		if err := proto.Unmarshal(sent.Value, generic); err != nil {
			return nil, said, err
		}
		if generic.ConfigPath == "" && len(generic.ConfigBody) == 0 {
			said = sentEmpty
		}
		if err := fromTOML(generic, opts); err != nil {
			return nil, said, err
		}
	case len(sent.GetValue()) == 0:
		said = sentNone
	default:
		return nil, said, fmt.Errorf("it takes runtime options of type %s or %s, not %q", opts.ProtoReflect().Descriptor().FullName(),
			(*runtimeoptions.Options)(nil).ProtoReflect().Descriptor().FullName(), sent.GetTypeUrl())
	}
	return opts, said, notOurWrapper(opts.BinaryName)
}

// sentOptions is what an engine sends of the options for a container.
type sentOptions int

const (
	sentNone  sentOptions = iota // no options
	sentEmpty                    // a message without options: the engine may have dropped those of its configuration
	sentSome                     // options
)

// notOurWrapper returns an error if the shim's runtime is the OCI runtime wrapper: the two would decide each container
// twice.
func notOurWrapper(binary string) error {
	if !filepath.IsAbs(binary) {
		return nil
	}
	real, err := filepath.EvalSymlinks(binary)
	if err == nil && filepath.Base(real) == "oci-apparmor-runtime" {
		return fmt.Errorf("BinaryName is %s, which is oci-apparmor-runtime: this shim does its work; name runc or crun, or leave "+
			"the option out", binary)
	}
	return nil
}

// pack returns a message with the options, as containerd's shim for runc takes them. It returns message itself if that has
// the right type, and nil if there are neither options nor a message.
func pack(message *anypb.Any, opts *options.Options) (*anypb.Any, error) {
	switch {
	case message.MessageIs(opts):
		return message, nil
	case len(message.GetValue()) == 0 && proto.Size(opts) == 0:
		return nil, nil
	}
	return anypb.New(opts)
}

func fromTOML(generic *runtimeoptions.Options, opts *options.Options) error {
	body, from := generic.ConfigBody, "the options in the engine's configuration"
	if len(body) == 0 {
		if generic.ConfigPath == "" {
			return nil
		}
		from = generic.ConfigPath
		var err error
		if body, err = os.ReadFile(generic.ConfigPath); err != nil {
			return fmt.Errorf("runtime options: %w", err)
		}
	}
	meta, err := toml.Decode(string(body), opts)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return fmt.Errorf("%s: runc's shim has no option %s", from, unknown[0])
	}
	return nil
}
