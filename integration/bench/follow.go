package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

const (
	auditd     = "/usr/sbin/auditd"
	auditdConf = "/etc/audit/auditd.conf"
	auditLog   = "/var/log/audit/audit.log"
)

// auditdFiles returns what auditd needs in the guest of follow.
func auditdFiles(ctx context.Context) (map[string]string, error) {
	files := make(map[string]string)
	for _, p := range guest.Auditd {
		file, err := p.Unpack(ctx, os.Stderr)
		if err != nil {
			return nil, err
		}
		files["/"+p.Path] = file
	}
	return files, nil
}

// follow measures audit --follow and auditd while both hear of 2,000 denials a second. auditd writes them to a log. audit --follow
// says of each which container it was.
func follow(bin string) error {
	if err := configureAuditd(); err != nil {
		return err
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
	if err := heardFirst(func() (int, error) { return heard(said) }, denied); err != nil {
		return err
	}
	time.Sleep(3 * time.Second)

	const rate, seconds = 2000, 20
	files := [2]string{said, auditLog}
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
	if lines[0] < rate*seconds*9/10 || lines[1] < rate*seconds*9/10 {
		fmt.Println("    of the denials one of both has not heard: the ratio says less")
	}
	line("audit --follow, "+at, 100*float64(used[0])/float64(took), 10, "%", "of a core", "a system call of the guest's kernel in user mode takes several of the machine's")
	return nil
}

// heardFirst has a file denied until somebody has heard of it.
func heardFirst(heard func() (int, error), denied string) error {
	for late := time.Now().Add(time.Minute); time.Now().Before(late); {
		if err := openDenied(denied, 1, 1); err != nil {
			return err
		}
		if n, err := heard(); err != nil || n > 0 {
			return err
		}
	}
	return errors.New("audit --follow says nothing")
}

// configureAuditd has auditd write to a log that is not forced to the disk, and not stop for want of room.
func configureAuditd() error {
	conf := "local_events = yes\nwrite_logs = yes\nlog_file = " + auditLog + "\nlog_format = ENRICHED\nflush = NONE\nmax_log_file_action = IGNORE\n" +
		"space_left = 2\nadmin_space_left = 1\n"
	return errors.Join(os.MkdirAll(filepath.Dir(auditLog), 0o700), os.MkdirAll(filepath.Dir(auditdConf), 0o750),
		os.WriteFile(auditdConf, []byte(conf), 0o640))
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
