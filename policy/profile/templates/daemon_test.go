package templates

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/protect"
)

// nodes are those that the profiles of daemons are made for: one whose AppArmor has a profile for runc, and an older one.
func nodes(t *testing.T) map[string]Target {
	return map[string]Target{
		"with a profile for runc": {Base: tree(t, map[string]string{"runc": "x"})},
		"without":                 {Base: t.TempDir()},
	}
}

// A compiledDaemon is the profile of a daemon and its children, by their names.
type compiledDaemon map[string]*meaning.Profile

func compileDaemon(t *testing.T, program string, mode profile.Mode, n Target) compiledDaemon {
	t.Helper()
	if _, err := os.Stat(filepath.Join(profile.BaseDir, "abstractions/base")); err != nil {
		t.Skip(err)
	}
	text, err := Daemon(program, mode, n)
	wantError(t, err)
	c := profiletest.Compiler(t, profiletest.Features())
	b, err := c.CompileText(t.Context(), program, text)
	wantError(t, err)
	all, err := meaning.ReadFor(b.Data, c)
	wantError(t, err)
	compiled := make(compiledDaemon)
	for i, p := range all {
		compiled[p.Name] = p
		if b.Profiles[i].Mode != mode {
			t.Errorf("%s is in mode %s", b.Profiles[i].Name, b.Profiles[i].Mode)
		}
	}
	return compiled
}

// allows returns an access of a line that a profile allows, and whether there is one.
func (c compiledDaemon) allows(t *testing.T, name, line string) (string, bool) {
	t.Helper()
	p := c[name]
	if p == nil {
		t.Fatalf("there is no profile %s", name)
	}
	pattern, err := access.Parse(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	found, ok, err := pattern.Allowed(meaning.Stack{p})
	wantError(t, err)
	if !ok {
		return "", false
	}
	return access.Format(found), true
}

func TestDaemonsAllowNothingOfNever(t *testing.T) {
	for _, program := range Daemons() {
		for name, n := range nodes(t) {
			t.Run(program+" on a node "+name, func(t *testing.T) {
				c := compileDaemon(t, program, profile.Enforce, n)
				never := protect.Never(protect.OfDaemon(program))
				if len(never) < 30 {
					t.Errorf("%d lines of what it never allows", len(never))
				}
				for _, line := range never {
					if found, ok := c.allows(t, program, line); ok {
						t.Errorf("never %s: it allows %s", line, found)
					}
				}
			})
		}
	}
}

// Each line is one access that the daemon or a program of it makes.
func TestDaemonsAllowTheirWork(t *testing.T) {
	both := map[string][]string{
		"": {
			"x /usr/bin/containerd-shim-runc-v2 -> runc", "r /etc/resolv.conf", "r /proc/1/ns/net",
			"capability sys_admin", "netlink raw", "tcp connect", "inet6 stream", "signal receive set=term peer=unconfined",
		},
		"apparmor_parser": {"w /sys/kernel/security/apparmor/.replace", "capability mac_admin", "r /etc/apparmor.d/abstractions/base"},
		"firewall":        {"netlink raw", "capability net_admin", "rw /run/xtables.lock"},
		"modprobe":        {"capability sys_module", "r /lib/modules/6.12.1/kernel/net/bridge/bridge.ko.xz", "r /usr/lib/modules/6.12.1/modules.dep.bin"},
	}
	own := map[string]map[string][]string{
		"dockerd": {
			"": {
				"x /usr/sbin/dockerd", "x /usr/sbin/xtables-nft-multi -> dockerd//firewall", "x /usr/bin/kmod -> dockerd//modprobe",
				"x /usr/libexec/docker/docker-proxy -> dockerd//docker-proxy", "x /usr/bin/containerd -> containerd",
				"x /usr/bin/xz -> dockerd//unpack", "x /usr/bin/git -> dockerd//git", "x /usr/bin/ps -> dockerd//ps",
				"x /usr/bin/tini-static -> dockerd//docker-init", "x /var/lib/docker/tmp/qemu-check123/check -> dockerd//qemu-check",
				// What is in images.
				"w /etc/shadow", "w /bin/busybox", "w /dev/null", "w /dev/pts/", "w /proc/", "w /sys/", "w /p", "w /data/x", "w /deploy/x",
				"w /prod/x", "w /proxy/x", "w /procs/x", "w /system/x", "w /sysx", "w /srv/x", "l /opt/a -> /opt/b", "l /bin/gzip -> /bin/arch", "l /usr/bin/git -> /usr/lib/git-core/git",
				"mount fstype=overlay overlay -> /var/lib/docker/overlay2/x/merged/",
				"bind /srv/ -> /var/lib/docker/overlay2/x/merged/bind/", "remount options=(ro, bind) /var/lib/docker/overlay2/x/merged/bind/",
				"pivot_root oldroot=/var/lib/docker/overlay2/x/diff/.pivot_root1/ /var/lib/docker/overlay2/x/diff/",
				"umount /.pivot_root1/", "mount -> /run/docker/netns/default", "mount fstype=overlay overlay -> /tmp/containerd-mount1/",
				"w /proc/sys/net/ipv4/ip_forward", "packet dgram", "inet6 raw", "signal send set=int peer=dockerd//docker-proxy",
				"signal send set=kill peer=docker-default",
				// A container under a policy's own profile, or a stack of them.
				"signal send set=kill peer=web", "signal send set=exists peer=web", "signal send set=kill peer=u", "signal send set=kill peer=un",
				"signal send set=kill peer=unit", "signal send set=kill peer=/usr/bin/x", "signal send set=kill peer=floor//&web",
			},
			"docker-proxy": {"tcp listen", "udp bind", "capability net_bind_service"},
			"ps":           {"r /proc/1/status", "ptrace read peer=docker-default"},
			"git":          {"x /usr/lib/git-core/git-remote-https", "tcp connect", "w /var/lib/docker/tmp/x"},
		},
		"containerd": {
			"": {
				"w /var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db", "w /run/containerd/containerd.sock", "w /var/lib/cni/results/x",
				"mount fstype=overlay overlay -> /var/lib/containerd/tmpmounts/containerd-mount1/", "w /proc/7/oom_score_adj",
				"bind / -> /run/netns/cni-1", "r /", "x /opt/cni/bin/bridge -> containerd//cni", "x /usr/bin/kmod -> containerd//modprobe", "w /sys/fs/cgroup/x",
			},
			"cni": {"x /opt/cni/bin/host-local", "x /usr/sbin/xtables-nft-multi -> containerd//firewall", "capability net_admin"},
		},
	}
	for _, program := range Daemons() {
		for name, n := range nodes(t) {
			t.Run(program+" on a node "+name, func(t *testing.T) {
				c := compileDaemon(t, program, profile.Enforce, n)
				for _, all := range []map[string][]string{both, own[program]} {
					for child, lines := range all {
						in := strings.TrimSuffix(program+"//"+child, "//")
						for _, line := range lines {
							if _, ok := c.allows(t, in, line); !ok {
								t.Errorf("%s does not allow %s", in, line)
							}
						}
					}
				}
				runtime := "unconfined"
				if n.has("runc") {
					runtime = "runc"
				}
				if program == "dockerd" {
					line := "ptrace read peer=" + runtime
					if _, ok := c.allows(t, program, line); !ok {
						t.Errorf("it does not allow %s, by which it takes a container's network", line)
					}
				}
			})
		}
	}
}

// What Docker 26 and 28 and containerd 1.7 and 2.1 did in guests with all that the guest tests do, under profiles in complain
// mode that allowed nothing. The kernel logged it, and package audit read it. Ids and names of files in deep directories are
// shortened.
func TestDaemonsAllowWhatWasRecorded(t *testing.T) {
	for _, program := range Daemons() {
		c := compileDaemon(t, program, profile.Enforce, Target{Base: tree(t, map[string]string{"runc": "x"})})
		recorded, err := os.ReadFile("testdata/recorded/" + program)
		wantError(t, err)
		lines := 0
		for line := range strings.Lines(string(recorded)) {
			name, what, _ := strings.Cut(strings.TrimSpace(line), " ")
			if _, ok := c.allows(t, name, what); !ok {
				t.Errorf("%s does not allow %s", name, what)
			}
			lines++
		}
		if lines < 100 {
			t.Errorf("%s: %d lines are not what was recorded", program, lines)
		}
	}
}

// What a daemon's programs may do is theirs alone.
func TestChildrenOfDaemonsKeepToTheirWork(t *testing.T) {
	never := map[string][]string{
		"firewall":        {"x /usr/bin/dash", "capability sys_admin sys_module", "tcp connect", "w /etc/**", "mount", "ptrace trace"},
		"modprobe":        {"x /usr/bin/dash", "capability sys_admin", "tcp", "w /etc/**", "r /lib/modules/6.12.1/kernel/drivers/block/nbd.ko"},
		"apparmor_parser": {"x /usr/bin/dash", "capability sys_admin", "tcp", "w /etc/**", "w /sys/kernel/security/apparmor/.remove"},
		"docker-proxy":    {"x /**", "capability sys_admin net_admin", "w /var/**", "inet raw"},
		"docker-init":     {"x /**", "capability", "network inet", "w /var/**"},
		"ps":              {"x /**", "capability sys_admin", "tcp", "w /var/**", "r /proc/1/mem", "ptrace trace"},
		"unpack":          {"x /**", "capability", "network inet", "w /var/**", "r /var/**", "r /etc/shadow"},
		"git":             {"x /usr/bin/dash", "capability", "w /etc/**", "mount", "r /etc/shadow"},
		"qemu-check":      {"x /**", "capability", "network", "w /var/**", "r /etc/**"},
		"cni":             {"x /usr/bin/dash", "capability sys_module", "w /etc/**", "mount", "r /etc/shadow", "ptrace trace"},
		"mkfs":            {"x /**", "capability", "network inet", "w /etc/**", "w /dev/sda"},
	}
	for _, program := range Daemons() {
		c := compileDaemon(t, program, profile.Enforce, Target{})
		for name := range c {
			child := strings.TrimPrefix(strings.TrimPrefix(name, program), "//")
			if child != "" && never[child] == nil {
				t.Errorf("%s: the test knows nothing of it", name)
			}
			for _, line := range never[child] {
				if found, ok := c.allows(t, name, line); ok {
					t.Errorf("%s, never %s: it allows %s", name, line, found)
				}
			}
		}
	}
}

// Every runtime and shim of the table of engines, in each directory where one may be, runs as the profile runc or under none: what runs
// under another label could not stop containers.
func TestDaemonsRunRuntimesAsRunc(t *testing.T) {
	for _, program := range Daemons() {
		c := compileDaemon(t, program, profile.Enforce, Target{})
		for _, p := range []string{"runc", "crun", engine.Wrapper, engine.Shim, "containerd-shim-runc-v2"} {
			for _, dir := range engine.RuntimeDirs {
				line := "ux " + dir + "/" + p // what is left where the profile is not loaded
				if _, ok := c.allows(t, program, line); !ok {
					t.Errorf("%s does not allow %s", program, line)
				}
				for _, other := range []string{"ix", "cx"} {
					if found, ok := c.allows(t, program, other+" "+dir+"/"+p); ok {
						t.Errorf("%s allows %s", program, found)
					}
				}
			}
		}
	}
}

func TestDaemonsAreMadeInComplainMode(t *testing.T) {
	for _, program := range Daemons() {
		complain, enforce := compileDaemon(t, program, profile.Complain, Target{}), compileDaemon(t, program, profile.Enforce, Target{})
		if len(complain) != len(enforce) || len(complain) < 5 {
			t.Errorf("%s: %d and %d profiles", program, len(complain), len(enforce))
		}
	}
}

func TestDaemonRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, program := range []string{"", "podman", "../children/children", "dockerd\x1b[31m"} {
		_, err := Daemon(program, profile.Complain, Target{})
		wantError(t, err, "containerd, dockerd")
		if bytes.ContainsRune([]byte(err.Error()), 0x1b) {
			t.Errorf("the error has what was asked for as it is: %q", err)
		}
	}
}

// Each daemon with a profile is one of the table of engines, and no container gets its profile.
func TestDaemonsAreEngines(t *testing.T) {
	for _, program := range Daemons() {
		if !slices.ContainsFunc(engine.Programs(), func(p engine.Program) bool { return p.Name == program && p.Daemon }) {
			t.Errorf("%s is no engine's daemon", program)
		}
		if slices.Contains(Names(), program) {
			t.Errorf("%s is a template for containers", program)
		}
	}
}
