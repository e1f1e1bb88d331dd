package integration

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// doing is where the operations happen. What is in it belongs to root, but for "foreign" and what is in there.
const doing = "/m"

// An operation is a command of the probe, and what the kernel asks profiles for it: each must be allowed.
type operation struct {
	command string
	asks    []meaning.Access
	changes bool // it changes what others are about
	later   bool // Linux 6.1 does not ask about it
}

func try(command string, asks ...meaning.Access) operation {
	return operation{command: command, asks: asks}
}

func changes(command string, asks ...meaning.Access) operation {
	return operation{command: command, asks: asks, changes: true}
}

func later(o operation) operation {
	o.later = true
	return o
}

// Permissions that one call asks for together.
const (
	creates = meaning.MayWrite | meaning.MayCreate // to open for writing with O_CREAT
	renames = meaning.MayRead | meaning.MayWrite | meaning.MaySetAttr | meaning.MayDelete
	renamed = meaning.MayWrite | meaning.MaySetAttr | meaning.MayCreate
	streams = meaning.MayCreate | meaning.MayBind | meaning.MayListen | meaning.MayConnect | meaning.MayAccept

	own, foreign = true, false // whose the file is
)

// Capabilities, families and flags of mounts, by the kernel's numbers.
const (
	netRaw   = meaning.CapabilityAccess(unix.CAP_NET_RAW)
	sysAdmin = meaning.CapabilityAccess(unix.CAP_SYS_ADMIN)
	mknod    = meaning.CapabilityAccess(unix.CAP_MKNOD)
	chown    = meaning.CapabilityAccess(unix.CAP_CHOWN)
)

func file(path string, want uint32, owner bool) meaning.Access {
	return meaning.FileAccess{Path: doing + path, Want: want, Owner: owner}
}

func socketOf(family, kind uint16) meaning.Access {
	return meaning.SocketAccess{Family: family, Type: kind, Want: meaning.MayCreate}
}

// operations are what is tried. free and other are processes without a profile and under m-other.
func operations(free, other int) []operation {
	all := []operation{
		try("open /m/a r", file("/a", meaning.MayRead, own)),
		try("open /m/a w", file("/a", meaning.MayWrite, own)),
		try("open /m/a rw", file("/a", meaning.MayRead|meaning.MayWrite, own)),
		try("open /m/foreign/a r", file("/foreign/a", meaning.MayRead, foreign)),
		try("open /m/foreign/a w", file("/foreign/a", meaning.MayWrite, foreign)),
		try("open /m/d r", file("/d/", meaning.MayRead, own)),
		try("write /m/a", file("/a", creates, own)),
		changes("write /m/new", file("/new", creates, own)),
		try("append /m/a", file("/a", meaning.MayAppend, own)),
		try("append /m/foreign/a", file("/foreign/a", meaning.MayAppend, foreign)),
		changes("unlink /m/a", file("/a", meaning.MayDelete, own)),
		changes("unlink /m/foreign/a", file("/foreign/a", meaning.MayDelete, foreign)),
		changes("link /m/a /m/new", meaning.LinkAccess{Path: "/m/new", Target: "/m/a", Owner: own}),
		changes("link /m/d/b /m/new", meaning.LinkAccess{Path: "/m/new", Target: "/m/d/b", Owner: own}),
		changes("link /m/foreign/a /m/new", meaning.LinkAccess{Path: "/m/new", Target: "/m/foreign/a"}),
		changes("symlink x /m/new", file("/new", meaning.MayCreate, own)),
		changes("rename /m/a /m/new", file("/a", renames, own), file("/new", renamed, own)),
		changes("mkdir /m/new", file("/new/", meaning.MayCreate, own)),
		changes("rmdir /m/empty", file("/empty/", meaning.MayDelete, own)),
		changes("chmod /m/d", file("/d/", meaning.MayChmod, own)),
		changes("chmod /m/a", file("/a", meaning.MayChmod, own)),
		changes("chown /m/a 5", file("/a", meaning.MayChown, own), chown),
		try("truncate /m/a", file("/a", meaning.MayWrite|meaning.MaySetAttr, own)),
		try("lock /m/a", file("/a", meaning.MayRead, own), file("/a", meaning.MayLock, own)),
		changes("mknod /m/new", file("/new", meaning.MayCreate, own), mknod),

		try("socket inet stream", socketOf(unix.AF_INET, unix.SOCK_STREAM)),
		try("socket inet dgram", socketOf(unix.AF_INET, unix.SOCK_DGRAM)),
		try("socket inet raw", socketOf(unix.AF_INET, unix.SOCK_RAW), netRaw),
		try("socket inet6 stream", socketOf(unix.AF_INET6, unix.SOCK_STREAM)),
		try("socket netlink raw", socketOf(unix.AF_NETLINK, unix.SOCK_RAW)),
		try("socket unix dgram", meaning.UnixAccess{Type: unix.SOCK_DGRAM, Want: meaning.MayCreate}),
		try("abstract-unix", meaning.SocketAccess{Family: unix.AF_UNIX, Type: unix.SOCK_STREAM, Want: streams}),

		changes("mount /m/mnt", sysAdmin, meaning.MountAccess{Source: "probe", Target: "/m/mnt/", Type: "tmpfs"}),
		changes("bind /m/d /m/mnt", sysAdmin, meaning.MountAccess{Source: "/m/d/", Target: "/m/mnt/", Flags: unix.MS_BIND}),
		changes("umount /m/there", sysAdmin, meaning.UmountAccess{Target: "/m/there/"}),
		later(changes("move-mount /m/d /m/mnt", sysAdmin, meaning.MountAccess{Target: "/m/mnt/", Flags: unix.MS_MOVE})),
		try("unshare mount", sysAdmin),
		later(try("unshare user", meaning.UsernsAccess{})),
		later(try("io-uring", meaning.IOUringAccess{})),

		try("change-profile m-other", meaning.ChangeProfileAccess{Label: "m-other", OnExec: true}),
		try("change-profile m-other//kid", meaning.ChangeProfileAccess{Label: "m-other//kid", OnExec: true}),
		try("change-profile unconfined", meaning.ChangeProfileAccess{Label: "unconfined", OnExec: true}),
		try("rlimit 4096", meaning.RlimitAccess{Resource: unix.RLIMIT_NOFILE, Hard: 4096}),
	}
	for pid, label := range map[int]string{free: "unconfined", other: "m-other"} {
		all = append(all,
			try(fmt.Sprint("signal ", pid), meaning.SignalAccess{Want: meaning.MayWrite, Signal: 18, Peer: label}), // SIGCONT
			try(fmt.Sprint("ptrace ", pid), meaning.PtraceAccess{Want: meaning.MayWrite, Peer: label}))
	}
	return all
}

// permitted are rules of which each profile has some. Each profile has what the probe itself needs.
var permitted = []string{
	"/m/** r", "/m/** w", "/m/** rw", "owner /m/** rw", "owner /m/** r", "owner /m/* w", "/m/*/ r", "/m/{,*/} w",
	"/m/a a", "/m/* k", "/m/** rwkl", "/m/[^fn]* rw", "/m/foreign/* a", "/m/foreign/* rw", "deny /m/a w",
	"deny /m/new w", "deny owner /m/d/ w", "deny /m/*/ w", "/m/new l", "link /m/new -> /m/a",
	"link subset /m/new -> /m/**", "link /m/** -> /m/**", "owner link /m/new -> /m/d/*", "capability",
	"capability sys_admin", "capability net_raw", "capability mknod", "capability chown",
	"deny capability sys_admin", "network", "network inet", "network inet stream", "network inet raw",
	"network unix", "network netlink raw", "deny network inet6", "mount", "mount fstype=tmpfs -> /m/mnt/",
	"mount fstype=proc", "mount options=(rw,bind) /m/d/ -> /m/mnt/", "mount options=(rw,move) -> /m/**",
	"deny mount options=(rw,bind)", "umount", "umount /m/there/", "umount /m/mnt/", "signal (send)",
	"signal (send) peer=unconfined", "signal (send) set=(cont) peer=m-other", "signal (send) set=(kill)",
	"deny signal (send) peer=m-other", "ptrace (trace)", "ptrace (trace) peer=m-other",
	"ptrace (read) peer=unconfined", "ptrace peer=unconfined", "change_profile -> m-other", "change_profile -> m-*",
	"change_profile -> m-other//*", "change_profile -> unconfined", "change_profile", "set rlimit nofile <= 1000",
	"set rlimit nofile <= 5000",
}

// permittedSince has more rules for parsers that know them.
var permittedSince = map[string][]string{
	"4.": {"userns", "userns create", "deny userns", "io_uring", "io_uring sqpoll", "deny io_uring", "io_uring override_creds"},
}

// The kernel does what the evaluator says of operations about which it cannot be asked.
func TestMeaningIsWhatTheKernelDoes(t *testing.T) {
	guesttest.Require(t)
	parser, err := guestCompiler(t).Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rules := permitted
	for since, more := range permittedSince {
		if parser >= since {
			rules = append(rules[:len(rules):len(rules)], more...)
		}
	}
	guesttest.LoadProfile(t, "profile m-other { file, signal, ptrace, capability, profile kid { file, } }\n")
	free, other := running(t, "unconfined"), running(t, "m-other")
	all := operations(free, other)
	old := strings.HasPrefix(release(t), "6.1.")
	t.Cleanup(func() { clearDoing(t) })
	prepare(t)
	attempt := func(t *testing.T, ask func(string) string, op operation) string {
		answer := ask(op.command)
		if op.changes && answer == "ok" {
			prepare(t)
		}
		return answer
	}
	unconfined := startProbe(t, "")
	for _, op := range all {
		if got := attempt(t, unconfined, op); got != "ok" {
			t.Fatalf("%s without a profile: %s", op.command, got)
		}
	}
	asked, denials := 0, 0
	few := 2
	if guesttest.Suite() == guesttest.Forky { // which is the fastest
		few = 5
	}
	profiles := guesttest.Count(t, few, 40, "profiles to do something under")
	for i := range profiles {
		name := fmt.Sprintf("m-doing%02d", i)
		random := rand.New(rand.NewPCG(3, uint64(i)))
		text := "abi <kernel>,\nprofile " + name + " {\n  /usr/local/bin/probe mrix,\n" +
			"  /proc/*/{,task/*/}attr/{,apparmor/}exec w,\n  signal (receive) peer=unconfined,\n"
		for _, rule := range rules {
			if random.IntN(4) == 0 {
				text += "  " + rule + ",\n"
			}
		}
		text += "}\n"
		t.Run(name, func(t *testing.T) {
			data := compiledHere(t, text)
			compiled, err := meaning.Read(data)
			if err != nil {
				t.Fatal(err)
			}
			loadBlob(t, data)
			ask := startProbe(t, name)
			for _, op := range all {
				want := "ok"
				for _, a := range op.asks {
					if !compiled[0].Decide(a).Allowed && !(op.later && old && a != sysAdmin) {
						want = denied
					}
				}
				got := attempt(t, ask, op)
				if got == "errno EPERM" || got == "errno EACCES" {
					got, denials = denied, denials+1
				}
				if asked++; got != want {
					t.Errorf("%s: %s, want %s, under\n%s", op.command, got, want, text)
				}
			}
		})
	}
	t.Logf("%d operations, of which %d were denied", asked, denials)
	if asked < profiles*len(all) {
		t.Errorf("%d operations were to be tried", profiles*len(all))
	}
	if denials < asked/10 || denials > asked*9/10 {
		t.Error("too few of one kind")
	}
}

// prepare makes what the operations are about, as it is before each.
func prepare(t *testing.T) {
	t.Helper()
	clearDoing(t)
	for _, dir := range []string{"/d", "/mnt", "/there", "/empty", "/foreign"} {
		if err := os.MkdirAll(doing+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"/a", "/d/b", "/foreign/a"} {
		write(t, doing+file, "x\n")
	}
	// Everyone may write, so that no capability is asked for.
	for _, name := range []string{"/foreign", "/foreign/a"} {
		if err := os.Chmod(doing+name, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(doing+name, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("there", "/m/there", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
}

// clearDoing removes what prepare makes.
func clearDoing(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"/m/mnt", "/m/there"} {
		for unix.Unmount(dir, unix.MNT_DETACH) == nil {
		}
	}
	if err := os.RemoveAll(doing); err != nil {
		t.Fatal(err)
	}
}

// startProbe starts a probe under a profile and returns a function that has it do something.
func startProbe(t *testing.T, profile string) (ask func(command string) string) {
	t.Helper()
	cmd := exec.Command("/usr/local/bin/probe", "hold")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	startUnder(t, cmd, profile)
	lines := bufio.NewScanner(out)
	read := func() string {
		if !lines.Scan() {
			t.Fatalf("the probe has ended: %v", lines.Err())
		}
		return lines.Text()
	}
	if ready := read(); ready != "ready" {
		t.Fatalf("the probe says %q", ready)
	}
	return func(command string) string {
		t.Helper()
		if _, err := io.WriteString(in, command+"\n"); err != nil {
			t.Fatal(err)
		}
		answer := ""
		for line := read(); line != "."; line = read() {
			answer += line
		}
		return answer
	}
}

// startUnder starts a program under a profile, or under none, and ends it with the test.
func startUnder(t *testing.T, cmd *exec.Cmd, profile string) {
	t.Helper()
	started := make(chan error)
	go func() {
		// It is never unlocked, so that the thread ends: whatever else it started would begin under this profile, too,
		// or, when that is removed, unconfined, whatever profile is attached to its program.
		runtime.LockOSThread()
		var err error
		if profile != "" {
			err = os.WriteFile("/proc/thread-self/attr/exec", []byte("exec "+profile), 0)
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // by an unconfined process, of which ptrace and signals are asked
		cmd.Wait()
	})
}

// running starts a process under a label and returns its number. It ends with the test.
func running(t *testing.T, label string) (pid int) {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "600")
	startUnder(t, cmd, label)
	waitFor(t, "the process to be confined", func() bool {
		got, _, _ := strings.Cut(guesttest.Label(t, cmd.Process.Pid), " (")
		return got == label
	})
	return cmd.Process.Pid
}
