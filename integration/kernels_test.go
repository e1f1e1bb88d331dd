package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// Where the evaluator says that kernels answer differently, this one answers as it says, when the thing is done. All kernels
// are given profiles that are compiled for an old one, which each of them takes.
func TestKernelsAnswerAsIsSaid(t *testing.T) {
	guesttest.Require(t)
	guesttest.RemoveProfilesAtEnd(t)
	t.Cleanup(func() { clearDoing(t) })
	prepare(t)
	guesttest.MustRun(t, "cp", probeProgram, "/m/x")
	newer, err := os.ReadFile(compiledTables + "/parsers/4.1.8.on-6.12.blob") // whose parser knows what 3.0.8 does not
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]*meaning.Profile)
	loadMeant(t, newer, all)
	old, err := profile.NewCompiler(profiletest.Features())
	if err != nil {
		t.Fatal(err)
	}
	const alike = "signal (send) peer={m-part1,m-part2}, ptrace (trace) peer={m-part1,m-part2},"
	for name, text := range map[string]string{
		"m-opens": "{ file, change_profile, }", "m-no-files": "{ signal, }", "m-other-files": "{ /other r, }",
		"m-moves": "{ /** rw, capability sys_admin, mount fstype=proc, }", "m-learns": "flags=(complain) { /m/x px -> m-missing, }",
		"m-on-top": "{ /dev/null rw, /m/x pux -> &m-missing, }",
		"m-part1":  "{ file, signal, ptrace, }", "m-part2": "{ file, signal, ptrace, }", "m-parts": "{ " + alike + " }",
		"m-stack": "{ signal (send) peer=m-part1//&m-part2, ptrace (trace) peer=m-part1//&m-part2, }",
	} {
		blob, err := old.CompileText(t.Context(), name, []byte("abi <abi/3.0>,\nprofile "+name+" "+text+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		loadMeant(t, blob.Data, all)
	}
	// In the tables that parser 4.1.8 writes of it, every file may be locked. What .access says of a file that no rule matches is
	// not looked up there.
	loadMeant(t, compiledHere(t, "abi <kernel>,\nprofile m-no-files-here { signal, }\n"), all)
	const stack = "m-part1//&m-part2"
	pid := fmt.Sprint(running(t, stack))
	cont := meaning.SignalAccess{Want: meaning.MayWrite, Signal: 18, Peer: stack}
	trace := meaning.PtraceAccess{Want: meaning.MayWrite, Peer: stack}
	ask := startProbe(t, "")
	differ := 0
	for _, try := range []struct {
		profile, command string // NAME in the command is the profile
		access           meaning.Access
	}{
		{"parsers", "as NAME unshare user", meaning.UsernsAccess{}},
		{"parsers", "as NAME io-uring", meaning.IOUringAccess{}},
		{"parsers", "uring-override NAME", meaning.IOUringAccess{Override: true, Label: "unconfined"}},
		{"m-no-files", "as NAME stat /m/a", file("/a", meaning.MayGetAttr, own)},
		{"m-other-files", "as NAME stat /m/a", file("/a", meaning.MayGetAttr, own)},
		{"m-no-files", "lock-held m-opens NAME /m/a", file("/a", meaning.MayLock, own)},
		{"m-no-files-here", "lock-held m-opens NAME /m/a", file("/a", meaning.MayLock, own)},
		{"m-other-files", "lock-held m-opens NAME /m/a", file("/a", meaning.MayLock, own)},
		{"m-moves", "as NAME move-mount /m/d /m/mnt", meaning.MountAccess{Target: "/m/mnt/", Flags: unix.MS_MOVE}},
		{"m-learns", "as NAME exec /m/x label", meaning.ExecAccess{Path: "/m/x", Owner: own}},
		{"m-on-top", "as NAME exec /m/x label", meaning.ExecAccess{Path: "/m/x", Owner: own}},
		{"m-parts", "as NAME signal " + pid, cont},
		{"m-parts", "as NAME ptrace " + pid, trace},
		{"m-stack", "as NAME signal " + pid, cont},
		{"m-stack", "as NAME ptrace " + pid, trace},
	} {
		differ += asIsSaid(t, ask, all[try.profile], try.command, try.access)
	}
	if differ < 8 {
		t.Errorf("kernels differ about %d accesses only", differ)
	}
	t.Run("queues", func(t *testing.T) { queuesAreFree(t, ask) })
}

// loadMeant loads compiled profiles, and reads them as well.
func loadMeant(t *testing.T, data []byte, into map[string]*meaning.Profile) {
	t.Helper()
	profiles, err := meaning.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	loadBlob(t, data)
	for _, p := range profiles {
		into[p.Name] = p
	}
}

// asIsSaid has a probe do something, and compares what comes of it with what is said of this kernel. It returns how many
// other answers kernels are said to have.
func asIsSaid(t *testing.T, ask func(string) string, p *meaning.Profile, command string, a meaning.Access) int {
	t.Helper()
	decided := p.Decide(a)
	want, by := decided.Allowed, "each kernel"
	others := p.Kernels(a)
	for _, k := range others {
		if isOf(t, k.Kernels) {
			want, by = k.Answer.Allowed, k.Kernels+" "+k.Why
		}
	}
	got := ask(strings.ReplaceAll(command, "NAME", p.Name))
	t.Logf("%s, %s: %s; decided is %v, and %d kinds of kernels do otherwise; said is: allowed %v (%s)", p.Name, access.Format(a), got,
		decided.Allowed, len(others), want, by)
	if denied := got == "errno EACCES" || got == "errno EPERM"; got != "ok" && !denied || denied == want {
		t.Errorf("%s, %s: %s, and said is: allowed %v (%s)", p.Name, access.Format(a), got, want, by)
	}
	return len(others)
}

// isOf reports whether this kernel is one of those that a sentence is about. No guest has Ubuntu's.
func isOf(t *testing.T, sentence string) bool {
	t.Helper()
	switch {
	case strings.HasPrefix(sentence, "Ubuntu's"):
		return false
	case strings.Contains(sentence, "without a fix"): // which Debian's 6.12 has
		return strings.HasPrefix(release(t), "6.1.")
	}
	bounds := regexp.MustCompile(`^Linux(?: (before|up to) (\d+)\.(\d+)| (\d+)\.(\d+) and later)?(?:, other than Ubuntu's,)?$`).FindStringSubmatch(sentence)
	if bounds == nil {
		t.Fatalf("which kernels are %q?", sentence)
	}
	var major, minor int
	if _, err := fmt.Sscanf(release(t), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	number := func(at int) (n int) { fmt.Sscan(bounds[at], &n); return n }
	before := func(at int) bool { return major < number(at) || major == number(at) && minor < number(at+1) }
	switch {
	case bounds[1] != "":
		return before(2) || bounds[1] == "up to" && major == number(2) && minor == number(3)
	case bounds[4] != "":
		return !before(4)
	}
	return true
}

// queuesAreFree checks that this kernel asks no profile about message queues: the day that one does, this test is to do what
// the others do.
func queuesAreFree(t *testing.T, ask func(string) string) {
	features, err := profile.ReadFeatures(securityfs + "/features")
	if err != nil {
		t.Fatal(err)
	}
	if guestCompiler(t).Supports("ipc/posix_mqueue") {
		t.Fatal("this kernel mediates message queues, and no test does what MqueueAccess is about")
	}
	path := filepath.Join(t.TempDir(), "features") // of a kernel that does
	write(t, path, string(features)+"ipc {posix_mqueue {create read write open delete setattr getattr\n}\n}\n")
	cmd := exec.Command("apparmor_parser", "--config-file", "/dev/null", "--kernel-features", path, "--policy-features", path,
		"--skip-kernel-load", "--skip-cache", "--stdout")
	cmd.Stdin = strings.NewReader("profile m-queues flags=(attach_disconnected) {\n  file,\n  capability,\n  mqueue create /other,\n}\n")
	o := guesttest.RunCommand(t, cmd)
	if strings.Contains(o.Stderr, "syntax error") {
		t.Skipf("this parser knows no rules about message queues: %s", o.Stderr)
	}
	all := make(map[string]*meaning.Profile)
	loadMeant(t, []byte(o.Stdout), all)
	if asIsSaid(t, ask, all["m-queues"], "as NAME mq-open", meaning.MqueueAccess{Name: "/probe", Want: meaning.MayCreate}) != 1 {
		t.Error("nothing is said of kernels")
	}
}
