package integration

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

// heard is a profile under which files below /tmp cannot be opened, and nothing else of a Go program's is denied.
const heard = "profile heard { signal, ptrace, capability, network, /proc/** r, /sys/** r, /dev/** rw, /usr/** mr, /run/** rw, /var/** rw, }"

// deniedFile makes a file that cannot be opened under heard.
func deniedFile(t *testing.T) string {
	t.Helper()
	f, err := os.CreateTemp("/tmp", "heard-")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	t.Cleanup(func() { os.Remove(f.Name()) })
	return f.Name()
}

// provoke opens a file n times under heard, in a thread that is under it alone and ends. It returns how long that took, and how much
// of a processor.
func provoke(t *testing.T, path string, n int) (took, busy time.Duration) {
	t.Helper()
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := os.WriteFile("/proc/thread-self/attr/current", []byte("changeprofile heard"), 0)
		began, before := time.Now(), usedBy(unix.RUSAGE_THREAD)
		for range n {
			if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				unix.Close(fd)
				result <- errors.New("it was not denied")
				return
			}
		}
		took, busy = time.Since(began), usedBy(unix.RUSAGE_THREAD)-before
		result <- err
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	return took, busy
}

func openSource(t *testing.T, name string, o source.Options) source.Source {
	t.Helper()
	s, err := source.Open(t.Context(), name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// await reads up to the record of a denied file.
func await(t *testing.T, s source.Source, path string) *source.Entry {
	t.Helper()
	ctx, stop := context.WithTimeoutCause(t.Context(), 30*time.Second, errors.New("it did not come"))
	defer stop()
	var e source.Entry
	for {
		if err := s.Next(ctx, &e); err != nil {
			t.Fatalf("the record of %s from %s: %v", path, s.Name(), err)
		}
		if e.Record.Get("name") == path {
			return &e
		}
	}
}

// recordOf returns the record of a denied file as a source has it: when, its number, its fields and whether the kernel wrote it.
func recordOf(t *testing.T, s source.Source, path string) string {
	t.Helper()
	e := await(t, s, path)
	line := fmt.Sprintf("%d:%d %s kernel=%v", e.Record.Time.UnixMilli(), e.Record.Serial, e.Record.Type, e.Kernel)
	for _, f := range e.Record.Fields {
		if !f.Added {
			line += fmt.Sprintf(" %s=%q", f.Key, f.Value())
		}
	}
	return line
}

// startJournald starts a journald, which takes all records by the audit socket of its own, where systemd does not run.
func startJournald(t *testing.T) {
	t.Helper()
	const program, id, run = "/usr/lib/systemd/systemd-journald", "/etc/machine-id", "/run/systemd/journal"
	const conf = "/run/systemd/journald.conf.d/test.conf"
	old, _ := os.ReadFile(id)
	write(t, id, strings.Repeat("0123456789abcdef", 2)+"\n")
	for _, dir := range []string{run, "/run/log/journal", filepath.Dir(conf)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, conf, "[Journal]\nAudit=\n") // else it has the kernel make records of all kinds
	cmd := exec.Command(program)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		for _, path := range []string{run, "/run/log/journal", conf} {
			os.RemoveAll(path)
		}
		if to, err := os.Readlink("/dev/log"); err == nil && strings.HasPrefix(to, run) {
			os.Remove("/dev/log")
		}
		write(t, id, string(old))
	})
	waitFor(t, "journald", func() bool {
		_, err := os.Stat(run + "/socket")
		return err == nil
	})
	time.Sleep(2 * time.Second) // what the kernel's log had is before
}

// wantSameAnswer checks that oci-apparmor audit says the same of the denial of a file, whichever source it reads.
func wantSameAnswer(t *testing.T, since time.Time, path string, names ...string) {
	t.Helper()
	first := ""
	for _, name := range names {
		out := guesttest.MustRun(t, "oci-apparmor", "audit", "--source", name, "--since", since.Format(time.RFC3339Nano), "--json", "--profile", "heard")
		var got []string
		for line := range strings.Lines(out) {
			if strings.Contains(line, path) {
				got = append(got, line)
			}
		}
		switch {
		case len(got) != 1 || !strings.Contains(got[0], "denied by profile heard"):
			t.Errorf("of %s audit says %q", name, got)
		case first == "":
			first = got[0]
		case got[0] != first:
			t.Errorf("of %s audit says %s\nof %s %s", names[0], first, name, got[0])
		}
	}
}

// wantSameAnswerAsItComes checks that oci-apparmor audit says of a container's denial, as the audit socket brings it, what it says later by
// these sources.
func wantSameAnswerAsItComes(t *testing.T, names ...string) {
	t.Helper()
	setPolicy(t, webPolicy)
	c := guesttest.NewBundle(t, asks("web")).Start(t, armsOf(t, "runc").wrapped)
	since, followed := time.Now(), filepath.Join(t.TempDir(), "followed")
	followTo(t, followed, "--source", source.Multicast, "--json")
	denials := func(text string) (all []string) {
		for line := range strings.Lines(text) {
			if strings.Contains(line, "/etc/answered") {
				all = append(all, line)
			}
		}
		return all
	}
	waitFor(t, "audit --follow to see a denial", func() bool { // it may not have begun yet
		if got := c.Ask(t, "write /etc/answered"); got != denied {
			t.Fatalf("the write is %s", got)
		}
		return len(denials(read(t, followed))) > 0
	})
	first := denials(read(t, followed))[0]
	if !strings.Contains(first, c.ID) {
		t.Errorf("as it comes, audit does not name the container %s: %s", c.ID, first)
	}
	for _, name := range names {
		later := guesttest.MustRun(t, "oci-apparmor", "audit", "--source", name, "--since", since.Format(time.RFC3339Nano), "--json", "--brief", "--each")
		if !slices.Contains(denials(later), first) {
			t.Errorf("as it comes audit says\n%sand later by %s\n%s", first, name, strings.Join(denials(later), ""))
		}
	}
}

// wantSame checks that these sources have the same record of one denial, which the kernel wrote, and are alive. It returns
// the path of the file.
func wantSame(t *testing.T, names ...string) (path string) {
	t.Helper()
	path = deniedFile(t)
	var sources []source.Source
	for _, name := range names {
		sources = append(sources, openSource(t, name, source.Options{Follow: true, Since: time.Now().Add(-2 * time.Second)}))
	}
	provoke(t, path, 1)
	var first string
	for _, s := range sources {
		switch line := recordOf(t, s, path); {
		case first == "":
			if first = line; !strings.Contains(line, " DENIED kernel=true ") || !strings.Contains(line, `profile="heard"`) {
				t.Errorf("%s has %s", s.Name(), line)
			}
		case line != first:
			t.Errorf("%s has %s\n%s has %s", sources[0].Name(), first, s.Name(), line)
		}
		if lost, err := source.Alive(t.Context(), s); err != nil || len(lost) > 0 {
			t.Errorf("%s: %v, lost %v", s.Name(), err, lost)
		}
		s.Close()
	}
	return path
}

// wantDead checks that a source is not taken for silent, and what is said of it.
func wantDead(t *testing.T, name string, says ...string) {
	t.Helper()
	h := source.Node()
	h.Patience = 3 * time.Second
	s, err := h.Open(t.Context(), name, source.Options{Follow: true, Since: time.Now()})
	if err == nil {
		defer s.Close()
		_, err = source.Alive(t.Context(), s)
	}
	for _, what := range says {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v, want %s", name, err, what)
		}
	}
}

// setting writes a file of the kernel's until the test ends.
func setting(t *testing.T, path, value string) {
	t.Helper()
	old := strings.TrimSpace(read(t, path)) // Linux 7.2 takes no line break behind some
	write(t, path, value)
	t.Cleanup(func() { write(t, path, old) })
}

func TestAuditSources(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm, guesttest.Forky) // the oldest kernel, and the newest
	guesttest.Require(t)
	guesttest.LoadProfile(t, heard)
	limit, burst := "/proc/sys/kernel/printk_ratelimit", "/proc/sys/kernel/printk_ratelimit_burst"
	t.Run("one denial is the same in the audit socket, in the kernel's log and in the journal", func(t *testing.T) {
		logEverything(t)
		startJournald(t)
		since := time.Now()
		path := wantSame(t, source.Multicast, source.Kmsg, source.Journal)
		wantSameAnswer(t, since, path, source.Kmsg, source.Journal)
		wantSameAnswerAsItComes(t, source.Kmsg, source.Journal)
	})
	t.Run("the kernel's limit on messages is no silence", func(t *testing.T) {
		setting(t, limit, "5")
		setting(t, burst, "0")
		wantDead(t, source.Kmsg, "kmsg is dead", "ten messages in five seconds")
		s := openSource(t, source.Kmsg, source.Options{Since: time.Now()})
		if lost := s.Lost(); !slices.ContainsFunc(lost, func(l source.Loss) bool { return strings.Contains(l.By, "printk_ratelimit") }) {
			t.Errorf("under a limit of %s it lost %v", read(t, limit), lost)
		}
		if s := openSource(t, source.Auto, source.Options{Follow: true}); s.Name() != source.Multicast {
			t.Errorf("auto took %s", s.Name())
		}
	})
	t.Run("another network namespace is no silence", func(t *testing.T) {
		result := make(chan error)
		go func() {
			runtime.LockOSThread()
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				result <- err
				return
			}
			h := source.Node()
			h.Patience = time.Second
			s, err := h.Open(t.Context(), source.Multicast, source.Options{Follow: true})
			if err == nil {
				_, err = source.Alive(t.Context(), s)
				s.Close()
			}
			result <- err
		}()
		if err := <-result; err == nil || !strings.Contains(err.Error(), "another network namespace") {
			t.Error(err)
		}
	})
	t.Run("AppArmor told to be quiet is no silence", func(t *testing.T) {
		setting(t, "/sys/module/apparmor/parameters/audit", "quiet")
		wantDead(t, source.Multicast, "write normal to")
	})
	t.Run("what others write is not believed", wantNotBelieved)
	t.Run("a storm is read whole, or what is lost is said", wantStorm)
	t.Run("waiting wakes nobody up", wantAsleep)
	t.Run("auditd", wantAuditd)
}

// send has this process send a message to the audit log, as a container with CAP_AUDIT_WRITE can.
func send(t *testing.T, kind uint16, text string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_AUDIT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	message := make([]byte, unix.SizeofNlMsghdr)
	message = append(append(message, text...), 0)
	binary.NativeEndian.PutUint32(message[0:], uint32(len(message)))
	binary.NativeEndian.PutUint16(message[4:], kind)
	binary.NativeEndian.PutUint16(message[6:], unix.NLM_F_REQUEST)
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
}

// wantNotBelieved writes what looks like the kernel's records wherever a container could.
func wantNotBelieved(t *testing.T) {
	logEverything(t)
	names := []string{source.Multicast, source.Kmsg}
	path := deniedFile(t)
	var sources []source.Source
	for _, name := range names {
		sources = append(sources, openSource(t, name, source.Options{Follow: true, Since: time.Now().Add(-time.Hour)}))
	}
	forged := `apparmor="DENIED" operation="open" profile="victim" name="/forged" pid=1 comm="x" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`
	head := fmt.Sprintf("audit: type=1400 audit(%d.000:4000000): ", time.Now().Unix())
	write(t, "/dev/kmsg", "<5>"+head+forged+"\n")
	write(t, "/dev/kmsg", "<0>"+head+forged+"\n")
	send(t, 1107, forged)
	send(t, 1107, "x\n"+head+forged)
	send(t, 1112, "x\n"+head+forged)
	provoke(t, path, 1)
	for _, s := range sources {
		ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
		t.Cleanup(stop)
		var e source.Entry
		looked := 0
		for {
			if err := s.Next(ctx, &e); err != nil {
				t.Fatalf("%s: %v", s.Name(), err)
			}
			if e.Record.Get("name") == path {
				break
			}
			if e.Record.Get("profile") == "victim" {
				if looked++; e.Kernel {
					t.Errorf("%s believes a record of carrier %d", s.Name(), e.Record.Carrier)
				}
			}
		}
		if looked == 0 {
			t.Errorf("%s has nothing of what was forged: this shows nothing", s.Name())
		}
	}
}

// wantStorm has more denials come at once than the kernel keeps.
func wantStorm(t *testing.T) {
	denials := guesttest.Count(t, 4000, 20000, "denials at once")
	setting(t, "/proc/sys/kernel/printk_ratelimit", "5") // as nodes have it, and guests not
	for _, backlog := range []uint32{0, 16384} {
		path, begins, ends := deniedFile(t), deniedFile(t), deniedFile(t)
		dropped := lostByKernel(t)
		s := openSource(t, source.Multicast, source.Options{Follow: true, Backlog: backlog})
		provoke(t, begins, 1)
		first := await(t, s, begins).Record.Serial
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var got atomic.Uint64
		var until atomic.Int64 // when the last one was read
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		busy, began := usedBy(unix.RUSAGE_SELF), time.Now()
		go func() {
			var e source.Entry
			for {
				if err := s.Next(ctx, &e); err != nil {
					ended <- err
					return
				}
				if name, ok := e.Record.Field("name"); ok && string(name.Text) == path {
					got.Add(1)
					until.Store(int64(time.Since(began)))
				}
			}
		}()
		took, provoking := provoke(t, path, denials)
		for last := uint64(0); ; last = got.Load() {
			time.Sleep(500 * time.Millisecond)
			if got.Load() == last {
				break
			}
		}
		busy = usedBy(unix.RUSAGE_SELF) - busy - provoking
		runtime.ReadMemStats(&after)
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		provoke(t, ends, 1) // before which it is known what is missing
		seen := storm{denials: uint64(denials), got: got.Load(), events: await(t, s, ends).Record.Serial - first - 1, busy: busy,
			took: max(took, time.Duration(until.Load()))}
		for _, l := range s.Lost() {
			seen.lost += l.Records
		}
		seen.dropped = lostByKernel(t) - dropped
		t.Logf("backlog %d: %+v, lost %v", backlog, seen, s.Lost())
		for _, fault := range seen.faults() {
			t.Errorf("backlog %d: %s", backlog, fault)
		}
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		s.Close()
	}
	if now, err := source.ReadStatus(); err != nil || now.BacklogLimit == 16384 {
		t.Errorf("the kernel still keeps %d records (%v)", now.BacklogLimit, err)
	}
}

// A storm is what became of many denials at once.
type storm struct {
	denials uint64
	got     uint64        // how many were read
	lost    uint64        // how many records are said to be lost
	events  uint64        // how many events the kernel gave a number meanwhile, of whatever kind
	dropped uint64        // how many records the kernel itself counts as lost; of too many at once, it drops them before they get a number
	took    time.Duration // until the last one was read
	busy    time.Duration // processor time of this process meanwhile, but for that of making the denials
}

// faults says what is wrong with how a storm was read. Other records may come and get lost meanwhile, and so more be lost than
// denials; but not more than there were records.
func (s storm) faults() (all []string) {
	wrong := func(is bool, format string, args ...any) {
		if is {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	wrong(s.got > s.denials, "of %d denials %d were read", s.denials, s.got)
	wrong(s.got+s.lost < s.denials, "of %d denials %d were read, and only %d are said to be lost", s.denials, s.got, s.lost)
	wrong(s.got+s.lost > s.events+s.dropped, "%d were read, and %d are said to be lost, of %d to which the kernel gave a number and %d which "+
		"it counts as lost", s.got, s.lost, s.events, s.dropped)
	wrong(s.busy*10 > s.took*11, "in %v, reading took %v of processors: more than one", s.took, s.busy)
	return all
}

func TestStormFaults(t *testing.T) {
	good := storm{denials: 100, got: 60, lost: 45, events: 90, dropped: 20, took: time.Second, busy: time.Second}
	if faults := good.faults(); len(faults) > 0 {
		t.Error(faults)
	}
	for says, change := range map[string]func(*storm){
		"were read":        func(s *storm) { s.got, s.lost, s.events = 101, 0, 101 },
		"and only 39 are":  func(s *storm) { s.lost = 39 },
		"it counts as":     func(s *storm) { s.lost = 51 },
		"a number and 10":  func(s *storm) { s.dropped, s.events = 10, 94 },
		"more than one":    func(s *storm) { s.busy = 1101 * time.Millisecond },
		"reading took 1.5": func(s *storm) { s.busy = 1500 * time.Millisecond },
	} {
		bad := good
		change(&bad)
		if faults := bad.faults(); len(faults) != 1 || !strings.Contains(faults[0], says) {
			t.Errorf("%+v: %q, want %q", bad, faults, says)
		}
	}
}

// lostByKernel returns how many records the kernel counts as lost.
func lostByKernel(t *testing.T) uint64 {
	t.Helper()
	s, err := source.ReadStatus()
	if err != nil {
		t.Fatal(err)
	}
	return uint64(s.Lost)
}

// usedBy returns the processor time of this process, or of a thread, see getrusage(2).
func usedBy(who int) time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(who, &u) // it fails for nobody else
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// switches returns how often the threads of a process have been switched to.
func switches(t *testing.T, pid int) (n int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("process %d is gone (%v)", pid, err)
	}
	for _, path := range files {
		for line := range strings.Lines(read(t, path)) {
			if key, of, ok := strings.Cut(line, ":"); ok && strings.HasSuffix(key, "voluntary_ctxt_switches") { // and those that are not
				one, err := strconv.Atoi(strings.TrimSpace(of))
				if err != nil {
					t.Fatal(err)
				}
				n += one
			}
		}
	}
	return n
}

// wantAsleep has audit --follow wait.
func wantAsleep(t *testing.T) {
	for _, name := range []string{source.Multicast, source.Kmsg} {
		out := filepath.Join(t.TempDir(), "out")
		follow := followTo(t, out, "--source", name)
		path := deniedFile(t)
		waitFor(t, "a denial to be printed", func() bool { // it may have begun to listen only after the first ones
			provoke(t, path, 1)
			return strings.Contains(read(t, out), path)
		})
		// What was before wakes threads up for a while yet: it looks what was lost, memory is given back, and a kernel with a slow
		// console is not done with printing. Who polls wakes up for ever.
		const idle = 5 * time.Second
		woken := 0
		for range 8 {
			before := switches(t, follow)
			time.Sleep(idle)
			if woken = switches(t, follow) - before; woken == 0 {
				break
			}
			t.Logf("%s: %d context switches in %v", name, woken, idle)
		}
		if woken > 0 {
			t.Errorf("audit --follow of %s wakes up %d times in %v while nothing comes", name, woken, idle)
		}
	}
}

// auditdRuns returns auditd's process, or 0.
func auditdRuns(t *testing.T) uint32 {
	t.Helper()
	s, err := source.ReadStatus()
	if err != nil {
		t.Fatal(err)
	}
	return s.Auditd
}

// startAuditd starts auditd, whose lines are to have a format of auditd.conf(5).
func startAuditd(t *testing.T, format string) {
	t.Helper()
	const conf = "/etc/audit/auditd.conf"
	write(t, conf, regexp.MustCompile(`(?m)^log_format = .*$`).ReplaceAllString(read(t, conf), "log_format = "+format))
	guesttest.MustRun(t, "/usr/sbin/auditd")
	waitFor(t, "auditd", func() bool { return auditdRuns(t) != 0 })
	t.Cleanup(func() { stopAuditd(t) })
}

// stopAuditd ends auditd, if it runs.
func stopAuditd(t *testing.T) {
	t.Helper()
	if pid := auditdRuns(t); pid != 0 {
		if err := unix.Kill(int(pid), unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "auditd to end", func() bool { return auditdRuns(t) == 0 })
}

// followTo starts audit --follow, which ends with the test, and returns its process.
func followTo(t *testing.T, out string, args ...string) (pid int) {
	t.Helper()
	to, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	cmd := exec.Command("oci-apparmor", append([]string{"audit", "--follow", "--brief", "--each"}, args...)...)
	cmd.Stdout, cmd.Stderr = to, to
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("audit --follow: %v: %s", err, read(t, out))
		}
	})
	return cmd.Process.Pid
}

// wantAuditd reads what auditd writes, where it is installed.
func wantAuditd(t *testing.T) {
	if _, err := os.Stat("/usr/sbin/auditd"); err != nil {
		t.Skip("this guest has no auditd")
	}
	logEverything(t)
	startJournald(t)
	for format, has := range map[string]bool{"RAW": false, "ENRICHED": true} { // what is added stands behind a byte of its own
		startAuditd(t, format)
		since := time.Now()
		path := wantSame(t, source.Multicast, source.AuditLog, source.Journal)
		wantSameAnswer(t, since, path, source.AuditLog, source.Journal)
		for line := range strings.Lines(read(t, "/var/log/audit/audit.log")) {
			if strings.Contains(line, path) && strings.Contains(line, "\x1d") != has {
				t.Errorf("in the format %s auditd writes %q", format, line)
			}
		}
		stopAuditd(t)
	}
	startAuditd(t, "ENRICHED")
	pid := func() uint32 { return auditdRuns(t) }
	wantDead(t, source.Kmsg, "auditd (process ")

	s := openSource(t, source.AuditLog, source.Options{Follow: true, Since: time.Now().Add(-time.Minute)})
	for range 2 {
		path := deniedFile(t)
		provoke(t, path, 1)
		recordOf(t, s, path)
		if err := unix.Kill(int(pid()), unix.SIGUSR1); err != nil { // rotate
			t.Fatal(err)
		}
		for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(50 * time.Millisecond) {
			if files, _ := filepath.Glob("/var/log/audit/audit.log*"); len(files) > 1 {
				break
			}
		}
		path = deniedFile(t)
		provoke(t, path, 1)
		recordOf(t, s, path)
	}
	if s := openSource(t, source.Auto, source.Options{}); s.Name() != source.AuditLog {
		t.Errorf("auto took %s of the past", s.Name())
	}

	stopAuditd(t)
	wantDead(t, source.AuditLog, "audit.log is dead", "auditd does not run")
}
