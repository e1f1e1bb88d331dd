package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/bundle"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

const policyFile = `version: 1
profiles:
  demo-web:  {file: profiles/demo-web}          # written for a web server
  demo-base: {template: docker-default}         # what Docker gives every container
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

// private is what the story writes to. While it is told, each is an empty directory for the story's programs and no
// others: the node's own policy, its records and its containers are neither seen nor touched.
var private = []string{"/etc/oci-apparmor", "/var/lib/oci-apparmor", "/run/oci-apparmor", "/run/runc"}

// profiles are what the story may leave in the kernel, which is the one thing that it shares with the node.
var profiles = []string{"demo-web", "demo-base"}

// containers are those that the story starts.
var containers = []string{"web1", "web2"}

// story is the state of the telling: where things are, and the step's number.
type story struct {
	ctx    context.Context
	bin    string
	bundle string
	made   []string // of private, what was not there before
	step   int
}

// tell sets up a policy, starts a container with nothing but an annotation, and shows what the kernel makes of it.
// Nothing is left of it.
func tell(ctx context.Context, bin string) (err error) {
	enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if strings.TrimSpace(string(enabled)) != "Y" {
		return errors.New("this machine's kernel has no AppArmor: leave out HOST=1, and a guest that has is booted")
	}
	if os.Geteuid() != 0 {
		return errors.New("starting a container and loading a profile takes root")
	}
	for _, name := range profiles {
		if err := refuseLoaded(name, bin); err != nil {
			return err
		}
	}
	s := &story{ctx: ctx}
	if s.bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.cleanUp()) }()
	if err := s.setUp(); err != nil {
		return err
	}
	err = s.play()
	if ctx.Err() != nil {
		err = errors.New("it was interrupted")
	}
	return err
}

// refuseLoaded keeps a profile that the kernel has already, which is somebody else's: the story would replace it, and
// remove it in the end.
func refuseLoaded(name, bin string) error {
	_, err := kernel.New().Details(name)
	switch {
	case errors.Is(err, kernel.ErrNotLoaded):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("the kernel has a profile %s already, which the demo would replace: where it is of no use to you, remove it by"+
		" %s profile unload --foreign %s", name, filepath.Join(bin, "oci-apparmor"), name)
}

func (s *story) setUp() error {
	os.Unsetenv("OCI_APPARMOR_RUNTIME") // the story is about runc
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for program, hint := range map[string]string{"runc": "runc", "busybox": "busybox-static", "apparmor_parser": "apparmor"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w (apt-get install %s)", err, hint)
		}
	}
	// Mount namespaces belong to threads: main keeps to this one, and what it starts inherits it.
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, dir := range private {
		switch err := os.Mkdir(dir, 0o755); {
		case err == nil:
			s.made = append(s.made, dir)
		case !errors.Is(err, fs.ErrExist):
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
		return err
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	if err := os.WriteFile(root+"/bin/busybox", data, 0o755); err != nil {
		return err
	}
	for _, applet := range []string{"sh", "touch", "sleep", "cat", "echo", "rm"} {
		if err := os.Symlink("busybox", root+"/bin/"+applet); err != nil {
			return err
		}
	}
	return nil
}

// cleanUp removes what the story made. A profile that something runs under stays, since removing it would set that free.
func (s *story) cleanUp() error {
	ours := func(program string, args ...string) error {
		out, err := exec.Command(s.program(program), args...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("cleaning up: %s %s: %s", program, strings.Join(args, " "), bytes.TrimSpace(out))
		}
		return err
	}
	var errs []error
	for _, id := range containers {
		// /run/runc is the story's own one as soon as there is a bundle, and the node's until then.
		if _, err := os.Stat("/run/runc/" + id); err == nil && s.bundle != "" {
			errs = append(errs, ours("oci-apparmor-runtime", "delete", "--force", id))
		}
	}
	for _, name := range profiles {
		if _, err := kernel.New().Details(name); err == nil {
			errs = append(errs, ours("oci-apparmor", "profile", "unload", name))
		}
	}
	for _, dir := range s.made {
		syscall.Unmount(dir, syscall.MNT_DETACH)
		os.Remove(dir) // which it does not where the node has put something there meanwhile
	}
	return errors.Join(errs...)
}

func (s *story) play() error {
	s.say("AppArmor is a part of the Linux kernel. It confines a process by a profile: a list of what the process may do.",
		"All else is denied, to root as well. Container engines ask the kernel for a profile by its name; oci-apparmor",
		"decides which container gets which one, and sees to it that the kernel has that one and no other under the name.")

	s.title("The node's policy: two profiles, and which container gets which")
	if err := os.Mkdir("/etc/oci-apparmor/profiles", 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"policy.yaml": policyFile, "profiles/demo-web": webProfile} {
		if err := os.WriteFile("/etc/oci-apparmor/"+name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := s.steps(
		worked{"cat", "/etc/oci-apparmor/policy.yaml"},
		says("The profile demo-web lets a process read and write every file, but write none below /etc:"),
		worked{"cat", "/etc/oci-apparmor/profiles/demo-web"},
		says("This compiles the profiles and puts the policy in force:"),
		worked{"oci-apparmor", "policy", "apply", "--quiet"},
	); err != nil {
		return err
	}

	s.title("A container whose only instruction is an annotation")
	if err := s.writeSpec("web1"); err != nil {
		return err
	}
	s.say("Its config.json, as an engine writes it for runc, names no profile. It has \"annotations\": {\""+annotation+"\": \"web\"}.",
		"BUNDLE is the directory that has it, and the container's files.")
	if err := s.steps(worked{"oci-apparmor", "policy", "explain", "--bundle", s.bundle, "--id", "web1"}); err != nil {
		return err
	}
	s.say("It is started by the wrapper, which stands where runc stood:")
	if err := s.start("web1"); err != nil {
		return err
	}

	s.title("What the kernel says of its process")
	s.say("Every process has a label: the profile that it is under. enforce says that what this denies is denied, and not only logged.")
	if err := s.label("web1"); err != nil {
		return err
	}
	s.say("The process, root in its container, tried two things and wrote down how that went:")
	if err := s.tried(); err != nil {
		return err
	}
	if err := s.steps(worked{"cat", s.bundle + "/rootfs/tmp/log"}); err != nil {
		return err
	}

	s.title("A process that is started in the container later is under the same profile")
	if err := s.steps(
		worked{"oci-apparmor-runtime", "exec", "web1", "cat", "/proc/self/attr/current"},
		denied{"oci-apparmor-runtime", "exec", "web1", "touch", conf},
		worked{"oci-apparmor-runtime", "exec", "web1", "touch", "/tmp/scratch"},
	); err != nil {
		return err
	}

	s.title("Somebody loosens the profile by hand, behind our back")
	if err := os.WriteFile(s.bundle+"/looser", []byte(looser), 0o644); err != nil {
		return err
	}
	if err := s.steps(
		says("This text has the same name, and allows to write every file:"),
		worked{"cat", s.bundle + "/looser"},
		worked{"apparmor_parser", "--replace", "--skip-cache", s.bundle + "/looser"},
		says("Whoever looks at names sees no change. But a process that runc itself starts, past the wrapper:"),
		worked{"runc", "exec", "web1", "cat", "/proc/self/attr/current"},
		worked{"runc", "exec", "web1", "touch", conf},
	); err != nil {
		return err
	}

	s.title("The next start compares what the kernel holds with the policy, and puts it right")
	if err := s.start("web2"); err != nil {
		return err
	}
	if err := s.label("web2"); err != nil {
		return err
	}
	if err := s.steps(
		denied{"oci-apparmor-runtime", "exec", "web2", "rm", "-f", conf},
		says("A process that is started in the first container is confined by it again, past the wrapper as well:"),
		denied{"runc", "exec", "web1", "rm", "-f", conf},
		says("So is what ran there all the time, as its label is a single profile. Had it been a stack, as with a floor, that"),
		says("would stay loosened: the start above says so, oci-apparmor status calls web1 stale, and it is to be started anew."),
	); err != nil {
		return err
	}
	s.say("", "That is all: a policy decides, the kernel's own hash of the profile proves it, and no daemon runs.",
		"Both containers and the profile are removed now.")
	return nil
}

// conf is what the profile protects.
const conf = "/etc/app.conf"

// worked and denied are commands that must succeed, and that the kernel must deny something; says is a remark.
type (
	worked []string
	denied []string
	says   string
)

// steps shows them one after another, and stops where the story is not true.
func (s *story) steps(steps ...any) error {
	for _, step := range steps {
		var err error
		switch step := step.(type) {
		case worked:
			err = s.run(true, step)
		case denied:
			err = s.run(false, step)
		case says:
			s.say(string(step))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *story) say(lines ...string) {
	for _, l := range lines {
		fmt.Println(strings.TrimRight("    "+l, " "))
	}
}

// writeSpec writes the spec of the bundle as an engine might write it: an annotation and no profile.
func (s *story) writeSpec(id string) error {
	script := "for f in " + conf + " /tmp/scratch; do echo \"$ touch $f\"; touch $f && echo \"(it worked)\"; done >/tmp/log 2>&1; " +
		"touch /tmp/tried; exec sleep 1000"
	spec := bundle.Spec("sh", "-c", script)
	spec.Process.Env = []string{"PATH=/bin"}
	spec.Process.Capabilities = bundle.Capabilities("CAP_KILL", "CAP_DAC_OVERRIDE")
	spec.Annotations = map[string]string{annotation: "web"}
	spec.Mounts = append(spec.Mounts, bundle.Mount("/dev", "tmpfs", "tmpfs", "nosuid", "mode=755"))
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	spec.Linux.CgroupsPath = "/oci-apparmor-demo-" + id // the node may have a container of that id, and so a cgroup
	return bundle.Write(s.bundle, spec)
}

// tried waits until the container's process has written down what it tried.
func (s *story) tried() error {
	for range 200 {
		if _, err := os.Stat(s.bundle + "/rootfs/tmp/tried"); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("the container's process tries nothing")
}

// start runs the bundle as container id, from the spec as an engine would have written it.
func (s *story) start(id string) error {
	if err := s.writeSpec(id); err != nil {
		return err
	}
	return s.run(true, []string{"oci-apparmor-runtime", "run", "--detach", "--bundle", s.bundle, id})
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
	return s.run(true, []string{"cat", fmt.Sprintf("/proc/%d/attr/current", state.Pid)})
}

func (s *story) title(text string) {
	s.step++
	fmt.Printf("\n%d. %s\n", s.step, text)
}

// program returns the path of one of ours, or the name of one of the system's.
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
func (s *story) run(succeeds bool, args []string) error {
	shown := func(text string) string { return strings.ReplaceAll(text, s.bundle, "BUNDLE") }
	fmt.Printf("    $ %s\n", shown(strings.Join(args, " ")))
	cmd := exec.CommandContext(s.ctx, s.program(args[0]), args[1:]...)
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
		fmt.Printf("      %s\n", shown(strings.TrimRight(string(line), "\n\x00")))
	}
	switch {
	case succeeds && err != nil:
		return fmt.Errorf("%s: %w", args, err)
	case succeeds && len(out) == 0:
		fmt.Println("      (it worked)")
	case !succeeds && err == nil:
		return fmt.Errorf("%s succeeded, and should have been denied", args)
	case !succeeds && !bytes.Contains(out, []byte("Permission denied")):
		return fmt.Errorf("%s failed, and not because it was denied", args)
	}
	return nil
}
