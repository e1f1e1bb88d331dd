// Command oci-apparmor is for the operator of a node: it checks the policy file, puts it in force, and reports what is in
// force and what would become of a container. It loads profiles by hand, removes them, and reports how AppArmor stands. Its
// exit codes are those of command.Run.
package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	os.Exit(command.Run(ctx, os.Args[1:]))
}
