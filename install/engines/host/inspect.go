package host

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/programs"
	"github.com/oci-apparmor/oci-apparmor/hook/version"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Kind is what is wrong with an engine's wiring. Its value is the identifier of the finding in package install/doctor.
type Kind string

// The kinds.
const (
	Refuses     Kind = "engine-refuses"      // the engine's own check refuses its configuration
	Ignored     Kind = "wiring-ignored"      // ours is in a file, and the engine does not read it, or starts another runtime
	ProgramGone Kind = "wiring-program"      // ours names a program that is missing or that others could have written
	Dropped     Kind = "annotations-dropped" // our annotations do not reach our runtime
	BadVersion  Kind = "engine-version"      // this version does something else than its configuration says
	NotTaken    Kind = "engine-restart"      // the engine runs with an older configuration
	Breaks      Kind = "hooks-break-others"  // a hook's file by which another engine does not start
	HookGone    Kind = "hook-program"        // a hook of ours names a program that is missing
	ExecEscapes Kind = "exec-escapes"        // what is executed in a container later does not come to us
	Foreign     Kind = "runtime-foreign"     // a runtime of our name calls something else
	Down        Kind = "engine-down"         // the engine's daemon does not run, or does not answer
)

// Kinds are all of them.
var Kinds = []Kind{Refuses, Ignored, ProgramGone, Dropped, BadVersion, NotTaken, Breaks, HookGone, ExecEscapes, Foreign, Down}

// Fault is something that is wrong with an engine's wiring.
type Fault struct {
	Kind Kind
	What string // a sentence
	Do   string // what to do, in place of what is usual for the kind; empty for that
}

// Inspection is how an engine's own files and programs say that it is wired.
type Inspection struct {
	Via     string // the way in which it reaches us; empty if that is not known
	Default bool   // ours is what it takes where nobody asks for another
	Program string // the program of ours that it starts; empty if that is not known
	Version string // of Program; empty if that is not known, as of programs before they could tell it
	Faults  []Fault
}

// Add adds a fault, with a sentence of a format.
func (i *Inspection) Add(k Kind, format string, args ...any) {
	i.Faults = append(i.Faults, Fault{Kind: k, What: fmt.Sprintf(format, args...)})
}

// Names adds a fault if an engine is pointed at a program that cannot be run, or that others than root could have written.
func (i *Inspection) Names(h *Host, d *wire.Draft, program string) {
	i.Program = program
	err := d.Runnable(program)
	if err == nil && h.Live() {
		_, err = safefile.TrustedPath(program)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		i.Add(ProgramGone, "%s is missing, and the configuration names it", program)
	case err != nil:
		i.Add(ProgramGone, "the configuration names %s: %v", program, err)
	}
}

// Has reports whether there is a fault of a kind.
func (i *Inspection) Has(k Kind) bool {
	return slices.ContainsFunc(i.Faults, func(f Fault) bool { return f.Kind == k })
}

// versionTime is how long a program of ours may take to print its version.
const versionTime = 5 * time.Second

// AskVersion has the program of ours that the engine starts print its version. It runs no other program, and none that others
// than root could have written.
func (i *Inspection) AskVersion(ctx context.Context, h *Host) {
	if i.Program == "" || !h.Live() || i.Has(ProgramGone) {
		return
	}
	real, err := safefile.TrustedPath(i.Program)
	if err != nil || !slices.Contains(programs.Names, path.Base(real)) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	out, err := h.Run(ctx, nil, i.Program, version.Flag)
	if name, is, ok := strings.Cut(strings.TrimSpace(string(out)), " "); err == nil && ok && name == path.Base(real) {
		i.Version = oneline.Cut(oneline.Printable(is), 100)
	}
}

// Throwaway is a container that a probe starts.
type Throwaway struct {
	Name       string            // unlike any other's
	Dir        string            // a directory for the probe alone, with the root file system in Dir/rootfs
	Args       []string          // the program in it and its arguments; it waits
	Annotation map[string]string // of the container
	Stock      bool              // it is to be started by the runtime that the engine takes where nobody asks for another
}

// Rootfs returns the directory of the container's root file system.
func (c *Throwaway) Rootfs() string { return path.Join(c.Dir, "rootfs") }

// Annotations returns a flag and KEY=VALUE for each annotation.
func (c *Throwaway) Annotations(flag string) []string {
	var all []string
	for key, value := range c.Annotation {
		all = append(all, flag, key+"="+value)
	}
	return all
}

// Started is a throw-away container that runs.
type Started struct {
	ID   string                          // by which its runtime knows it
	Exec func(ctx context.Context) error // starts the program in it once more, and does not wait for its end
}

// How long an engine may take at most and at least to remove a throw-away container: it has what the start of that has left of
// its time.
const (
	cleaning = time.Minute
	giveUp   = 5 * time.Second
)

// Clean runs commands of a program one after the other, whether ctx has ended or not, and returns the errors of those that
// fail.
func (h *Host) Clean(ctx context.Context, program string, commands ...[]string) error {
	limit := cleaning
	if end, has := ctx.Deadline(); has {
		limit = min(max(time.Until(end), giveUp), cleaning)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	var errs []error
	for _, args := range commands {
		if _, err := h.Run(ctx, nil, program, args...); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Archive writes the files of a directory into a tar archive.
func Archive(dir, to string) (err error) {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := tar.NewWriter(out)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	return w.Close()
}
