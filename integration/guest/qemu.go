package guest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// qemuProgram is QEMU's name, on the host and below /usr/bin of the package qemuPackage.
	qemuProgram = "qemu-system-x86_64"
	qemuPackage = "qemu-system-x86"

	// qemuMajor is the first version of QEMU that emulates fast: what QEMU 10.0 takes for the start of a container is
	// half of the processor time that 7.2 takes. A host with an older one gets qemuSuite's.
	qemuMajor = 10
	qemuSuite = "trixie"

	// qemuRecipe is raised when the directory of qemuSuite's QEMU is made differently.
	qemuRecipe = 1
)

// A qemu is a QEMU that can be run here.
type qemu struct {
	command []string // the program, and what comes before QEMU's own options
	env     []string // KEY=VALUE, beside this process's own
	version string   // its own word: "10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)"
}

// hostQEMU returns the host's own QEMU.
func hostQEMU(ctx context.Context) (*qemu, error) {
	if err := need(qemuProgram); err != nil {
		return nil, err
	}
	q := &qemu{command: []string{qemuProgram}}
	if err := q.ask(ctx); err != nil {
		return nil, err
	}
	return q, nil
}

// qemuBelow returns the QEMU of a directory that Debian packages have been unpacked into, run by their own loader and
// libraries, so that the host's do not matter.
func qemuBelow(ctx context.Context, root string) (*qemu, error) {
	libraries := filepath.Join(root, "usr/lib/x86_64-linux-gnu")
	q := &qemu{
		command: []string{
			filepath.Join(libraries, "ld-linux-x86-64.so.2"), "--library-path", libraries,
			filepath.Join(root, "usr/bin", qemuProgram),
			"-L", filepath.Join(root, "usr/share/qemu"), "-L", filepath.Join(root, "usr/share/seabios"),
		},
		env: []string{"QEMU_MODULE_DIR=" + filepath.Join(libraries, "qemu")},
	}
	if err := q.ask(ctx); err != nil {
		return nil, err
	}
	return q, nil
}

// ask has QEMU tell its version, which also shows that it can be run.
func (q *qemu) ask(ctx context.Context) error {
	cmd := q.run(ctx, "--version")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, lastLines(out, 5))
	}
	line, _, _ := strings.Cut(string(out), "\n")
	version, ok := strings.CutPrefix(strings.TrimSpace(line), "QEMU emulator version ")
	if !ok {
		return fmt.Errorf("%s: %q names no version of QEMU", cmd, line)
	}
	q.version = version
	return nil
}

// run returns the command that runs QEMU with options.
func (q *qemu) run(ctx context.Context, options ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, q.command[0], append(q.command[1:len(q.command):len(q.command)], options...)...)
	cmd.Env = append(os.Environ(), q.env...)
	return cmd
}

// major returns the first number of QEMU's version, 0 if there is none.
func (q *qemu) major() (n int) {
	fmt.Sscanf(q.version, "%d", &n)
	return n
}

// A virtual is a virtual machine of QEMU.
type virtual struct {
	qemu *qemu
	kvm  bool // whether it runs on the host's processor, or else in software emulation
}

// ports implements machine.
func (v *virtual) ports() string { return "virtio" }

// stops implements machine.
func (v *virtual) stops() bool { return false }

// options returns QEMU's options that are the same for every guest.
func (v *virtual) options() []string {
	options := []string{"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-smp", "1"}
	if v.kvm {
		return append(options, "-machine", "q35,accel=kvm", "-cpu", "max")
	}
	// cx16=off and one processor: QEMU's emulation has crashed kernels with more. erms and fsrm off: a kernel that has them
	// copies and clears by an instruction that QEMU emulates byte by byte.
	return append(options, "-machine", "q35,accel=tcg", "-cpu", "max,cx16=off,erms=off,fsrm=off")
}

// command implements machine. QEMU knows the ports as file descriptor sets (append=on keeps it from truncating them).
func (v *virtual) command(i *Image, b boot) (*exec.Cmd, error) {
	kernel := append([]string{
		"console=ttyS0",
		"no_timer_check", // which fails on a busy host, and is then the end of the boot
		// Emulated, clearing memory is dear: without these, half of a container's start goes into it. A huge page is cleared
		// whole for a program that touches little of it, and other pages are cleared twice.
		"transparent_hugepage=never", "init_on_alloc=0",
	}, b.kernelArgs...)
	options := slices.Concat(v.options(), []string{
		"-m", strconv.Itoa(b.memory),
		"-kernel", i.kernel(), "-initrd", i.initramfs(), "-append", strings.Join(kernel, " "),
		// No lock: a kernel in user mode that runs from the same image has locked it, and neither writes to it.
		"-drive", "file=" + i.disk() + ",file.locking=off,if=virtio,format=raw,cache=unsafe,snapshot=on",
		"-drive", "file=" + b.job + ",if=virtio,format=raw,readonly=on",
		"-serial", "file:" + b.console,
		"-device", "virtio-serial",
	})
	for n, name := range []string{"output", "results"} {
		options = append(options,
			"-add-fd", fmt.Sprintf("fd=%d,set=%d", outputPort+n, n+1),
			"-chardev", fmt.Sprintf("file,id=%s,append=on,path=/dev/fdset/%d", name, n+1),
			"-device", fmt.Sprintf("virtserialport,chardev=%s,name=%s", name, name))
	}
	cmd := v.qemu.run(context.Background(), options...)
	cmd.Env = append(cmd.Env, "TMPDIR="+b.dir) // where QEMU keeps what a snapshot writes
	return cmd, nil
}

// fasterQEMU returns the host's own QEMU where that is fast, or else that of qemuSuite; the host's own again where that
// can't be had.
func fasterQEMU(progress io.Writer, host, suite func() (*qemu, error)) (*qemu, error) {
	own, err := host()
	if err == nil && own.major() >= qemuMajor {
		return own, nil
	}
	faster, fault := suite()
	if fault == nil {
		return faster, nil
	}
	if err != nil {
		return nil, errors.Join(err, fault)
	}
	fmt.Fprintf(progress, "guests run under this machine's QEMU %s, in about twice the time, as %s's can't be had: %v\n",
		own.version, qemuSuite, fault)
	return own, nil
}

// suiteQEMU returns the QEMU of qemuSuite, whose packages are unpacked in the cache.
func suiteQEMU(ctx context.Context, progress io.Writer) (*qemu, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, qemuRecipe, qemuSuite, qemuPackage)))[:12]
	what := "QEMU of " + qemuSuite
	root, err := cached(ctx, progress, cache, what, "qemu-"+qemuSuite+"-", thisMonth()+"-"+key, func(dir string) error {
		if err := canInstall(); err != nil {
			return err
		}
		began := time.Now()
		if err := mmdebstrap(ctx, qemuSuite, dir, "--variant=extract", "--include="+qemuPackage); err != nil {
			return err
		}
		if _, err := qemuBelow(ctx, dir); err != nil {
			return err
		}
		fmt.Fprintf(progress, "%s: packages unpacked (%.1f s)\n", what, time.Since(began).Seconds())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", what, err)
	}
	return qemuBelow(ctx, root)
}

// canInstall reports what keeps this machine from installing Debian's packages into a directory.
func canInstall() error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("guests are amd64, and packages of that architecture can't be installed on %s", runtime.GOARCH)
	}
	if os.Geteuid() != 0 {
		return errors.New("installing a root file system needs root: run this once as root; booting does not need it")
	}
	if !exists(keyring) {
		return fmt.Errorf("%s is missing: apt-get install debian-archive-keyring", keyring)
	}
	return need("mmdebstrap")
}
