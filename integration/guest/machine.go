package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// AccelVariable is the environment variable that says how guests are run. "kvm" runs them on the host's processor.
// "tcg" is software emulation, which takes about five to fifteen times as long. If the variable is empty, each process
// tries once whether KVM works (see probe).
const AccelVariable = "OCI_APPARMOR_ACCEL"

// kvmDevice exists if the host's kernel can run guests on the processor.
const kvmDevice = "/dev/kvm"

// A machine is how guests are run on this host.
type machine struct {
	qemu *qemu
	kvm  bool
}

// options returns QEMU's options that are the same for every guest.
func (m *machine) options() []string {
	options := []string{"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-smp", "1"}
	if m.kvm {
		return append(options, "-machine", "q35,accel=kvm", "-cpu", "max")
	}
	// cx16=off and one processor: QEMU's emulation has crashed kernels with more. erms and fsrm off: a kernel that has them
	// copies and clears by an instruction that QEMU emulates byte by byte.
	return append(options, "-machine", "q35,accel=tcg", "-cpu", "max,cx16=off,erms=off,fsrm=off")
}

// chosen is what chooseMachine has found; a process asks once.
var chosen struct {
	sync.Mutex
	*machine
}

// FindMachine finds out how guests are run on this host. It writes to progress which QEMU runs them, and whether by
// KVM. That can take half a minute (see chooseMachine). Image.Run calls it once a process if nobody else has.
func (i *Image) FindMachine(ctx context.Context, progress io.Writer) error {
	_, err := i.chooseMachine(ctx, progress)
	return err
}

// chooseMachine returns KVM with the host's own QEMU if that runs this image's kernel. Otherwise it returns software
// emulation by a QEMU that is fast at it. It may have to unpack that QEMU first.
func (i *Image) chooseMachine(ctx context.Context, progress io.Writer) (*machine, error) {
	chosen.Lock()
	defer chosen.Unlock()
	if chosen.machine != nil {
		return chosen.machine, nil
	}
	host := func() (*qemu, error) { return hostQEMU(ctx) }
	suite := func() (*qemu, error) { return suiteQEMU(ctx, progress) }
	whichever := func() (*qemu, error) { // by KVM, one is as good as the other
		if q, err := host(); err == nil {
			return q, nil
		}
		return suite()
	}
	kvm, why, err := chooseAccel(os.Getenv(AccelVariable), kvmDevice, func() error {
		q, err := whichever()
		if err != nil {
			return err
		}
		return i.probe(ctx, q, probeLimit)
	})
	if err != nil {
		return nil, err
	}
	m, how := &machine{kvm: kvm}, "by KVM"
	if kvm {
		m.qemu, err = whichever()
	} else {
		how = "in software emulation"
		m.qemu, err = fasterQEMU(progress, host, suite)
	}
	if err == nil {
		err = ctx.Err() // a probe that was broken off has decided nothing
	}
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(progress, "guests run %s, under QEMU %s: %s\n", how, m.qemu.version, why)
	chosen.machine = m
	return m, nil
}

// chooseAccel decides whether KVM is used, and returns the reason. wanted is the value of AccelVariable. device is the
// path of the kernel's device. probe boots a guest by KVM. The error says that wanted is wrong, or cannot be had.
func chooseAccel(wanted, device string, probe func() error) (kvm bool, why string, err error) {
	switch wanted {
	case "kvm", "tcg":
		return wanted == "kvm", AccelVariable + "=" + wanted, nil
	case "":
	default:
		return false, "", fmt.Errorf("%s=%q: say kvm, tcg, or nothing", AccelVariable, wanted)
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return false, err.Error(), nil
	}
	f.Close()
	if err := probe(); err != nil {
		return false, fmt.Sprintf("%s is there, and does not run the guest's kernel: %v", device, err), nil
	}
	return true, "the guest's kernel has begun to boot", nil
}

// probeLimit is how long a kernel under KVM may take to its first line. It takes a second.
const probeLimit = 15 * time.Second

// probe boots the image's kernel by KVM until it says its first line. Nothing less is a proof: there are machines, most of
// them virtual ones themselves, on which the device opens and QEMU makes a virtual machine that never gets that far.
func (i *Image) probe(ctx context.Context, q *qemu, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m := machine{q, true}
	cmd := q.run(ctx, slices.Concat(m.options(), []string{
		"-m", "512", "-kernel", i.kernel(), "-initrd", i.initramfs(), "-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1", "-serial", "stdio",
	})...)
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.WaitDelay = time.Second
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
	booted := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(console)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "Linux version ") {
				booted <- true
				break
			}
		}
		io.Copy(io.Discard, console)
		booted <- false
	}()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case ok := <-booted:
		if ok {
			cancel()
			<-ended
			return nil
		}
		err = <-ended
	case <-ctx.Done():
		err = <-ended
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("it has said nothing in %v", limit)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("QEMU has ended (%v): %s", err, lastLines(said.Bytes(), 3))
}
