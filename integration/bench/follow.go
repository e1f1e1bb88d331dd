package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

// followSuite is the guest that has auditd.
const followSuite = "bookworm"

const auditd = "/usr/sbin/auditd"

// follow measures audit --follow and auditd while both hear of 2,000 denials a second, or of as many as the guest can make. auditd writes them as they are, to a log that
// is not forced to the disk. audit --follow says of each which container it was.
func follow(bin string) error {
	if _, err := os.Stat(auditd); errors.Is(err, fs.ErrNotExist) {
		fmt.Println("no auditd is here to measure audit --follow with: guest " + followSuite + " has it")
		return nil
	}
	const denied, profile, said = work + "/denied", work + "/heard", work + "/followed"
	text := "abi <abi/3.0>,\nprofile heard {\n  file,\n  audit deny " + denied + " r,\n}\n"
	err := errors.Join(os.WriteFile(denied, nil, 0o644), os.WriteFile(profile, []byte(text), 0o644), quiet("apparmor_parser", "--replace", profile), quiet(auditd))
	if err != nil {
		return err
	}
	daemon, err := auditdPid()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Kill(daemon, unix.SIGTERM) }()
	out, err := os.Create(said)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(filepath.Join(bin, "oci-apparmor"), "audit", "--follow", "--brief", "--each", "--source", source.Multicast)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	heard := func(file string) (int, error) {
		text, err := os.ReadFile(file)
		return bytes.Count(text, []byte(denied)), err
	}
	for late := time.Now().Add(time.Minute); ; { // until it listens
		if err := openDenied(denied, 1, 1); err != nil {
			return err
		}
		if n, err := heard(said); err != nil || n > 0 {
			if err != nil {
				return err
			}
			break
		}
		if time.Now().After(late) {
			return errors.New("audit --follow says nothing")
		}
	}
	time.Sleep(3 * time.Second)

	const rate, seconds = 2000, 20
	files := [2]string{said, "/var/log/audit/audit.log"}
	pids := [2]int{cmd.Process.Pid, daemon}
	var lines [2]int
	var used [2]time.Duration
	for i := range pids {
		if lines[i], err = heard(files[i]); err == nil {
			used[i], err = processorTime(pids[i])
		}
		if err != nil {
			return err
		}
	}
	began := time.Now()
	if err := openDenied(denied, rate, seconds); err != nil {
		return err
	}
	took := time.Since(began)
	time.Sleep(3 * time.Second) // what has come in a burst is printed then
	for i := range pids {
		n, err := heard(files[i])
		if err != nil {
			return err
		}
		at, err := processorTime(pids[i])
		if err != nil {
			return err
		}
		lines[i], used[i] = n-lines[i], at-used[i]
	}
	detail := fmt.Sprintf("%d denials in %s: %s of processor time, and auditd %s; %d lines, and auditd %d", rate*seconds, took.Round(time.Millisecond), used[0], used[1],
		lines[0], lines[1])
	at := fmt.Sprintf("%.0f denials a second", rate*seconds/took.Seconds()) // an emulated guest makes fewer than are asked for
	line("audit --follow ÷ auditd, "+at, float64(used[0])/float64(used[1]), 0, "", detail, "")
	line("audit --follow, "+at, 100*float64(used[0])/float64(took), 10, "%", "of a core", "the guest's processor is emulated")
	return nil
}

// auditdPid returns the process that the kernel sends its records to, once there is one.
func auditdPid() (int, error) {
	for late := time.Now().Add(20 * time.Second); time.Now().Before(late); time.Sleep(50 * time.Millisecond) {
		status, err := source.ReadStatus()
		if err != nil {
			return 0, err
		}
		if status.Auditd != 0 {
			return int(status.Auditd), nil
		}
	}
	return 0, errors.New("auditd does not run")
}

// openDenied opens a file under the profile heard, so often each second, in a thread that ends. It fails if that is not denied.
func openDenied(path string, rate, seconds int) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := os.WriteFile("/proc/thread-self/attr/current", []byte("changeprofile heard"), 0); err != nil {
			result <- err
			return
		}
		began := time.Now()
		for n := range rate * seconds {
			if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); !errors.Is(err, syscall.EACCES) {
				_ = unix.Close(fd)
				result <- fmt.Errorf("opening %s is not denied (%w)", path, err)
				return
			}
			if n%20 == 19 {
				time.Sleep(time.Until(began.Add(time.Duration(n+1) * time.Second / time.Duration(rate))))
			}
		}
		result <- nil
	}()
	return <-result
}
