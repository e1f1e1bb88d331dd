package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/install/doctor"
	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// A malady is something that is wrong with a node. make makes it, has it looked at, by a command before oci-apparmor's if
// it gives one, and unmakes it.
type malady struct {
	what string
	make func(t *testing.T, look func(before ...string))
	ids  []string // of what is found, and there is nothing else
	says string   // part of one of the sentences
}

// elsewhere are the checks that no condition of TestSystemdDoctor makes a finding of, and why.
var elsewhere = map[string]string{
	"apparmor-off":     "TestDoctorNoAppArmor has a kernel without it",
	"policy-namespace": "TestInsideAPolicyNamespace has one",
	"kernel-unfixed":   "the guests' kernels have the fixes",
	"kernel-unknown":   "the guests' kernels are Debian's",
	"loads-refused":    "the kernel would load nothing any more until its end",
	"profile-unknown":  "a kernel's own files can be read",
	"engine-version":   "TestContainerdDoctor has such a containerd in bookworm",
	"programs-earlier": "TestContainerdUpgrade has pods of earlier programs",
	"wiring-ignored":   "TestDoctorProbesPodman has a hook that Podman does not read",
	"probe-failed":     "TestContainerdDoctor has a probe that is refused",
	"probe-exec":       "TestDoctorProbesPodman has a hook alone",
	"probe-uncovered":  "an engine of which the files and the daemon are right calls us",
	"probe-label":      "what we start is under the label that was decided",
	"probe-left":       "an engine that works removes its containers",
}

// keep keeps a file's content and its time of change, and returns what puts both back.
func keep(t *testing.T, path string) (back func()) {
	t.Helper()
	info, missing := os.Stat(path)
	text, _ := os.ReadFile(path)
	return func() {
		t.Helper()
		if missing != nil {
			os.Remove(path)
			return
		}
		write(t, path, string(text))
		if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
}

// hasText returns what makes a condition of a file's content. The file has the time of change that it had, as if nobody had
// written it since its engine was started.
func hasText(path, text string) func(*testing.T, func(...string)) {
	return edited(path, func(string) string { return text })
}

// edited is hasText for what the file has.
func edited(path string, edit func(text string) string) func(*testing.T, func(...string)) {
	return func(t *testing.T, look func(...string)) {
		t.Helper()
		back := keep(t, path)
		defer back()
		before, _ := os.ReadFile(path)
		info, missing := os.Stat(path)
		writeFile(t, path, edit(string(before)))
		if missing == nil {
			if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
				t.Fatal(err)
			}
		}
		look()
	}
}

// swaps returns an edit that puts a text in the place of another.
func swaps(old, new string) func(string) string {
	return func(text string) string { return strings.Replace(text, old, new, 1) }
}

// without returns what makes a condition of a file or directory that is not there.
func without(path string) func(*testing.T, func(...string)) {
	return func(t *testing.T, look func(...string)) {
		t.Helper()
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			t.Fatal(err)
		}
		guesttest.MustRun(t, "mv", real, real+".away")
		defer guesttest.MustRun(t, "mv", real+".away", real)
		look()
	}
}

// between returns what makes a condition by one command and unmakes it by another, both of a shell.
func between(do, undo string) func(*testing.T, func(...string)) {
	return func(t *testing.T, look func(...string)) {
		t.Helper()
		guesttest.MustRun(t, "sh", "-e", "-c", do)
		defer guesttest.MustRun(t, "sh", "-e", "-c", undo)
		look()
	}
}

// hasProfile returns what makes a condition of what the kernel has of a profile.
func hasProfile(name, text string, owned bool) func(*testing.T, func(...string)) {
	return func(t *testing.T, look func(...string)) {
		t.Helper()
		if !owned || text == "" {
			guesttest.RemoveProfile(t, name)
		}
		if text != "" {
			guesttest.LoadProfile(t, text)
		}
		look()
		if text != "" && !owned {
			guesttest.MustRun(t, "oci-apparmor", "profile", "unload", "--foreign", name)
		}
	}
}

const (
	doctorPolicy = "/etc/oci-apparmor/policy.yaml"
	doctorWeb    = "/etc/oci-apparmor/profiles/web"
	dockerConfig = "/etc/docker/daemon.json"
	podmanDropIn = "/etc/containers/containers.conf.d/oci-apparmor.conf"
	misspelt     = `"/usr/local/bin/oci-aparmor-runtime", which is missing`
	parameters   = "/sys/module/apparmor/parameters/"
	hookFormat   = `{"version": "1.0.0", "when": {"always": true}, "stages": ["%s"], "hook": {"path": "%s"}}`
	sharedHook   = "/usr/share/containers/oci/hooks.d/test.json"
)

// maladiesOfKernel are those of AppArmor in the kernel, of its parser and of our unit.
var maladiesOfKernel = []malady{
	{"a kernel that keeps no hashes", between("echo N >"+parameters+"hash_policy", "echo Y >"+parameters+"hash_policy"), []string{"no-hashes"}, ""},
	{"a kernel that only logs", between("printf complain >"+parameters+"mode", "printf enforce >"+parameters+"mode"), []string{"not-enforcing"}, ""},
	{"no securityfs", between("mount -t tmpfs none /sys/kernel/security", "umount /sys/kernel/security"), []string{"securityfs-missing"}, ""},
	{"root without the right to load", func(t *testing.T, look func(...string)) {
		look("setpriv", "--bounding-set=-mac_admin", "--inh-caps=-mac_admin")
	}, []string{"no-right"}, ""},
	{"no parser", without("/usr/sbin/apparmor_parser"), []string{"parser-missing"}, ""},
	{"another parser", between("p=$(readlink -f /usr/sbin/apparmor_parser); cp -p $p $p.kept; echo >>$p", "p=$(readlink -f /usr/sbin/apparmor_parser); mv $p.kept $p"),
		[]string{"parser-changed"}, ""},
	{"no ABI", without("/etc/apparmor.d/abi"), []string{"abi-missing", "policy-pending"}, ""},
	{"a unit that is not enabled", between("systemctl disable --quiet oci-apparmor", "systemctl enable --quiet oci-apparmor"), []string{"unit-off"}, ""},
	{"a unit that has failed", func(t *testing.T, look func(...string)) {
		back := keep(t, doctorPolicy)
		writeFile(t, doctorPolicy, "version: 1\nbad: 1\n")
		guesttest.Run(t, "systemctl", "start", "oci-apparmor")
		back()
		look()
		guesttest.MustRun(t, "systemctl", "reset-failed", "oci-apparmor")
	}, []string{"unit-failed"}, ""},
	{"no unit", between("mv /usr/local/lib/systemd/system/oci-apparmor.service /var/tmp/; systemctl daemon-reload",
		"mv /var/tmp/oci-apparmor.service /usr/local/lib/systemd/system/; systemctl daemon-reload"), []string{"unit-missing"}, ""},
}

// maladiesOfPolicy are those of the policy, and of its profiles in the kernel and for AppArmor's service.
var maladiesOfPolicy = []malady{
	{"no policy in force", between("cd /var/lib/oci-apparmor; mkdir away; mv current generations away/", "cd /var/lib/oci-apparmor; mv away/* .; rmdir away"),
		[]string{"no-policy"}, ""},
	{"a policy that others could have written", between("chmod 777 /var/lib/oci-apparmor", "chmod 700 /var/lib/oci-apparmor"), []string{"policy-unreadable"}, ""},
	{"a fault in the policy file", edited(doctorPolicy, func(text string) string { return text + "bad: 1\n" }), []string{"policy-refused"}, `unknown key "bad"`},
	{"another text of a profile", edited(doctorWeb, func(text string) string { return text + "# changed\n" }), []string{"policy-pending"}, ""},
	{"a profile that does not compile", hasText(doctorWeb, "profile web {\n"), []string{"policy-pending"}, ""},
	{"a policy that is not loaded", func(t *testing.T, look func(...string)) {
		back := keep(t, doctorWeb)
		write(t, doctorWeb, strings.Replace(texts["web"], "audit deny /etc/**", "audit deny /etc/*", 1))
		guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
		look()
		back()
		guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
	}, []string{"profile-outdated"}, ""},
	{"a loosened profile", hasProfile("web", loose("web"), true), []string{"profile-drifted"}, ""},
	{"a profile that was removed", hasProfile("web", "", true), []string{"profile-missing"}, ""},
	{"somebody else's profile", hasProfile("web", loose("web"), false), []string{"profile-foreign"}, ""},
	{"no file for AppArmor's service", without("/etc/apparmor.d/web.oci-apparmor"), []string{"boot-file-missing"}, ""},
	{"a file that was loosened", edited("/etc/apparmor.d/web.oci-apparmor", swaps("deny /etc/** w,", "")), []string{"boot-file-changed"}, ""},
}

// maladiesOfEngines are those of the engines' files, programs and daemons.
var maladiesOfEngines = []malady{
	{"a broken daemon.json", hasText(dockerConfig, "{\n  \"debug\": true,\n}\n"), []string{"engine-unreadable"}, "daemon.json:2:16: this comma is too many"},
	{"a broken file of Podman's", hasText("/etc/containers/containers.conf.d/zz-test.conf", "[engine\n"), []string{"engine-unreadable"}, "zz-test.conf:1:8: "},
	{"a file that a package wrote anew", hasText(dockerConfig, "{}"), []string{"wiring-lost", "engine-restart"}, "Docker was wired by install"},
	{"a record of nothing", hasText("/var/lib/oci-apparmor/wiring/record.json", "{"), []string{"wiring-interrupted"}, ""},
	{"a file that its engine refuses", edited(dockerConfig, swaps("{", `{"nosuch-key": 1, `)), []string{"engine-refuses"}, "nosuch-key"},
	{"a later file of Podman's", hasText("/etc/containers/containers.conf.d/zz-test.conf", "[engine.runtimes]\napparmor = [\"/usr/bin/crun\"]\n"),
		[]string{"runtime-foreign"}, `calls "/usr/bin/crun", which is not ours`},
	{"no shim", without("/usr/local/bin/containerd-shim-apparmor-v2"), []string{"wiring-program"}, "containerd-shim-apparmor-v2 is missing"},
	{"a wrapper of another version", between("cd /usr/local/bin; cp -p oci-apparmor-runtime /var/tmp/; printf '#!/bin/sh\\necho oci-apparmor-runtime 0.1\\n' >oci-apparmor-runtime",
		"mv /var/tmp/oci-apparmor-runtime /usr/local/bin/"), []string{"program-version"}, "oci-apparmor-runtime of version 0.1, and this is "},
	{"a misspelt path in daemon.json", edited(dockerConfig, swaps("oci-apparmor-runtime", "oci-aparmor-runtime")), []string{"runtime-foreign", "engine-restart"},
		misspelt},
	{"a misspelt path in config.toml", edited(containerdConfig, swaps("containerd-shim-apparmor-v2", "containerd-shim-aparmor-v2")),
		[]string{"runtime-foreign"}, `"/usr/local/bin/containerd-shim-aparmor-v2", which is missing`},
	{"a misspelt path in containers.conf", edited(podmanDropIn,
		swaps("/usr/local/lib/oci-apparmor/podman/crun", "/usr/local/bin/oci-aparmor-runtime")), []string{"runtime-foreign"}, misspelt},
	{"another program of our name", edited(dockerConfig, swaps("/usr/local/bin/oci-apparmor-runtime", "/usr/bin/crun")), []string{"runtime-foreign", "engine-restart"},
		"which is not ours"},
	{"other annotations", edited(containerdConfig, swaps("oci-apparmor/*", "example.org/*")), []string{"annotations-dropped"}, ""},
	{"a file that containerd has not read", func(t *testing.T, look func(...string)) {
		defer keep(t, containerdConfig)()
		guesttest.MustRun(t, "touch", containerdConfig)
		look()
	}, []string{"engine-restart"}, "containerd runs as process"},
	{"a file that dockerd has not read", edited(dockerConfig, swaps("/usr/local/bin/oci-", "/usr/local/bin/../bin/oci-")), []string{"engine-restart"},
		"dockerd's runtime apparmor is another one than in"},
	{"a Docker that is down", between("systemctl stop docker.service docker.socket 2>&1", "systemctl start docker.socket docker.service"),
		[]string{"engine-down"}, "Docker is wired, and does not run"},
	{"a Docker that hangs", between("systemctl kill --kill-whom=main --signal=STOP docker.service", "systemctl kill --kill-whom=main --signal=CONT docker.service"),
		[]string{"engine-down"}, "and does not work: "},
	{"a containerd that is down", between("systemctl stop docker.service docker.socket containerd.service 2>&1",
		"systemctl start containerd.service docker.socket docker.service"), []string{"engine-down"}, "containerd is wired, and does not run"},
	{"a hook for all engines", hasText(sharedHook, fmt.Sprintf(hookFormat, "precreate", "/bin/true")), []string{"hooks-break-others"}, ""},
	{"a hook without its program", hasText(sharedHook, fmt.Sprintf(hookFormat, "createRuntime", "/opt/oci-apparmor-hook")), []string{"hook-program"}, ""},
	{"a hook alone", between("oci-apparmor install --yes --via hook podman", "oci-apparmor install --yes --via wrapper podman"), []string{"exec-escapes"}, ""},
}

// maladiesOfContainers are those of containers that run.
var maladiesOfContainers = []malady{
	{"a policy that is recorded", func(t *testing.T, look func(...string)) {
		guesttest.MustRun(t, "oci-apparmor", "profile", "learn", "start", "--anew", "web")
		defer guesttest.Run(t, "oci-apparmor", "profile", "learn", "finish", "web")
		look()
	}, []string{"policy-recorded"}, ""},
	{"a profile that a recording has left", func(t *testing.T, look func(...string)) {
		guesttest.LoadProfile(t, "profile learn.web.0123456789abcdef flags=(complain) {}\n")
		look()
	}, []string{"recording-left"}, ""},
	{"a confined container", func(t *testing.T, look func(...string)) {
		held(t, asks("web"), true, func(*guesttest.Container) { look() })
	}, nil, ""},
	{"a process past the wrapper", func(t *testing.T, look func(...string)) {
		held(t, asks("web"), true, func(c *guesttest.Container) {
			execOther(t, c, armsOf(t, "runc").bare, "unconfined")
			look()
		})
	}, []string{"container-differs"}, ""},
	{"a loosened profile in use", func(t *testing.T, look func(...string)) {
		held(t, asks("web"), true, func(*guesttest.Container) { hasProfile("web", loose("web"), true)(t, look) })
	}, []string{"profile-drifted", "container-drifted"}, ""},
	{"a stack that was loosened", func(t *testing.T, look func(...string)) {
		held(t, asks("work"), true, func(*guesttest.Container) {
			guesttest.LoadProfile(t, loose("work"))
			runDoctor(t, "--fix")
			look()
		})
	}, []string{"container-stale"}, ""},
	{"a stack that somebody else has replaced twice", func(t *testing.T, look func(...string)) {
		held(t, asks("work"), true, func(*guesttest.Container) {
			guesttest.LoadProfile(t, loose("work"))
			guesttest.LoadProfile(t, texts["work"])
			look()
		})
	}, []string{"container-unverified"}, ""},
	{"a record that cannot be read", hasText("/run/oci-apparmor/containers/0.json", "{"), []string{"containers-unknown"}, ""},
	{"a container that did not come to us", func(t *testing.T, look func(...string)) {
		held(t, func(s *specs.Spec) { s.Process.ApparmorProfile = "" }, false, func(*guesttest.Container) { look() })
	}, []string{"container-uncovered"}, ""},
	{"a container by its engine's choice", func(t *testing.T, look func(...string)) {
		held(t, func(s *specs.Spec) { s.Process.ApparmorProfile = "web" }, false, func(*guesttest.Container) { look() })
	}, []string{"container-by-engine"}, ""},
	{"a runtime with a label that no profile knows", func(t *testing.T, look func(...string)) {
		guesttest.LoadProfile(t, strangeOwn)
		look()
	}, []string{"signals-refused", "policy-pending"}, ""},
}

// held starts a container, by our wrapper or past it, and removes it again.
func held(t *testing.T, edit func(*specs.Spec), wrapped bool, f func(c *guesttest.Container)) {
	t.Helper()
	rt := armsOf(t, "runc")
	runtime := rt.bare
	if wrapped {
		runtime = rt.wrapped
	}
	c := guesttest.NewBundle(t, edit).Start(t, runtime)
	defer guesttest.MustRun(t, runtime, "delete", "--force", c.ID)
	f(c)
}

// On a healthy node nothing is found, and with its engines wired and running nothing either. In between, each malady that is
// made on purpose is found, and nothing else.
func TestSystemdDoctor(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Forky) // what it finds is ours to say
	guesttest.NeedDocker(t)
	guesttest.NeedPodman(t)
	unitHas(t, "docker.service", "ExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock "+
		"--bridge=none --iptables=false --ip6tables=false\n")
	guesttest.MustRun(t, "sysctl", "--quiet", "net.ipv4.ip_forward=1")
	t.Cleanup(func() { guesttest.MustRun(t, "sysctl", "--quiet", "net.ipv4.ip_forward=0") })
	defer keep(t, "/etc/containers/containers.conf.d/00-test.conf")()
	writeFile(t, "/etc/containers/containers.conf.d/00-test.conf", "[containers]\nnetns = \"none\"\n[engine]\ncgroup_manager = \"cgroupfs\"\n")
	startUnits(t, []string{"docker.socket", "docker.service", "containerd.service"}, "/run/docker", "/var/lib/docker", "/run/containerd", "/var/lib/containerd",
		"/run/containers", "/var/lib/containers", "/run/libpod")
	setPolicy(t, floorPolicy)
	guesttest.MustRun(t, "systemctl", "enable", "--quiet", "oci-apparmor")
	guesttest.Run(t, "systemctl", "reset-failed", "oci-apparmor") // another test has left it as it was
	t.Cleanup(func() { guesttest.MustRun(t, "systemctl", "disable", "--quiet", "oci-apparmor") })
	guesttest.MustRun(t, "oci-apparmor", "policy", "load")
	runDoctor(t).want(t, "a healthy node whose engines are not wired")
	made := map[string]bool{}
	all := func(maladies []malady) {
		for _, m := range maladies {
			t.Run(m.what, func(t *testing.T) { m.isFound(t, made) })
			guesttest.MustRun(t, "oci-apparmor", "policy", "load")
		}
	}
	all(maladiesOfKernel) // engines' own checks take seconds, so that what is wrong with engines comes last
	all(maladiesOfPolicy)
	all(maladiesOfContainers)

	t.Cleanup(func() { wantDone(t, guesttest.Run(t, "oci-apparmor", "uninstall", "--yes")) })
	wantDone(t, guesttest.Run(t, "oci-apparmor", "install", "--yes", "--restart"))
	healthy := func() {
		t.Helper()
		if o := guesttest.Run(t, "oci-apparmor", "doctor"); o.Code != 0 || !strings.HasSuffix(o.Stdout, "\nnothing is wrong\n") {
			t.Errorf("a healthy node: exit code %d: %s%s", o.Code, o.Stdout, o.Stderr)
		}
	}
	healthy()
	if r := parseDoctor(t, guesttest.RunCommand(t, asNobody("doctor", "--json"))); r.code != 3 || len(r.Findings) > 0 || len(r.Unseen) < 6 {
		t.Errorf("a healthy node, as a user: %+v", r)
	}
	all(maladiesOfEngines)
	t.Run("a file that somebody has removed, as the documents show it", func(t *testing.T) {
		without(podmanDropIn)(t, func(...string) {
			shown := block(t, "install/README.md#what-is-wrong")
			tail := shown[strings.Index(shown, "\nERROR "):]
			if o := guesttest.Run(t, "oci-apparmor", "doctor"); o.Code != 1 || !strings.HasSuffix(o.Stdout, tail) {
				t.Errorf("exit code %d:\n%s\nand install/README.md shows\n%s", o.Code, o.Stdout, tail)
			}
		})
	})
	healthy()
	for _, c := range doctor.Checks() {
		if made[c.ID] == (elsewhere[c.ID] != "") {
			t.Errorf("%s: made here %v, and elsewhere %q", c.ID, made[c.ID], elsewhere[c.ID])
		}
	}
}

// isFound makes the malady, and fails the test unless it is found and nothing else. It notes what is found.
func (m *malady) isFound(t *testing.T, made map[string]bool) {
	m.make(t, func(before ...string) {
		t.Helper()
		args := append(before, "oci-apparmor", "doctor", "--json")
		r := parseDoctor(t, guesttest.Run(t, args[0], args[1:]...))
		r.want(t, m.what, m.ids...)
		said := ""
		for _, f := range r.Findings {
			made[f.ID] = true
			said += f.What + "\n"
		}
		if !strings.Contains(said, m.says) {
			t.Errorf("it does not say %q:\n%s", m.says, said)
		}
	})
}
