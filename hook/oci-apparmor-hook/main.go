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
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
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
	c := call{host: hook.NewHost(), stderr: os.Stderr}
	if err := c.run(context.Background(), os.Args[1:]); err != nil {
		c.say(notice.Refusal, err.Error())
		os.Exit(1)
	}
}

// call is what is known of the call by a runtime, an engine or a person, as it becomes known.
type call struct {
	host   *hook.Host
	stderr io.Writer
	wiring hook.Wiring
	stage  string
	id     string // the container's
	out    hook.Outcome
}

func (c *call) run(ctx context.Context, args []string) error {
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
	c.stage = stage
	flags.StringVar(&c.wiring.Engine, "engine", "", "")
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
	switch c.wiring.Engine {
	case policy.EngineContainerd, policy.EngineCRIO, policy.EngineDocker, policy.EnginePodman, policy.EngineOther:
	default:
		return fmt.Errorf("--engine %q is none of containerd, cri-o, docker, podman", c.wiring.Engine)
	}

	switch stage {
	case "createRuntime", "prestart":
		return c.guard(ctx)
	case "precreate":
		return c.precreate(ctx)
	case "prepare":
		c.id = *id
		return c.prepare(ctx, hook.NewBundle(*bundle))
	}
	return fmt.Errorf("stage %q is none of createRuntime, prestart, precreate, prepare", stage)
}

func (c *call) guard(ctx context.Context) error {
	state, err := readState(os.Stdin)
	if err != nil {
		return err
	}
	c.id = state.ID
	c.out, err = c.host.Guard(ctx, c.wiring, c.id, hook.NewBundle(state.Bundle))
	c.warn()
	return err
}

func (c *call) precreate(ctx context.Context) error {
	config, err := hook.ReadSpec(os.Stdin)
	if err != nil {
		return fmt.Errorf("reading the spec from standard input: %w", err)
	}
	// Podman runs the hook in the bundle, .../ID/userdata; older ones do not, and then there is no id to name.
	var bundle string
	if dir, err := hook.NewBundle(".").Dir(); err == nil && filepath.Base(dir) == "userdata" {
		c.id, bundle = filepath.Base(filepath.Dir(dir)), dir
	}
	config, c.out, err = c.host.Precreate(ctx, c.wiring, c.id, bundle, config)
	c.warn()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(config)
	return err
}

func (c *call) prepare(ctx context.Context, bundle *hook.Bundle) error {
	if c.id == "" {
		dir, err := bundle.Dir()
		if err != nil {
			return err
		}
		c.id = filepath.Base(dir)
	}
	var err error
	c.out, err = c.host.Prepare(ctx, c.wiring, c.id, bundle)
	c.warn()
	if err != nil {
		return err
	}
	label := c.out.Label
	if label == "" {
		label = "the engine's choice"
	}
	fmt.Printf("%s: %s (%s)\n", c.id, label, c.out.Decision.Reason)
	return nil
}
