// Package wrapper is the OCI runtime wrapper, which takes the place of runc or crun. It reads the runtime's command line,
// calls package hook for what a container's start or exec needs, and becomes the real runtime by execve. It passes on all
// else byte for byte: arguments, environment, descriptors, working directory, limits. It runs no program of its own and
// writes nothing to standard output (its program does, for its own version).
//
// Two things change in any Go program, and so in runc, too. Of the ignored signals, only SIGHUP and SIGINT stay ignored. Of
// the blocked signals, those that end a program or that Go needs itself (SIGTERM, SIGCHLD, ...) do not stay blocked.
// Containers see no difference, because crun resets its signals before it starts one (container.c, unblock_signals).
package wrapper

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Host is what the wrapper needs of the node. *hook.Host implements it, and documents the methods.
type Host interface {
	Prepare(ctx context.Context, c hook.Caller, id string, bundle *hook.Bundle) (hook.Outcome, error)
	Start(ctx context.Context, c hook.Caller, id string) (hook.Process, error)
	Exec(ctx context.Context, c hook.Caller, id string) (hook.Process, error)
	Forget(c hook.Caller, id string, ran ...hook.Ran)
	Drop(c hook.Caller, id string)
	Sweep(c hook.Caller)
	Note(c hook.Caller, n notice.Notice, out hook.Outcome)
	Passed(c hook.Caller, command string, out hook.Outcome, took time.Duration)
}

// Run is the wrapper. argv is its command line, which begins with its name. Run becomes the real runtime. It returns only
// if the command is refused or the execve fails, and then returns the exit status.
//
// The calling goroutine must have been locked to the main thread in an init function (runtime.LockOSThread). Otherwise the
// execve loses what an engine set for the runtime's thread, such as the signal for the engine's death (PR_SET_PDEATHSIG).
func Run(ctx context.Context, host Host, argv, env []string, stderr io.Writer) int {
	if len(argv) == 0 {
		argv = []string{"oci-apparmor-runtime"}
	}
	runtime, err := findRuntime(os.Getenv(RuntimeVar), runtimeNames(argv[0]), engine.RuntimeDirsFor(argv[0]))
	var d Dialect
	var unknown error
	if err == nil {
		d, unknown = dialectAt(runtime)
	}
	args, perr := ParseArgs(d, argv)
	log := args.log(d)
	if !mayStart(argv) {
		unknown = nil // nobody needs to read the line
	}
	var out hook.Outcome
	err = cmp.Or(hook.Because(notice.Runtime, err), hook.Because(notice.CommandLine, perr), hook.Because(notice.Runtime, unknown))
	if err == nil {
		if argv, out, err = args.apply(ctx, host, d); out.Warning != "" {
			log.report(stderr, "warning", args.message(out.Warning))
			args.note(host, d, notice.Warning, "", out.Warning, out)
		}
	}
	if err == nil {
		args.passed(host, d, out)
		if filepath.Base(argv[0]) != filepath.Base(runtime) {
			argv[0] = filepath.Base(runtime) // runc prints it, and crun takes a handler's name from it
		}
		err = hook.Because(notice.Runtime, fmt.Errorf("executing %s: %w", runtime, unix.Exec(runtime, argv, env)))
	}
	log.report(stderr, "error", args.message(err.Error()))
	args.note(host, d, notice.Refusal, hook.ReasonOf(err), err.Error(), out)
	return 1
}

// passed counts a command that the runtime now sees, with the time that we took for it.
func (a *Args) passed(host Host, d Dialect, out hook.Outcome) {
	if commands[a.Command].starts {
		c, _ := a.caller(d)
		host.Passed(c, a.Command, out, counts.Age())
	}
}

// note writes to the node's log what the engine's log says, and counts it.
func (a *Args) note(host Host, d Dialect, level notice.Level, reason notice.Reason, text string, out hook.Outcome) {
	c, _ := a.caller(d) // after a fault in the line, by the options before it
	n := notice.Notice{Level: level, Command: a.Command, ID: a.ID, Reason: reason, Message: text}
	if n.Command == "" && commands[a.argv[a.at]].starts {
		n.Command = a.argv[a.at]
	}
	host.Note(c, n, out)
}

// message puts the program, the command and the container in front of a text.
func (a *Args) message(text string) string {
	if a.Command == "" {
		return "oci-apparmor: " + text
	}
	return Message(a.Command, a.ID, text)
}

// Message returns text as a person reads it: in one line, after the command (create, start, exec, ...) and the container's
// id.
func Message(command, id, text string) string {
	if q := strconv.Quote(id); q != `"`+id+`"` {
		id = q
	}
	return oneline.Printable("oci-apparmor: " + command + " of container " + id + ": " + text)
}

// apply does for a command what must be done before the runtime sees it. It returns the command line for the runtime. For a
// command that creates no container, the outcome has only the warning and the label.
func (a *Args) apply(ctx context.Context, host Host, d Dialect) (argv []string, out hook.Outcome, err error) {
	if a.Command == "" {
		return slices.Clone(a.argv), out, nil
	}
	caller, err := a.caller(d)
	if err != nil {
		return nil, out, hook.Because(notice.CommandLine, err)
	}
	argv, out, err = commands[a.Command].act(ctx, host, call{a, d, caller})
	if argv == nil && err == nil {
		argv = slices.Clone(a.argv)
	}
	return argv, out, err
}
