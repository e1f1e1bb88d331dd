// bench measures what the project adds to a container's start. Figures are ratios taken within one run: on this machine
// with a directory standing in for the kernel, and in a guest with a real kernel, where everything is slower, though not
// everything alike.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
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
	suite := flag.String("guest", "trixie", "the guest to boot; empty for none")
	bin := flag.String("bin", "bin", "directory of the project's programs")
	old := flag.String("old", "", "directory of an older build's programs, which are compared with these in turn")
	flag.StringVar(&only, "only", "", "measure only the parts with these names, with commas between them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, *inside, *suite, *bin, *old)
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

func chosen(name string) bool { return only == "" || slices.Contains(strings.Split(only, ","), name) }

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

func run(ctx context.Context, inside bool, suite, bin, old string) error {
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
		return inGuest(bin, old)
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
	if chosen("shim") || chosen("ctr") || chosen("old") && old != "" {
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
	if only != "follow" {
		if err := boot(ctx, suite, bin, old, dir, with); err != nil {
			return err
		}
	}
	if chosen("follow") && suite != followSuite {
		only = "follow"
		return boot(ctx, followSuite, bin, "", dir, containerdPrograms{})
	}
	return nil
}

var programs = []string{"oci-apparmor", "oci-apparmor-hook", "oci-apparmor-runtime", "containerd-shim-apparmor-v2"}

// boot measures in a guest.
func boot(ctx context.Context, suite, bin, old, dir string, with containerdPrograms) error {
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
	if with.bin != "" {
		files[inGuestPrograms.bin] = with.bin
		files[inGuestPrograms.shims] = with.shims
	}
	fmt.Printf("== Guest %s, its real kernel\n", suite)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	result, err := image.Run(ctx, guest.Job{
		Files: files, Command: command, Output: os.Stdout, Progress: os.Stderr,
	})
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("measuring in the guest ended with exit code %d", result.ExitCode)
	}
	return err
}
