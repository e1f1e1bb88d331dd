package integration

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// The kernel logs what the evaluator says that it logs, and kills where it says so, in each mode and with each qualifier of
// rules.
func TestAnswersAreLoggedAndKill(t *testing.T) {
	guesttest.Require(t)
	guesttest.EnoughIn(t, guesttest.Forky)
	guesttest.RemoveProfilesAtEnd(t)
	guesttest.LoadProfile(t, "profile m-other { file, signal, ptrace, capability, }\n")
	free, other := running(t, "unconfined"), running(t, "m-other")
	t.Cleanup(func() { clearDoing(t) })
	logEverything(t)
	old := strings.HasPrefix(release(t), "6.1.")
	counts := make(map[string]int)
	flags := []string{"", " flags=(complain)", " flags=(kill)", " flags=(audit)"}
	for i := range guesttest.Count(t, 4, 16, "profiles of which records are looked for") {
		random := rand.New(rand.NewPCG(13, uint64(i)))
		name := fmt.Sprintf("m-logged%02d", i)
		text := "abi <kernel>,\nprofile " + name + flags[i%len(flags)] + " {\n" + needed + "  signal (receive) peer=m-other,\n"
		for _, rule := range permitted {
			if random.IntN(3) == 0 && !strings.Contains(rule, "rlimit") && !strings.HasPrefix(rule, "change_profile") {
				rule = strings.TrimPrefix(rule, "deny ")
				text += "  " + []string{"", "audit ", "deny ", "audit deny ", ""}[random.IntN(5)] + rule + ",\n"
			}
		}
		text += "}\n"
		t.Run(name, func(t *testing.T) {
			data := compiledHere(t, text)
			all, err := meaning.Read(data)
			if err != nil {
				t.Fatal(err)
			}
			loadBlob(t, data)
			for _, op := range operations(free, other) {
				if len(op.asks) != 1 || op.later && old || strings.HasPrefix(op.command, "abstract") ||
					strings.HasPrefix(op.command, "change-profile") || strings.HasPrefix(op.command, "rlimit") {
					continue // what asks for several things, or is asked about by names of its own
				}
				prepare(t)
				want := all[0].Decide(op.asks[0])
				log, output := done(t, name, op.command)
				record := logged(t, log, name, want.Logged)
				got := meaning.Answer{Allowed: output == "ok", Killed: output == "" || strings.Contains(output, "was killed"), Logged: record != ""}
				if got.Killed && got.Allowed || got.Allowed != want.Allowed || got.Logged != want.Logged || got.Killed != want.Killed {
					t.Errorf("%s, which is %s: %s, logged is %q; decided is %+v, under\n%s", op.command, access.Format(op.asks[0]), output,
						record, want, text)
				}
				counts[fmt.Sprintf("allowed %v logged %v killed %v", want.Allowed, want.Logged, want.Killed)]++
			}
		})
	}
	t.Log(counts)
	if len(counts) < 5 {
		t.Error("some kind of answer is not among them")
	}
}

// done has a probe under a profile do something. It returns what the probe answers, nothing if it was killed, and the kernel's
// log from when the probe was ready.
func done(t *testing.T, profile, command string) (log *guesttest.Log, answer string) {
	t.Helper()
	cmd := exec.Command(probeProgram, "hold")
	if strings.HasPrefix(command, "pivot-root") { // which is done to all of the mount namespace
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
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
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the probe says %q", lines.Text())
	}
	time.Sleep(while) // what it did until then is logged
	log = guesttest.KernelLog(t)
	if _, err := io.WriteString(in, command+"\n"); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() && lines.Text() != "." {
		answer += lines.Text()
	}
	return log, answer
}

// while is how long after an access a record of it may come.
const while = 40 * time.Millisecond

// decision is a record of a decision about a profile.
var decision = regexp.MustCompile(`apparmor="(?:AUDIT|DENIED|ALLOWED|KILLED)".* profile="([^"]*)"`)

// logged returns what the kernel has logged about a profile since a position. It waits for a record that is expected, and
// a little for one that is not, since the kernel prints them later.
func logged(t *testing.T, log *guesttest.Log, profile string, expected bool) string {
	t.Helper()
	found := ""
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		time.Sleep(while)
		for _, line := range log.Lines(t) {
			m := decision.FindStringSubmatch(line)
			if m != nil && m[1] == profile && !strings.Contains(line, "signal=urg") { // by which Go has its threads change
				found = line
			}
		}
		if found != "" || !expected {
			return found
		}
	}
	return found
}
