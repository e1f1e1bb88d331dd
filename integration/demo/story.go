package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const policyFile = `version: 1
profiles:
  demo-web:  {file: profiles/demo-web}          # written for this job
  demo-base: {template: docker-default}         # what Docker gives everyone
policies:
  web:  {profile: demo-web}
  base: {profile: demo-base}
assign:
  - policy: base            # every container gets this
    request: [web]          # unless its annotation asks for this one
`

const webProfile = `abi <abi/3.0>,
#include <tunables/global>

profile demo-web flags=(attach_disconnected,mediate_deleted) {
  #include <abstractions/base>
  file,
  audit deny /etc/** w,     # the configuration is not the web server's to change
  signal (send,receive) peer=demo-web,
  signal (receive) peer=unconfined,
  signal (receive) peer=runc,
}
`

// looser is what somebody may load by hand for a quick test, and forget.
const looser = `abi <abi/3.0>,
profile demo-web flags=(attach_disconnected,mediate_deleted) {
  file,
  signal,
}
`

const annotation = "oci-apparmor/policy"

// story is the state of the telling: where things are, and the step's number.
type story struct {
	ctx    context.Context
	bin    string
	bundle string
	step   int
}

// tell sets up a policy, starts a container with nothing but an annotation, and shows what the kernel makes of it.
// What it needs of /etc, /var/lib and /run is laid over in a mount namespace of its own, so that nothing is left.
func tell(ctx context.Context, bin string) error {
	enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if strings.TrimSpace(string(enabled)) != "Y" {
		return errors.New("this machine's kernel has no AppArmor: leave out HOST=1, and a guest that has is booted")
	}
	if os.Geteuid() != 0 {
		return errors.New("starting a container and loading a profile takes root")
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	s := &story{ctx: ctx, bin: bin}
	if err := s.setUp(); err != nil {
		return err
	}
	defer s.cleanUp()
	return s.play()
}

func (s *story) setUp() error {
	// Mount namespaces belong to threads: main keeps to this one, and what it starts inherits it.
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, dir := range []string{"/etc/oci-apparmor", "/var/lib/oci-apparmor", "/run/oci-apparmor"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount("demo", dir, "tmpfs", 0, "mode=0700"); err != nil {
			return fmt.Errorf("mounting on %s: %w", dir, err)
		}
	}
	s.bundle = "/run/oci-apparmor/demo"
	root := s.bundle + "/rootfs"
	for _, dir := range []string{"bin", "etc", "tmp", "proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w (apt-get install busybox-static)", err)
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	if err := os.WriteFile(root+"/bin/busybox", data, 0o755); err != nil {
		return err
	}
	for _, applet := range []string{"sh", "touch", "sleep", "cat", "echo"} {
		if err := os.Symlink("busybox", root+"/bin/"+applet); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) cleanUp() {
	for _, id := range []string{"web1", "web2"} {
		exec.Command(s.program("oci-apparmor-runtime"), "delete", "--force", id).Run()
	}
	for _, profile := range []string{"demo-web", "demo-base"} {
		os.WriteFile("/sys/kernel/security/apparmor/.remove", []byte(profile), 0) // no task is left under it
	}
}

func (s *story) play() error {
	fmt.Println("\nAppArmor is the part of the Linux kernel that can forbid a program what its user may do, even root.\n" +
		"A profile is a list of what is allowed; the kernel keeps it, and every process has one or none.")

	s.title("A policy: two AppArmor profiles, and which container gets which")
	if err := os.Mkdir("/etc/oci-apparmor/profiles", 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"policy.yaml": policyFile, "profiles/demo-web": webProfile} {
		if err := os.WriteFile("/etc/oci-apparmor/"+name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := s.run(true, "cat", "/etc/oci-apparmor/policy.yaml"); err != nil {
		return err
	}
	fmt.Println("    The first of the two forbids one thing: to write to /etc.")
	if err := s.run(true, "grep", "deny", "/etc/oci-apparmor/profiles/demo-web"); err != nil {
		return err
	}
	if err := s.run(true, "oci-apparmor", "policy", "apply", "--quiet"); err != nil {
		return err
	}

	s.title("A container whose only instruction is an annotation")
	if err := s.writeSpec(); err != nil {
		return err
	}
	fmt.Printf("    its config.json: \"annotations\": {%q: \"web\"}, and no profile\n", annotation)
	if err := s.run(true, "oci-apparmor", "policy", "explain", "--bundle", s.bundle, "--id", "web1"); err != nil {
		return err
	}
	if err := s.start("web1"); err != nil {
		return err
	}

	s.title("What the kernel says of its process")
	if err := s.label("web1"); err != nil {
		return err
	}
	fmt.Println("    The process, which is root in its container, tried to write to two files:")
	if err := s.run(true, "cat", s.bundle+"/rootfs/tmp/log"); err != nil {
		return err
	}

	s.title("A process that is started in it later is under the same profile")
	if err := s.run(true, "oci-apparmor-runtime", "exec", "web1", "cat", "/proc/self/attr/current"); err != nil {
		return err
	}
	if err := s.run(false, "oci-apparmor-runtime", "exec", "web1", "touch", "/etc/passwd2"); err != nil {
		return err
	}
	if err := s.run(true, "oci-apparmor-runtime", "exec", "web1", "touch", "/tmp/allowed"); err != nil {
		return err
	}

	s.title("Somebody loosens the profile by hand, behind our back")
	if err := s.load(looser); err != nil {
		return err
	}
	fmt.Println("    The name is the same, so whoever looks at names sees no change; but it protects no more:")
	if err := s.run(true, "runc", "exec", "web1", "cat", "/proc/self/attr/current"); err != nil {
		return err
	}
	if err := s.run(true, "runc", "exec", "web1", "touch", "/etc/got-in"); err != nil {
		return err
	}

	s.title("The next start compares content, not names")
	if err := s.start("web2"); err != nil {
		return err
	}
	if err := s.label("web2"); err != nil {
		return err
	}
	if err := s.run(false, "oci-apparmor-runtime", "exec", "web2", "touch", "/etc/passwd2"); err != nil {
		return err
	}
	fmt.Println("\nThat is the whole idea: the policy decides, the kernel proves it, and no daemon runs.")
	return nil
}

// writeSpec gives the bundle a spec as an engine might write it: an annotation and no profile.
func (s *story) writeSpec() error {
	script := "for f in /etc/denied /tmp/allowed; do if touch $f; then echo \"touch $f: ok\"; fi; done >/tmp/log 2>&1; exec sleep 1000"
	caps := []string{"CAP_KILL", "CAP_DAC_OVERRIDE"}
	spec := specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Args: []string{"sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"},
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			NoNewPrivileges: true,
		},
		Annotations: map[string]string{annotation: "web"},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
			{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace},
		}},
	}
	data, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.bundle+"/config.json", data, 0o644)
}

// start runs the bundle as container id, from the spec as an engine would have written it.
func (s *story) start(id string) error {
	if err := s.writeSpec(); err != nil {
		return err
	}
	return s.run(true, "oci-apparmor-runtime", "run", "--detach", "--bundle", s.bundle, id)
}

// label shows the label of a container's process, from the kernel.
func (s *story) label(id string) error {
	out, err := exec.CommandContext(s.ctx, s.program("oci-apparmor-runtime"), "state", id).Output()
	if err != nil {
		return err
	}
	var state specs.State
	if err := json.Unmarshal(out, &state); err != nil {
		return err
	}
	return s.run(true, "cat", fmt.Sprintf("/proc/%d/attr/current", state.Pid))
}

// load replaces a profile as an administrator in a hurry would.
func (s *story) load(text string) error {
	path := s.bundle + "/looser"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	return s.run(true, "apparmor_parser", "--replace", "--skip-cache", path)
}

func (s *story) title(text string) {
	s.step++
	fmt.Printf("\n%d. %s\n", s.step, text)
}

// program gives the path of one of ours, or the name of one of the system's.
func (s *story) program(name string) string {
	for _, p := range programs {
		if p == name {
			return filepath.Join(s.bin, p)
		}
	}
	return name
}

// run shows a command and what it prints. Whether it succeeds is part of the story: an error is a story that is not
// true.
func (s *story) run(succeeds bool, name string, args ...string) error {
	fmt.Printf("    $ %s\n", strings.ReplaceAll(strings.Join(append([]string{name}, args...), " "), s.bundle, "BUNDLE"))
	cmd := exec.CommandContext(s.ctx, s.program(name), args...)
	file, err := os.CreateTemp("/run/oci-apparmor", "output") // not a pipe: a detached container would keep it open
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	err = cmd.Run()
	out, readErr := os.ReadFile(file.Name())
	if readErr != nil {
		return readErr
	}
	for line := range bytes.Lines(out) {
		fmt.Printf("      %s\n", strings.ReplaceAll(strings.TrimRight(string(line), "\n\x00"), s.bundle, "BUNDLE"))
	}
	if succeeds && err == nil && len(out) == 0 {
		fmt.Println("      (done, without a complaint)")
	}
	if succeeds && err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !succeeds && err == nil {
		return fmt.Errorf("%s %s succeeded, and should have been denied", name, strings.Join(args, " "))
	}
	return nil
}
