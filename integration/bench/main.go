// bench measures what the project adds to a container's start. Figures are ratios taken within one run: on this machine
// with a directory standing in for the kernel, and in a guest with a real kernel, where everything is slower, though not
// everything alike.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
)

func main() {
	inside := flag.Bool("inside", false, "measure with this machine's own AppArmor kernel")
	fast := flag.Bool("fast", false, "with --inside: measure the parts of the fast guest")
	suite := flag.String("guest", "trixie", "the guest to boot; empty for none")
	bin := flag.String("bin", "bin", "directory of the project's programs")
	old := flag.String("old", "", "directory of an older build's programs, which are compared with these in turn")
	flag.StringVar(&only, "only", "", "measure only the parts with these names, with commas between them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, *inside, *fast, *suite, *bin, *old)
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
	if missed > 0 {
		fmt.Printf("%d figures are over their marks\n", missed)
	}
}

// A part is a thing to measure.
type part struct {
	name    string
	measure func() error
}

// only names the parts that are measured; all are where it is empty.
var only string

func chosen(name string) bool { return only == "" || slices.Contains(splitOnly(), name) }

func splitOnly() []string { return strings.Split(only, ",") }

func measureParts(parts ...part) error {
	for _, p := range parts {
		if !chosen(p.name) {
			continue
		}
		if err := p.measure(); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func run(ctx context.Context, inside, fast bool, suite, bin, old string) error {
	if os.Geteuid() != 0 {
		return errors.New("starting containers takes root")
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	if old != "" {
		if old, err = filepath.Abs(old); err != nil {
			return err
		}
	}
	if inside {
		return inGuest(bin, old, fast)
	}
	dir, err := os.MkdirTemp("/run", "bench") // where engines keep bundles
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, p := range []string{"empty", "twin", "counted"} {
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "runc-"+p),
			"./integration/bench/"+p) // the wrapper takes nothing else for a runtime
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return err
		}
	}
	var with containerdPrograms
	if chosen("shim") || chosen("ctr") || chosen("pods") || chosen("old") && old != "" {
		if with, err = buildContainerd(ctx); err != nil {
			return err
		}
	}
	fmt.Println("== This machine, a directory standing in for the kernel")
	if err := onHost(bin, old, dir, with); err != nil {
		return err
	}
	if suite == "" {
		return nil
	}
	if slices.ContainsFunc(splitOnly(), func(name string) bool { return !slices.Contains(inFast, name) }) {
		if err := boot(ctx, suite, bin, old, dir, with, false); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(inFast, chosen) {
		return boot(ctx, fastSuite, bin, "", dir, with, true)
	}
	return nil
}

// fastSuite is the guest whose kernel runs in user mode, and not in emulation: it makes 2,000 denials a second. inFast are the parts
// that are measured there.
const fastSuite = "forky"

var inFast = []string{"agent", "pods", "follow"}

var programs = []string{"oci-apparmor", "oci-apparmor-hook", "oci-apparmor-runtime", "containerd-shim-apparmor-v2"}

// boot measures in a guest: the parts of the fast one, or the others.
func boot(ctx context.Context, suite, bin, old, dir string, with containerdPrograms, fast bool) error {
	guests, err := guest.Select(suite)
	if err != nil {
		return err
	}
	image, err := guests[0].Build(ctx, os.Stderr)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	files := map[string]string{"/usr/local/bin/bench": self, "/usr/local/bin/runc-empty": filepath.Join(dir, "runc-empty")}
	command := []string{"/usr/local/bin/bench", "--inside", "--bin", "/usr/local/bin", "--only", only}
	const olds = "/usr/local/old"
	if old != "" {
		command = append(command, "--old", olds)
	}
	for _, p := range programs {
		files["/usr/local/bin/"+p] = filepath.Join(bin, p)
		if old != "" {
			files[olds+"/"+p] = filepath.Join(old, p)
		}
	}
	var kernel []string
	if fast {
		kernel = append(kernel, "audit_backlog_limit=8192") // as Debian's audit.rules has it: by the kernel's own 64 it is the kernel that waits
		command = append(command, "--fast")
		if err := addFast(ctx, dir, files); err != nil {
			return err
		}
	}
	if with.bin != "" {
		files[inGuestPrograms.bin] = with.bin
		files[inGuestPrograms.shims] = with.shims
	}
	fmt.Printf("== Guest %s, its real kernel\n", suite)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	result, err := image.Run(ctx, guest.Job{
		Files: files, Command: command, KernelArgs: kernel, Output: os.Stdout, Progress: os.Stderr,
	})
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("measuring in the guest ended with exit code %d", result.ExitCode)
	}
	return err
}

// addFast adds the files that the parts of the fast guest need.
func addFast(ctx context.Context, dir string, files map[string]string) error {
	probe := filepath.Join(dir, "probe")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", probe, "./integration/probe")
	build.Stderr, build.Env = os.Stderr, append(os.Environ(), "CGO_ENABLED=0") // a container has no libraries
	if err := build.Run(); err != nil {
		return err
	}
	files["/usr/local/bin/probe"] = probe
	if !chosen("follow") {
		return nil
	}
	auditd, err := auditdFiles(ctx)
	maps.Copy(files, auditd)
	return err
}
