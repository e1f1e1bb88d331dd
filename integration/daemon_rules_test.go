package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	language "github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

// Each rule of the daemons' profiles is there for something: the daemon needs it at its work in a guest, or unneeded has the
// reason why it is there all the same.

// daemonTests are the tests in which each daemon does its work.
var daemonTests = map[string]string{
	"containerd": "TestContainerdUnderItsProfile", "dockerd": "TestContainerdDockerdUnderItsProfile",
}

func TestContainerdDaemonsNeedTheirRules(t *testing.T) {
	guesttest.Require(t)
	guesttest.NeedDocker(t)
	guesttest.EnoughIn(t, guesttest.Forky)
	guesttest.Leave(t, "make test has the daemons do their work once, which takes a minute each")
	if guesttest.Suite() != guesttest.Forky {
		t.Skip("the table unneeded has reasons for the versions of Docker and containerd that forky has, and here are others")
	}
	for _, program := range []string{"containerd", "dockerd"} {
		t.Run(program, func(t *testing.T) {
			text, _ := daemonText(t, program, "enforce")
			rules := usesOf(t, program, text)
			wantNeeded(t, program, rules)
			wantDropsSeen(t, program, text, rules)
		})
	}
}

// listed is a rule of unneeded.
type listed struct {
	why       string
	sometimes bool
}

// unneededOf returns the rules of a daemon's profile and its children that are unneeded, as daemonRule.String has them.
func unneededOf(program string) map[string]listed {
	all := make(map[string]listed)
	for _, u := range unneeded {
		for line := range strings.Lines(strings.TrimSpace(u.rules)) {
			names, rule, _ := strings.Cut(strings.TrimSpace(line), " ")
			for name := range strings.SplitSeq(names, ",") {
				if name == program || strings.HasPrefix(name, program+"//") || name == everywhere {
					all[name+" "+rule] = listed{u.why, u.sometimes}
				}
			}
		}
	}
	return all
}

// wantNeeded wants each rule to be needed, or to stand in unneeded, and none to be in both.
func wantNeeded(t *testing.T, program string, rules []*daemonRule) {
	t.Helper()
	reasons := unneededOf(program)
	needed := 0
	for _, r := range rules {
		reason, known := reasons[r.String()]
		delete(reasons, r.String())
		if r.alone {
			needed++
		}
		switch {
		case known && reason.sometimes:
		case known && r.alone:
			t.Errorf("%s: it is needed for %s; unneeded says: %s", r, r.example, reason.why)
		case !known && r.used && !r.alone:
			t.Errorf("%s: another rule allows as well all that was done by it, such as %s", r, r.example)
		case !known && !r.alone:
			t.Errorf("%s: nothing was done by it; take it out of the profile, or say in unneeded why it is there", r)
		}
	}
	for line := range reasons {
		t.Errorf("unneeded has %q, and no profile of %s has such a rule", line, program)
	}
	t.Logf("%s needs %d of its %d rules at its work here", program, needed, len(rules))
	if needed < 40 {
		t.Errorf("%s needs %d rules: the test does not see what is done", program, needed)
	}
}

// wantDropsSeen takes away some of the rules that are needed, each by itself, and wants the daemon's work to fail, or to be denied
// something. Else the records above would say nothing.
func wantDropsSeen(t *testing.T, program, text string, rules []*daemonRule) {
	t.Helper()
	var needed []*daemonRule
	for _, r := range rules {
		if r.alone {
			needed = append(needed, r)
		}
	}
	const tries = 2
	for i := range tries {
		r := needed[(2*i+1)*len(needed)/(2*tries)]
		without := text
		for _, one := range r.in {
			without = syntax.Read(without).Remove([]syntax.Rule{one}) // the last one first
		}
		said, works := daemonWorks(t, program, without)
		switch {
		case works:
			t.Errorf("%s: %s does its work without it", r, program)
		case !strings.Contains(said, "--- FAIL: "+daemonTests[program]):
			t.Errorf("%s: the test did not come to its end without it:\n%s", r, said)
		default:
			t.Logf("without %s: %s", r, firstFault(said))
		}
	}
}

// firstFault returns the line in which a test that has failed says so first.
func firstFault(said string) string {
	for line := range strings.Lines(said) {
		if strings.Contains(line, "_test.go:") {
			return strings.TrimSpace(line)
		}
	}
	return said
}

// A daemonRule is a rule of a daemon's profile or of a child of it, and what it was good for.
type daemonRule struct {
	in      []syntax.Rule // the last one first; several if all profiles have it from the same lines of the template
	block   string        // the profile's name; everywhere for all
	used    bool          // it allows something that was done
	alone   bool          // no other rule allows that
	example string        // what was done
}

// everywhere stands for the name of a profile, in a rule that the daemon's profile and its children have.
const everywhere = "*"

func (r *daemonRule) String() string { return r.block + " " + r.in[0].Text }

// rulesOf returns the rules of a text that can ask for a record. What all profiles have by the template of that name comes once.
func rulesOf(text string) []*daemonRule {
	read := syntax.Read(text)
	_, asking := read.Audited()
	var based [][]string // the rules of each profile that is made from the template base
	for _, b := range read.Blocks {
		var all []string
		for _, r := range b.Rules {
			all = append(all, r.Text)
		}
		if slices.Contains(all, "network unix") {
			based = append(based, all)
		}
	}
	base := func(text string) bool {
		return !slices.ContainsFunc(based, func(all []string) bool { return !slices.Contains(all, text) })
	}
	var rules []*daemonRule
	known := make(map[string]*daemonRule)
	for _, b := range read.Blocks {
		for _, r := range b.Rules {
			if !slices.ContainsFunc(asking, func(o syntax.Rule) bool { return o.Line == r.Line }) {
				continue
			}
			one := &daemonRule{in: []syntax.Rule{r}, block: b.Name}
			if base(r.Text) {
				one.block = everywhere
			}
			if there := known[one.String()]; there != nil {
				there.in = append(one.in, there.in...)
				continue
			}
			known[one.String()] = one
			rules = append(rules, one)
		}
	}
	return rules
}

// A daemonUse is what a daemon has done under one of its profiles.
type daemonUse struct {
	profile string
	access  meaning.Access
}

// usesOf has a daemon do its work under a text whose rules all ask for a record, and returns what the records say of the rules.
func usesOf(t *testing.T, program, text string) []*daemonRule {
	t.Helper()
	audited, _ := syntax.Read(text).Audited()
	uses := recordsOf(t, program, func() {
		if said, works := daemonWorks(t, program, audited); !works {
			t.Fatalf("%s does not do its work:\n%s", program, said)
		}
	})
	addLocal(t, program)
	reader := &why.Reader{Compiler: guestCompiler(t)}
	read, err := reader.Read(t.Context(), program, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	rules := rulesOf(text)
	for _, u := range uses {
		answer, err := read.Why(t.Context(), u.profile, u.access)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Verdict != why.Allowed && answer.Verdict != why.Unmediated {
			t.Errorf("%s: %s was done: %s", u.profile, language.Format(u.access), told(answer))
		}
		for _, by := range answer.By {
			i := slices.IndexFunc(rules, func(r *daemonRule) bool {
				return by.File == "" && slices.ContainsFunc(r.in, func(one syntax.Rule) bool { return one.Line == by.Line })
			})
			if i < 0 { // it is the test's own
				continue
			}
			others := uint32(0)
			for _, other := range answer.By {
				if other.Rule != by.Rule {
					others |= other.Perms
				}
			}
			alone := by.Perms&^others != 0 || len(answer.By) == 1 || answer.Together
			if r := rules[i]; !r.used || alone && !r.alone {
				r.used, r.alone, r.example = true, alone, language.Format(u.access)
			}
		}
	}
	return rules
}

// daemonWorks has a daemon do its work under a text, in a process of its own: it may fail, which does not fail this test.
func daemonWorks(t *testing.T, program, text string) (said string, works bool) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, program), text)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const limit = 10 * time.Minute // it takes some 20 seconds, and more in emulation; a test binary that hangs ends with its stacks
	cmd := exec.Command(self, "-test.v", "-test.run=^"+daemonTests[program]+"$", "-test.timeout="+limit.String())
	cmd.Env = append(os.Environ(), daemonTexts+"="+dir)
	cmd.WaitDelay = time.Second // its daemons may keep the output open
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.Success()
}

// recordsOf does something, and returns what the kernel has meanwhile recorded that rules of a daemon's profile allow, each
// access once.
func recordsOf(t *testing.T, program string, do func()) []daemonUse {
	t.Helper()
	s := openSource(t, source.Multicast, source.Options{Follow: true, Backlog: 1 << 16})
	var uses []daemonUse
	known := make(map[string]bool)
	records := 0
	read := func(ctx context.Context) bool {
		var e source.Entry
		if err := s.Next(ctx, &e); err != nil {
			if !source.Ended(ctx, err) {
				t.Error(err)
			}
			return false
		}
		of, _ := e.Record.Profile()
		if e.Record.Type != audit.Audited || of != program && !strings.HasPrefix(of, program+"//") {
			return true
		}
		records++
		asked, err := e.Record.Asked()
		if err != nil || len(asked.Accesses) == 0 {
			return true
		}
		key := fmt.Sprint(of, " ", language.Format(asked.Accesses[0]))
		if !known[key] {
			known[key] = true
			uses = append(uses, daemonUse{of, asked.Accesses[0]})
		}
		return true
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for read(ctx) {
		}
	}()
	func() {
		defer func() { // also where it fails the test
			stop()
			<-ended
		}()
		do()
	}()
	for more := true; more; { // until none comes any more
		ctx, stop := context.WithTimeout(t.Context(), source.Settles)
		more = read(ctx)
		stop()
	}
	for _, l := range s.Lost() {
		t.Error(l.Sentence())
	}
	t.Logf("%d records of %d accesses", records, len(uses))
	return uses
}
