// oci-apparmor-hook is the OCI hook: createRuntime and prestart (the guard), precreate (Podman), and prepare, for
// people who drive a runtime themselves.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy"
)

const usage = `usage: oci-apparmor-hook STAGE [options]

stages:
  createRuntime   as an OCI hook: the container's state comes on standard input.
  prestart        The profile that the policy gives the container is loaded if it
                  is missing; a container whose spec names another is refused.
  precreate       as a Podman hook: the spec comes on standard input and goes to
                  standard output with its profile.
  prepare         writes the profile into the config.json of the bundle given by
                  --bundle, for a runtime that is started by hand afterwards.

options:
  --engine NAME   containerd, cri-o, docker or podman: whose annotations to trust
  --bundle DIR    prepare: the bundle (the current directory)
  --id ID         prepare: the container's id
`

func main() {
	ctx := context.Background()
	if err := run(ctx, os.Args[1:], hook.NewHost()); err != nil {
		say(err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, host *hook.Host) error {
	if len(args) == 0 {
		return errors.New("no stage given: createRuntime, prestart, precreate or prepare (see --help)")
	}
	stage, args := args[0], args[1:]
	if stage == "--help" || stage == "-h" || stage == "help" {
		fmt.Print(usage)
		return nil
	}
	flags := flag.NewFlagSet("oci-apparmor-hook "+stage, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var w hook.Wiring
	flags.StringVar(&w.Engine, "engine", "", "")
	bundle := flags.String("bundle", ".", "")
	id := flags.String("id", "", "")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Print(usage)
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("stage %s takes no argument %q", stage, flags.Arg(0))
	}
	switch w.Engine {
	case policy.EngineContainerd, policy.EngineCRIO, policy.EngineDocker, policy.EnginePodman, policy.EngineOther:
	default:
		return fmt.Errorf("--engine %q is none of containerd, cri-o, docker, podman", w.Engine)
	}

	switch stage {
	case "createRuntime", "prestart":
		return guard(ctx, host, w)
	case "precreate":
		return precreate(ctx, host, w)
	case "prepare":
		return prepare(ctx, host, w, *id, *bundle)
	}
	return fmt.Errorf("stage %q is none of createRuntime, prestart, precreate, prepare", stage)
}

func guard(ctx context.Context, host *hook.Host, w hook.Wiring) error {
	state, err := readState(os.Stdin)
	if err != nil {
		return err
	}
	out, err := host.Guard(ctx, w, state.ID, state.Bundle)
	return report(state.ID, out, err)
}

func precreate(ctx context.Context, host *hook.Host, w hook.Wiring) error {
	config, err := hook.ReadSpec(os.Stdin)
	if err != nil {
		return err
	}
	// Podman runs the hook in the bundle, .../ID/userdata; older ones do not, and then there is no id to name.
	var id string
	if dir, err := os.Getwd(); err == nil && filepath.Base(dir) == "userdata" {
		id = filepath.Base(filepath.Dir(dir))
	}
	config, out, err := host.Precreate(ctx, w, id, config)
	if err := report(id, out, err); err != nil {
		return err
	}
	_, err = os.Stdout.Write(config)
	return err
}

func prepare(ctx context.Context, host *hook.Host, w hook.Wiring, id, bundle string) error {
	if id == "" {
		dir, err := hook.BundleDir(bundle)
		if err != nil {
			return err
		}
		id = filepath.Base(dir)
	}
	out, err := host.Prepare(ctx, w, id, bundle)
	if err := report(id, out, err); err != nil {
		return err
	}
	label := out.Label
	if label == "" {
		label = "the engine's choice"
	}
	fmt.Printf("%s: %s (%s)\n", id, label, out.Decision.Reason)
	return nil
}

// report names the container in an error and prints a warning.
func report(id string, out hook.Outcome, err error) error {
	if err != nil {
		return fmt.Errorf("container %s: %w", id, err)
	}
	if out.Warning != "" {
		say(fmt.Sprintf("container %s: warning: %s", id, out.Warning))
	}
	return nil
}
