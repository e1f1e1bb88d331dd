package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// statuses times oci-apparmor status beside aa-status, which knows nothing of containers, on a node with many profiles
// and containers. These are what a status sees of them: a process in a control group, the runtime's state, our record.
func statuses(bin string) error {
	const containers = 500
	const asked, model = "/tmp/bench/status", "model"
	if err := manyProfiles(2000); err != nil {
		return err
	}
	if err := bundle(asked, filepath.Join(bin, "runc-empty")); err != nil {
		return err
	}
	wrapper := filepath.Join(bin, "oci-apparmor-runtime")
	log, err := os.Create(asked + "/log") // which the container's process keeps open
	if err != nil {
		return err
	}
	defer log.Close()
	create := exec.Command(wrapper, "create", "--bundle", asked, model)
	create.Stdout, create.Stderr = log, log
	if err := create.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w: %s", err, text)
	}
	state, err1 := os.ReadFile("/run/runc/" + model + "/state.json")
	records, err2 := filepath.Glob("/run/oci-apparmor/containers/*.json")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if len(records) != 1 {
		return fmt.Errorf("%d records of one container", len(records))
	}
	record, err := os.ReadFile(records[0])
	if err != nil {
		return err
	}
	const pidKey = `"init_process_pid":`
	before, after, ok := bytes.Cut(state, []byte(pidKey))
	if !ok {
		return errors.New("no pid in runc's state")
	}
	after = after[bytes.IndexByte(after, ','):]

	var started []*exec.Cmd
	defer func() {
		for _, cmd := range started {
			cmd.Process.Kill()
			cmd.Wait()
		}
		quiet(wrapper, "delete", "--force", model)
	}()
	for i := range containers {
		id := fmt.Sprintf("%064x", i)
		group, dir := "/sys/fs/cgroup/bench/"+id, "/run/runc/"+id
		if err := errors.Join(os.MkdirAll(group, 0o755), os.MkdirAll(dir, 0o700)); err != nil {
			return err
		}
		fd, err := syscall.Open(group, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		cmd := exec.Command("sh", "-c", "echo exec docker-default >/proc/self/attr/exec && exec sleep 100000")
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
		err = cmd.Start()
		syscall.Close(fd)
		if err != nil {
			return err
		}
		started = append(started, cmd)
		text := fmt.Appendf(nil, "%s%s%d%s", before, pidKey, cmd.Process.Pid, after)
		ours := strings.Replace(string(record), `"id":"`+model+`"`, `"id":"`+id+`"`, 1)
		err = errors.Join(os.WriteFile(dir+"/state.json", text, 0o600),
			os.WriteFile("/run/oci-apparmor/containers/"+strconv.Itoa(i)+".json", []byte(ours), 0o600))
		if err != nil {
			return err
		}
	}

	status := filepath.Join(bin, "oci-apparmor")
	want := fmt.Sprintf("%d containers: %d confined, 1 waiting.", containers+1, containers)
	for {
		text, err := output(status, "status", "--show=containers")
		if err != nil {
			return err
		}
		if strings.Contains(string(text), want) {
			break
		}
		if !strings.Contains(string(text), "differs") { // some processes are not yet where they shall be
			return fmt.Errorf("status says %.2000s, want %s", text, want)
		}
	}
	times, err := measure(20,
		func() error { return quiet("aa-status", "--json") },
		func() error { return quiet(status, "status", "--json", "--show=profiles,processes") },
		func() error { return quiet(status, "status", "--json") })
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d profiles, %d containers", loaded(), containers)
	ratio("status of profiles and processes ÷ aa-status", 1, times[1], times[0], what, "")
	ratio("status, its containers included ÷ aa-status", 1, times[2], times[0], what,
		"aa-status does not know of containers; a record, a state and a control group are read of each, and emulation makes "+
			"system calls 5 to 15 times dearer")
	return nil
}

// manyProfiles has n profiles loaded.
func manyProfiles(n int) error {
	// The parser starts once for all of them.
	var text strings.Builder
	for i := loaded(); i < n; i++ {
		fmt.Fprintf(&text, "profile bench-many-%d { file, }\n", i)
	}
	if text.Len() == 0 {
		return nil
	}
	path := "/tmp/bench/many" + strconv.Itoa(n)
	if err := errors.Join(os.MkdirAll("/tmp/bench", 0o755), os.WriteFile(path, []byte(text.String()), 0o644)); err != nil {
		return err
	}
	return quiet("apparmor_parser", "-r", "-K", path)
}
