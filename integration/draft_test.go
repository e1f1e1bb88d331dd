package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// intrusions are what somebody who has taken over a program in a container tries, as commands of probe. Those that are
// denied by docker-default as well, or for want of a capability, say nothing of a profile that denies more; freely are the
// others.
var intrusions = []struct {
	what, command string
	freely        bool
}{
	{"a shell", "exec /bin/sh -c true", true},
	{"to write into /usr", "write /usr/bin/new", true},
	{"a raw socket", "socket inet raw", true},
	{"to trace another process", "ptrace 1", true},
	{"to mount", "mount /mnt", false},
	{"/proc/sysrq-trigger", "write /proc/sysrq-trigger", false},
	{"a kernel module", "module", false},
	{"the hashes of passwords", "read /etc/shadow", true},
	{"a new program in /tmp", "exec /tmp/new", true},
	{"the engine's socket", "unix-connect /run/docker.sock", true},
}

// A first profile for nginx, made of what Docker says of its container, is enough for nginx to serve pages and to be
// stopped, and too little for intruders.
func TestContainerdProfileNewForNginx(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie)
	needNginx(t)
	noPolicy(t)
	logEverything(t)
	c := guesttest.StartContainerd(t, guesttest.Containerds(t)[0], guesttest.ContainerdConfig{})
	d := guesttest.StartDocker(t, c, map[string]map[string]any{"wrapper": {"path": guesttest.DockerWrappers + "/runc"}})
	const tar = "/var/lib/nginx.tar"
	guesttest.MustRun(t, "tar", "-C", nginxImage(t, "merged"), "-cf", tar, ".")
	d.MustDocker(t, "import", tar, "nginx:merged")
	os.Remove(tar)

	// /opt is where a program may be mapped, so that probe runs under the profile. What an engine starts is not asked.
	start := func(t *testing.T, options ...string) *webserver {
		t.Helper()
		return runDocker(t, d, "merged", append([]string{"--name", "web", "--expose", "80",
			"--volume", program(t, "probe") + ":/opt/probe:ro", "--volume", "/etc/shadow:/etc/shadow:ro",
			"--volume", d.Socket() + ":/run/docker.sock", "--tmpfs", "/tmp:exec"}, options...), "nginx", "-g", "daemon off;")
	}
	t.Run("made of the container that runs", func(t *testing.T) {
		w := start(t)
		w.wantServes(t)
		w.intrude(t, false)
		if err := os.MkdirAll("/etc/oci-apparmor/profiles", 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-e", "-c", block(t, "install/README.md#a-first-profile"))
		cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+d.Socket())
		o := guesttest.RunCommand(t, cmd)
		if o.Code != 0 {
			t.Fatalf("%+v", o)
		}
		t.Logf("%s\n%s", o.Stdout, read(t, "/etc/oci-apparmor/profiles/web"))
		if !strings.Contains(strings.Join(strings.Fields(o.Stdout), " "), "docker.sock of an engine is mounted at /run/docker.sock") {
			t.Error("it does not say that the engine's socket is mounted")
		}

		seen := filepath.Join(t.TempDir(), "seen") // with the files of its image
		guesttest.MustRun(t, "oci-apparmor", "profile", "new", "--from", "container:web", "--name", "web", "--output", seen)
		if text := read(t, seen); !strings.Contains(text, "\n  /usr/sbin/nginx mrix,\n") {
			t.Errorf("the profile of the running container has no rule for its program:\n%s", text)
		}
		guesttest.MustRun(t, "oci-apparmor", "profile", "check", "--strict", seen)
	})
	for line := range strings.Lines(read(t, "/etc/oci-apparmor/profiles/web")) {
		if regexp.MustCompile(`runc|containerd|docker|shim`).MatchString(line) && !regexp.MustCompile(`^ *(#|audit deny |signal \(receive\) )`).MatchString(line) {
			t.Errorf("a rule allows something of the engine's: %s", line)
		}
	}
	write(t, "/etc/oci-apparmor/policy.yaml", "version: 1\nprofiles: {web: {file: profiles/web}}\npolicies: {web: {profile: web}}\n"+
		"assign:\n  - {policy: keep, request: web}\n")
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
	t.Run("enforced", func(t *testing.T) {
		log := guesttest.KernelLog(t)
		w := start(t, "--runtime", "wrapper", "--annotation", "oci-apparmor/policy=web")
		w.wantServes(t)
		wantLabelText(t, "nginx", guesttest.Label(t, w.pid), "web")
		d.MustDocker(t, "exec", "web", "nginx", "-s", "reload")
		w.wantServes(t)
		d.MustDocker(t, "stop", "web")
		if o := d.MustDocker(t, "inspect", "--format", "{{.State.ExitCode}}", "web"); o != "0" {
			t.Errorf("nginx ended with exit code %s when it was stopped", o)
		}
		log.WantNoDenials(t, "nginx at its own work")
		d.MustDocker(t, "start", "web")
		w.pid = d.Pid(t, "web")
		w.wantServes(t)
		w.intrude(t, true)
		w.wantServes(t)
	})
}

// asksOfSockets reports whether the kernel asks AppArmor when a process connects to a socket that is a file. Linux 7.2 asks of
// profiles that have rules in the form network_v9, which no parser of these guests writes.
func asksOfSockets() bool {
	_, err := os.Stat(filepath.Join(securityfs, "features/network/af_unix"))
	return err == nil
}

// intrude tries all intrusions, each of which must be denied; or, where denied is false, those that work freely.
func (w *webserver) intrude(t *testing.T, denied bool) {
	t.Helper()
	prepare := w.exec("/opt/probe", "each", "write /tmp/new", "chmod /tmp/new", "label")
	args := []string{"/opt/probe", "each"}
	for _, i := range intrusions {
		args = append(args, i.command)
	}
	o := w.exec(args...)
	answers := strings.Split(strings.TrimSpace(o.Stdout), "\n")
	t.Logf("%q: %q", prepare.Stdout+prepare.Stderr, answers)
	if len(answers) != len(intrusions) {
		t.Fatalf("%d answers to %d intrusions: %+v", len(answers), len(intrusions), o)
	}
	for n, i := range intrusions {
		is := answers[n] == "errno EACCES" || answers[n] == "errno EPERM" || answers[n] == "errno EROFS"
		switch {
		case denied && !is && strings.HasPrefix(i.command, "unix-connect") && !asksOfSockets():
			t.Log("AppArmor is not asked here who connects to a socket that is a file; profile new says so")
		case denied && !is:
			t.Errorf("%s: %s, want a denial", i.what, strconv.Quote(answers[n]))
		case !denied && i.freely && is:
			t.Errorf("%s is denied without the profile, too: %s", i.what, answers[n])
		}
	}
}
