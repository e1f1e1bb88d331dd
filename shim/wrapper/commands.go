package wrapper

import (
	"cmp"
	"context"
	"errors"
	"os"
	"strconv"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
)

// command is a command of the runtime that we act on. All others pass.
type command struct {
	// runc and crun are its options in the form that the function options reads: those of runc 1.0 to 1.6 (COMMAND.go of
	// github.com/opencontainers/runc), and of crun 0.15 to 1.29 (src/COMMAND.c of github.com/containers/crun).
	runc, crun string

	// starts is true if the command brings a process into a container. We refuse a line that may be such a command and
	// that we cannot read.
	starts bool

	// act does what must be done before the runtime sees the command. It returns the command line for the runtime, or nil
	// if that stays as it is.
	act func(ctx context.Context, host Host, c call) (argv []string, out hook.Outcome, err error)
}

// call is a command line, how it was read, and who calls.
type call struct {
	*Args
	dialect Dialect
	caller  hook.Caller
}

// commands has them by name. A new one is one row. TestEveryCommandIsKnown lists the runtimes' commands that need none.
var commands = map[string]command{
	"create": {
		runc:   "bundle/b= console-socket= pidfd-socket= pid-file= no-pivot no-new-keyring preserve-fds=",
		crun:   "bundle/b= config/f= console-socket= preserve-fds= no-pivot pid-file= no-subreaper no-new-keyring",
		starts: true, act: create,
	},
	"run": {
		runc:   "bundle/b= console-socket= pidfd-socket= pid-file= no-pivot no-new-keyring preserve-fds= detach/d keep no-subreaper",
		crun:   "bundle/b= config/f= console-socket= preserve-fds= no-pivot pid-file= no-subreaper no-new-keyring detach/d keep",
		starts: true, act: run,
	},
	"start": {starts: true, act: start},
	"restore": {
		runc: "bundle/b= console-socket= image-path= work-path= tcp-established ext-unix-sk shell-job file-locks " +
			"manage-cgroups-mode= detach/d pid-file= no-subreaper no-pivot empty-ns= auto-dedup lazy-pages lsm-profile= " +
			"lsm-mount-context=",
		crun: "bundle/b= image-path= work-path= tcp-established tcp-close ext-unix-sk shell-job detach/d pid-file= " +
			"console-socket= file-locks manage-cgroups-mode= network-lock+ lsm-profile= lsm-mount-context=",
		starts: true, act: restore,
	},
	"exec": {
		runc: "console-socket= pidfd-socket= cwd= env/e= tty/t user/u= additional-gids/g= process/p= detach/d " +
			"pid-file= process-label= apparmor= no-new-privs cap/c= preserve-fds= cgroup= ignore-paused no-subreaper",
		crun: "console-socket= tty/t? process/p= cwd= cgroup= detach/d user/u= env/e= cap/c= pid-file= preserve-fds= " +
			"no-new-privs process-label= apparmor=",
		starts: true, act: execute,
	},
	"delete": {runc: "force/f", crun: "force/f regex/r", act: remove},
}

// options returns all options of the command in a dialect.
func (c command) options(d Dialect) string {
	if d == Crun {
		return c.crun + argpOptions
	}
	return c.runc + runcInherited
}

func create(ctx context.Context, host Host, c call) (argv []string, out hook.Outcome, err error) {
	dir, _ := c.option("bundle")
	out, err = host.Prepare(ctx, c.caller, c.ID, hook.NewBundle(cmp.Or(dir, ".")))
	return nil, out, err
}

func run(ctx context.Context, host Host, c call) (argv []string, out hook.Outcome, err error) {
	host.Sweep(c.caller) // of containers that an earlier run deleted by itself
	return create(ctx, host, c)
}

func restore(ctx context.Context, host Host, c call) (argv []string, out hook.Outcome, err error) {
	if _, out, err = create(ctx, host, c); err == nil && out.Label != "" {
		// CRIU restores the processes under the label that they had, unless it is given this option.
		argv = c.withOption("lsm-profile", "apparmor:"+out.Label)
	}
	return argv, out, err
}

func start(ctx context.Context, host Host, c call) (argv []string, out hook.Outcome, err error) {
	p, err := host.Start(ctx, c.caller, c.ID)
	out.Warning = p.Warning
	return nil, out, err
}

func execute(ctx context.Context, host Host, c call) (argv []string, out hook.Outcome, err error) {
	p, err := host.Exec(ctx, c.caller, c.ID)
	out.Label, out.Warning = p.Label, p.Warning
	if err == nil && p.Ours {
		argv, err = c.exec(c.dialect, out.Label)
	}
	return argv, out, err
}

func remove(_ context.Context, host Host, c call) (argv []string, out hook.Outcome, err error) {
	if !c.flag("regex") {
		host.Forget(c.caller, c.ID)
	}
	host.Sweep(c.caller)
	return nil, out, nil
}

// exec returns the command line of an exec whose process gets the label. The label replaces what the caller asks for by
// --apparmor or in a process file.
func (a *Args) exec(d Dialect, label string) ([]string, error) {
	if label == "" {
		return nil, hook.Because(notice.Record, errors.New("there is no record of its label; delete the container and create it anew"))
	}
	// runc ignores an empty path. crun would open it, and so does relabel.
	path, given := a.option("process")
	if !given || path == "" && d == Runc {
		return a.withOption("apparmor", label), nil
	}
	path, err := relabel(path, label, a.passedFDs())
	if err != nil {
		return nil, hook.Because(notice.Spec, err)
	}
	return a.withValue("process", path), nil
}

// passedFDs returns how many descriptors from 3 on the runtime passes to the container. It ignores a value that is no
// number: the runtime refuses that.
func (a *Args) passedFDs() int {
	preserved, _ := a.option("preserve-fds")
	n := 0
	for _, s := range []string{preserved, os.Getenv("LISTEN_FDS")} {
		if i, err := strconv.ParseInt(s, 0, 32); err == nil && i > 0 {
			n += int(i)
		}
	}
	return n
}
