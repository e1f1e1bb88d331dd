package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// statusContainer is what `oci-apparmor status --json` says of a container.
type statusContainer struct {
	ID, Name, Engine, Namespace, Pod, State, Policy, Label, Verdict string

	PID       int
	Decided   bool
	Sandbox   bool
	Profiles  []struct{ Name, Content string }
	Processes []struct {
		PID             int
		Profile, Status string
		Confined        bool
	}
	Problems []string
}

// statusOf returns what status says of the container with that id.
func statusOf(t *testing.T, id string) statusContainer {
	t.Helper()
	out := guesttest.MustRun(t, "oci-apparmor", "status", "--show=containers", "--json")
	var all struct {
		Containers []statusContainer
		Problems   []string
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(all.Problems) > 0 {
		t.Errorf("problems: %q", all.Problems)
	}
	i := slices.IndexFunc(all.Containers, func(c statusContainer) bool { return c.ID == id })
	if i < 0 {
		t.Fatalf("no container %s in %s", id, out)
	}
	c := all.Containers[i]
	for _, p := range c.Processes { // what it says of labels is what the kernel says
		mode := ""
		if p.Profile != "unconfined" {
			mode = " (" + p.Status + ")"
		}
		if label, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/current", p.PID)); err == nil &&
			strings.TrimRight(string(label), "\x00\n") != p.Profile+mode {
			t.Errorf("process %d of container %s is said to be under %s%s, and is under %s", p.PID, id, p.Profile, mode, label)
		}
	}
	return c
}

// wantStatus checks a container's verdict, the contents of its label's profiles, how many processes it has and how many
// of them are confined.
func wantStatus(t *testing.T, id, verdict string, contents []string, processes, confined int) statusContainer {
	t.Helper()
	c := statusOf(t, id)
	var have []string
	for _, p := range c.Profiles {
		have = append(have, p.Content)
	}
	n := 0
	for _, p := range c.Processes {
		if p.Confined {
			n++
		}
	}
	if c.Verdict != verdict || !slices.Equal(have, contents) || len(c.Processes) != processes || n != confined {
		t.Errorf("want %s, contents %q, %d processes, %d confined: %+v", verdict, contents, processes, confined, c)
	}
	if bad := slices.Contains([]string{"differs", "drifted", "stale", "unverified"}, verdict); bad != (len(c.Problems) > 0) {
		t.Errorf("verdict %s with problems %q", verdict, c.Problems)
	}
	return c
}

// aaStatusJSON reads what aa-status --json prints. It prints a program's key anew for every mode, and before AppArmor 4
// forgets the comma there.
func aaStatusJSON(t *testing.T, text string) (profiles map[string]string, processes []string) {
	t.Helper()
	text = strings.ReplaceAll(text, `}]"`, `}], "`)
	var doc struct {
		Version   string
		Profiles  map[string]string
		Processes json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil || doc.Version != "2" {
		t.Fatalf("%v: %s", err, text)
	}
	dec := json.NewDecoder(bytes.NewReader(doc.Processes))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		exe, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		var list []struct{ Profile, PID, Status string }
		if err := dec.Decode(&list); err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			processes = append(processes, fmt.Sprint(exe, p))
		}
	}
	slices.Sort(processes)
	return doc.Profiles, processes
}

// aaStatus runs aa-status, and oci-apparmor status in its place, and checks that they end alike.
func aaStatus(t *testing.T, args ...string) (theirs, ours string) {
	t.Helper()
	a, o := guesttest.Run(t, "aa-status", args...), guesttest.Run(t, "oci-apparmor", append([]string{"status"}, args...)...)
	if a.Code != o.Code {
		t.Errorf("%q: exit code %d, that of aa-status is %d\n%s%s\n%s%s", args, o.Code, a.Code, o.Stdout, o.Stderr, a.Stdout, a.Stderr)
	}
	return a.Stdout, o.Stdout
}

// What aa-status says, oci-apparmor status says, to the letter: with profiles in every mode, with odd names, with
// children and in a namespace, and with processes under them, unconfined ones and stacks.
func TestStatusAgreesWithAaStatus(t *testing.T) {
	setPolicy(t, webPolicy)
	aaStatus(t) // without a profile
	aaStatus(t, "--enabled")

	sleep := func(profile string) {
		t.Helper()
		cmd := exec.Command("sleep", "600")
		if profile != "" {
			cmd = exec.Command("sh", "-c", `echo "exec $0" >/proc/self/attr/exec; exec sleep 600`, profile)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		waitFor(t, "sleep to begin", func() bool {
			comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
			return err == nil && string(comm) == "sleep\n"
		})
	}
	path, err := filepath.EvalSymlinks(program(t, "sleep"))
	if err != nil {
		t.Fatal(err)
	}
	sleep("") // before there is a profile of its path's name
	guesttest.LoadProfile(t, `
profile all-of-it flags=(attach_disconnected) { file, signal, ptrace, ^hat { file, } profile child { file, signal, } }
profile watched flags=(complain) { /** rix, signal, }
profile killing flags=(kill) { file, signal, }
profile "odd (name) [x] (enforce)" { file, signal, }
profile free flags=(unconfined) { file, }
`+path+" { file, signal, }\n")
	const ns = securityfs + "/policy/namespaces/elsewhere"
	if err := os.Mkdir(ns, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(ns); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.Command("apparmor_parser", "--replace", "--skip-cache", "--namespace", "elsewhere")
	cmd.Stdin = strings.NewReader("profile inner { file, }")
	if o := guesttest.RunCommand(t, cmd); o.Code != 0 {
		t.Fatal(o.Stderr)
	}
	for _, profile := range []string{"all-of-it", "all-of-it//child", "watched", "killing", "free", "watched//&all-of-it",
		"odd (name) [x] (enforce)"} {
		sleep(profile)
	}
	for _, runtime := range guesttest.Runtimes {
		guesttest.NewBundle(t, asks("web")).Start(t, armsOf(t, runtime).wrapped)
	}

	theirs, ours := aaStatus(t, "--json")
	profiles, processes := aaStatusJSON(t, theirs)
	ourProfiles, ourProcesses := aaStatusJSON(t, ours)
	if !maps.Equal(profiles, ourProfiles) || len(profiles) < 10 {
		t.Errorf("profiles %q, those of aa-status %q", ourProfiles, profiles)
	}
	if !slices.Equal(processes, ourProcesses) || len(processes) < 10 {
		t.Errorf("processes\n%s\nthose of aa-status\n%s", strings.Join(ourProcesses, "\n"), strings.Join(processes, "\n"))
	}
	for _, option := range []string{"--enabled", "--profiled", "--enforced", "--complaining", "--kill", "--special-unconfined", "--process-mixed"} {
		if theirs, ours := aaStatus(t, option); theirs != ours {
			t.Errorf("%s prints %q, aa-status %q", option, ours, theirs)
		}
	}
	if !presentAaStatus(t) {
		return
	}
	aaStatus(t, "--pretty-json")
	for _, args := range [][]string{
		{}, {"--verbose"}, {"--prompt"}, {"--show=profiles"}, {"--show", "processes"}, {"--show=profiles", "--filter.mode=^[ck]"},
		{"--filter.profiles", `^\(web\|all.*\)$`}, {"--filter.exe", "sleep$", "--filter.mode", "mixed", "--show=processes"},
		{"--filter.pid=0", "--show=processes"}, {"--show=processes", "--filter.profiles", `odd (name) \[x\]`},
		{"--count", "--json"}, {"--count", "--json", "--show=profiles", "--filter.mode=enforce"}, {"--count"},
		{"--count", "--show=processes", "--filter.exe=sleep"},
		{"--filter.mode", `\(`},
	} {
		theirs, ours := aaStatus(t, args...)
		ours, _, _ = strings.Cut(ours, "2 containers: ")
		if sortedLines(theirs) != sortedLines(ours) { // aa-status does not sort the processes of one profile
			t.Errorf("%q prints\n%s\naa-status\n%s", args, ours, theirs)
		}
	}
}

func sortedLines(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// presentAaStatus tells an aa-status of AppArmor 4 or later, which has options that earlier ones have not.
func presentAaStatus(t *testing.T) bool {
	return strings.Contains(guesttest.Run(t, "aa-status", "--help").Stdout, "--filter.mode")
}

// Where there is nothing to see, or nobody may, the exit code is aa-status's: that of its manual, which that of AppArmor 3
// does not keep to with --json.
func TestStatusWithoutRights(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm)
	setPolicy(t, webPolicy)
	guesttest.LoadProfile(t, loose("other"))
	for name, tc := range map[string]struct {
		how           []string
		code, enabled int
	}{
		"not root":                 {[]string{"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"}, 4, 0},
		"its files are not there":  {[]string{"unshare", "--mount", "sh", "-c", `umount /sys/kernel/security; exec "$0" "$@"`}, 3, 1},
		"root without AppArmor's":  {[]string{"setpriv", "--bounding-set=-mac_admin", "--inh-caps=-mac_admin"}, 0, 0},
		"root, and nothing is odd": {[]string{"env"}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for option, want := range map[string]int{"--json": tc.code, "--enabled": tc.enabled} {
				theirs := guesttest.Run(t, tc.how[0], append(tc.how[1:], "aa-status", option)...)
				ours := guesttest.Run(t, tc.how[0], append(tc.how[1:], "oci-apparmor", "status", option)...)
				if ours.Code != want || theirs.Code != want && (presentAaStatus(t) || option != "--json") {
					t.Errorf("%s: exit code %d, %s; aa-status: %d, %s; want %d", option, ours.Code, ours.Stderr, theirs.Code, theirs.Stderr, want)
				}
				if ours.Code != 0 && option == "--json" && (strings.Count(ours.Stderr, "\n") != 1 || ours.Stdout != "") {
					t.Errorf("%s: want one sentence: %q %q", option, ours.Stdout, ours.Stderr)
				}
			}
		})
	}
}

func TestStatusNoAppArmor(t *testing.T) {
	guesttest.Need(t, guest.NoAppArmor)
	o := guesttest.Run(t, "oci-apparmor", "status")
	if o.Code != 1 || o.Stdout != "" || strings.Count(o.Stderr, "\n") != 1 || !strings.Contains(o.Stderr, "apparmor=1") {
		t.Errorf("exit code %d, %q %q", o.Code, o.Stdout, o.Stderr)
	}
	if theirs, ours := aaStatus(t, "--enabled"); ours != theirs {
		t.Errorf("--enabled prints %q, aa-status %q", ours, theirs)
	}
}

// execOther starts a process in a container by the bare runtime, which asks nobody, under another profile, and waits
// until that has shown: it may write what the container's own may not.
func execOther(t *testing.T, c *guesttest.Container, bare, profile string) {
	t.Helper()
	file := byFile(t, c, &profile)("/bin/sh", "-c", "touch /etc/not-for-web && exec sleep 600")
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(bare, append([]string{"exec", "--detach"}, file...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, read(t, log.Name()))
	}
	waitFor(t, "the process to write", func() bool {
		_, err := os.Stat(c.Rootfs() + "/etc/not-for-web")
		return err == nil
	})
}

func TestStatusOfContainers(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm, guesttest.Forky) // the oldest runtimes and the newest: their files are read, too
	setPolicy(t, webPolicy)
	guesttest.LoadProfile(t, loose("one-more")) // without any, status has another exit code
	same := []string{"same"}
	eachRuntime(t, func(t *testing.T, rt arms) {
		unload(t, "web")
		const engine = "other" // as rules have it: nobody but the runtime
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		wantConfined(t, c, webTries, "web")
		s := wantStatus(t, c.ID, "confined", same, 1, 1)
		if s.Engine != engine || s.State != "running" || s.PID != c.Pid(t) || !s.Decided || s.Policy != "web" || s.Label != "web" {
			t.Errorf("%+v", s)
		}

		t.Run("of others", func(t *testing.T) {
			guesttest.LoadProfile(t, loose("other"))
			b := guesttest.NewBundle(t, names("other")).Start(t, rt.bare)
			s := wantStatus(t, b.ID, "confined", []string{"unknown"}, 1, 1)
			if s.Decided || s.Engine != engine || s.Label != "" || s.PID != b.Pid(t) {
				t.Errorf("%+v", s)
			}
			free := guesttest.NewBundle(t).Start(t, rt.bare)
			if got := free.Ask(t, "write /etc/x"); got != "ok" {
				t.Errorf("a container without a profile: write /etc/x: %s", got)
			}
			wantStatus(t, free.ID, "unconfined", nil, 1, 0)
			kept := guesttest.NewBundle(t, names("other"))
			kept.ID = "kept-" + kept.ID
			kept.Start(t, rt.wrapped)
			if s := wantStatus(t, kept.ID, "confined", []string{"unknown"}, 1, 1); !s.Decided || s.Policy != "hands-off" || s.Label != "" {
				t.Errorf("%+v", s)
			}
		})
		t.Run("not yet started", func(t *testing.T) {
			b := guesttest.NewBundle(t, asks("web"), func(s *specs.Spec) { s.Process.Args = []string{"/bin/probe", "sleep"} })
			t.Cleanup(func() { guesttest.Run(t, rt.wrapped, "delete", "--force", b.ID) })
			if o := guesttest.RunCommand(t, exec.Command(rt.wrapped, "create", "--bundle", b.Dir, b.ID)); o.Code != 0 {
				t.Fatal(o.Stderr)
			}
			if s := wantStatus(t, b.ID, "waiting", same, 1, 1); s.State != "created" {
				t.Errorf("%+v", s)
			}
			guesttest.MustRun(t, rt.wrapped, "start", b.ID)
			waitFor(t, "the container to run", func() bool { return statusOf(t, b.ID).Verdict == "confined" })
			guesttest.MustRun(t, rt.wrapped, "kill", b.ID, "KILL")
			waitFor(t, "the container to end", func() bool { return statusOf(t, b.ID).State == "stopped" })
			wantStatus(t, b.ID, "ended", nil, 0, 0)
		})
		t.Run("with other content", func(t *testing.T) {
			guesttest.LoadProfile(t, loose("web"))
			if got := c.Ask(t, "write /etc/x"); got != "ok" {
				t.Errorf("write /etc/x: %s, want ok under the looser profile", got)
			}
			wantStatus(t, c.ID, "drifted", []string{"drifted"}, 1, 1)
			c.ExecProbe(t, "label") // which loads ours again
			wantConfined(t, c, webTries, "web")
			wantStatus(t, c.ID, "confined", same, 1, 1)
		})
		t.Run("with a process under another label", func(t *testing.T) {
			guesttest.LoadProfile(t, loose("other"))
			execOther(t, c, rt.bare, "other")
			s := wantStatus(t, c.ID, "differs", same, 2, 1)
			if len(s.Processes) == 2 && (s.Processes[1].Profile != "other" || !strings.Contains(s.Problems[0], "runs under other (enforce), and not under web")) {
				t.Errorf("%+v", s)
			}
			text := guesttest.MustRun(t, "oci-apparmor", "status", "--show=containers")
			for _, want := range []string{"1 differs", "runs under other (enforce), and not under"} {
				if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
		})
		t.Run("with its profile removed", func(t *testing.T) {
			guesttest.RemoveProfile(t, "web")
			if got := c.Ask(t, "write /etc/x"); got != "ok" {
				t.Errorf("write /etc/x: %s, want ok without the profile", got)
			}
			s := wantStatus(t, c.ID, "differs", []string{"missing"}, 2, 0)
			if !strings.Contains(strings.Join(s.Problems, "\n"), "profile web was removed from the kernel") {
				t.Errorf("problems %q", s.Problems)
			}
			loadOurs(t, "web") // which helps nobody that runs
			s = wantStatus(t, c.ID, "differs", same, 2, 0)
			if !strings.Contains(strings.Join(s.Problems, "\n"), "and loaded again") {
				t.Errorf("problems %q", s.Problems)
			}
		})
	})
}

// onTerminal returns what a command prints on a terminal of so many columns.
func onTerminal(t *testing.T, columns uint16, cmd *exec.Cmd) string {
	t.Helper()
	master, slave := terminal(t)
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = slave, slave
	cmd.Env = append(os.Environ(), "TERM=xterm")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var said []byte
	buf := make([]byte, 4096)
	for {
		n, err := master.Read(buf)
		said = append(said, buf[:n]...)
		if err != nil { // the command has closed the terminal
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%q: %v: %s", cmd.Args, err, said)
	}
	return strings.ReplaceAll(string(said), "\r\n", "\n")
}

// A status fits its terminal, has colours there only, and when it is watched shows what changes.
func TestStatusWatches(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie)
	setPolicy(t, webPolicy)
	c := guesttest.NewBundle(t, asks("web")).Start(t, armsOf(t, "runc").wrapped)

	show := []string{"status", "--show=containers"}
	for _, tc := range []struct {
		name, columns string
		colour        bool
		text          string
	}{
		{"on a terminal", "ENGINE CONTAINER POLICY LABEL PROCS VERDICT", true, onTerminal(t, 60, exec.Command("oci-apparmor", show...))},
		{"without colour", "ENGINE CONTAINER POLICY LABEL PROCS VERDICT", false,
			onTerminal(t, 60, exec.Command("env", append([]string{"NO_COLOR=1", "oci-apparmor"}, show...)...))},
		{"in a pipe", "ENGINE ID CONTAINER POLICY LABEL PROCS VERDICT", false, guesttest.MustRun(t, "oci-apparmor", show...)},
	} {
		lines := strings.Split(strings.TrimSpace(tc.text), "\n")
		if len(lines) != 3 || strings.Join(strings.Fields(lines[1]), " ") != tc.columns || !strings.Contains(lines[2], c.ID) ||
			strings.Contains(tc.text, "\x1b[32mconfined\x1b[0m") != tc.colour || strings.ContainsRune(tc.text, '\x1b') != tc.colour {
			t.Errorf("%s: %q", tc.name, tc.text)
		}
		for _, line := range lines {
			if line = strings.ReplaceAll(line, "\x1b[32m", ""); len(strings.TrimSuffix(line, "\x1b[0m")) > 60 && tc.name != "in a pipe" {
				t.Errorf("%s: %d columns: %q", tc.name, len(line), line)
			}
		}
	}

	out := filepath.Join(t.TempDir(), "out")
	file, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command("oci-apparmor", "status", "--watch")
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	waitFor(t, "the first status", func() bool { return strings.Contains(read(t, out), "1 container: 1 confined.") })
	guesttest.LoadProfile(t, loose("web"))
	waitFor(t, "the status with drift", func() bool { return strings.Contains(read(t, out), "1 container: 1 drifted.") })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("watching ended with %v", err)
	}
	if text := read(t, out); strings.Count(text, "1 container: ") != 2 || strings.ContainsRune(text, '\x1b') || !strings.Contains(text, c.ID) {
		t.Errorf("it printed\n%s", text)
	}
}

// The containers of engines have the names that their engines gave them.
func TestContainerdStatus(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm, guesttest.Forky)
	setPolicy(t, webPolicy)
	v := guesttest.Containerds(t)[0]
	c := guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{CRI: true})
	c.MustCtr(t, "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
	engine := guesttest.DialCRI(t, c.Socket)

	ours := runTask(t, c, guesttest.Shim, "web")
	wantTaskConfined(t, ours, webTries, "web")
	s := statusOf(t, ours.ID) // its shell has a child now and then, so that nobody knows how many processes there are
	if s.Engine != "other" || s.Namespace != "default" || s.Policy != "web" || s.Verdict != "confined" || len(s.Processes) == 0 {
		t.Errorf("%+v", s)
	}
	for _, p := range s.Processes {
		if !p.Confined {
			t.Errorf("%+v", s)
		}
	}
	theirs := runTask(t, c, guesttest.Stock, "")
	if s := statusOf(t, theirs.ID); s.Engine != "other" || s.Namespace != "default" || s.Decided || s.Verdict != "unconfined" {
		t.Errorf("%+v", s)
	}

	pod := engine.Pod(t, guesttest.Wrapper.Name, guesttest.Annotated("oci-apparmor/policy", "web"))
	front := startPodContainer(t, pod, "front")
	wantPodConfined(t, front, podWeb, "web (enforce)")
	s = wantStatus(t, front.ID, "confined", []string{"same"}, 1, 1)
	if s.Engine != "containerd" || s.Name != "front" || s.Pod != pod.Config.Metadata.Name || s.Namespace != pod.Config.Metadata.Namespace ||
		s.Policy != "web" || s.Sandbox {
		t.Errorf("%+v", s)
	}
	if s := statusOf(t, pod.ID); !s.Sandbox || s.Pod != pod.Config.Metadata.Name {
		t.Errorf("%+v", s)
	}
	pod.Remove(t)

	t.Run("Docker", func(t *testing.T) {
		d := guesttest.StartDocker(t, c, map[string]map[string]any{"wrapper": {"path": guesttest.DockerWrappers + "/runc"}})
		for name, decided := range map[string]bool{"runc": false, "wrapper": true} {
			id := d.MustDocker(t, "run", "--detach", "--network", "none", "--runtime", name, "--name", "by-"+name,
				guesttest.ProbeImage, "/bin/probe", "sleep")
			d.Pid(t, id) // waits until it is under its label
			s := statusOf(t, id)
			if s.Engine != "docker" || s.Name != "by-"+name || s.Decided != decided || s.Verdict != "confined" || len(s.Processes) != 1 {
				t.Errorf("%+v", s)
			}
		}
	})
}
