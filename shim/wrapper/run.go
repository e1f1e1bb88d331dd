// Package wrapper is the OCI runtime wrapper, which stands where runc or crun stood: it reads the runtime's command line,
// lets package hook do what a container's start or exec needs, and becomes the real runtime by execve. Commands that
// start no process, and containers that it did not start, pass byte for byte: arguments, environment, descriptors,
// working directory, limits. It runs no program of its own and writes nothing to standard output.
//
// Two things do not outlive a Go program, and runc is one: of the signals that were ignored only SIGHUP and SIGINT stay
// so, and of those that were blocked, the ones that end a program or that Go needs itself (SIGTERM, SIGCHLD, ...) do
// not. Containers see no difference: crun sets its signals back before it starts one (container.c, unblock_signals).
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

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Host is the node, as far as the wrapper needs it. *hook.Host is one; its methods say what they do.
type Host interface {
	Prepare(ctx context.Context, w hook.Caller, id string, bundle *hook.Bundle) (hook.Outcome, error)
	Start(ctx context.Context, w hook.Caller, id string) (hook.Process, error)
	Exec(ctx context.Context, w hook.Caller, id string) (hook.Process, error)
	Forget(w hook.Caller, id string)
	Drop(w hook.Caller, id string)
	Sweep(w hook.Caller)
	Note(w hook.Caller, n notice.Notice, out hook.Outcome)
}

// Run is the wrapper: argv is its command line, its name included. It becomes the real runtime and returns only when
// that is refused or fails, with the status to exit with.
//
// The caller must be locked to the main thread from its start (runtime.LockOSThread in an init function): what an
// engine set for the runtime's thread, such as the signal it gets when the engine dies (PR_SET_PDEATHSIG), is lost in
// an execve from another one.
func Run(ctx context.Context, host Host, argv, env []string, stderr io.Writer) int {
	if len(argv) == 0 {
		argv = []string{"oci-apparmor-runtime"}
	}
	runtime, err := findRuntime(os.Getenv(RuntimeVar), runtimeNames(argv[0]), runtimeDirs)
	var d Dialect
	var unknown error
	if err == nil {
		d, unknown = dialectAt(runtime)
	}
	args, perr := ParseArgs(d, argv)
	log := args.log(d)
	if !mayStart(argv) {
		unknown = nil // it need not be read
	}
	var out hook.Outcome
	if err = cmp.Or(err, perr, unknown); err == nil {
		if argv, out, err = args.apply(ctx, host, d); out.Warning != "" {
			log.report(stderr, "warning", args.message(out.Warning))
			args.note(host, d, notice.Warning, out.Warning, out)
		}
	}
	if err == nil {
		if filepath.Base(argv[0]) != filepath.Base(runtime) {
			argv[0] = filepath.Base(runtime) // runc prints it, and crun takes a handler's name from it
		}
		err = fmt.Errorf("executing %s: %w", runtime, unix.Exec(runtime, argv, env))
	}
	log.report(stderr, "error", args.message(err.Error()))
	args.note(host, d, notice.Refusal, err.Error(), out)
	return 1
}

// note has the node's log say what the engine's does.
func (a *Args) note(host Host, d Dialect, level notice.Level, text string, out hook.Outcome) {
	w, _ := a.caller(d) // of a line that could not be read to its end, as far as it could
	n := notice.Notice{Level: level, Command: a.Command, ID: a.ID, Message: text}
	if n.Command == "" && commands[a.argv[a.at]].starts {
		n.Command = a.argv[a.at]
	}
	host.Note(w, n, out)
}

// message puts in front of a text whose it is and what of.
func (a *Args) message(text string) string {
	if a.Command == "" {
		return "oci-apparmor: " + text
	}
	return Message(a.Command, a.ID, text)
}

// Message is what a person gets to read about a command (create, start, exec, ...) for a container.
func Message(command, id, text string) string {
	if q := strconv.Quote(id); q != `"`+id+`"` {
		id = q
	}
	return oneline.Printable("oci-apparmor: " + command + " of container " + id + ": " + text)
}

// apply does for a command what must be done before the runtime gets to see it, and gives the command line for the
// runtime. Of the outcome of a command that creates no container there is only the warning.
func (a *Args) apply(ctx context.Context, host Host, d Dialect) (argv []string, out hook.Outcome, err error) {
	if a.Command == "" {
		return slices.Clone(a.argv), out, nil
	}
	w, err := a.caller(d)
	if err != nil {
		return nil, out, err
	}
	argv, out, err = commands[a.Command].act(ctx, host, call{a, d, w})
	if argv == nil && err == nil {
		argv = slices.Clone(a.argv)
	}
	return argv, out, err
}
