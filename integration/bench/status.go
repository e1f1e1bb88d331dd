package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/bundle"
)

// model is what a container of runc's leaves behind, from which those of pods are made.
type model struct {
	before, after []byte // runc's state, without the pid
	record        map[string]any
}

const pidKey = `"init_process_pid":`

// readModel creates a container of a bundle, and reads what there is of it then.
func readModel(wrapper, dir, id, records string, log *os.File) (*model, error) {
	create := exec.Command(wrapper, "create", "--bundle", dir, id)
	create.Stdout, create.Stderr = log, log
	if err := create.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	state, err1 := os.ReadFile("/run/runc/" + id + "/state.json")
	found, err2 := filepath.Glob(records + "/*.json")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%d records of one container", len(found))
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		return nil, err
	}
	m := new(model)
	if err := json.Unmarshal(text, &m.record); err != nil {
		return nil, err
	}
	before, after, ok := bytes.Cut(state, []byte(pidKey))
	if !ok {
		return nil, errors.New("no pid in runc's state")
	}
	m.before, m.after = before, after[bytes.IndexByte(after, ','):]
	return m, nil
}

// container makes up a container of a pod's, with a process, which is there with an error, too. size is how many bytes its spec
// has.
func (m *model) container(i int, records string) (cmd *exec.Cmd, size int, err error) {
	id := fmt.Sprintf("%064x", i)
	const root = "/run/containerd/runc/k8s.io"
	group, dir, of := "/sys/fs/cgroup/bench/"+id, root+"/"+id, "/run/containerd/io.containerd.runtime.v2.task/k8s.io/"+id
	if err := errors.Join(os.MkdirAll(group, 0o755), os.MkdirAll(dir, 0o700), os.MkdirAll(of, 0o700)); err != nil {
		return nil, 0, err
	}
	fd, err := syscall.Open(group, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	cmd = exec.Command("sh", "-c", "echo exec docker-default >/proc/self/attr/exec && exec sleep 100000")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	err = cmd.Start()
	syscall.Close(fd)
	if err != nil {
		return nil, 0, err
	}
	text := fmt.Appendf(nil, "%s%s%d%s", m.before, pidKey, cmd.Process.Pid, m.after)
	m.record["id"], m.record["root"], m.record["bundle"], m.record["engine"] = id, root, of, "containerd"
	m.record["namespace"], m.record["pod"], m.record["container"] = "lab", "pod-"+strconv.Itoa(i), "web"
	ours, err1 := json.Marshal(m.record)
	config, err2 := json.Marshal(podSpec(i))
	return cmd, len(config), errors.Join(err1, err2, os.WriteFile(dir+"/state.json", text, 0o600),
		os.WriteFile(of+"/config.json", config, 0o600), os.WriteFile(records+"/"+strconv.Itoa(i)+".json", ours, 0o600))
}

// statuses times oci-apparmor status beside aa-status, which knows nothing of containers, on a node with many profiles
// and containers. These are what a status sees of a pod's: a process in a control group, the runtime's state, our record, and
// where that is missing, as of a container that is not ours, the spec that containerd wrote.
func statuses(bin string) error {
	const containers = 500
	const asked, model, records = work + "/status", "model", "/run/oci-apparmor/containers"
	if err := manyProfiles(2000); err != nil {
		return err
	}
	if err := makeBundle(asked, filepath.Join(bin, "runc-empty")); err != nil {
		return err
	}
	wrapper := filepath.Join(bin, "oci-apparmor-runtime")
	log, err := os.Create(asked + "/log") // which the container's process keeps open
	if err != nil {
		return err
	}
	defer log.Close()
	if err := os.RemoveAll(records); err != nil { // those of parts whose runtime made no container
		return err
	}
	m, err := readModel(wrapper, asked, model, records, log)
	if err != nil {
		return err
	}

	var started []*exec.Cmd
	specSize := 0
	defer func() {
		for _, cmd := range started {
			cmd.Process.Kill()
			cmd.Wait()
		}
		quiet(wrapper, "delete", "--force", model)
	}()
	for i := range containers {
		cmd, size, err := m.container(i, records)
		if cmd != nil {
			started = append(started, cmd)
		}
		if err != nil {
			return err
		}
		specSize = size
	}

	status := filepath.Join(bin, "oci-apparmor")
	want := fmt.Sprintf("%d containers: %d confined, 1 waiting.", containers+1, containers)
	for {
		text, err := output(status, "status", "--show=containers")
		if err != nil {
			return err
		}
		if strings.Contains(string(text), want) {
			if !strings.Contains(string(text), " lab/pod-499/web ") {
				return fmt.Errorf("status does not name the containers: %.2000s", text)
			}
			break
		}
		if !strings.Contains(string(text), "differs") { // some processes are not yet where they shall be
			return fmt.Errorf("status says %.2000s, want %s", text, want)
		}
	}
	theirs := func() error { return quiet("aa-status", "--json") }
	all := func() error { return quiet(status, "status", "--json") }
	times, err := measure(20, theirs, func() error { return quiet(status, "status", "--json", "--show=profiles,processes") }, all)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d profiles, %d containers", loaded(), containers)
	ratio("status of profiles and processes ÷ aa-status", 1, times[1], times[0], what, "")
	ratio("status, its containers included ÷ aa-status", 1, times[2], times[0], what,
		"aa-status does not know of containers: most of what is more goes into reading and parsing our record and the runtime's "+
			"state of each, the rest into judging and printing them")
	if err := os.RemoveAll(records); err != nil {
		return err
	}
	if times, err = measure(20, theirs, all); err != nil {
		return err
	}
	ratio("status of containers that are not ours ÷ aa-status", 0, times[1], times[0],
		fmt.Sprintf("the same, named by specs of %d bytes", specSize), "")
	return nil
}

// podSpec is the spec of a pod's container, with as much in it as containerd writes.
func podSpec(i int) *specs.Spec {
	s := bundle.EngineSpec("sleep", "100000")
	s.Process.ApparmorProfile = "docker-default"
	s.Annotations = map[string]string{
		"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "web",
		"io.kubernetes.cri.image-name": "docker.io/library/nginx:1", "io.kubernetes.cri.sandbox-namespace": "lab",
		"io.kubernetes.cri.sandbox-name": "pod-" + strconv.Itoa(i), "io.kubernetes.cri.sandbox-id": fmt.Sprintf("%064x", i+1000),
		"io.kubernetes.cri.sandbox-uid": "12345678-1234-1234-1234-123456789012",
	}
	s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
	for j := range 60 { // Kubernetes tells of every service
		s.Process.Env = append(s.Process.Env, fmt.Sprintf("SERVICE_%d_PORT_80_TCP_ADDR=10.96.0.%d", j, j))
	}
	for j := range 20 {
		s.Mounts = append(s.Mounts, bundle.Mount(fmt.Sprint("/some/where/", j), "bind",
			fmt.Sprint("/var/lib/kubelet/pods/12345678-1234-1234-1234-123456789012/volumes/", j), "rbind", "rprivate"))
	}
	all := specs.LinuxSyscall{Action: specs.ActAllow}
	for j := range 380 { // RuntimeDefault's list
		all.Names = append(all.Names, fmt.Sprint("system_call_", j))
	}
	s.Linux.Seccomp.Syscalls = []specs.LinuxSyscall{all}
	return s
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
	path := work + "/many" + strconv.Itoa(n)
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		return err
	}
	return quiet("apparmor_parser", "-r", "-K", path)
}
