package integration

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/bundle"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// What a container does is recorded and made into a profile, under which it does the same and nothing else.

// learnPolicy gives every container the profile app, and those that ask for it other.
const learnPolicy = `version: 1
profiles:
  app:   {file: profiles/app}
  other: {file: profiles/other}
policies:
  app:   {profile: app}
  other: {profile: other}
assign:
  - policy: app
    request: other
`

// free is a profile under which every workload here works.
func free(name string) string {
	return "abi <abi/3.0>,\nprofile " + name + " flags=(attach_disconnected,mediate_deleted) {\n  file,\n  network,\n  capability,\n  signal,\n  ptrace,\n}\n"
}

func setLearnPolicy(t *testing.T) {
	t.Helper()
	setPolicy(t, keepPolicy)
	writePolicy(t, learnPolicy, map[string]string{"app": free("app"), "other": free("other")})
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
	t.Cleanup(func() { guesttest.Run(t, "oci-apparmor", "profile", "learn", "finish", "app") }) // ends what a failed test has left
}

// tools are what the script of scriptImage executes.
var tools = []string{"awk", "basename", "cat", "chmod", "cp", "cut", "date", "env", "find", "grep", "head", "id", "ln", "ls", "mkdir", "mktemp",
	"mv", "rm", "sed", "seq", "sleep", "sort", "tail", "tar", "tee", "touch", "tr", "wc"}

// learnScript is the work of a container: more than twenty tools, files that come and go, names that are others each time. It fails
// where any of them does, also in the midst of a pipe. With an argument it waits in the end until it is told to stop.
const learnScript = `#!/bin/sh -e
cd /job
seq 1 20 >numbers
sed -i s/1/one/ numbers
[ "$(sort -r numbers | head -n 5 | tail -n 2 | tee "with a blank" | wc -l)" = 2 ]
grep -c one numbers
mkdir -p made/below
cp numbers made/copy
mv made/copy made/below/moved
ln made/below/moved made/hard
ln -s below/moved made/soft
cat made/soft | cut -c 1 | tr a-z A-Z >>appended
[ "$(wc -l <appended)" = 20 ]
find made -type f
temporary=$(mktemp)
date >$temporary
chmod 600 $temporary
id -u
env >/dev/null
touch made/touched
ls -l made
basename /a/b
tar -cf made.tar made
tar -tf made.tar | awk -F / 'END { print NR, $1 }'
sleep 0 # is executed in any case; the next one may be killed before that
sleep 100 & kill $!
cat /proc/self/status /proc/$$/comm >/dev/null
rm -r made made.tar numbers appended $temporary
echo done
[ $# -gt 0 ] || exit 0
trap 'echo still there' USR1
trap 'exit 0' TERM
while :; do
	sleep 100 & wait $! || :
done
`

var scriptRoot string

// scriptImage returns the root file system of a container that runs learnScript.
func scriptImage(t *testing.T) string {
	t.Helper()
	if scriptRoot != "" {
		return scriptRoot
	}
	root := "/var/lib/learn-script"
	for _, dir := range strings.Fields("dev etc proc sys tmp job usr/bin usr/sbin usr/lib usr/lib64") {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range append([]string{"dash"}, tools...) {
		copyProgram(t, name, root, "/usr/bin")
	}
	guesttest.MustRun(t, "cp", program(t, "busybox"), root+"/usr/bin/busybox")
	if err := os.Symlink("dash", root+"/usr/bin/sh"); err != nil {
		t.Fatal(err)
	}
	write(t, root+"/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
	write(t, root+"/etc/shadow", "root:*:1::::::\n")
	write(t, root+"/etc/group", "root:x:0:\n")
	write(t, root+"/job/script", learnScript)
	if err := os.Chmod(root+"/job/script", 0o755); err != nil {
		t.Fatal(err)
	}
	scriptRoot = root
	return root
}

// in has a bundle's container run a program in another root file system, with the capabilities that engines give.
func in(root string, args ...string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		engines := bundle.EngineSpec(args...)
		engines.Annotations = s.Annotations
		engines.Root = &specs.Root{Path: root}
		engines.Process.Capabilities = bundle.Capabilities("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID",
			"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_KILL", "CAP_SYS_CHROOT", "CAP_MKNOD")
		*s = *engines
	}
}

// recordApp makes a profile of what work does while policy app is recorded, puts it in force, and returns its text.
func recordApp(t *testing.T, work func()) string {
	t.Helper()
	guesttest.MustRun(t, "oci-apparmor", "profile", "learn", "start", "app")
	work()
	finished := guesttest.Run(t, "oci-apparmor", "profile", "learn", "finish", "app")
	text := finished.Stdout
	said := strings.Join(strings.Fields(finished.Stderr), " ")
	if finished.Code != 0 {
		t.Fatalf("learn finish: %+v", finished)
	}
	if silent := guesttest.Suite() != guesttest.Forky; strings.Contains(said, "a capability may be missing") != silent {
		t.Errorf("learn finish says %s", said)
	}
	t.Logf("the profile that was learned:\n%s", text)
	writePolicy(t, learnPolicy, map[string]string{"app": text})
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
	return text
}

// wantNothingOfTheRuntime checks that a text has no rule for what runc, crun or an engine does.
func wantNothingOfTheRuntime(t *testing.T, text string) {
	t.Helper()
	_, rules, _ := strings.Cut(text, "# Files.")
	for _, word := range []string{"runc", "crun", "containerd", "sys_admin", "mount ", "}/sys", "fifo", "overlay", "/var/lib/", "pivot_root"} {
		if strings.Contains(rules, word) && word != "/var/lib/" || word == "/var/lib/" && strings.Contains(rules, "/var/lib/learn") {
			t.Errorf("a rule has %q, which is nothing that the workload did:\n%s", word, rules)
		}
	}
}

// wantApart checks that accesses are denied by a profile: those that a shell cannot try.
func wantApart(t *testing.T, accesses ...string) {
	t.Helper()
	out := guesttest.Run(t, "oci-apparmor", append([]string{"profile", "why", "policy:app"}, accesses...)...)
	for _, a := range accesses {
		if !strings.Contains(out.Stdout, a+": denied") {
			t.Errorf("%s is not denied:\n%s%s", a, out.Stdout, out.Stderr)
		}
	}
}

func TestProfileLearnOfAScript(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // TestProfileLearnAddsUp has the newest kernel
	setLearnPolicy(t)
	logEverything(t)
	rt := armsOf(t, "runc")
	root := scriptImage(t)
	run := func() guesttest.Outcome {
		return guesttest.NewBundle(t, in(root, "/job/script")).Run(t, rt.wrapped)
	}
	if o := run(); o.Code != 0 {
		t.Fatalf("the script does not work at all: %+v", o)
	}
	text := recordApp(t, func() {
		for range 2 {
			if o := run(); o.Code != 0 {
				t.Fatalf("recorded, the script ends with %+v", o)
			}
		}
		b := guesttest.NewBundle(t, in(root, "/job/script"), asks("other"))
		if o := b.Run(t, rt.wrapped); o.Code != 0 {
			t.Fatalf("%+v", o)
		}
	})
	wantNothingOfTheRuntime(t, text)
	if n := len(guesttest.Profiles(t)); n == 0 || strings.Contains(fmt.Sprint(guesttest.Profiles(t)), "learn.app.") {
		t.Errorf("profiles of the recording are left: %v", guesttest.Profiles(t))
	}

	log := guesttest.KernelLog(t)
	for range 2 {
		if o := run(); o.Code != 0 || !strings.HasSuffix(o.Stdout, "done\n") {
			t.Errorf("under the profile that was learned, the script ends with %+v", o)
		}
	}
	log.WantNoDenials(t, "what was recorded", `profile="app"`)
	for _, intrusion := range []string{
		"echo x >/usr/bin/id", "echo x >/usr/new", "cat /etc/shadow", "echo '#!/bin/sh' >/tmp/new && /tmp/new",
		"busybox true", "/usr/bin/busybox nc -l", "echo x >/etc/passwd", "cp /usr/bin/cat /job/cat && /job/cat /etc/group", "kill -9 1 && cat /sys/kernel/notes",
	} {
		o := guesttest.NewBundle(t, in(root, "/usr/bin/dash", "-c", intrusion)).Run(t, rt.wrapped)
		if o.Code == 0 || !denial.MatchString(o.Stdout+o.Stderr) {
			t.Errorf("%s is not denied: %+v", intrusion, o)
		}
	}
	apart := []string{"inet raw", "ptrace trace peer=unconfined", "mount fstype=proc -> /mnt/", "capability sys_module", "capability sys_admin",
		"w /run/docker.sock", "w /proc/sysrq-trigger", "change_profile -> unconfined"}
	wantApart(t, apart...)

	// What an abstraction stands for was recorded as well.
	text = guesttest.MustRun(t, "oci-apparmor", "profile", "learn", "finish", "app", "--exactly")
	if strings.Contains(text, "abstractions/") || !strings.Contains(text, "/libc.so.6 mr,") {
		t.Errorf("without abstractions, the text is\n%s", text)
	}
	writePolicy(t, learnPolicy, map[string]string{"app": text})
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
	log = guesttest.KernelLog(t)
	if o := run(); o.Code != 0 || !strings.HasSuffix(o.Stdout, "done\n") {
		t.Errorf("without abstractions, the script ends with %+v", o)
	}
	log.WantNoDenials(t, "the script without abstractions", `profile="app"`)
	wantApart(t, append(apart, "r /usr/share/zoneinfo/UTC", "w /dev/log")...)
}

// A job is what a container does beside others of its policy: its first process writes a file, one that is executed in it writes
// another one, and a program that this one starts, a third one.
type job struct{ name, tool string }

// files returns what the job writes, by the name in the container.
func (j job) files() []string {
	return []string{"/job/" + j.name + "-first", "/job/" + j.name + "-executed", "/job/" + j.name + "-child"}
}

// start starts a container, and returns when it has done its job. Which files it could write is seen in root.
func (j job) start(t *testing.T, root string, rt arms) *guesttest.Container {
	t.Helper()
	f := j.files()
	for _, file := range f {
		os.Remove(root + file)
	}
	c := guesttest.NewBundle(t, in(root, "/usr/bin/dash", "-c", "echo x >"+f[0]+"; exec sleep 1000")).Start(t, rt.wrapped)
	waitFor(t, "the container to sleep", func() bool { return strings.Contains(read(t, fmt.Sprintf("/proc/%d/stat", c.Pid(t))), " (sleep) S ") })
	c.Exec(t, "/usr/bin/dash", "-c", "echo x >"+f[1]+"; echo x | "+j.tool+" >"+f[2])
	return c
}

// wantWrites checks whether a container under profile app can do the job.
func (j job) wantWrites(t *testing.T, root string, rt arms, want bool) {
	t.Helper()
	c := j.start(t, root, rt)
	wantLabelText(t, j.name, c.Label(t), "app")
	for _, file := range j.files() {
		if text, err := os.ReadFile(root + file); (err == nil && string(text) == "x\n") != want {
			t.Errorf("%s has %q (%v) after the job; it can be written: want %v", file, text, err, want)
		}
	}
	guesttest.MustRun(t, rt.wrapped, "delete", "--force", c.ID)
}

// Recordings of a policy add up, until one is begun anew. In each, several containers of the policy are recorded at once, with what is
// executed in them and what that starts.
func TestProfileLearnAddsUp(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky)
	setLearnPolicy(t)
	logEverything(t)
	rt := armsOf(t, "runc")
	root := scriptImage(t)
	one, other, later, last := job{"one", "tail"}, job{"other", "head"}, job{"later", "sort"}, job{"last", "cat"}
	record := func(anew bool, jobs ...job) (text string) {
		t.Helper()
		start := []string{"profile", "learn", "start", "app"}
		if anew {
			start = append(start, "--anew")
		}
		guesttest.MustRun(t, "oci-apparmor", start...)
		labels := make(map[string]bool)
		for _, j := range jobs {
			label := j.start(t, root, rt).Label(t)
			if labels[label] || !strings.HasPrefix(label, "learn.app.") {
				t.Errorf("%s is recorded under %s, and others under %v", j.name, label, labels)
			}
			labels[label] = true
		}
		text = guesttest.MustRun(t, "oci-apparmor", "profile", "learn", "finish", "app")
		t.Logf("the profile that was learned:\n%s", text)
		writePolicy(t, learnPolicy, map[string]string{"app": text})
		guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
		return text
	}
	wantLearned := func(when, text string, jobs ...job) {
		t.Helper()
		wantNothingOfTheRuntime(t, text)
		log := guesttest.KernelLog(t)
		for _, j := range jobs {
			j.wantWrites(t, root, rt, true)
		}
		log.WantNoDenials(t, when+", what was recorded", `profile="app"`)
		for _, j := range []job{one, other, later, last} {
			learned := slices.Contains(jobs, j)
			for _, access := range append(j.files(), "/usr/bin/"+j.tool) {
				if strings.Contains(text, "\n  "+access+" ") != learned {
					t.Errorf("%s, the text has a rule for %s: want %v", when, access, learned)
				}
			}
			if !learned {
				j.wantWrites(t, root, rt, false)
			}
		}
	}
	wantLearned("recorded once", record(false, one, other), one, other)
	wantLearned("recorded again", record(false, later), one, other, later)
	wantLearned("recorded anew", record(true, later, last), later, last)
}

func TestProfileLearnOfNginx(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie)
	needNginx(t)
	setLearnPolicy(t)
	logEverything(t)
	rt := armsOf(t, "runc")
	root := nginxImage(t, "merged")
	serve := func() (c *guesttest.Container, w *webserver) {
		c = guesttest.NewBundle(t, in(root, "/usr/sbin/nginx", "-g", "daemon off;")).Start(t, rt.wrapped)
		w = &webserver{kind: "merged", pid: c.Pid(t)}
		w.wantServes(t)
		if o := w.enter(t, []string{"--net"}, "busybox", "wget", "-qO-", "http://127.0.0.1/none"); o.Code == 0 {
			t.Error("there is a page that there is not")
		}
		return c, w
	}
	end := func(c *guesttest.Container) {
		guesttest.MustRun(t, rt.wrapped, "kill", c.ID, "TERM")
		waitFor(t, "nginx to end", func() bool { return strings.Contains(guesttest.Run(t, rt.bare, "state", c.ID).Stdout, `"stopped"`) })
		guesttest.MustRun(t, rt.wrapped, "delete", c.ID)
	}
	var c *guesttest.Container
	var w *webserver
	text := recordApp(t, func() {
		c, _ = serve()
		end(c)
		c, w = serve()
	})
	wantNothingOfTheRuntime(t, text)
	w.wantServes(t) // no restart was needed to learn, and none of its profile is taken from it
	if o := guesttest.Run(t, "oci-apparmor", "profile", "learn", "finish", "app"); o.Code != 0 || !strings.Contains(o.Stderr, "denies nothing: start it anew") {
		t.Errorf("of a container that still runs as it was recorded: %+v", o)
	}
	end(c)

	log := guesttest.KernelLog(t)
	c, _ = serve()
	wantLabelText(t, "nginx", guesttest.Label(t, c.Pid(t)), "app")
	end(c)
	log.WantNoDenials(t, "what was recorded", `profile="app"`)
	wantApart(t, "x /usr/bin/dash", "w /usr/sbin/nginx", "inet raw", "r /etc/shadow", "w /var/www/html/index.html", "capability sys_admin",
		"ptrace trace peer=unconfined", "mount fstype=proc -> /mnt/", "w /proc/sysrq-trigger", "w /run/docker.sock")
}

// Containerd's containers are recorded as those of a runtime: two of one policy at once, and what is executed in them.
func TestContainerdProfileLearn(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie)
	needNginx(t)
	setLearnPolicy(t)
	logEverything(t)
	c := guesttest.StartContainerd(t, guesttest.Containerds(t)[0], guesttest.ContainerdConfig{})
	serve := func() *webserver {
		w := runCtr(t, c, "merged", guesttest.Shim, nil, "nginx", "-g", "daemon off;")
		w.wantServes(t)
		if o := w.exec("sh", "-c", "read page </var/www/html/index.html && touch /"+rootsHome+"/by-exec"); o.Code != 0 {
			t.Errorf("exec: %+v", o)
		}
		return w
	}
	text := recordApp(t, func() {
		one, other := serve(), runCtr(t, c, "merged", guesttest.Shim, nil, "sleep", "1000")
		guesttest.Executed(t, other.pid)
		labels := []string{guesttest.Label(t, one.pid), guesttest.Label(t, other.pid)}
		if labels[0] == labels[1] || !strings.HasPrefix(labels[0], "learn.app.") || !strings.HasPrefix(labels[1], "learn.app.") {
			t.Errorf("two containers are recorded under %q", labels)
		}
	})
	wantNothingOfTheRuntime(t, text)
	log := guesttest.KernelLog(t)
	w := serve()
	wantLabelText(t, "nginx", guesttest.Label(t, w.pid), "app")
	log.WantNoDenials(t, "what was recorded", `profile="app"`)
	if o := w.exec("sh", "-c", "top -h"); o.Code == 0 || !denial.MatchString(o.Stdout+o.Stderr) {
		t.Errorf("what was not recorded is not denied: %+v", o)
	}
}

// recorderOf returns the process that records policy app.
func recorderOf(t *testing.T) int {
	t.Helper()
	var pid int
	var started string
	if _, err := fmt.Sscan(read(t, "/var/lib/oci-apparmor/recordings/app/lock"), &pid, &started); err != nil || pid <= 1 {
		t.Fatal(pid, err)
	}
	return pid
}

// Of a recording that is not whole nothing is made, and where nobody records, containers are confined.
func TestProfileLearnOfAPartIsNone(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie)
	setLearnPolicy(t)
	rt := armsOf(t, "runc")
	root := scriptImage(t)
	label := func() string {
		return guesttest.NewBundle(t, in(root, "/usr/bin/cat", "/proc/self/attr/current")).Run(t, rt.wrapped).Stdout
	}
	refused := func(want string) {
		t.Helper()
		if o := guesttest.Run(t, "oci-apparmor", "profile", "learn", "finish", "app"); o.Code == 0 || o.Stdout != "" || !strings.Contains(o.Stderr, want) {
			t.Errorf("finish: %+v, want an error with %q", o, want)
		}
	}
	guesttest.MustRun(t, "oci-apparmor", "profile", "learn", "start", "app")
	if o := guesttest.Run(t, "oci-apparmor", "profile", "learn", "start", "app"); o.Code == 0 || !strings.Contains(o.Stderr, "recorded already") {
		t.Errorf("a second start: %+v", o)
	}
	if got := label(); !strings.HasPrefix(got, "learn.app.") || !strings.HasSuffix(strings.TrimSpace(got), " (complain)") {
		t.Errorf("a container that is recorded has the label %s", got)
	}
	recorder := recorderOf(t)
	if err := syscall.Kill(recorder, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the recorder to end", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", recorder))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
	if got := label(); got != "app (enforce)\n" {
		t.Errorf("without a recorder, a container has the label %s", got)
	}
	refused("was cut off")

	if o := guesttest.Run(t, "oci-apparmor", "profile", "learn", "start", "app"); o.Code == 0 || !strings.Contains(o.Stderr, "--anew") {
		t.Errorf("start, to go on with a recording that is not whole: %+v", o)
	}

	// The kernel drops records when more come in a second than it is told to write.
	guesttest.MustRun(t, "oci-apparmor", "profile", "learn", "start", "--anew", "app")
	limitRecords(t, 1)
	if got := label(); !strings.HasPrefix(got, "learn.app.") {
		t.Errorf("recorded again, a container has the label %s", got)
	}
	limitRecords(t, 0)
	refused("not whole")
	guesttest.MustRun(t, "oci-apparmor", "profile", "learn", "start", "--anew", "app")
	label()
	guesttest.MustRun(t, "oci-apparmor", "profile", "learn", "finish", "app")
}

// limitRecords sets how many audit records the kernel writes in a second (AUDIT_SET, include/uapi/linux/audit.h); 0 for all.
func limitRecords(t *testing.T, rate uint32) {
	t.Helper()
	const set, rateLimit, length = 1001, 0x8, 8 * 4
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW, syscall.NETLINK_AUDIT)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	b := make([]byte, syscall.SizeofNlMsghdr+length)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], set)
	binary.NativeEndian.PutUint16(b[6:], syscall.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[syscall.SizeofNlMsghdr:], rateLimit)
	binary.NativeEndian.PutUint32(b[syscall.SizeofNlMsghdr+4*4:], rate)
	if err := syscall.Sendto(fd, b, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
}
