package integration

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// said are sentences without which the demo has not shown what it is for.
var said = []string{
	"label     demo-web", "demo-web (enforce)", "touch: /etc/app.conf: Permission denied", "and has been replaced",
	"rm: can't remove '/etc/app.conf': Permission denied", "no daemon runs",
}

// What integration/README.md shows is what make demo prints, with a guest of its own. It says how long that takes.
func TestMakeDemo(t *testing.T) {
	guesttest.Outside(t)
	suites := os.Getenv("OCI_APPARMOR_GUESTS")
	if suites == "" {
		t.Skip("boots a virtual machine: set OCI_APPARMOR_GUESTS to all, or to some of bookworm,trixie,forky")
	}
	guests, err := guest.Select(suites)
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel() // with the other tests that boot guests, in their turn
	if _, err := guests[0].Build(t.Context(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	sources(t)
	demo := exec.Command("make", "--silent", "--old-file=setup", "demo", "DEMO=--guest "+guests[0].Suite) // nothing is installed
	demo.Dir = ".."
	demo.Env = append(os.Environ(), "MAKEFLAGS=") // those of make test are not for this one
	demo.Stderr = os.Stderr
	var begun time.Time
	var out []byte
	<-queue(func() {
		begun = time.Now()
		out, err = demo.Output()
	})
	t.Logf("make demo took %.1f s, its guest being there", time.Since(begun).Seconds())
	if err != nil {
		t.Fatalf("make demo: %v\n%s", err, out)
	}
	for _, s := range said {
		if !strings.Contains(string(out), s) {
			t.Errorf("it does not say %q:\n%s", s, out)
		}
	}
	shown := strings.ReplaceAll(block(t, "integration/README.md#the-demo"), "(bookworm)", "("+guests[0].Suite+")")
	if unchanging(shown) != unchanging(string(out)) {
		t.Errorf("integration/README.md shows another demo than this one:\n%s", out)
	}
}

// unchanging puts a word in the place of what differs between two runs: process ids, times and hashes. It takes out the line
// that says how this machine runs guests.
func unchanging(text string) string {
	text = regexp.MustCompile(`(?m)^(guest \S+ runs|guests run) .*\n`).ReplaceAllString(text, "")
	for pattern, word := range map[string]string{`/proc/\d+/`: "/proc/PID/", `[0-9a-f]{40,}`: "HASH", `time="[^"]*"`: "TIME"} {
		text = regexp.MustCompile(pattern).ReplaceAllString(text, word)
	}
	return text
}

// The demo as make demo HOST=1 tells it, on a node that has a policy, and a container of the name that the story's first
// one has: what the demo says is true, because it stops where it is not; the node is as before; nothing is left behind.
func TestDemoOnANodeInUse(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // TestMakeDemo runs the story in another one
	guesttest.Require(t)
	node := map[string]string{}
	for _, dir := range []string{"/etc/oci-apparmor", "/var/lib/oci-apparmor", "/run/oci-apparmor"} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if dir == "/var/lib/oci-apparmor" {
			continue // so that there is one which the demo makes, too
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		node[filepath.Join(dir, "policy.yaml")] = "the node's own"
	}
	for path, text := range node {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := guesttest.NewBundle(t, func(s *specs.Spec) { s.Linux.CgroupsPath = "" })
	b.ID = "web1"
	web1 := b.Start(t, "runc")
	pid := web1.Pid(t)

	unharmed := func() {
		t.Helper()
		if got := web1.Pid(t); got != pid {
			t.Errorf("container web1 has process %d, and had %d", got, pid)
		}
		if got := web1.Ask(t, "label"); got != "unconfined" {
			t.Errorf("container web1 runs under %q", got)
		}
		if list := guesttest.MustRun(t, "runc", "list", "-q"); list != "web1" {
			t.Errorf("runc lists %q, want web1 alone", list)
		}
		files := map[string]string{}
		for _, dir := range []string{"/etc/oci-apparmor", "/run/oci-apparmor"} {
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Error(err)
			}
			for _, e := range entries {
				text, _ := os.ReadFile(filepath.Join(dir, e.Name()))
				files[filepath.Join(dir, e.Name())] = string(text)
			}
		}
		if !maps.Equal(files, node) {
			t.Errorf("the node has the files %q, want %q", files, node)
		}
		if _, err := os.Stat("/var/lib/oci-apparmor"); err == nil {
			t.Error("/var/lib/oci-apparmor is left behind")
		}
		if groups, _ := filepath.Glob("/sys/fs/cgroup/*demo*"); len(groups) > 0 {
			t.Errorf("control groups are left behind: %s", groups)
		}
	}
	demo := []string{"--host", "--bin", "/usr/local/bin"}

	before := guesttest.Profiles(t)
	out := guesttest.MustRun(t, "demo", demo...)
	for _, s := range said {
		if !strings.Contains(out, s) {
			t.Errorf("it does not say %q: %s", s, out)
		}
	}
	unharmed()
	if after := guesttest.Profiles(t); !maps.Equal(after, before) {
		t.Errorf("the kernel had the profiles %v, and has %v", before, after)
	}

	guesttest.LoadProfile(t, "profile demo-base flags=(complain) { }") // whatever that is to somebody
	before = guesttest.Profiles(t)
	o := guesttest.Run(t, "demo", demo...)
	if o.Code != 1 || o.Stdout != "" || !strings.Contains(o.Stderr, "has a profile demo-base already") {
		t.Errorf("with a profile demo-base loaded: %+v", o)
	}
	unharmed()
	if after := guesttest.Profiles(t); !maps.Equal(after, before) {
		t.Errorf("the kernel had the profiles %v, and has %v", before, after)
	}
}
