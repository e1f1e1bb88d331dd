package integration

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Docker's profile and ours of the same name, docker-default: what each accepts and refuses, and which one is loaded.

const (
	onlyBaseline = "version: 1\nassign:\n  - policy: baseline\n"
	ownBaseline  = "version: 1\nprofiles:\n  docker-default: {template: docker-default, onDrift: replace}\nassign:\n  - policy: baseline\n"
)

// dockerDefaultRefuses are operations, and whether our docker-default refuses them. OUTSIDE is a process outside of the
// container.
var dockerDefaultRefuses = map[string]bool{
	"write /etc/x": false, "exec /bin/true": false, "mknod /tmp/null": false,

	"open /proc/sys/kernel/core_pattern w": true, "open /proc/sys/kernel/hostname w": true,
	"open /proc/sys/kernel/printk_ratelimit w": true, "open /proc/sys/kernel/core_pattern r": false,
	"open /proc/sys/kernel/shmmni w": false, "open /proc/sys/kernel/shmmax w": false,
	"open /proc/sys/vm/swappiness w": true, "open /proc/sys/fs/file-max w": true,
	"open /proc/sys/net/ipv4/ip_default_ttl w": true,
	"open /proc/sysrq-trigger w":               true, "open /proc/sysrq-trigger r": true,
	"open /proc/kcore r": true, "open /proc/kmsg r": false, "open /proc/irq/default_smp_affinity w": true,
	"open /proc/self/comm w": false, "open /proc/self/oom_score_adj w": false, "open /proc/OUTSIDE/comm r": false,

	"open /sys/kernel/mm/transparent_hugepage/enabled w": true, "open /sys/kernel/mm/transparent_hugepage/enabled r": false,
	"open /sys/module/apparmor/parameters/debug w": true, "open /sys/fs/cgroup/cgroup.procs w": false,
	"open /sys/firmware/x r": true, "open /sys/devices/virtual/powercap/x r": true,
	"open /sys/kernel/security/apparmor/profiles r": true, "open /sys/kernel/security/apparmor/.remove w": true,

	"mount /mnt": true, "bind /tmp /mnt": true, "move-mount /tmp /mnt": true, "pivot-root /var": true,
	"umount /dev/mqueue": false, "unshare mount": false, "unshare user": false,

	"socket inet stream": false, "socket inet raw": false, "socket inet6 dgram": false, "socket packet dgram": false,
	"socket netlink raw": false, "socket unix stream": false, "socket alg seqpacket": true, "abstract-unix": false,

	"mq-open": false, "io-uring": false, "change-profile unconfined": true,
	"kill-self-child": false, "ptrace-child": false, "kill OUTSIDE": true, "ptrace OUTSIDE": true,
}

// notInUserMode are operations on files that a kernel in user mode does not have.
var notInUserMode = []string{
	"open /proc/irq/default_smp_affinity w",
	"open /sys/kernel/mm/transparent_hugepage/enabled w", "open /sys/kernel/mm/transparent_hugepage/enabled r",
}

// senders are profiles of processes outside, and whether a container under our docker-default refuses their signals.
var senders = map[string]bool{"unconfined": false, "runc": false, "crun": false, "outsider": true}

// dockersDifference has what Docker's own docker-default refuses other than ours, by suite, and why.
var dockersDifference = map[string]map[string]bool{
	"trixie": dockerWithoutABI,
	"forky":  dockerWithoutABI,
}

// dockerWithoutABI is that of Dockers up to 28: it has no rule against crypto sockets (moby has one since May 2026), and
// names no ABI, so that Debian's parser mediates classes for which it has no rule.
var dockerWithoutABI = map[string]bool{"socket alg seqpacket": false, "unshare user": true, "io-uring": true}

// profileAlone makes a container that nothing but its profile keeps from anything: with all capabilities, the host's
// processes, and all of /proc and /sys writable, in which what a guest has not got is made up.
func profileAlone(t *testing.T) func(*specs.Spec) {
	fake := t.TempDir()
	for _, file := range []string{"firmware/x", "virtual/powercap/x"} {
		guesttest.MustRun(t, "mkdir", "-p", filepath.Join(fake, filepath.Dir(file)))
		write(t, filepath.Join(fake, file), "")
	}
	return func(s *specs.Spec) {
		all := strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID
			CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK
			CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT
			CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL
			CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON
			CAP_BPF CAP_CHECKPOINT_RESTORE`)
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
		s.Process.NoNewPrivileges = false
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
		s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
			return n.Type == specs.PIDNamespace
		})
		for i := range s.Mounts {
			s.Mounts[i].Options = slices.DeleteFunc(s.Mounts[i].Options, func(o string) bool { return o == "ro" })
		}
		for at, from := range map[string]string{
			"/sys/firmware": fake + "/firmware", "/sys/devices/virtual": fake + "/virtual",
			"/sys/kernel/security": "/sys/kernel/security",
		} {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: at, Type: "bind", Source: from, Options: []string{"bind"}})
		}
	}
}

// answersOf has the container try all operations, and signals it from outside.
func answersOf(t *testing.T, c *guesttest.Container) map[string]string {
	t.Helper()
	outside := exec.Command("probe", "sleep")
	if err := outside.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		outside.Process.Kill()
		outside.Wait()
	}()
	answers := map[string]string{}
	for _, op := range slices.Sorted(maps.Keys(dockerDefaultRefuses)) {
		answers[op] = c.Ask(t, strings.ReplaceAll(op, "OUTSIDE", fmt.Sprint(outside.Process.Pid)))
	}
	pid := fmt.Sprint(c.Pid(t))
	for sender := range senders {
		args := []string{"probe", "kill", pid}
		if sender != "unconfined" {
			args = append([]string{"aa-exec", "--profile=" + sender, "--"}, args...)
		}
		answers["a signal from "+sender] = strings.TrimSpace(guesttest.MustRun(t, args[0], args[1:]...))
	}
	return answers
}

// wantAnswers compares them with what should be refused, and where nothing should with those of a container without a
// profile. Differences are from what ours refuses.
func wantAnswers(t *testing.T, whose string, got, free map[string]string, differences map[string]bool) {
	t.Helper()
	want := maps.Clone(dockerDefaultRefuses)
	for sender, refused := range senders {
		want["a signal from "+sender] = refused
	}
	for op, refused := range differences {
		if was, ok := want[op]; !ok || was == refused {
			t.Errorf("%s is listed as a difference to ours, and is none", op)
		}
		want[op] = refused
	}
	for _, op := range slices.Sorted(maps.Keys(want)) {
		switch {
		case guesttest.UserMode(t) && slices.Contains(notInUserMode, op):
		case want[op] && got[op] != denied:
			t.Errorf("%s: %s gave %q, want it refused", whose, op, got[op])
		case want[op] && free[op] == denied:
			t.Errorf("%s is refused to a container without a profile, too, and shows nothing", op)
		case !want[op] && got[op] != free[op]:
			t.Errorf("%s: %s gave %q, want %q as without a profile", whose, op, got[op], free[op])
		}
	}
}

func TestContainerdDockerDefault(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie, guesttest.Forky) // the Dockers that can do it
	setPolicy(t, onlyBaseline)
	c := guesttest.StartContainerd(t, guesttest.Containerds(t)[0], guesttest.ContainerdConfig{})
	guesttest.StartDocker(t, c, nil)
	if _, ok := guesttest.Profiles(t)["docker-default"]; !ok {
		t.Fatal("dockerd has not loaded its docker-default")
	}
	for sender := range senders {
		if sender != "unconfined" {
			guesttest.LoadProfile(t, loose(sender))
		}
	}
	rt := armsOf(t, "runc")
	spec := profileAlone(t)
	free := answersOf(t, guesttest.NewBundle(t, spec).Start(t, rt.bare))
	theirs := guesttest.NewBundle(t, spec, names("docker-default")).Start(t, rt.bare)
	wantLabel(t, theirs, "docker-default")
	wantAnswers(t, "Docker's", answersOf(t, theirs), free, dockersDifference[guesttest.Suite()])

	// By its content Docker's is not ours, and somebody else's.
	wantRefused(t, guesttest.NewBundle(t), rt.wrapped, "docker-default", "another profile of that name", "onDrift")
	if hash := hashOf(t, "docker-default"); hash == ourHash(t, "docker-default") {
		t.Errorf("Docker's docker-default and ours have the same hash %s", hash)
	}
	text := guesttest.MustRun(t, "oci-apparmor", "profile", "show", "docker-default", "--text") + "\n"
	file := textIn(t, t.TempDir(), "docker-default", text)
	wantFailure(t, 3, 2, []string{"docker-default is loaded with other content, and not by oci-apparmor", "--replace"},
		"profile", "load", file)

	writePolicy(t, ownBaseline, nil)
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
	ours, o := guesttest.NewBundle(t, spec).TryStart(t, rt.wrapped)
	if ours == nil {
		t.Fatal(o.Stderr)
	}
	if !strings.Contains(o.Stderr, "profile docker-default was loaded with other content") {
		t.Errorf("no warning that docker-default was not ours: %q", o.Stderr)
	}
	wantLabel(t, ours, "docker-default")
	if got, want := hashOf(t, "docker-default"), ourHash(t, "docker-default"); got != want {
		t.Errorf("the kernel's hash of docker-default is %s, and ours %s", got, want)
	}
	wantAnswers(t, "ours", answersOf(t, ours), free, nil)
	if out := guesttest.MustRun(t, "oci-apparmor", "profile", "load", "--replace", file); !strings.Contains(out, "loaded already") {
		t.Errorf("what profile show prints is not what a start has loaded: %s", out)
	}
}

// hashOf returns the kernel's hash of a profile.
func hashOf(t *testing.T, name string) string {
	t.Helper()
	d, err := kernel.New().Details(name)
	if err != nil {
		t.Fatal(err)
	}
	return d.Hash
}

// ourHash returns the hash that a profile of the policy in force has in the kernel.
func ourHash(t *testing.T, name string) string {
	t.Helper()
	g, err := store.Store{Dir: store.Dir}.Current()
	if err != nil {
		t.Fatal(err)
	}
	p, ok := g.Index.Profile(name)
	if !ok {
		t.Fatalf("the policy in force has no profile %s", name)
	}
	return fmt.Sprintf("sha256:%x", p.Compiled[0].SHA256) // the kernels that have a Docker take no other
}
