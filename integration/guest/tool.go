package guest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Tool is programs of a Go module. No suite has them in the version that tests need.
type Tool struct {
	Module, Version string
	Packages        []string          // paths of the programs' packages, relative to the module
	Tags            string            // build tags, separated by commas
	C               map[string]string // name of a program in C → directory of its sources, relative to the module
}

// Containerd24 is the present containerd: its daemon, its client ctr and its shim for runc. The tags leave out parts
// that no test uses and that need cgo, or another minute to build.
var Containerd24 = Tool{
	Module:   "github.com/containerd/containerd/v2",
	Version:  "v2.4.2",
	Packages: []string{"cmd/containerd", "cmd/ctr", "cmd/containerd-shim-runc-v2"},
	Tags:     "no_btrfs,no_devmapper,no_tracing,no_zfs",
}

// Shim24 is containerd's shim for runc, in the version that our own shim is made of. It is built with the flags and
// tags of our programs, so that tests can compare the two.
var Shim24 = Tool{
	Module:   Containerd24.Module,
	Version:  Containerd24.Version,
	Packages: []string{"cmd/containerd-shim-runc-v2"},
	Tags:     "no_grpc",
}

// Nerdctl is Docker's command line for containerd. It is the last version that builds without replacing modules.
var Nerdctl = Tool{Module: "github.com/containerd/nerdctl/v2", Version: "v2.0.4", Packages: []string{"cmd/nerdctl"}}

// CRIO is CRI-O, and pinns, which holds the namespaces of its pods. No later version of the module is served by the module
// proxy. The tags leave out what needs cgo, as seccomp does, and have AppArmor in.
var CRIO = Tool{
	Module:   "github.com/cri-o/cri-o",
	Version:  "v1.34.0",
	Packages: []string{"cmd/crio"},
	Tags:     "apparmor,containers_image_openpgp,exclude_graphdriver_btrfs",
	C:        map[string]string{"pinns": "pinns/src"},
}

// Crictl is a client of CRI, by which CRI-O is asked and probed. It is of CRI-O's version.
var Crictl = Tool{Module: "sigs.k8s.io/cri-tools", Version: "v1.34.0", Packages: []string{"cmd/crictl"}}

// Kubernetes is the control plane and the kubelet. It takes some ten minutes of a processor to build. Kubectl is Debian's.
var Kubernetes = Tool{
	Module:   "k8s.io/kubernetes",
	Version:  "v1.34.2",
	Packages: []string{"cmd/kube-apiserver", "cmd/kube-controller-manager", "cmd/kube-scheduler", "cmd/kubelet"},
}

// Helm renders and checks the chart in install/kubernetes.
var Helm = Tool{Module: "helm.sh/helm/v3", Version: "v3.22.0", Packages: []string{"cmd/helm"}}

// Build returns a directory with the tool's programs, linked statically for linux/amd64. It takes them from the cache,
// or builds them in a module of their own, which takes a minute or more. The modules that Kubernetes' own go.mod replaces by
// its directory staging are taken in the versions that were published with it. The outcome depends neither on the module that
// this code is in, nor on the flags that this code is built with.
func (tool Tool) Build(ctx context.Context, progress io.Writer) (dir string, err error) {
	name := filepath.Base(tool.Packages[0]) + "-" + tool.Version
	defer func() {
		if err != nil {
			err = fmt.Errorf("building %s: %w", name, err)
		}
	}()
	guests, err := cacheDir()
	if err != nil {
		return "", err
	}
	cache := filepath.Join(filepath.Dir(guests), "tools")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	dir = filepath.Join(cache, name+"-"+fmt.Sprintf("%x", sha256.Sum256(fmt.Appendln(nil, recipe, tool)))[:12])
	if exists(dir) {
		return dir, nil
	}
	lock, err := lockFile(ctx, dir+".lock", // its own, since some tools take ten minutes
		func() { fmt.Fprintf(progress, "%s: waiting for another build to finish\n", name) })
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if exists(dir) {
		return dir, nil
	}
	fmt.Fprintf(progress, "%s: not built yet; it takes a minute or more and is kept in %s\n", name, dir)
	began := time.Now()
	half, err := os.MkdirTemp(cache, "building-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(half)
	module, err := os.MkdirTemp(cache, "module-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(module)
	if err := tool.compile(ctx, module, half); err != nil {
		return "", err
	}
	if err := os.Chmod(half, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(half, dir); err != nil {
		return "", err
	}
	fmt.Fprintf(progress, "%s: built (%.1f s)\n", name, time.Since(began).Seconds())
	return dir, nil
}

// compile builds the tool's programs in a module of their own, which it makes in a directory.
func (tool Tool) compile(ctx context.Context, module, to string) error {
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = module
		// GOFLAGS is set, since where it is empty go takes those that go env -w has kept.
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=-trimpath", "GOWORK=off")
		return cmd
	}
	// go install PACKAGE@VERSION would ask for the list of the module's versions, which not every mirror has.
	own := fmt.Sprintf("module tool\n\ngo 1.25\n\nrequire %s %s\n", tool.Module, tool.Version)
	if err := os.WriteFile(filepath.Join(module, "go.mod"), []byte(own), 0o644); err != nil {
		return err
	}
	var sources struct{ Dir, GoMod string }
	if err := fromJSON(command("mod", "download", "-json", tool.Module+"@"+tool.Version), &sources); err != nil {
		return err // which has go's error in JSON
	}
	// The replacements of a module's own go.mod count for the module alone.
	var needs struct {
		Require []struct{ Path, Version string }
	}
	if err := fromJSON(command("mod", "edit", "-json", sources.GoMod), &needs); err != nil {
		return err
	}
	for _, n := range needs.Require {
		if tool.Module == Kubernetes.Module && n.Version == stagingVersion {
			own += fmt.Sprintf("replace %s %s => %s %s\n", n.Path, n.Version, n.Path, staged(tool.Version))
		}
	}
	if err := os.WriteFile(filepath.Join(module, "go.mod"), []byte(own), 0o644); err != nil {
		return err
	}
	// The checksum database lacks some versions that have no tag. The module itself, whose own sum is in the database,
	// has the sums of what it needs.
	sums, err := os.ReadFile(filepath.Join(sources.Dir, "go.sum"))
	if err == nil {
		err = os.WriteFile(filepath.Join(module, "go.sum"), sums, 0o644)
	}
	if err != nil {
		return err
	}
	args := []string{"build", "-mod=mod", "-buildvcs=false", "-ldflags", "-s -w" + tool.stamp(), "-tags", tool.Tags, "-o", to + "/"}
	for _, p := range tool.Packages {
		args = append(args, tool.Module+"/"+p)
	}
	if err := run(command(args...)); err != nil {
		return err
	}
	for name, dir := range tool.C {
		files, err := filepath.Glob(filepath.Join(sources.Dir, dir, "*.c"))
		if err != nil {
			return err
		}
		args := append([]string{"-static", "-O2", "-s", "-o", filepath.Join(to, name)}, files...)
		if err := run(exec.CommandContext(ctx, "gcc", args...)); err != nil {
			return fmt.Errorf("%s, which needs gcc and libc6-dev: %w", name, err)
		}
	}
	return nil
}

// fromJSON runs a command, and decodes its output into a value.
func fromJSON(cmd *exec.Cmd, value any) error {
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// stagingVersion is that which the go.mod of k8s.io/kubernetes gives to the modules of its directory staging.
const stagingVersion = "v0.0.0"

// staged returns the version under which the modules of Kubernetes' directory staging are published together with that
// version of Kubernetes itself: v0.34.2 for v1.34.2.
func staged(version string) string { return "v0" + strings.TrimPrefix(version, "v1") }

// stamp returns flags for the linker by which the programs tell their version: the kubelet tells the API server, and who asks
// kubectl for nodes sees it.
func (tool Tool) stamp() (flags string) {
	if tool.Module != Kubernetes.Module {
		return ""
	}
	numbers := strings.Split(strings.TrimPrefix(tool.Version, "v"), ".")
	for _, v := range [][2]string{{"gitVersion", tool.Version}, {"gitMajor", numbers[0]}, {"gitMinor", numbers[1]}} {
		flags += fmt.Sprintf(" -X k8s.io/component-base/version.%s=%s", v[0], v[1])
	}
	return flags
}
