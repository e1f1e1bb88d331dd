package containerd

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// maxInput is how much a shim reads of its standard input, in bytes. It is the limit of containerd's own shim.
const maxInput = 10 << 20

// call is a shim's command line (containerd v2.4, pkg/shim/shim.go): the part that is needed here.
type call struct {
	id, namespace, address string
	debug                  bool
	action                 string
	serves                 bool // it is the server of a container or pod
}

func parseCall(argv []string) (call, error) {
	var c call
	var info, version bool
	flags := flag.NewFlagSet(argv[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&c.debug, "debug", false, "")
	flags.BoolVar(&version, "v", false, "")
	flags.BoolVar(&version, "version", false, "")
	flags.BoolVar(&info, "info", false, "")
	flags.StringVar(&c.id, "id", "", "")
	flags.StringVar(&c.namespace, "namespace", "", "")
	flags.StringVar(&c.address, "address", "", "")
	for _, name := range []string{"socket", "debug-socket", "bundle", "publish-binary"} {
		flags.String(name, "", "")
	}
	if err := flags.Parse(argv[1:]); err != nil {
		return call{}, err
	}
	if !info && !version {
		c.action = flags.Arg(0)
		c.serves = c.action == "" && c.namespace != ""
	}
	return c, nil
}

// serveOldStart answers a start in the protocol of containerd 1.6 to 2.2. served is false if the call has the newer
// protocol.
//
// The old versions send the runtime's options, or nothing, and read the plain address of the shim's socket. From 2.3 on
// containerd sends BootstrapParams. containerd's own code answers those, so serveOldStart puts standard input back for it.
func (c call) serveOldStart(ctx context.Context, m shim.Shim) (served bool, err error) {
	input, err := io.ReadAll(io.LimitReader(os.Stdin, maxInput))
	if err != nil {
		return false, fmt.Errorf("reading standard input: %w", err)
	}
	if c.isBootstrap(input) {
		os.Stdin, err = replay(input)
		return false, err
	}
	if c.namespace == "" {
		return false, fmt.Errorf("shim namespace cannot be empty")
	}
	params := &bootapi.BootstrapParams{
		InstanceID:             c.id,
		Namespace:              c.namespace,
		LogLevel:               bootapi.LogLevel_LOG_LEVEL_INFO,
		ContainerdGrpcAddress:  c.address,
		ContainerdTtrpcAddress: os.Getenv("TTRPC_ADDRESS"),
	}
	if c.debug {
		params.LogLevel = bootapi.LogLevel_LOG_LEVEL_DEBUG
	}
	if len(input) > 0 {
		options := new(anypb.Any)
		if err := proto.Unmarshal(input, options); err != nil {
			return false, fmt.Errorf("the runtime options on standard input: %w", err)
		}
		params.Extensions = []*bootapi.Extension{{Value: options}}
	}
	result, err := m.Start(namespaces.WithNamespace(ctx, c.namespace), params)
	if err != nil {
		return false, err
	}
	// The shim's server finds the socket by this file in the bundle. So does containerd's cleanup after a shim that died.
	if err := safefile.Replace("address", []byte(result.Address), safefile.Options{}); err != nil {
		return false, err
	}
	_, err = os.Stdout.WriteString(result.Address)
	return true, err
}

// isBootstrap reports whether input is BootstrapParams and not the options of an older version. It checks what containerd's
// own shim checks. Options are an Any, whose fields 1 and 2 are a type and bytes. In the same place, BootstrapParams has
// the id and the namespace of the call.
func (c call) isBootstrap(input []byte) bool {
	params := new(bootapi.BootstrapParams)
	return len(input) > 0 && proto.Unmarshal(input, params) == nil &&
		params.InstanceID == c.id && params.Namespace == c.namespace
}

// replay returns a file from which data can be read once.
func replay(data []byte) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer w.Close()
		io.Copy(w, bytes.NewReader(data))
	}()
	return r, nil
}
