package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
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
    acceptChoice: docker-nginx
`

// rootsHome is where root is at home in the images, and thing the file that the manual has it touch there.
const (
	rootsHome = "root" // below the image's root directory
	thing     = "/" + rootsHome + "/thing"
)

// fiveOperations are those of the manual, with an address that answers without a network. Dash is not in every image.
var fiveOperations = []struct{ name, command string }{
	{"ping", "ping -c 1 -W 1 127.0.0.1"}, {"top", "top -h"}, {"touch", "touch " + thing}, {"sh", "sh -c true"},
	{"dash", "dash -c true"},
}

// needNginx skips a test where the guest has not got what images are made of.
func needNginx(t *testing.T) {
	t.Helper()
	for _, program := range []string{"nginx", "ping"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("this guest has no ", program)
		}
	}
}

func setNginxPolicy(t *testing.T) {
	t.Helper()
	writePolicy(t, nginxPolicy, map[string]string{"docker-nginx": read(t, "testdata/docker-nginx-today"), "work": texts["work"]})
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
}

// library is a line of ldd.
var library = regexp.MustCompile(`(/\S+) \(0x`)

// The images of nginxImage, the root file systems that are made already, and those on which the operations have been
// tried without a profile.
var (
	nginxKinds = []string{"merged", "split", "busybox"}
	nginxRoots = map[string]string{}
	triedFree  = map[string]bool{}
)

// nginxImage returns the root file system of an image with Debian's nginx and what the manual's operations are: "merged"
// as Debian's images are today, "split" with a /bin of its own as they were, and "busybox" as Alpine's are. It is made
// once for all tests of a guest.
func nginxImage(t *testing.T, kind string) (root string) {
	t.Helper()
	if root, ok := nginxRoots[kind]; ok {
		return root
	}
	root = "/var/lib/nginx-" + kind
	dirs := rootsHome + " dev etc proc run sys tmp usr/bin usr/sbin usr/lib usr/lib64 usr/share var/lib/nginx var/log/nginx var/www/html"
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
		guesttest.MustRun(t, "cp", program(t, "busybox"), program(t, "probe"), root+"/bin")
		guesttest.MustRun(t, "chroot", root, "/bin/busybox", "--install", "-s")
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
		copyProgram(t, name, root, dir)
	}
	guesttest.MustRun(t, "cp", "--archive", "/etc/nginx", root+"/etc/nginx")
	write(t, root+"/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n")
	write(t, root+"/etc/group", "root:x:0:\nwww-data:x:33:\n")
	write(t, root+"/var/www/html/index.html", "a page\n")
	nginxRoots[kind] = root
	return root
}

// copyProgram copies a program of the guest and its libraries into a root file system.
func copyProgram(t *testing.T, name, root, dir string) {
	t.Helper()
	path := program(t, name)
	guesttest.MustRun(t, "cp", "--dereference", path, root+dir+"/"+name)
	for _, m := range library.FindAllStringSubmatch(guesttest.MustRun(t, "ldd", path), -1) {
		to := root + m[1]
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		guesttest.MustRun(t, "cp", "--dereference", m[1], to)
	}
}

// A webserver is a container of nginxImage in which nginx runs.
type webserver struct {
	kind string
	pid  int
	exec func(args ...string) guesttest.Outcome
}

// enter runs a program in namespaces of the container's, without its profile.
func (w *webserver) enter(t *testing.T, namespaces []string, args ...string) guesttest.Outcome {
	t.Helper()
	return guesttest.Run(t, "nsenter", slices.Concat([]string{"--target", strconv.Itoa(w.pid)}, namespaces, args)...)
}

var denial = regexp.MustCompile("(?i)permission denied|lacking privilege|" + denied)

// try has commands done one after the other and tells which were denied. The manual types them into a bash that the
// engine starts. What the engine starts itself, no rule of the profile keeps it from: so where there is no bash, it
// starts probe.
func (w *webserver) try(t *testing.T, run func(args ...string) guesttest.Outcome, commands ...string) (denied []bool) {
	t.Helper()
	const mark = "== exit code "
	args := []string{"/bin/bash", "-c", "exec 2>&1\n"}
	for _, c := range commands {
		args[2] += c + "\necho '" + mark + "'$?\n"
	}
	if w.kind == "busybox" {
		args = []string{"/bin/probe", "each"}
		for _, c := range commands {
			args = append(args, "exec "+c)
		}
	}
	o := run(args...)
	t.Logf("on the %s image:\n%s%s", w.kind, o.Stdout, o.Stderr)
	lines := strings.Split(strings.TrimSpace(o.Stdout), "\n")
	said := ""
	for _, line := range lines {
		code := 0
		if n, _ := fmt.Sscanf(line, mark+"%d", &code); n == 0 && w.kind != "busybox" {
			said += line + "\n"
			continue
		}
		if w.kind == "busybox" {
			said = line
		}
		is := denial.MatchString(said) && (code != 0 || w.kind == "busybox")
		if !is && (code != 0 || w.kind == "busybox" && said != "ok") {
			t.Errorf("on the %s image: %q ended with exit code %d: %s", w.kind, commands[min(len(denied), len(commands)-1)], code, said)
		}
		denied = append(denied, is)
		said = ""
	}
	if len(denied) != len(commands) {
		t.Fatalf("%d commands on the %s image gave %d results: %+v", len(commands), w.kind, len(denied), o)
	}
	return denied
}

// operations are those of the manual that the image has.
func (w *webserver) operations() (names, commands []string) {
	for _, op := range fiveOperations {
		if op.name == "dash" && w.kind == "busybox" {
			continue // it has none
		}
		names, commands = append(names, op.name), append(commands, op.command)
	}
	return names, commands
}

// record returns words of the record that the kernel makes when an operation is denied.
func (w *webserver) record(operation string) []string {
	words := []string{`apparmor="DENIED"`, `profile="docker-nginx"`}
	bin := map[string]string{"merged": "/usr/bin", "split": "/bin"}[w.kind]
	switch {
	case w.kind == "busybox": // it is all of them
		return append(words, `operation="exec"`, `name="/bin/busybox"`)
	case operation == "ping":
		return append(words, `operation="create"`, `family="inet"`)
	case operation == "top":
		return append(words, `operation="exec"`, `name="/usr/bin/top"`)
	case operation == "touch":
		return append(words, `name="`+thing+`"`)
	}
	return append(words, `operation="exec"`, `name="`+bin+`/dash"`) // sh is a link to it
}

// wantServes checks that nginx gives its page, asked from within its network.
func (w *webserver) wantServes(t *testing.T) {
	t.Helper()
	waitFor(t, "nginx to serve its page", func() bool {
		return w.enter(t, []string{"--net"}, "busybox", "wget", "-qO-", "http://127.0.0.1/").Stdout == "a page\n"
	})
}

// wantDenied checks that all of the operations are denied, that the kernel says so of each, and that without the profile
// they all work.
func (w *webserver) wantDenied(t *testing.T) {
	t.Helper()
	names, commands := w.operations()
	log := guesttest.KernelLog(t)
	all := commands
	if w.kind != "busybox" {
		all = append(commands[:len(commands):len(commands)], "true >/dev/null")
	}
	for i, denied := range w.try(t, w.exec, all...) {
		switch {
		case i == len(names) && denied:
			t.Errorf("/dev/null of the %s image cannot be written to", w.kind)
		case i < len(names) && !denied:
			t.Errorf("%s on the %s image is not denied", names[i], w.kind)
		}
	}
	records := log.Lines(t)
	for _, name := range names { // each has one of its own
		i := slices.IndexFunc(records, func(line string) bool {
			return !slices.ContainsFunc(w.record(name), func(word string) bool { return !strings.Contains(line, word) })
		})
		if i < 0 {
			t.Errorf("%s on the %s image: no record with %q is in the kernel's log: %q", name, w.kind, w.record(name), records)
			continue
		}
		records = slices.Delete(records, i, i+1)
	}
	if triedFree[w.kind] {
		return
	}
	triedFree[w.kind] = true
	free := func(args ...string) guesttest.Outcome {
		return w.enter(t, []string{"--mount", "--net", "--pid"}, args...)
	}
	for i, denied := range w.try(t, free, commands...) {
		if denied {
			t.Errorf("%s on the %s image is denied without the profile, too", names[i], w.kind)
		}
	}
	// To touch a file that is there is not denied.
	if err := os.Remove(fmt.Sprintf("/proc/%d/root%s", w.pid, thing)); err != nil {
		t.Error(err)
	}
}

// wantManual checks what the manual's own profile does on an image of today, for which it was not written:
// docker-nginx-today says what is wrong. Under Docker, ping passes.
func (w *webserver) wantManual(t *testing.T, pings bool) {
	t.Helper()
	guesttest.Executed(t, w.pid)
	wantLabelText(t, "sleep", guesttest.Label(t, w.pid), "docker-nginx")
	commands := []string{"top -h", "touch " + thing, "true >/dev/null", "sh -c true", "dash -c true"}
	want := []bool{true, true, true, false, false}
	log := guesttest.KernelLog(t)
	if got := w.try(t, w.exec, commands...); !slices.Equal(got, want) {
		t.Errorf("%q: denied are %v, want %v", commands, got, want)
	}
	log.WantNoDenials(t, "what the manual's profile denies without a record", `profile="docker-nginx"`)
	if pings && w.try(t, w.exec, fiveOperations[0].command)[0] {
		t.Error("ping is denied")
	}
	if o := w.exec("nginx", "-g", "daemon off;"); o.Code == 0 || !denial.MatchString(o.Stdout+o.Stderr) {
		t.Errorf("nginx: %+v", o)
	} else {
		t.Logf("nginx said: %s", o.Stderr)
	}
}

// runDocker starts a program by Docker in the image of the kind.
func runDocker(t *testing.T, d *guesttest.Docker, kind string, options []string, command ...string) *webserver {
	t.Helper()
	args := append([]string{"run", "--detach", "--network", "none"}, options...)
	id := d.MustDocker(t, append(append(args, "nginx:"+kind), command...)...)
	t.Cleanup(func() { d.MustDocker(t, "rm", "--force", id) })
	return &webserver{kind, d.Pid(t, id), func(args ...string) guesttest.Outcome {
		return d.Docker(t, append([]string{"exec", id}, args...)...)
	}}
}

// ctrs is how many containers runCtr has run.
var ctrs int

// runCtr starts a program by ctr in the image of the kind.
func runCtr(t *testing.T, c *guesttest.Containerd, kind string, arm guesttest.Arm, options []string, command ...string) *webserver {
	t.Helper()
	root := nginxImage(t, kind)
	ctrs++
	k := &task{Containerd: c, ID: fmt.Sprint("nginx-", kind, "-", ctrs), rootfs: root, tasks: c.Tasks(t)}
	args := append([]string{"run", "--detach", "--null-io"}, arm.Flags()...)
	args = append(append(args, "--rootfs", "--env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"), options...)
	c.MustCtr(t, append(append(args, root, k.ID), command...)...)
	t.Cleanup(func() {
		c.Ctr(t, "task", "rm", "--force", k.ID)
		c.Ctr(t, "container", "rm", k.ID)
	})
	return &webserver{kind, k.pid(t), func(args ...string) guesttest.Outcome { return k.exec(t, args...) }}
}

// logEverything has the kernel drop no records.
func logEverything(t *testing.T) {
	t.Helper()
	const limit = "/proc/sys/kernel/printk_ratelimit"
	old := read(t, limit)
	write(t, limit, "0")
	t.Cleanup(func() { write(t, limit, old) })
}

func TestContainerdNginxByDocker(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // which the README has its table from; the others have nginx without Docker
	needNginx(t)
	noPolicy(t)
	logEverything(t)
	c := guesttest.StartContainerd(t, guesttest.Containerds(t)[0], guesttest.ContainerdConfig{})
	d := guesttest.StartDocker(t, c, map[string]map[string]any{"wrapper": {"path": guesttest.DockerWrappers + "/runc"}})
	for _, kind := range nginxKinds {
		tar := "/var/lib/nginx.tar"
		guesttest.MustRun(t, "tar", "-C", nginxImage(t, kind), "-cf", tar, ".")
		d.MustDocker(t, "import", tar, "nginx:"+kind)
		os.Remove(tar)
	}
	secured := []string{"--security-opt", "apparmor=docker-nginx"}
	t.Run("the manual's profile as the manual does it", func(t *testing.T) {
		guesttest.MustRun(t, "oci-apparmor", "profile", "load", "testdata/docker-nginx")
		runDocker(t, d, "merged", secured, "sleep", "1000").wantManual(t, true)
	})
	setNginxPolicy(t)
	for _, kind := range nginxKinds {
		for how, options := range map[string][]string{
			"by --security-opt": secured, "by annotation": {"--annotation", "oci-apparmor/policy=nginx"},
		} {
			t.Run(kind+" "+how, func(t *testing.T) {
				if kind != "merged" && how == "by annotation" {
					guesttest.Leave(t, "make test has each way with one image, and each image in one way")
				}
				w := runDocker(t, d, kind, append(options, "--runtime", "wrapper"), "nginx", "-g", "daemon off;")
				w.wantServes(t) // by now it has executed its program, and has no longer the label of the runtime
				wantLabelText(t, "nginx", guesttest.Label(t, w.pid), "docker-nginx")
				w.wantDenied(t)
				if kind == "merged" && guesttest.Suite() == "trixie" { // whose programs the README has it from
					w.wantReadme(t)
				}
			})
		}
	}
}

// wantReadme checks that the README has what the operations say.
func (w *webserver) wantReadme(t *testing.T) {
	t.Helper()
	readme := read(t, "../policy/policyfile/README.md")
	for _, command := range []string{"ping -c 1 127.0.0.1", "top", "cd && touch thing", "sh", "dash"} {
		o := w.exec("bash", "-c", command)
		said := strings.TrimSpace(o.Stderr)
		if said == "" {
			t.Errorf("%s said nothing: %+v", command, o)
		}
		for line := range strings.Lines(said) {
			if line = strings.TrimSpace(line); !strings.Contains(readme, "`"+line+"`") {
				t.Errorf("%s said %q, which the README has not", command, line)
			}
		}
	}
}

func TestContainerdNginx(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // the newest kernel, beside the one that has nginx in Docker
	guesttest.Require(t)
	needNginx(t)
	noPolicy(t)
	logEverything(t)
	c := guesttest.StartContainerd(t, guesttest.Containerds(t)[0], guesttest.ContainerdConfig{})
	secured := []string{"--apparmor-profile", "docker-nginx"}
	t.Run("the manual's profile does not do what the manual says", func(t *testing.T) {
		guesttest.MustRun(t, "oci-apparmor", "profile", "load", "testdata/docker-nginx")
		runCtr(t, c, "merged", guesttest.Stock, secured, "sleep", "1000").wantManual(t, false)
	})
	setNginxPolicy(t)
	for _, kind := range nginxKinds {
		for how, options := range map[string][]string{
			"by --apparmor-profile": secured, "by annotation": {"--annotation", "oci-apparmor/policy=nginx"},
		} {
			t.Run(kind+" "+how, func(t *testing.T) {
				w := runCtr(t, c, kind, guesttest.Shim, options, "nginx", "-g", "daemon off;")
				w.wantServes(t) // by now it has executed its program, and has no longer the label of the runtime
				wantLabelText(t, "nginx", guesttest.Label(t, w.pid), "docker-nginx")
				w.wantDenied(t)
				if kind == "merged" && how == "by annotation" { // what no profile can deny
					for _, command := range [][]string{{"bash", "-c", "/script"}, {"sh", "-c", "true"}} {
						if o := w.exec(command...); o.Code != 0 {
							t.Errorf("%q: %+v", command, o)
						}
					}
				}
			})
		}
	}
}

// The policy of the nginx example's commands gives the profile to whoever asks for it.
func TestNginxPolicyOfDocuments(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie)
	noPolicy(t)
	if err := os.MkdirAll("/etc/oci-apparmor/profiles", 0o755); err != nil { // as the README's "Install" makes it
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-e", "-c", commands(block(t, "policy/policyfile/README.md#the-nginx-example"), "docker "))
	cmd.Dir = ".."
	if o := guesttest.RunCommand(t, cmd); o.Code != 0 {
		t.Fatalf("%s%s", o.Stdout, o.Stderr)
	}
	if out := guesttest.MustRun(t, "oci-apparmor", "policy", "explain", "--annotation", "oci-apparmor/policy=nginx"); !strings.Contains(out, "label     docker-nginx\n") {
		t.Errorf("explain prints\n%s", out)
	}
}
