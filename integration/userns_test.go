package integration

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// mapped is the first of the host's ids that a container in a user namespace has; 65,536 of them.
const mapped = 100000

// inUserNamespace gives a container a user namespace, as pods with hostUsers: false and Docker's userns-remap have it.
func inUserNamespace(s *specs.Spec) {
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: mapped, Size: 65536}}
	s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
}

func taskInAUserNamespace(t *testing.T, c *guesttest.Containerd) {
	arm := guesttest.Shim
	k := prepareTask(t, c, arm)
	k.create(t, arm, "web", inUserNamespace)
	openTo(t, k.rootfs, mapped)
	if _, err := k.tasks.CreateTask(t, k.ID, arm, ""); err != nil {
		t.Fatal(err)
	}
	if err := k.tasks.StartTask(t, k.ID); err != nil {
		t.Fatal(err)
	}
	wantTaskConfined(t, k, webTries, "web")
	wantTaskExecConfined(t, k, webTries, "web")
	info, err := os.Stat(fmt.Sprintf("/proc/%d/ns/user", k.pid(t)))
	host, err2 := os.Stat("/proc/self/ns/user")
	if err != nil || err2 != nil || os.SameFile(info, host) {
		t.Errorf("its process is in the host's user namespace (%v, %v)", err, err2)
	}
	k.remove(t)
}

// openTo gives a tree to an id, and lets it in from the root directory on.
func openTo(t *testing.T, dir string, id int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, id, id)
	})
	for parent := filepath.Dir(dir); err == nil && parent != "/"; parent = filepath.Dir(parent) {
		var info fs.FileInfo
		if info, err = os.Stat(parent); err == nil {
			err = os.Chmod(parent, info.Mode().Perm()|0o011)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What containerd asks a shim about its runtime has the same answer from ours as from the stock one of the same version,
// and for a runtime type of our own as for runc's.
func TestContainerdFeatures(t *testing.T) {
	setPolicy(t, webPolicy)
	var stock string
	for _, v := range guesttest.Containerds(t) {
		if v.Bin != "/usr/bin" {
			stock = filepath.Join(v.Bin, "containerd-shim-runc-v2")
		}
	}
	if stock == "" {
		t.Skip("this guest has no stock shim of the version that ours is made of")
	}
	for _, runtime := range []string{"", "/usr/bin/crun"} {
		own := &options.Options{BinaryName: runtime, SystemdCgroup: true}
		want := info(t, stock, own)
		generic := &runtimeoptions.Options{ConfigBody: fmt.Appendf(nil, "BinaryName = %q\nSystemdCgroup = true\n", runtime)}
		for kind, sent := range map[string]proto.Message{"runc's own options": own, "options of our own type": generic} {
			got := info(t, guesttest.OurShim, sent)
			if want.Features == nil || !proto.Equal(got.Features, want.Features) {
				t.Errorf("runtime %q, %s: features\n%v, want\n%v", runtime, kind, got.Features, want.Features)
			}
			if !proto.Equal(got.Options, want.Options) {
				t.Errorf("runtime %q, %s: options %v, want %v", runtime, kind, got.Options, want.Options)
			}
		}
	}
}

// info returns what a shim tells of its runtime for some options.
func info(t *testing.T, shim string, opts proto.Message) *types.RuntimeInfo {
	t.Helper()
	value, err := proto.Marshal(opts)
	if err != nil {
		t.Fatal(err)
	}
	input, err := proto.Marshal(&anypb.Any{TypeUrl: string(opts.ProtoReflect().Descriptor().FullName()), Value: value})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(shim, "-info")
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	output, err := cmd.Output()
	answer := new(types.RuntimeInfo)
	if err == nil {
		err = proto.Unmarshal(output, answer)
	}
	if err != nil {
		t.Fatalf("%s -info: %v\n%s", shim, err, stderr.String())
	}
	return answer
}
