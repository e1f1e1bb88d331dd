package guest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Job is one command to run in a freshly booted guest.
type Job struct {
	Command    []string          // argv; the guest's PATH has its program; it runs as root
	Dir        string            // working directory of the command; "" stands for /root
	Env        []string          // KEY=VALUE, in addition to PATH, HOME, LANG and TERM
	Files      map[string]string // path in the guest → file or directory of the host, to copy with its mode; root owns it
	Output     io.Writer         // receives the command's stdout and stderr as they come, and nothing else; nil drops them
	Results    string            // directory of the host for what the command leaves in the guest's /results; "" drops it
	Console    string            // file of the host for the kernel's messages, replaced if it exists; "" for none
	KernelArgs []string          // appended to the kernel's command line
	Systemd    bool              // whether systemd is process 1; it has reached basic.target when the command starts
	Memory     int               // MiB; 0 stands for 3072
	Progress   io.Writer         // Run writes to it when it tries a boot again; may be nil
	Accel      string            // how the guest is run, as AccelVariable has it; "" stands for what that says

	// Silence is how long a guest in user mode may write nothing to its output before Run ends it, with ErrStopped; 0 stands
	// for any time. Other guests may be as silent as they are.
	Silence time.Duration
}

// ErrStopped is the error of Run for a guest in user mode that has written nothing for longer than its job's Silence. Such a
// kernel has been seen to stop in the midst of its work: its processes wait, and the kernel itself is idle. It is also the
// error for one that has ended by a fault of its own, which has been seen once.
var ErrStopped = errors.New("it has stopped")

// A Result describes a job that ran to its end.
type Result struct {
	ExitCode int
	Boot     time.Duration // from the start of the machine's program to the start of the command
	Command  time.Duration // from the start of the command to its end
	CPU      time.Duration // processor time of the machine's program, user and system, from its start to its end
}

// Run boots the guest and runs the job's command in it. Run does not write to the image, so any number of guests can
// run from it at once. What a guest writes to its disks is gone afterwards, except for /results.
//
// Run returns an error if the command did not run to its end. The error has the last lines of the console. If the
// command itself fails, the error is nil, and Result has its exit code. If ctx ends, Run ends the guest.
//
// If the kernel panics before the command has begun, Run boots it once more, because QEMU's emulation is sometimes at
// fault. A command never runs twice.
func (i *Image) Run(ctx context.Context, job Job) (Result, error) {
	result, err := i.runOnce(ctx, job)
	if errors.As(err, new(panicError)) {
		if job.Progress != nil {
			fmt.Fprintf(job.Progress, "guest %s: booting again: %v\n", i.Suite, err)
		}
		result, err = i.runOnce(ctx, job)
	}
	if err != nil {
		return result, fmt.Errorf("guest %s: %w", i.Suite, err)
	}
	return result, nil
}

// panicError is the error of a kernel that panics before the command has begun.
type panicError struct{ error }

func (i *Image) runOnce(ctx context.Context, job Job) (Result, error) {
	if len(job.Command) == 0 {
		return Result{}, errors.New("the job has no command")
	}
	if err := need("mke2fs"); err != nil {
		return Result{}, err
	}
	progress := job.Progress
	if progress == nil {
		progress = io.Discard
	}
	m, err := i.chooseMachine(ctx, job.Accel, progress)
	if err != nil {
		return Result{}, err
	}
	return i.runIn(ctx, m, job)
}

// runIn is runOnce on a machine.
func (i *Image) runIn(ctx context.Context, m machine, job Job) (Result, error) {
	dir, err := os.MkdirTemp("", "guest-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	nonce := rand.Text()
	disk, kept := filepath.Join(dir, "job.img"), filepath.Join(dir, "kept")
	if err := os.Mkdir(kept, 0o700); err != nil {
		return Result{}, err
	}
	if err := i.jobDisk(ctx, job, nonce, m.ports(), filepath.Join(dir, "job"), disk); err != nil {
		return Result{}, fmt.Errorf("making the job's disk: %w", err)
	}
	console := job.Console
	if console == "" {
		console = filepath.Join(dir, "console")
	}
	if err := os.WriteFile(console, nil, 0o644); err != nil {
		return Result{}, err
	}

	vm, err := i.start(m, job, boot{job: disk, console: console, dir: kept})
	if err != nil {
		return Result{}, err
	}
	defer vm.kill()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, vm.kill)
	defer stop()
	var heard io.Reader = vm.output
	if job.Silence > 0 && m.stops() {
		late := time.AfterFunc(job.Silence, func() {
			cancel(fmt.Errorf("%w: it has written nothing for %v", ErrStopped, job.Silence))
		})
		defer late.Stop()
		heard = &listener{vm.output, func() { late.Reset(job.Silence) }}
	}

	var results error
	unpacked := make(chan struct{})
	go func() {
		defer close(unpacked)
		if job.Results != "" {
			results = untar(job.Results, vm.results)
		}
		io.Copy(io.Discard, vm.results)
	}()
	output := job.Output
	if output == nil {
		output = io.Discard
	}
	var result Result
	began, ran, finished := time.Now(), time.Time{}, false
	err = marked{
		nonce:   nonce,
		started: func() { ran = time.Now(); result.Boot = ran.Sub(began) },
		exited: func(code int) {
			result.ExitCode, result.Command, finished = code, time.Since(ran), true
		},
	}.copy(output, heard)
	if !finished {
		vm.wait(5 * time.Second) // let a dying kernel say its last words
	}
	vm.kill()
	result.CPU = vm.cmd.ProcessState.UserTime() + vm.cmd.ProcessState.SystemTime()
	<-unpacked
	if finished {
		if results != nil {
			results = fmt.Errorf("fetching /results: %w", results)
		}
		return result, errors.Join(err, results)
	}

	err = vm.died(ctx, console, began, ran)
	if log, _ := os.ReadFile(console); m.stops() && ctx.Err() == nil && bytes.Contains(log, []byte(userModeFault)) {
		err = fmt.Errorf("%w: %w", ErrStopped, err)
	}
	return result, err
}

// userModeFault is what a kernel in user mode says when it touched memory that is not there (segv, arch/um/kernel/trap.c).
// If it is not the mode's own fault, the same kernel under QEMU has it, too.
const userModeFault = "Kernel panic - not syncing: Segfault without recovery target"

// A listener is a reader that calls a function after each read that returned something.
type listener struct {
	io.Reader
	heard func()
}

func (l *listener) Read(p []byte) (n int, err error) {
	n, err = l.Reader.Read(p)
	if n > 0 {
		l.heard()
	}
	return n, err
}

// died returns an error that says why a guest has ended before its command has. began is when the guest began, and ran
// when the command began; ran is zero if it has not.
func (v *vm) died(ctx context.Context, console string, began, ran time.Time) error {
	log, _ := os.ReadFile(console)
	where := "before the command began"
	if !ran.IsZero() {
		where = fmt.Sprintf("while the command ran, %.1f s after it began", time.Since(ran).Seconds())
	}
	panicked := bytes.Contains(log, []byte("Kernel panic"))
	var err error
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("stopped after %.1f s, %s: %w", time.Since(began).Seconds(), where, context.Cause(ctx))
	case panicked:
		err = fmt.Errorf("the kernel panicked %s", where)
	default:
		err = fmt.Errorf("the guest ended %s", where)
	}
	err = fmt.Errorf("%w\n%sthe console's last lines:\n%s", err, v.said(), lastLines(log, 30))
	if panicked && ran.IsZero() && ctx.Err() == nil {
		return panicError{err}
	}
	return err
}

// A vm is the running program of a machine.
type vm struct {
	cmd     *exec.Cmd
	stderr  *bytes.Buffer // read it after exited is closed
	exited  chan struct{}
	output  *os.File // what the guest writes to its first port; ends with the program
	results *os.File // the same for the second port
}

// A boot is one start of an image's kernel.
type boot struct {
	job        string   // file of the job's disk
	console    string   // file for the kernel's messages, which exists
	dir        string   // empty directory for what the machine keeps while it runs
	memory     int      // MiB
	kernelArgs []string // words of the kernel's command line
}

// The file descriptors that a machine's program has from start. The guest's two ports write to the first two, which are
// pipes. The third is the file of the console.
const (
	outputPort = 3 + iota
	resultsPort
	consolePort
)

// start starts the machine's program.
func (i *Image) start(m machine, job Job, b boot) (*vm, error) {
	b.memory = cmp.Or(job.Memory, 3072)
	b.kernelArgs = slices.Concat([]string{"quiet", "panic=-1", "log_buf_len=8M", "apparmor=1", "security=apparmor"},
		[]string{"oops=panic"}, // a kernel that has stumbled proves nothing any more
		job.KernelArgs)
	cmd, err := m.command(i, b)
	if err != nil {
		return nil, err
	}
	v := &vm{cmd: cmd, stderr: new(bytes.Buffer), exited: make(chan struct{})}
	console, err := os.OpenFile(b.console, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	var ours, theirs []*os.File
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		ours, theirs = append(ours, r), append(theirs, w)
	}
	v.output, v.results = ours[0], ours[1]
	v.cmd.ExtraFiles = append(theirs[:2:2], console)
	v.cmd.Stdout, v.cmd.Stderr = v.stderr, v.stderr
	// A group of its own, as a kernel in user mode has a process for each one of its guest.
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}

	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the kernel sends Pdeathsig when the thread ends that started the program
		defer runtime.UnlockOSThread()
		err := v.cmd.Start()
		started <- err
		if err == nil {
			v.cmd.Wait()
			close(v.exited)
		}
	}()
	err = <-started
	for _, w := range theirs {
		w.Close()
	}
	if err != nil {
		for _, r := range ours {
			r.Close()
		}
		return nil, err
	}
	return v, nil
}

// wait waits until the program ends, at most for d.
func (v *vm) wait(d time.Duration) {
	select {
	case <-v.exited:
	case <-time.After(d):
	}
}

// kill ends the program with all of its processes, and waits for it.
func (v *vm) kill() {
	syscall.Kill(-v.cmd.Process.Pid, syscall.SIGKILL)
	<-v.exited
}

// said returns what the program wrote to its standard error.
func (v *vm) said() string {
	if text := lastLines(v.stderr.Bytes(), 10); text != "" {
		return filepath.Base(v.cmd.Path) + " said: " + text + "\n"
	}
	return ""
}

// jobScript is the script that init.sh starts.
//
//go:embed job.sh
var jobScript string

// runScript is what jobScript hands over to.
//
//go:embed run.sh
var runScript string

// jobDisk makes the second disk of a guest: job.sh, what it needs to know, and the job's files. It is gathered in dir.
// ports is how the guest finds its ports, as machine.ports returns it.
func (i *Image) jobDisk(ctx context.Context, job Job, nonce, ports, dir, image string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	var files strings.Builder
	var size int64
	for n, to := range slices.Sorted(maps.Keys(job.Files)) {
		if !path.IsAbs(to) {
			return fmt.Errorf("%s: a file's path in the guest must be absolute", to)
		}
		staged, err := stage(job.Files[to], filepath.Join(dir, strconv.Itoa(n)))
		if err != nil {
			return err
		}
		size += staged
		fmt.Fprintf(&files, "mkdir -p %s\nrm -rf %s\ncp -R --no-dereference --preserve=mode,timestamps /job/%d %s\n",
			quote(path.Dir(to)), quote(to), n, quote(to))
	}
	var command strings.Builder
	if job.Dir != "" {
		fmt.Fprintf(&command, "cd %s || exit 127\n", quote(job.Dir))
	}
	for _, kv := range job.Env {
		fmt.Fprintf(&command, "export %s\n", quote(kv))
	}
	command.WriteString("exec")
	for _, arg := range job.Command {
		command.WriteString(" " + quote(arg))
	}
	results, systemd := "", ""
	if job.Results != "" {
		results = "yes"
	}
	if job.Systemd {
		systemd = "yes"
	}
	for name, text := range map[string]string{
		"job.sh":     jobScript,
		"run.sh":     runScript,
		"job.conf":   fmt.Sprintf("nonce=%s\nsuite=%s\nports=%s\nresults=%s\nsystemd=%s\n", nonce, i.Suite, ports, results, systemd),
		"files.sh":   files.String(),
		"command.sh": command.String() + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return makeDisk(ctx, dir, image, fmt.Sprintf("%dM", 8+size*11/10>>20))
}

// stage makes a hard link to a file or directory of the host below the job's directory, or copies it if that is not
// possible. It returns the size in bytes.
func stage(from, to string) (size int64, err error) {
	from, err = filepath.EvalSymlinks(from)
	if err != nil {
		return 0, err
	}
	err = filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		size += info.Size() + 4096
		target := to + strings.TrimPrefix(name, from)
		switch {
		case entry.IsDir():
			return os.Mkdir(target, info.Mode().Perm()|0o700)
		case entry.Type() == fs.ModeSymlink:
			link, err := os.Readlink(name)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case !entry.Type().IsRegular():
			return fmt.Errorf("%s is neither a file nor a directory", name)
		case os.Link(name, target) == nil:
			return nil
		}
		return copyFile(name, target)
	})
	return size, err
}

// quote makes one word of a shell command.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// untar unpacks directories and files, which is what results are.
func untar(dir string, r io.Reader) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch header.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(path.Clean(header.Name), 0o755)
		case tar.TypeReg:
			var f *os.File
			if f, err = root.OpenFile(path.Clean(header.Name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY,
				header.FileInfo().Mode().Perm()); err == nil {
				_, err = io.Copy(f, archive)
				err = errors.Join(err, f.Close())
			}
		}
		if err != nil {
			return err
		}
	}
}
