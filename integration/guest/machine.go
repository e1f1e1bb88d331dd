package guest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// AccelVariable is the environment variable that says how guests are run:
//
//   - "kvm" runs the suite's kernel under QEMU, on the host's processor.
//   - "uml" runs the suite's kernel in user mode: as a process of the host (see userMode). The tests of forky take a
//     fourth of the processor time of software emulation.
//   - "tcg" runs the suite's kernel under QEMU, in software emulation.
//   - "qemu" is "kvm" where that works, and else "tcg".
//
// If the variable is empty, each process tries once whether KVM works, and then, for the suite inUserMode, whether its
// kernel does in user mode.
const AccelVariable = "OCI_APPARMOR_ACCEL"

// inUserMode is the suite whose kernel runs in user mode unless AccelVariable says otherwise. Kernels before Linux 6.16
// know ptrace alone, which gains less, and in which 6.12 has stopped once in the midst of tests. The others boot as
// those of real machines do.
const inUserMode = "forky"

// kvmDevice exists if the host's kernel can run guests on the processor.
const kvmDevice = "/dev/kvm"

// A machine is a way to run an image's kernel on this host.
type machine interface {
	// command returns the command that boots the image's kernel. The guest's ports are the file descriptors outputPort
	// and resultsPort.
	command(i *Image, b boot) (*exec.Cmd, error)

	// ports returns how run.sh finds the ports in the guest: "virtio" or "serial".
	ports() string

	// stops reports whether such a machine has been seen to stop in the midst of its work, without an end.
	stops() bool
}

// chosen is what this process has found so far.
var chosen struct {
	sync.Mutex
	machines map[[2]string]machine // by suite and what was wanted
	kvm      *error                // the outcome of the probe, which is the same for every suite
}

// FindMachine finds out how guests of this image are run on this host, and writes that to progress. It can take half a
// minute (see chooseMachine). Image.Run calls it once a process and suite if nobody else has.
func (i *Image) FindMachine(ctx context.Context, progress io.Writer) error {
	_, err := i.chooseMachine(ctx, "", progress)
	return err
}

// chooseMachine returns KVM with the host's own QEMU if that runs this image's kernel. Otherwise it returns the kernel in
// user mode if that runs here. Otherwise it returns software emulation by a QEMU that is fast at it. It may have to unpack
// packages for the last two first. wanted is a value of AccelVariable that counts instead of the variable's, or "".
func (i *Image) chooseMachine(ctx context.Context, wanted string, progress io.Writer) (machine, error) {
	chosen.Lock()
	defer chosen.Unlock()
	key := [2]string{i.Suite, wanted}
	if m := chosen.machines[key]; m != nil {
		return m, nil
	}
	host := func() (*qemu, error) { return hostQEMU(ctx) }
	suite := func() (*qemu, error) { return suiteQEMU(ctx, progress) }
	whichever := func() (*qemu, error) { // by KVM, one is as good as the other
		if q, err := host(); err == nil {
			return q, nil
		}
		return suite()
	}
	wanted = cmp.Or(wanted, os.Getenv(AccelVariable))
	if wanted == "" && i.Suite != inUserMode {
		wanted = "qemu"
	}
	var uml *userMode
	accel, why, err := chooseAccel(wanted, kvmDevice, func() error {
		if chosen.kvm == nil {
			q, err := whichever()
			if err == nil {
				err = i.probe(ctx, q, probeLimit)
			}
			chosen.kvm = &err
		}
		return *chosen.kvm
	}, func() (err error) {
		uml, err = i.userMode(ctx, progress)
		return err
	})
	if err != nil {
		return nil, err
	}
	var m machine
	var how string
	switch accel {
	case "uml":
		if uml == nil {
			uml, err = i.userMode(ctx, progress)
		}
		if err == nil {
			m, how = uml, "in user mode, on Linux "+uml.version
		}
	case "kvm", "tcg":
		v := &virtual{kvm: accel == "kvm"}
		if v.kvm {
			v.qemu, err = whichever()
		} else {
			v.qemu, err = fasterQEMU(progress, host, suite)
		}
		if err == nil {
			m, how = v, map[bool]string{true: "by KVM", false: "in software emulation"}[v.kvm]+", under QEMU "+v.qemu.version
		}
	}
	if err == nil {
		err = ctx.Err() // a probe that was broken off has decided nothing
	}
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(progress, "guest %s runs %s: %s\n", i.Suite, how, why)
	if chosen.machines == nil {
		chosen.machines = make(map[[2]string]machine)
	}
	chosen.machines[key] = m
	return m, nil
}

// chooseAccel decides how a guest is run, as AccelVariable has it, and returns the reason. wanted is the value of
// AccelVariable. device is the path of the kernel's device. kvm boots a guest by KVM, and uml boots one in user mode. The
// error says that wanted is wrong.
func chooseAccel(wanted, device string, kvm, uml func() error) (accel, why string, err error) {
	switch wanted {
	case "kvm", "uml", "tcg":
		return wanted, AccelVariable + "=" + wanted, nil
	case "", "qemu":
	default:
		return "", "", fmt.Errorf("%s=%q: say kvm, uml, tcg, qemu, or nothing", AccelVariable, wanted)
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err == nil {
		f.Close()
		if err = kvm(); err == nil {
			return "kvm", "the guest's kernel has begun to boot", nil
		}
		err = fmt.Errorf("%s is there, and does not run the guest's kernel: %w", device, err)
	}
	why = err.Error()
	if wanted == "qemu" {
		return "tcg", why, nil
	}
	if err := uml(); err != nil {
		return "tcg", fmt.Sprintf("%s; the kernel in user mode does not run here: %v", why, err), nil
	}
	return "uml", why, nil
}

// probeLimit is how long a kernel under KVM may take to its first line. It takes a second.
const probeLimit = 15 * time.Second

// probe boots the image's kernel by KVM until it says its first line. Nothing less is a proof: there are machines, most of
// them virtual ones themselves, on which the device opens and QEMU makes a virtual machine that never gets that far.
func (i *Image) probe(ctx context.Context, q *qemu, limit time.Duration) error {
	v := virtual{q, true}
	return says(ctx, q.run(context.Background(), slices.Concat(v.options(), []string{
		"-m", "512", "-kernel", i.kernel(), "-initrd", i.initramfs(), "-append", "console=ttyS0 earlyprintk=ttyS0 " +
			"panic=-1", "-serial", "stdio",
	})...), "Linux version ", limit)
}

// says runs the command until a line of its standard output has the words, or reports what it did instead. It ends the
// command with all of its processes.
func says(ctx context.Context, cmd *exec.Cmd, words string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	console, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer console.Close()
	cmd.Stdout = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	kill := func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	heard := make(chan bool, 2) // nobody may listen any more
	go func() {
		lines := bufio.NewScanner(console)
		for lines.Scan() {
			if strings.Contains(lines.Text(), words) {
				heard <- true
				break
			}
		}
		io.Copy(io.Discard, console)
		heard <- false
	}()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case ok := <-heard:
		kill()
		err = <-ended
		if ok {
			return nil
		}
	case <-ctx.Done():
		kill()
		err = <-ended
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("it has not said %q in %v", words, limit)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	last := strings.ReplaceAll(lastLines(said.Bytes(), 3), "\n", "; ")
	return fmt.Errorf("%s has ended (%v): %s", filepath.Base(cmd.Path), err, last)
}
