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
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/hook/version"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

const usage = `usage: oci-apparmor-hook STAGE [options]
       oci-apparmor-hook --version

stages:
  createRuntime   as an OCI hook: the container's state comes on standard input.
  prestart        The profile that the policy gives the container is loaded if it
                  is missing; a container whose spec names another is refused.
  precreate       as a Podman hook: the spec comes on standard input and goes to
                  standard output with its profile.
  prepare         writes the profile into the config.json of the bundle given by
                  --bundle, for a runtime that is started by hand afterwards.

options:
  --engine NAME   who started the container: %s
  --bundle DIR    prepare: the bundle (the current directory)
  --id ID         prepare: the container's id
`

func main() {
	c := call{host: hook.NewHost(), stderr: os.Stderr}
	os.Exit(c.call(os.Args[1:]))
}

// call runs a command line, and returns the exit code: 1 if the container is refused, 2 if the command line is wrong.
func (c *call) call(args []string) int {
	err := c.run(context.Background(), args)
	if bad := (commandLine{}); errors.As(err, &bad) {
		fmt.Fprintln(c.stderr, oneline.Printable("oci-apparmor-hook: "+err.Error()))
		return 2
	}
	if err != nil {
		c.say(notice.Refusal, hook.ReasonOf(err), err.Error())
		return 1
	}
	return 0
}

// commandLine is the error for a wrong command line. No container is known then, so nothing was decided and none refused.
type commandLine struct{ error }

func wrong(format string, args ...any) error {
	return commandLine{fmt.Errorf(format+" (see --help)", args...)}
}

// call is a call by a runtime, an engine or a person. Its fields are set as they become known.
type call struct {
	host   *hook.Host
	stderr io.Writer
	caller hook.Caller
	stage  string
	id     string // the container's
	out    hook.Outcome
}

func (c *call) run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return wrong("no stage given: createRuntime, prestart, precreate or prepare")
	}
	stage, args := args[0], args[1:]
	switch stage {
	case "--help", "-h", "help":
		fmt.Printf(usage, strings.Join(engine.Names(), ", "))
		return nil
	case "--version", "version", version.Flag:
		fmt.Println("oci-apparmor-hook", version.String())
		return nil
	case "createRuntime", "prestart", "precreate", "prepare":
	default:
		return wrong("stage %q is none of createRuntime, prestart, precreate, prepare", stage)
	}
	flags := flag.NewFlagSet("oci-apparmor-hook "+stage, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	c.stage = stage
	flags.StringVar(&c.caller.Engine, "engine", "", "")
	bundle := flags.String("bundle", ".", "")
	id := flags.String("id", "", "")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Printf(usage, strings.Join(engine.Names(), ", "))
			return nil
		}
		return wrong("%v", err)
	}
	if flags.NArg() > 0 {
		return wrong("stage %s takes no argument %q", stage, flags.Arg(0))
	}
	if c.caller.Engine != "" && !engine.Known(c.caller.Engine) {
		return wrong("--engine %q: it is one of %s", c.caller.Engine, strings.Join(engine.Names(), ", "))
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
	panic("a stage without its function")
}

func (c *call) guard(ctx context.Context) error {
	state, err := readState(os.Stdin)
	if err != nil {
		return hook.Because(notice.Spec, err)
	}
	c.id = state.ID
	c.out, err = c.host.Guard(ctx, c.caller, c.id, hook.NewBundle(state.Bundle))
	c.warn()
	return c.passed(err)
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
	config, c.out, err = c.host.Precreate(ctx, c.caller, c.id, bundle, config)
	c.warn()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(config)
	return c.passed(err)
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
	c.out, err = c.host.Prepare(ctx, c.caller, c.id, bundle)
	c.warn()
	if err != nil {
		return err
	}
	label := c.out.Label
	if label == "" {
		label = "the engine's choice"
	}
	fmt.Printf("%s: %s (%s)\n", c.id, label, c.out.Decision.Reason)
	return c.passed(nil)
}
