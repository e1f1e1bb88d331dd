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

// pods are made-up containers of pods: what a status sees of them, and a process for each.
type pods struct {
	started  []*exec.Cmd
	specSize int // bytes of a container's spec
}

// makePods makes n containers. For each of models, it writes a record of every container into the directory that is the
// model's key. It is to be closed after an error, too.
func makePods(n int, models map[string]*model) (*pods, error) {
	p := new(pods)
	for i := range n {
		for records, m := range models {
			if len(p.started) == i {
				if err := p.start(i, m); err != nil {
					return p, err
				}
			}
			ours, err := m.recordOf(i)
			if err != nil {
				return p, err
			}
			if err := os.WriteFile(records+"/"+strconv.Itoa(i)+".json", ours, 0o600); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

func (p *pods) close() {
	for _, cmd := range p.started {
		cmd.Process.Kill()
		cmd.Wait()
	}
}

// podCount is how many containers a status is measured with.
const podCount = 500

// podRoot is where runc keeps the state of containers of pods.
const podRoot = "/run/containerd/runc/k8s.io"

// podID returns the container's id, and the directory of its bundle.
func podID(i int) (id, dir string) {
	id = fmt.Sprintf("%064x", i)
	return id, "/run/containerd/io.containerd.runtime.v2.task/k8s.io/" + id
}

// start makes the container's process in a control group of its own, the runtime's state of it, and its spec.
func (p *pods) start(i int, m *model) error {
	id, of := podID(i)
	group, dir := "/sys/fs/cgroup/bench/"+id, podRoot+"/"+id
	if err := errors.Join(os.MkdirAll(group, 0o755), os.MkdirAll(dir, 0o700), os.MkdirAll(of, 0o700)); err != nil {
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
	p.started = append(p.started, cmd)
	text := fmt.Appendf(nil, "%s%s%d%s", m.before, pidKey, cmd.Process.Pid, m.after)
	config, err := json.Marshal(podSpec(i))
	p.specSize = len(config)
	return errors.Join(err, os.WriteFile(dir+"/state.json", text, 0o600), os.WriteFile(of+"/config.json", config, 0o600))
}

// recordOf returns our record of the container.
func (m *model) recordOf(i int) ([]byte, error) {
	id, of := podID(i)
	m.record["id"], m.record["root"], m.record["bundle"], m.record["engine"] = id, podRoot, of, "containerd"
	m.record["namespace"], m.record["pod"], m.record["container"] = "lab", "pod-"+strconv.Itoa(i), "web"
	return json.Marshal(m.record)
}

// awaitStatus waits until the status of containers has a text in it, and then wants another.
func awaitStatus(program, text, also string) error {
	for {
		said, err := output(program, "status", "--show=containers")
		switch {
		case err != nil:
			return err
		case strings.Contains(string(said), text) && strings.Contains(string(said), also):
			return nil
		case !strings.Contains(string(said), "differs"): // some processes are not yet where they shall be
			return fmt.Errorf("status says %.2000s, want %q and %q", said, text, also)
		}
	}
}

// statuses times oci-apparmor status beside aa-status, which knows nothing of containers, on a node with many profiles
// and containers. These are what a status sees of a pod's: a process in a control group, the runtime's state, our
// record, and where that is missing, as of a container that is not ours, the spec that containerd wrote.
func statuses(bin string) error {
	const asked, name, records = work + "/status", "model", stateDir + "/containers"
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
	m, err := readModel(wrapper, asked, name, records, log)
	if err != nil {
		return err
	}

	defer quiet(wrapper, "delete", "--force", name)
	made, err := makePods(podCount, map[string]*model{records: m})
	defer made.close()
	if err != nil {
		return err
	}

	status := filepath.Join(bin, "oci-apparmor")
	err = awaitStatus(status, fmt.Sprintf("%d containers: %d confined, 1 waiting.", podCount+1, podCount), " lab/pod-499/web ")
	if err != nil {
		return err
	}
	theirs := func() error { return quiet("aa-status", "--json") }
	all := func() error { return quiet(status, "status", "--json") }
	times, err := measure(20, theirs, func() error { return quiet(status, "status", "--json", "--show=profiles,processes") }, all)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d profiles, %d containers", loaded(), podCount)
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
		fmt.Sprintf("the same, named by specs of %d bytes", made.specSize), "")
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
