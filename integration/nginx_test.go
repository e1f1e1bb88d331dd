package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/inside"
)

// The example of Docker's manual: nginx under the profile docker-nginx, in which ping, top, touch, sh and dash are said
// to be denied. testdata/docker-nginx is the manual's, testdata/docker-nginx-today ours.

// nginxPolicy lets containers have the profile both ways: by annotation, and by the engine's option. Without either they
// get work, under which all five operations work.
const nginxPolicy = `version: 1
profiles:
  docker-nginx: {file: profiles/docker-nginx, onDrift: replace}
  work:         {file: profiles/work}
policies:
  nginx: {profile: docker-nginx}
  work:  {profile: work}
assign:
  - policy: work
    request: nginx
    engine: docker-nginx
`

// fiveOperations are those of the manual, with an address that answers without a network. Dash is not in every image.
var fiveOperations = []struct{ name, command string }{
	{"ping", "ping -c 1 -W 1 127.0.0.1"}, {"top", "top -h"}, {"touch", "touch /root/thing"}, {"sh", "sh -c true"},
	{"dash", "dash -c true"},
}

func setNginxPolicy(t *testing.T, text string) {
	t.Helper()
	for _, program := range []string{"nginx", "ping"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("this guest has no ", program)
		}
	}
	setPolicy(t, keepPolicy)
	writePolicy(t, nginxPolicy, map[string]string{"docker-nginx": read(t, "testdata/"+text), "work": texts["work"]})
	inside.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
}

// library is a line of ldd.
var library = regexp.MustCompile(`(/\S+) \(0x`)

// nginxImage makes the root file system of an image with Debian's nginx and what the manual's operations are: "merged"
// as Debian's images are today, "split" with a /bin of its own as they were, and "busybox" as Alpine's are.
func nginxImage(t *testing.T, kind string) (root string) {
	t.Helper()
	root, err := os.MkdirTemp("/var/lib", "nginx-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	dirs := "dev etc proc root run sys tmp usr/bin usr/sbin usr/lib usr/lib64 usr/share var/lib/nginx var/log/nginx var/www/html"
	if kind != "merged" {
		dirs += " bin sbin lib lib64"
	}
	for _, dir := range strings.Fields(dirs) {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, at string) {
		if err := os.Symlink(to, filepath.Join(root, at)); err != nil {
			t.Fatal(err)
		}
	}
	if kind == "merged" {
		for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
			link("usr/"+dir, dir)
		}
	}
	link("/run", "var/run")

	programs := map[string]string{"nginx": "/usr/sbin"}
	switch kind {
	case "busybox":
		inside.MustRun(t, "cp", program(t, "busybox"), program(t, "probe"), root+"/bin")
		inside.MustRun(t, "chroot", root, "/bin/busybox", "--install", "-s")
	default:
		for _, name := range []string{"bash", "dash", "ping", "sleep", "touch"} {
			programs[name] = "/bin"
		}
		programs["top"] = "/usr/bin"
		link("dash", "bin/sh")
		write(t, root+"/script", "#!/bin/sh\n")
		if err := os.Chmod(root+"/script", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, dir := range programs {
		path := program(t, name)
		inside.MustRun(t, "cp", "--dereference", path, root+dir+"/"+name)
		for _, m := range library.FindAllStringSubmatch(inside.MustRun(t, "ldd", path), -1) {
			to := root + m[1]
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			inside.MustRun(t, "cp", "--dereference", m[1], to)
		}
	}
	inside.MustRun(t, "cp", "--archive", "/etc/nginx", root+"/etc/nginx")
	write(t, root+"/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n")
	write(t, root+"/etc/group", "root:x:0:\nwww-data:x:33:\n")
	write(t, root+"/var/www/html/index.html", "a page\n")
	return root
}

// A webserver is a container of nginxImage in which nginx runs.
type webserver struct {
	kind string
	pid  int
	exec func(args ...string) inside.Outcome
}

// enter runs a program in namespaces of the container's, without its profile.
func (w *webserver) enter(t *testing.T, namespaces []string, args ...string) inside.Outcome {
	t.Helper()
	return inside.Run(t, "nsenter", slices.Concat([]string{"--target", strconv.Itoa(w.pid)}, namespaces, args)...)
}

// operation gives the command for one of the operations as the manual does it, in a bash that the engine starts. What the
// engine starts itself, no rule of the profile keeps it from: so where there is no bash, it starts probe.
func (w *webserver) operation(command string) []string {
	if w.kind == "busybox" {
		return append([]string{"/bin/probe", "exec"}, strings.Fields(command)...)
	}
	return []string{"/bin/bash", "-c", command + "; exit $?"}
}

var denial = regexp.MustCompile("(?i)permission denied|lacking privilege|" + denied)

// isDenied tells whether an operation was denied, or worked.
func (w *webserver) isDenied(t *testing.T, command string, o inside.Outcome) bool {
	t.Helper()
	switch said := o.Stdout + o.Stderr; {
	case denial.MatchString(said) && (o.Code != 0 || w.kind == "busybox"):
		return true
	case o.Code != 0 || w.kind == "busybox" && said != "ok\n":
		t.Errorf("%s on the %s image: exit code %d, %s", command, w.kind, o.Code, said)
	}
	return false
}

// wantServes checks that nginx gives its page, asked from within its network.
func (w *webserver) wantServes(t *testing.T) {
	t.Helper()
	waitFor(t, "nginx to serve its page", func() bool {
		return w.enter(t, []string{"--net"}, "busybox", "wget", "-qO-", "http://127.0.0.1/").Stdout == "a page\n"
	})
}

// wantDenied checks that all of the operations are denied, that the kernel says so, and that without the profile they
// all work.
func (w *webserver) wantDenied(t *testing.T) {
	t.Helper()
	for _, op := range fiveOperations {
		if op.name == "dash" && w.kind == "busybox" {
			continue // it has none
		}
		log := inside.KernelLog(t)
		o := w.exec(w.operation(op.command)...)
		if !w.isDenied(t, op.command, o) {
			t.Errorf("%s on the %s image is not denied: %+v", op.name, w.kind, o)
		}
		t.Logf("%s: %s", op.command, strings.TrimSpace(o.Stdout+o.Stderr))
		if lines := log.Grep(t, `apparmor="DENIED"`, `profile="docker-nginx"`); len(lines) == 0 {
			t.Errorf("%s on the %s image: nothing of it is in the kernel's log", op.name, w.kind)
		}
		free := w.enter(t, []string{"--mount", "--net", "--pid"}, w.operation(op.command)...)
		if w.isDenied(t, op.command, free) {
			t.Errorf("%s on the %s image is denied without the profile: %+v", op.name, w.kind, free)
		}
	}
	if o := w.exec("/bin/bash", "-c", "true >/dev/null"); w.kind != "busybox" && o.Code != 0 {
		t.Errorf("/dev/null cannot be written to: %+v", o)
	}
}

// runDocker starts nginx by Docker.
func runDocker(t *testing.T, d *inside.Docker, kind string, options ...string) *webserver {
	t.Helper()
	root := nginxImage(t, kind)
	tar := filepath.Join("/var/lib", filepath.Base(root)+".tar")
	defer os.Remove(tar)
	inside.MustRun(t, "tar", "-C", root, "-cf", tar, ".")
	d.MustDocker(t, "import", tar, "nginx:"+kind)
	args := append([]string{"run", "--detach", "--network", "none", "--runtime", "wrapper"}, options...)
	id := d.MustDocker(t, append(args, "nginx:"+kind, "nginx", "-g", "daemon off;")...)
	t.Cleanup(func() { d.MustDocker(t, "rm", "--force", id) })
	pid, err := strconv.Atoi(d.MustDocker(t, "inspect", "--format", "{{.State.Pid}}", id))
	if err != nil || pid == 0 {
		t.Fatalf("nginx has ended: %v; it said %+v", err, d.Docker(t, "logs", id))
	}
	return &webserver{kind, pid, func(args ...string) inside.Outcome {
		return d.Docker(t, append([]string{"exec", id}, args...)...)
	}}
}

func TestContainerdNginxByDocker(t *testing.T) {
	setNginxPolicy(t, "docker-nginx-today")
	c := inside.StartContainerd(t, inside.Containerds(t)[0], inside.ContainerdConfig{})
	d := inside.StartDocker(t, c, map[string]map[string]any{"wrapper": {"path": inside.DockerWrappers + "/runc"}})
	secured := []string{"--security-opt", "apparmor=docker-nginx"}
	annotated := []string{"--annotation", "oci-apparmor/policy=nginx"}
	for kind, options := range map[string][]string{"merged": secured, "busybox": annotated} {
		t.Run(kind, func(t *testing.T) {
			w := runDocker(t, d, kind, options...)
			wantLabelText(t, "nginx", inside.Label(t, w.pid), "docker-nginx")
			w.wantServes(t)
			w.wantDenied(t)
		})
	}
}

func TestContainerdNginx(t *testing.T) {
	inside.Require(t)
	c := inside.StartContainerd(t, inside.Containerds(t)[0], inside.ContainerdConfig{})
	start := func(t *testing.T, kind, root string, options []string, command ...string) *webserver {
		k := &task{Containerd: c, ID: filepath.Base(root), rootfs: root}
		args := append([]string{"run", "--detach", "--null-io"}, inside.Shim.Flags()...)
		args = append(append(args, "--rootfs", "--env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"), options...)
		c.MustCtr(t, append(append(args, root, k.ID), command...)...)
		t.Cleanup(func() {
			c.Ctr(t, "task", "rm", "--force", k.ID)
			c.Ctr(t, "container", "rm", k.ID)
		})
		return &webserver{kind, k.pid(t), func(args ...string) inside.Outcome { return k.exec(t, args...) }}
	}
	for kind, options := range map[string][]string{
		"merged": {"--annotation", "oci-apparmor/policy=nginx"}, "split": {"--apparmor-profile", "docker-nginx"},
	} {
		t.Run(kind, func(t *testing.T) {
			setNginxPolicy(t, "docker-nginx-today")
			w := start(t, kind, nginxImage(t, kind), options, "nginx", "-g", "daemon off;")
			wantLabelText(t, "nginx", inside.Label(t, w.pid), "docker-nginx")
			w.wantServes(t)
			w.wantDenied(t)
			for _, command := range [][]string{{"bash", "-c", "/script"}, {"sh", "-c", "true"}} { // what no profile can deny
				if o := w.exec(command...); o.Code != 0 {
					t.Errorf("%q: %+v", command, o)
				}
			}
		})
	}
	// The manual's own profile, on an image that it was not written for: docker-nginx-today says what is wrong.
	t.Run("the manual's profile does not do what the manual says", func(t *testing.T) {
		setNginxPolicy(t, "docker-nginx")
		asking := []string{"--annotation", "oci-apparmor/policy=nginx"}
		root := nginxImage(t, "merged")
		w := start(t, "merged", root, asking, "sleep", "1000")
		wantLabelText(t, "sleep", inside.Label(t, w.pid), "docker-nginx")
		log := inside.KernelLog(t)
		for command, denied := range map[string]bool{
			"sh -c true": false, "dash -c true": false, "true >/dev/null": true, "top -h": true, "touch /root/thing": true,
		} {
			if o := w.exec(w.operation(command)...); w.isDenied(t, command, o) != denied {
				t.Errorf("%s: %+v", command, o)
			}
		}
		if lines := log.Grep(t, `apparmor="DENIED"`, `profile="docker-nginx"`); len(lines) != 0 {
			t.Errorf("the manual's denials are in the kernel's log: %q", lines)
		}
		o := w.exec("nginx", "-g", "daemon off;")
		if !w.isDenied(t, "nginx", o) {
			t.Errorf("nginx: %+v", o)
		}
		t.Logf("nginx said: %s", o.Stderr)
	})
}
