// demo shows the project's main job on a real container: once in a guest, whose kernel has AppArmor where this
// machine's may not, or on this machine itself (--host).
//
// It is two programs in one. Started by a person it builds and boots the guest and starts itself in there; with
// --inside it tells the story, on whatever machine it is.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
)

func main() {
	host := flag.Bool("host", false, "tell the story on this machine, without a guest")
	inside := flag.Bool("inside", false, "tell the story here, the programs being installed already")
	suite := flag.String("guest", "bookworm", "the guest to boot")
	bin := flag.String("bin", "bin", "directory of the project's programs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	var err error
	switch {
	case *inside:
		err = tell(ctx, "/usr/local/bin")
	case *host:
		err = tell(ctx, *bin)
	default:
		err = boot(ctx, *suite, *bin)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

// programs are what the story uses; all of them are static.
var programs = []string{"oci-apparmor", "oci-apparmor-hook", "oci-apparmor-runtime"}

// boot tells the story in a guest.
func boot(ctx context.Context, suite, bin string) error {
	guests, err := guest.Select(suite)
	if err != nil {
		return err
	}
	fmt.Printf("A small Debian (%s) is booted, because its kernel has AppArmor, and this machine's may not.\n", suite)
	image, err := guests[0].Build(ctx, os.Stdout)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	files := map[string]string{"/usr/local/bin/demo": self}
	for _, p := range programs {
		path := filepath.Join(bin, p)
		if _, err := exec.LookPath(path); err != nil {
			return fmt.Errorf("%w (make build makes it)", err)
		}
		files["/usr/local/bin/"+p] = path
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	result, err := image.Run(ctx, guest.Job{
		Files:   files,
		Command: []string{"/usr/local/bin/demo", "--inside"},
		Output:  os.Stdout, Progress: os.Stdout,
	})
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("it ended with exit code %d", result.ExitCode)
	}
	return err
}
