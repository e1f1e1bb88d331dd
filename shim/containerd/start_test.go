package containerd

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"google.golang.org/protobuf/proto"
)

// starter is a shim whose Start only notes what it was asked for.
type starter struct {
	shim.Shim
	params    *bootapi.BootstrapParams
	namespace string
}

func (s *starter) Start(ctx context.Context, params *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	s.params = params
	s.namespace, _ = namespaces.Namespace(ctx)
	return &bootapi.BootstrapResult{Version: 3, Protocol: "ttrpc", Address: "unix:///run/containerd/s/abc"}, nil
}

// start runs serveOldStart with a standard input, and gives its standard output and what is left of the input.
func start(t *testing.T, s *starter, input []byte, argv ...string) (served bool, stdout, left string) {
	t.Helper()
	t.Chdir(t.TempDir())
	stdin, out := os.Stdin, os.Stdout
	defer func() { os.Stdin, os.Stdout = stdin, out }()
	var err error
	if os.Stdin, err = replay(input); err != nil {
		t.Fatal(err)
	}
	answer := filepath.Join(t.TempDir(), "stdout")
	if os.Stdout, err = os.Create(answer); err != nil {
		t.Fatal(err)
	}
	c, err := parseCall(argv)
	if err != nil {
		t.Fatal(err)
	}
	if served, err = c.serveOldStart(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	os.Stdout.Close()
	text, err := os.ReadFile(answer)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(os.Stdin)
	if err != nil {
		t.Fatal(err)
	}
	return served, string(text), string(rest)
}

func TestStartInTheProtocolBefore23(t *testing.T) {
	opts, err := proto.Marshal(sent(t, &options.Options{ShimCgroup: "/shims"}))
	if err != nil {
		t.Fatal(err)
	}
	for name, input := range map[string][]byte{"with options": opts, "without": nil} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TTRPC_ADDRESS", "/run/containerd/containerd.sock.ttrpc")
			s := new(starter)
			served, stdout, _ := start(t, s, input, "shim", "-namespace", "k8s.io", "-address", "/run/containerd/containerd.sock",
				"-publish-binary", "/usr/bin/containerd", "-id", "pod", "start")
			if !served || stdout != "unix:///run/containerd/s/abc" {
				t.Fatalf("served %t, and answered %q, want the plain address", served, stdout)
			}
			if got, err := os.ReadFile("address"); err != nil || string(got) != stdout {
				t.Errorf("the bundle's file address has %q (%v)", got, err)
			}
			if s.namespace != "k8s.io" || s.params.InstanceID != "pod" ||
				s.params.ContainerdGrpcAddress != "/run/containerd/containerd.sock" ||
				s.params.ContainerdTtrpcAddress != "/run/containerd/containerd.sock.ttrpc" ||
				s.params.LogLevel != bootapi.LogLevel_LOG_LEVEL_INFO {
				t.Errorf("namespace %q, %v", s.namespace, s.params)
			}
			got := new(options.Options)
			if found, err := s.params.FindExtension(got); err != nil || found != (input != nil) || found && got.ShimCgroup != "/shims" {
				t.Errorf("options found %t (%v): %v", found, err, got)
			}
		})
	}
	s := new(starter)
	start(t, s, nil, "shim", "-namespace", "n", "-id", "i", "-debug", "start")
	if s.params.LogLevel != bootapi.LogLevel_LOG_LEVEL_DEBUG {
		t.Errorf("-debug gives log level %v", s.params.LogLevel)
	}
}

func TestStartInTheProtocolSince23IsLeftToContainerd(t *testing.T) {
	input, err := proto.Marshal(&bootapi.BootstrapParams{InstanceID: "pod", Namespace: "k8s.io", ContainerdVersion: "2.4.2"})
	if err != nil {
		t.Fatal(err)
	}
	s := new(starter)
	served, stdout, left := start(t, s, input, "shim", "-namespace", "k8s.io", "-id", "pod", "start")
	if served || stdout != "" || s.params != nil {
		t.Errorf("served %t with %q", served, stdout)
	}
	if left != string(input) {
		t.Errorf("standard input has %q left for containerd's code, want %q", left, input)
	}
}

func TestOptionsAreNotTakenForParams(t *testing.T) {
	// An Any whose type is the call's id, as a container may be named.
	input, err := proto.Marshal(sent(t, &options.Options{BinaryName: "x"}))
	if err != nil {
		t.Fatal(err)
	}
	c := call{id: "containerd.runc.v1.Options", namespace: "default"}
	if c.isBootstrap(input) {
		t.Error("options were taken for BootstrapParams")
	}
}

func TestParseCall(t *testing.T) {
	for _, c := range []struct {
		argv   []string
		want   string
		serves bool
	}{
		{[]string{"shim", "-namespace", "n", "-id", "start", "-address", "a"}, "", true},
		{[]string{"shim", "-namespace", "n", "-id", "i", "start"}, "start", false},
		{[]string{"shim", "--namespace=n", "--id=i", "--debug", "--bundle=b", "delete"}, "delete", false},
		{[]string{"shim", "-v", "start"}, "", false},
		{[]string{"shim", "-namespace", "n", "-info"}, "", false},
	} {
		got, err := parseCall(c.argv)
		if err != nil || got.action != c.want || got.serves != c.serves {
			t.Errorf("%q: action %q, serves: %v (%v), want %q, %v", c.argv, got.action, got.serves, err, c.want, c.serves)
		}
	}
	if _, err := parseCall([]string{"shim", "-nosuch"}); err == nil {
		t.Error("an option that shims have not is taken")
	}
}
