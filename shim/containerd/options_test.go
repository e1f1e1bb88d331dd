package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// sent packs options as containerd does: with the message's name for a type URL, and no host before it.
func sent(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	value, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: string(m.ProtoReflect().Descriptor().FullName()), Value: value}
}

func bundle(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOptionsOfRuncArriveUntouched(t *testing.T) {
	any := sent(t, &options.Options{SystemdCgroup: true, BinaryName: "/usr/bin/crun", IoUid: 7})
	// A field that this version of the message does not know.
	any.Value = append(any.Value, 0xa2, 0x06, 1, 'x')
	opts, said, err := runcOptions(any)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := pack(any, opts)
	if err != nil {
		t.Fatal(err)
	}
	if packed != any {
		t.Errorf("packed anew: %v", packed)
	}
	if opts.BinaryName != "/usr/bin/crun" || !opts.SystemdCgroup || said != sentSome {
		t.Errorf("read as %v", opts)
	}
}

func TestOptionsOfOurOwnTypeAreTranslated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shim.toml")
	if err := os.WriteFile(file, []byte("NoNewKeyring = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		sent *anypb.Any
		want *options.Options
		err  string
	}{
		"none": {want: &options.Options{}},
		"our own type, without any": {
			sent: sent(t, &runtimeoptions.Options{}), want: &options.Options{},
		},
		"in the message": {
			sent: sent(t, &runtimeoptions.Options{
				ConfigBody: []byte("SystemdCgroup = true\nBinaryName = \"/usr/bin/crun\"\nIoUid = 3\nRoot = \"/run/r\"\n"),
			}),
			want: &options.Options{SystemdCgroup: true, BinaryName: "/usr/bin/crun", IoUid: 3, Root: "/run/r"},
		},
		"in the message, without the cgroup driver": {
			sent: sent(t, &runtimeoptions.Options{ConfigBody: []byte("NoPivotRoot = true\n")}),
			want: &options.Options{NoPivotRoot: true},
		},
		"in a file": {
			sent: sent(t, &runtimeoptions.Options{ConfigPath: file, TypeUrl: "anything"}),
			want: &options.Options{NoNewKeyring: true},
		},
		"a file that is not there": {
			sent: sent(t, &runtimeoptions.Options{ConfigPath: "/nonexistent/shim.toml"}), err: "/nonexistent/shim.toml",
		},
		"an option that runc has not": {
			sent: sent(t, &runtimeoptions.Options{ConfigBody: []byte("SystemdCgroup = true\nBinaryNmae = \"x\"\n")}), err: "BinaryNmae",
		},
		"no TOML": {
			sent: sent(t, &runtimeoptions.Options{ConfigBody: []byte("NoPivotRoot = true\nSystemdCgroup = \n")}), err: "line 2",
		},
		"all that TOML has for options": {
			sent: sent(t, &runtimeoptions.Options{ConfigBody: []byte(
				"# options\r\n\n  BinaryName = '/opt/a\\b' # literal\r\n\tRoot = \"/run/\\u0041 # \\\"x\\\"\"\nnopivotroot=true # yes\nIoGid = 0\nShimCgroup = \"\"")}),
			want: &options.Options{BinaryName: `/opt/a\b`, Root: `/run/A # "x"`, NoPivotRoot: true},
		},
		"a table": {
			sent: sent(t, &runtimeoptions.Options{ConfigBody: []byte("[options]\nSystemdCgroup = true\n")}), err: "no option options",
		},
		"an option twice": {
			sent: sent(t, &runtimeoptions.Options{ConfigBody: []byte("Root = \"/a\"\nRoot = \"/b\"\n")}), err: "line 2",
		},
		"a string without quotes": {
			sent: sent(t, &runtimeoptions.Options{ConfigBody: []byte("Root = /a\n")}), err: "line 1",
		},
		"a string that does not end": {
			sent: sent(t, &runtimeoptions.Options{ConfigBody: []byte("Root = 'a\n")}), err: "line 1",
		},
		"a number that is too large": {
			sent: sent(t, &runtimeoptions.Options{ConfigBody: []byte("IoUid = 4294967296\n")}), err: "IoUid",
		},
		"a value of another kind": {
			sent: sent(t, &runtimeoptions.Options{ConfigBody: []byte("SystemdCgroup = \"yes\"\n")}), err: "SystemdCgroup",
		},
		"our own wrapper for a runtime": {
			sent: sent(t, &options.Options{BinaryName: wrapperAt(t)}), err: "this shim does its work",
		},
		"our own wrapper for a runtime, in TOML": {
			sent: sent(t, &runtimeoptions.Options{ConfigBody: fmt.Appendf(nil, "BinaryName = %q\n", wrapperAt(t))}), err: "this shim does its work",
		},
		"another type": {
			sent: &anypb.Any{TypeUrl: "example.org/v1.Options", Value: []byte{1}}, err: `"example.org/v1.Options"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts, _, err := runcOptions(c.sent)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("gave %v, want an error of one line with %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(opts, c.want) {
				t.Errorf("gave %v, want %v", opts, c.want)
			}
			packed, err := pack(c.sent, opts)
			if err != nil {
				t.Fatal(err)
			}
			got := new(options.Options)
			if packed != nil {
				err = packed.UnmarshalTo(got)
			}
			if err != nil || !proto.Equal(got, c.want) {
				t.Errorf("containerd's shim would get %v (%v)", packed, err)
			}
		})
	}
	if _, said, err := runcOptions(sent(t, &emptypb.Empty{})); err != nil || said != sentNone {
		t.Errorf("a message without anything in it: %v", err)
	}
}

// wrapperAt makes a link as shim/README.md has it, to a file in the OCI runtime wrapper's place.
func wrapperAt(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	link := filepath.Join(dir, "runc")
	if err := os.WriteFile(filepath.Join(dir, "oci-apparmor-runtime"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("oci-apparmor-runtime", link); err != nil {
		t.Fatal(err)
	}
	return link
}

// Whatever comes for options, Create must not end the shim, which serves a whole pod.
func FuzzOptions(f *testing.F) {
	f.Add("containerd.runc.v1.Options", []byte{1, 2, 3})
	f.Add("runtimeoptions.v1.Options", []byte("\x1a\x11SystemdCgroup = 1\n"))
	f.Fuzz(func(t *testing.T, url string, value []byte) {
		any := &anypb.Any{TypeUrl: url, Value: value}
		opts, _, err := runcOptions(any)
		if err != nil {
			return
		}
		packed, err := pack(any, opts)
		if err != nil {
			t.Fatal(err)
		}
		if packed != nil && len(packed.Value) > 0 && !packed.MessageIs(opts) {
			t.Error(fmt.Sprint("containerd's shim would not take ", packed))
		}
	})
}
