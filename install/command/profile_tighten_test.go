package command

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/tighten"
)

// tightText is the text of a profile that allows more than its workload needs, which is to write to /needed and to own a file.
const tightText = `abi <abi/3.0>,
profile shop flags=(attach_disconnected) {
  /needed w, # the workload's
  /other r,
  deny /secret r,
  capability chown,
  capability kill,
  signal (receive) peer={unconfined,runc,crun},
  signal (send,receive) peer={@{profile_name},@{profile_name}//&**,**//&@{profile_name},**//&@{profile_name}//&**},
  ptrace,
}
`

// newTightening returns a machine whose kernel has tightText by hand. Its workload is a shell's, for which there is a file
// "needed" while the kernel's profile allows what the workload needs.
func newTightening(t *testing.T) (m *machine, k kerneltest.Machine, o profiles.Tightening) {
	m, k = newProfiles(t)
	compiler := profiletest.Compiler(t, profiletest.Features())
	m.CompilerOf = func([]byte) (node.Compiler, error) { return compiler, nil }
	m.write("text", tightText)
	replace := m.Kernel.WriteReplace
	m.Kernel.WriteReplace = func(blob []byte) error {
		all, err := meaning.Read(blob)
		if err != nil {
			return err
		}
		os.Remove("needed")
		if all[0].Decide(meaning.FileAccess{Path: "/needed", Want: meaning.MayWrite}).Allowed && all[0].Decide(meaning.CapabilityAccess(0)).Allowed {
			m.write("needed", "")
		}
		if replace != nil {
			return replace(blob)
		}
		return k.Replace(blob)
	}
	if code, out := m.run("profile", "load", "text"); code != 0 {
		t.Fatal(out, m.errOut.String())
	}
	t.Setenv("TIGHTENED_KERNEL", k.Dir)
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	return m, k, profiles.Tightening{File: "text", Run: "test -e needed", Timeout: time.Minute, Guard: []string{self, "-test.run=^TestPutBackProcess$"}}
}

// TestPutBackProcess is no test, but the process that puts a profile back in the tests of this file.
func TestPutBackProcess(t *testing.T) {
	dir := os.Getenv("TIGHTENED_KERNEL")
	if dir == "" {
		t.Skip("it is a process of other tests")
	}
	n := &node.Node{Kernel: kerneltest.Machine{Dir: dir}.Kernel(), Warn: func(string) {}}
	if err := profiles.PutBack(n, os.Stdin, os.Stdout); err != nil {
		t.Fatal(err)
	}
}

// wantWhole checks that the kernel has the profile as it was loaded.
func wantWhole(t *testing.T, m *machine) {
	t.Helper()
	files := profiles.ReadFiles(t.Context(), m.Node, must(m.CompilerOf(nil)), []string{"text"})
	if files[0].Err != nil {
		t.Fatal(files[0].Err)
	}
	found, err := m.Kernel.Check(kernel.Profile{Name: "shop", Compiled: files[0].Blob.Profiles})
	if err != nil || found.Status != kernel.Matches {
		t.Errorf("the profile is not as it was: %s, %v", found, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTighten(t *testing.T) {
	m, _, o := newTightening(t)
	made, err := profiles.Tighten(t.Context(), m.Node, o)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer("  /other r,\n", "", "  capability kill,\n", "").Replace(tightText)
	if made.Text != want {
		t.Errorf("the text is\n%s\nwant\n%s", made.Text, want)
	}
	for _, line := range []string{"-  /other r,\n", "-  capability kill,\n"} {
		if !strings.Contains(made.Patch, line) {
			t.Errorf("the patch has no %q:\n%s", line, made.Patch)
		}
	}
	for _, k := range made.Kept {
		if stays := k.First() == "signal" || k.First() == "ptrace"; k.Needed == stays || stays && !strings.Contains(k.Why, "without it, ") ||
			!stays && !strings.Contains(k.Why, "exit status 1") {
			t.Errorf("%s is kept, needed %v: %s", k.Text, k.Needed, k.Why)
		}
	}
	wantWhole(t, m)
	if m.read("text") != tightText {
		t.Error("the file was changed")
	}
}

// What the kernel writes of what tightText's workload does.
const (
	writesNeeded = `operation="open" class="file" profile="shop" name="/needed" pid=7 comm="sh" requested_mask="w" denied_mask="w" fsuid=0 ouid=0`
	readsOther   = `operation="open" class="file" profile="shop" name="/other" pid=7 comm="sh" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`
	chowns       = `operation="capable" class="cap" profile="shop" pid=7 comm="sh" capability=0  capname="chown"`
)

// other is what tightText's workload tries and does without.
var other = meaning.FileAccess{Path: "/other", Want: meaning.MayRead, Owner: true}

// recordsOf has a workload write records as the kernel does: of what tightText's workload tries, under the profile that the
// kernel has. It tries to read /other, too, and does without.
func recordsOf(t *testing.T, m *machine, o *profiles.Tightening) *recordFile {
	t.Helper()
	return recordsBy(t, m, o, func(p *meaning.Profile) (text string) {
		for line, asked := range map[string]meaning.Access{
			writesNeeded: meaning.FileAccess{Path: "/needed", Want: meaning.MayWrite, Owner: true}, readsOther: other, chowns: meaning.CapabilityAccess(0),
		} {
			text += recordOf(p, asked, line)
		}
		return text
	})
}

// recordOf returns the line of the record that a profile has the kernel write of an access, if any.
func recordOf(p *meaning.Profile, asked meaning.Access, line string) string {
	d := p.Decide(asked)
	if !d.Logged {
		return ""
	}
	if d.Allowed {
		return typed("AUDIT", line)
	}
	return typed("DENIED", line)
}

func typed(kind, line string) string {
	return fmt.Sprintf("type=AVC msg=audit(%d.000:7): apparmor=%q %s\n", time.Now().Unix()+1, kind, line)
}

// recordsBy has a workload write records that depend on the profile that the kernel has.
func recordsBy(t *testing.T, m *machine, o *profiles.Tightening, records func(*meaning.Profile) string) *recordFile {
	t.Helper()
	replace := m.Kernel.WriteReplace
	m.Kernel.WriteReplace = func(blob []byte) error {
		m.write("records", records(must(meaning.Read(blob))[0]))
		return replace(blob)
	}
	o.Run = "cat records >>log; " + o.Run
	m.write("log", "")
	f := must(os.Open("log"))
	t.Cleanup(func() { f.Close() })
	w := &recordFile{lines: bufio.NewReader(f)}
	o.Denials, o.Alive = w, w.alive
	return w
}

// recordFile are records of a file, to which others may be added.
type recordFile struct {
	source.Source
	lines *bufio.Reader
	count int // of records that were read
	lost  func(records int) []source.Loss
	fails error  // after the first record
	late  string // a record that comes when no run goes on any more, for which alone it is waited long
	dead  bool   // none comes any more
}

var errDead = errors.New("multicast is dead: AppArmor is told to write no records")

// alive stands in for source.Alive.
func (w *recordFile) alive(context.Context, source.Source) ([]source.Loss, error) {
	if w.dead {
		return nil, errDead
	}
	return nil, nil
}

func (w *recordFile) Name() string { return source.Multicast }

func (w *recordFile) Lost() []source.Loss {
	if w.lost == nil {
		return nil
	}
	return w.lost(w.count)
}

func (w *recordFile) Next(ctx context.Context, e *source.Entry) error {
	for {
		line, err := w.lines.ReadBytes('\n')
		if err == nil && !w.dead {
			e.Kernel = true
			e.Record.Parse(bytes.TrimSpace(line))
			w.count++
			return nil
		}
		if end, ok := ctx.Deadline(); ok && w.late != "" && time.Until(end) > time.Second {
			e.Kernel = true
			e.Record.Parse([]byte(strings.TrimSpace(w.late)))
			w.late = ""
			return nil
		}
		if w.fails != nil && w.count > 0 {
			return w.fails
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// Where the kernel's records can be read, it takes fewer runs, and what the workload does without can be denied in silence.
func TestTightenByRecords(t *testing.T) {
	m, _, o := newTightening(t)
	slow, err := profiles.Tighten(t.Context(), m.Node, o)
	if err != nil {
		t.Fatal(err)
	}
	m, _, o = newTightening(t)
	recordsOf(t, m, &o)
	made, err := profiles.Tighten(t.Context(), m.Node, o)
	if err != nil {
		t.Fatal(err)
	}
	if made.Text != slow.Text || made.Runs > slow.Runs {
		t.Errorf("after %d runs, the text is\n%s\nwithout records, %d runs gave\n%s", made.Runs, made.Text, slow.Runs, slow.Text)
	}
	if got := fmt.Sprint(made.Vain, made.Denied); got != "[owner read /other] []" {
		t.Errorf("denied in vain are %s", got)
	}
	for _, k := range made.Kept {
		if strings.HasPrefix(k.Text, "/needed") && !strings.Contains(k.Why, "denied was owner write /needed") {
			t.Errorf("%s is needed: %s", k.Text, k.Why)
		}
	}
	o.Deny = true
	if made, err = profiles.Tighten(t.Context(), m.Node, o); err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer("  /other r,\n", "", "  capability kill,\n", "",
		"  /needed w, # the workload's\n", "  /needed w, # the workload's\n  deny owner /other r, # sh: tried, and done without\n").Replace(tightText)
	if got := fmt.Sprint(made.Vain, made.Denied); got != "[] [deny owner /other r,]" || made.Text != want {
		t.Errorf("denied are %s, and the text is\n%s\nwant\n%s", got, made.Text, want)
	}
	wantWhole(t, m)
}

// With Wholly, what the workload does without and tries stays, and only what it does not try goes.
func TestTightenWholly(t *testing.T) {
	m, _, o := newTightening(t)
	o.Wholly = true
	if _, err := profiles.Tighten(t.Context(), m.Node, o); err == nil || !strings.Contains(err.Error(), "records cannot be read") {
		t.Errorf("without records: %v", err)
	}
	recordsOf(t, m, &o)
	made, err := profiles.Tighten(t.Context(), m.Node, o)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(tightText, "  capability kill,\n", "", 1); made.Text != want || len(made.Vain) > 0 {
		t.Errorf("denied are %s, and the text is\n%s\nwant\n%s", made.Vain, made.Text, want)
	}
	for _, k := range made.Kept {
		if strings.HasPrefix(k.Text, "/other") && (!k.Needed || k.Why != "it does not work without a denial; denied was owner read /other") {
			t.Errorf("%s is needed: %v, %s", k.Text, k.Needed, k.Why)
		}
	}
	wantWhole(t, m)
}

// A denial that comes only after the last run is one of it.
func TestTightenWhollyWaitsForLateDenials(t *testing.T) {
	m, _, o := newTightening(t)
	o.Wholly = true
	recordsOf(t, m, &o).late = typed("DENIED", strings.Replace(readsOther, "/other", "/late", 1))
	if _, err := profiles.Tighten(t.Context(), m.Node, o); err == nil || !strings.Contains(err.Error(), "after its last run, denied was owner read /late") {
		t.Error(err)
	}
	wantWhole(t, m)
}

// That nothing was denied is not known if records are missing, and then no rule is taken away for it.
func TestTightenWhollyNeedsAllRecords(t *testing.T) {
	later := func(l source.Loss) func(int) []source.Loss {
		return func(records int) []source.Loss {
			if records == 0 {
				return nil
			}
			return []source.Loss{l}
		}
	}
	more := uint64(0)
	for name, test := range map[string]struct {
		lost  func(int) []source.Loss
		fails error
		says  string
	}{
		"a source that may always lose some": {lost: func(int) []source.Loss { return []source.Loss{{By: "the kernel's limit", Unknown: true}} },
			says: "what is denied cannot be known by the source multicast: records may have been lost: the kernel's limit"},
		"some are lost each time": {lost: func(int) []source.Loss { more++; return []source.Loss{{By: "the kernel", Records: more}} },
			says: "whether anything was denied is not known: records were lost: 3: the kernel"},
		"some may have been lost": {lost: later(source.Loss{By: "the journal", Unknown: true}),
			says: "whether anything was denied is not known: records may have been lost: the journal"},
		"the source fails": {fails: errors.New("the socket is broken"), says: "whether anything was denied is not known: the socket is broken"},
	} {
		t.Run(name, func(t *testing.T) {
			m, _, o := newTightening(t)
			o.Wholly = true
			src := recordsOf(t, m, &o)
			src.lost, src.fails = test.lost, test.fails
			if made, err := profiles.Tighten(t.Context(), m.Node, o); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, made %+v", err, made)
			}
			wantWhole(t, m)
		})
	}
}

// A source that has died is not one that is silent.
func TestTightenWhollyNeedsALiveSource(t *testing.T) {
	t.Run("before the first run", func(t *testing.T) {
		m, k, o := newTightening(t)
		o.Wholly = true
		recordsOf(t, m, &o).dead = true
		before := k.Writes(t)
		if _, err := profiles.Tighten(t.Context(), m.Node, o); !errors.Is(err, errDead) {
			t.Error(err)
		}
		if k.Writes(t) != before {
			t.Error("something was loaded")
		}
	})
	t.Run("after the last run", func(t *testing.T) {
		m, _, o := newTightening(t)
		o.Wholly = true
		w := recordsOf(t, m, &o)
		o.Tried = func(string, tighten.Outcome) { w.dead = true }
		if made, err := profiles.Tighten(t.Context(), m.Node, o); !errors.Is(err, errDead) || !strings.Contains(err.Error(), "whether anything was denied is not known") {
			t.Errorf("%v, made %+v", err, made)
		}
		wantWhole(t, m)
	})
	t.Run("with a gap up to now", func(t *testing.T) {
		m, _, o := newTightening(t)
		o.Wholly = true
		recordsOf(t, m, &o)
		o.Alive = func(context.Context, source.Source) ([]source.Loss, error) {
			return []source.Loss{{By: "the journal", Unknown: true}}, nil
		}
		if made, err := profiles.Tighten(t.Context(), m.Node, o); err == nil || !strings.Contains(err.Error(), "records may have been lost: the journal") {
			t.Errorf("%v, made %+v", err, made)
		}
		wantWhole(t, m)
	})
}

// crowded has other records among those of a recordFile, one each 20 ms. Of the first one that is asked for with a context, it does not
// look at the context: it came just before its end, however slow the machine is.
type crowded struct {
	*recordFile
	profile string        // what they are of
	age     time.Duration // how long before they come they were made
	ahead   int           // how many there are before each of the recordFile's; 0 if they come whenever none of these does
	came    int
	all     context.Context // the test's
	last    context.Context // the one of the last Next
}

func (c *crowded) Next(ctx context.Context, e *source.Entry) error {
	if c.all.Err() != nil {
		return context.Cause(c.all)
	}
	first := ctx != c.last
	c.last = ctx
	soon, stop := context.WithTimeout(ctx, 20*time.Millisecond)
	defer stop()
	switch _, err := c.lines.Peek(1); {
	case err != nil && c.ahead > 0:
		return c.recordFile.Next(ctx, e)
	case c.ahead == 0:
		if c.recordFile.Next(soon, e) == nil {
			return nil
		}
	case c.came == c.ahead:
		c.came = 0
		return c.recordFile.Next(ctx, e)
	default:
		<-soon.Done()
	}
	if !first && ctx.Err() != nil {
		return ctx.Err()
	}
	c.came++
	at := time.Now().Add(-c.age)
	e.Kernel = true
	e.Record.Parse(fmt.Appendf(nil, "type=AVC msg=audit(%d.%03d:7): apparmor=\"AUDIT\" %s", at.Unix(), at.Nanosecond()/1e6,
		strings.Replace(readsOther, "shop", c.profile, 1)))
	return nil
}

// On a busy node a run has an end, and what is of the run is read, also if it comes behind what is of others.
func TestTightenOnABusyNode(t *testing.T) {
	for name, c := range map[string]crowded{
		"others' records never end":     {profile: "another"},
		"others' records come before":   {profile: "another", age: time.Minute, ahead: 5},
		"the profile's own never end":   {profile: "shop"},
		"others' old records never end": {profile: "another", age: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			m, _, o := newTightening(t)
			o.Wholly = true
			c.recordFile = recordsOf(t, m, &o)
			o.Denials = &c
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			c.all = ctx
			made, err := profiles.Tighten(ctx, m.Node, o)
			switch whole := c.profile == "another" && (c.age == 0 || c.ahead > 0); {
			case whole && err != nil:
				t.Error(err)
			case whole && made.Text != strings.Replace(tightText, "  capability kill,\n", "", 1):
				t.Errorf("the text is\n%s", made.Text)
			case !whole && (err == nil || !strings.Contains(err.Error(), "whether anything was denied is not known: the records did not end within")):
				t.Errorf("%v, made %+v", err, made)
			}
			wantWhole(t, m)
		})
	}
}

// Nothing of which a denial may be a part passes as no denial.
func TestTightenWhollyTakesNothingForNoDenial(t *testing.T) {
	for name, test := range map[string]struct {
		records func(w *recordFile, p *meaning.Profile) string // where /other is denied
		says    string                                         // empty if /other is found to be needed
	}{
		"a denial of which no rule decides": {records: func(*recordFile, *meaning.Profile) string {
			return typed("DENIED", `operation="open" class="file" info="Failed name lookup - disconnected path" error=-13 profile="shop" name="x" pid=7 comm="sh" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`)
		}},
		"a denial by which a process is killed": {records: func(*recordFile, *meaning.Profile) string { return typed("KILLED", readsOther) }},
		"a denial behind many records": {records: func(*recordFile, *meaning.Profile) string {
			var all strings.Builder
			for i := range 10_001 {
				all.WriteString(typed("AUDIT", strings.Replace(readsOther, "/other", fmt.Sprint("/other", i), 1)))
			}
			return all.String() + typed("DENIED", readsOther)
		}},
		"a denial beside a loss": {records: func(w *recordFile, _ *meaning.Profile) string {
			w.lost = func(records int) []source.Loss {
				return []source.Loss{{By: "the kernel", Records: uint64(1 + records)}}
			}
			return typed("DENIED", readsOther)
		}},
		"records without a type": {says: "apparmor.audit_header", records: func(*recordFile, *meaning.Profile) string {
			return strings.Replace(typed("", readsOther), `apparmor="" `, "", 1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m, _, o := newTightening(t)
			o.Wholly = true
			var w *recordFile
			w = recordsBy(t, m, &o, func(p *meaning.Profile) string {
				if p.Decide(other).Allowed {
					return recordOf(p, other, readsOther)
				}
				return test.records(w, p)
			})
			made, err := profiles.Tighten(t.Context(), m.Node, o)
			switch {
			case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
				t.Errorf("%v, want %s", err, test.says)
			case test.says == "" && (err != nil || !strings.Contains(made.Text, "/other r,")):
				t.Errorf("%v: /other is taken for what the workload does without: %+v", err, made)
			}
			wantWhole(t, m)
		})
	}
}

// A loss while everything is recorded is of no other run, and without Wholly what may be missing is said.
func TestTightenSaysWhatMayBeMissing(t *testing.T) {
	m, _, o := newTightening(t)
	o.Wholly = true
	recordsOf(t, m, &o).lost = func(records int) []source.Loss {
		return []source.Loss{{By: "the kernel", Records: 7 + uint64(min(records, 1))}}
	}
	made, err := profiles.Tighten(t.Context(), m.Node, o)
	if err != nil || made.Missed != nil {
		t.Errorf("%v, missed: %v", err, made.Missed)
	}
	m, _, o = newTightening(t)
	recordsOf(t, m, &o).lost = func(int) []source.Loss { return []source.Loss{{By: "the kernel", Unknown: true}} }
	if made, err = profiles.Tighten(t.Context(), m.Node, o); err != nil || made.Missed == nil {
		t.Fatalf("%v, missed: nothing", err)
	}
	var b bytes.Buffer
	printTightened(&output.Printer{W: &b}, "text", made)
	if !strings.Contains(b.String(), "shop: more may have been denied: records may have been lost: the kernel\n") {
		t.Error(b.String())
	}
}

// A workload that goes on to another denial once the first one leaves no record is followed five times, and no more.
func TestTightenDeniesOneAfterTheOther(t *testing.T) {
	for n, works := range map[int]bool{5: true, 6: false} {
		m, _, o := newTightening(t)
		o.Deny = true
		recordsBy(t, m, &o, func(p *meaning.Profile) string {
			for i := range n {
				name := fmt.Sprint("/vain", i)
				if r := recordOf(p, meaning.FileAccess{Path: name, Want: meaning.MayRead, Owner: true}, strings.Replace(readsOther, "/other", name, 1)); r != "" {
					return r
				}
			}
			return ""
		})
		made, err := profiles.Tighten(t.Context(), m.Node, o)
		if works && (err != nil || len(made.Denied) != n || len(made.Vain) > 0) {
			t.Errorf("%d denials: %v, %+v", n, err, made)
		}
		if !works && (err == nil || !strings.Contains(err.Error(), "denied something else each time")) {
			t.Errorf("%d denials: %v", n, err)
		}
		wantWhole(t, m)
	}
}

// A comment on a rule that is added ends no profile, whatever the program is called and however the text is written.
func TestTightenCommentsOnWhatItAdds(t *testing.T) {
	oneLine := strings.NewReplacer(" # the workload's", "", "\n  ", " ", "\n}", " }").Replace(tightText)
	for _, test := range []struct{ text, comm, want string }{
		{tightText, "include", "  deny owner /other r, # another program: tried, and done without\n"},
		{oneLine, "sh", " deny owner /other r, "},
	} {
		m, _, o := newTightening(t)
		m.write("text", test.text)
		if code, out := m.run("profile", "load", "text"); code != 0 {
			t.Fatal(out, m.errOut.String())
		}
		o.Deny = true
		recordsBy(t, m, &o, func(p *meaning.Profile) string {
			return recordOf(p, other, strings.Replace(readsOther, `comm="sh"`, fmt.Sprintf("comm=%q", test.comm), 1))
		})
		made, err := profiles.Tighten(t.Context(), m.Node, o)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(made.Text, test.want) || len(made.Vain) > 0 || strings.Contains(test.want, "#") != strings.Contains(made.Text, "without") {
			t.Errorf("%s: denied are %s, and the text is\n%s", test.comm, made.Vain, made.Text)
		}
	}
}

// A file that is included counts as a rule, and the figures say so.
func TestTightenSaysThatAnIncludeIsOneRule(t *testing.T) {
	rules := syntax.Read("profile a {\n  include <abstractions/base>\n  /a r,\n  /b r,\n}\n").Rules()
	for _, test := range []struct {
		kept, dropped []syntax.Rule
		says          bool
	}{{rules[:1], rules[1:], true}, {rules[1:], rules[:1], true}, {rules[1:2], rules[2:], false}} {
		made := &profiles.Tightened{Name: "a", Result: &tighten.Result{Dropped: test.dropped}}
		for _, r := range test.kept {
			made.Kept = append(made.Kept, tighten.Tried{Rule: r})
		}
		var b bytes.Buffer
		printTightened(&output.Printer{W: &b}, "a", made)
		if got := strings.Contains(b.String(), "a: an included file counts as one rule, and goes or stays with all that it allows: include <abstractions/base>\n"); got != test.says {
			t.Errorf("said: %v\n%s", got, b.String())
		}
	}
}

// killGuard kills the process that the workload's parent has for putting the profile back.
const killGuard = `for p in /proc/[0-9]*; do
	read -r _ _ _ parent _ <$p/stat 2>/dev/null || continue
	[ "$parent" = $PPID ] && grep -q TestPutBackProcess $p/cmdline && kill -9 ${p#/proc/}
done
sleep 10`

// However it ends, the kernel has the profile as it was.
func TestTightenPutsBack(t *testing.T) {
	for name, test := range map[string]struct {
		run  string
		says string
	}{
		"the workload fails at once":            {"false", "fails under the whole profile"},
		"the workload works by chance":          {"test -e needed -o $(cat count) = 11; r=$?; echo 1$(cat count) >count; exit $r", ""},
		"the process that puts it back is gone": {killGuard, "signal: killed"},
		"it takes too long":                     {"sleep 60", "more than 500ms"},
	} {
		t.Run(name, func(t *testing.T) {
			m, _, o := newTightening(t)
			m.write("count", "")
			if o.Run = test.run; strings.HasPrefix(test.run, "sleep") {
				o.Timeout = 500 * time.Millisecond
			}
			_, err := profiles.Tighten(t.Context(), m.Node, o)
			if test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("%v, want %s", err, test.says)
			}
			wantWhole(t, m)
		})
	}
	t.Run("it is stopped", func(t *testing.T) {
		m, _, o := newTightening(t)
		ctx, stop := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped")
		o.Tried = func(string, tighten.Outcome) { stop(stopped) }
		if _, err := profiles.Tighten(ctx, m.Node, o); !errors.Is(err, stopped) {
			t.Error(err)
		}
		wantWhole(t, m)
	})
}

// TestTightenProcess is no test, but the process that is killed in the next one.
func TestTightenProcess(t *testing.T) {
	if os.Getenv("TIGHTEN_PROCESS") == "" {
		t.Skip("it is a process of another test")
	}
	m, k, o := newTightening(t)
	wd := must(os.Getwd())
	o.Run = "echo " + k.Dir + " " + wd + " >$TIGHTEN_PROCESS; test -e needed || kill -9 $PPID"
	_, err := profiles.Tighten(t.Context(), m.Node, o)
	t.Fatal("it was not killed: ", err)
}

// Even if it is killed while fewer rules are in the kernel, they all come back.
func TestTightenIsKilled(t *testing.T) {
	profiletest.Compiler(t, profiletest.Features())
	where := filepath.Join(t.TempDir(), "where")
	cmd := exec.Command(os.Args[0], "-test.run=^TestTightenProcess$")
	cmd.Env = append(os.Environ(), "TIGHTEN_PROCESS="+where)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("%v, %s", err, out)
	}
	dirs := strings.Fields(string(must(os.ReadFile(where))))
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(dirs[0])); os.RemoveAll(filepath.Dir(dirs[1])) })
	c := profiletest.Compiler(t, profiletest.Features())
	blob, err := c.CompileText(t.Context(), "text", []byte(tightText))
	if err != nil {
		t.Fatal(err)
	}
	var found kernel.Found
	for range 200 {
		found, err = kerneltest.Machine{Dir: dirs[0]}.Kernel().Check(kernel.Profile{Name: "shop", Compiled: blob.Profiles})
		if err == nil && found.Status == kernel.Matches {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the profile is not as it was: %s, %v", found, err)
}

// A profile that is not ours alone to change is left alone.
func TestTightenRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(m *machine, k kerneltest.Machine)
		says string
	}{
		"it is not loaded": {func(_ *machine, k kerneltest.Machine) { k.Remove(t, "shop") }, "is not loaded"},
		"the text is another one": {func(m *machine, _ kerneltest.Machine) {
			m.write("text", strings.ReplaceAll(tightText, "/other", "/others"))
		}, "other content"},
		"it only logs": {func(m *machine, _ kerneltest.Machine) {
			m.write("text", strings.Replace(tightText, "flags=(", "flags=(complain,", 1))
			m.run("profile", "load", "text")
		}, "in mode complain"},
		"it is in a stack": {func(m *machine, _ kerneltest.Machine) { m.task(7, "web", "floor//&shop (enforce)", "") }, "runs under the stack"},
		"somebody else loaded it": {func(m *machine, k kerneltest.Machine) {
			blob := must(must(m.CompilerOf(nil)).CompileText(t.Context(), "text", []byte(tightText)))
			k.Remove(t, "shop")
			k.Load(t, blob.Data)
		}, "was not loaded by oci-apparmor"},
	} {
		t.Run(name, func(t *testing.T) {
			m, k, o := newTightening(t)
			test.do(m, k)
			before := k.Writes(t)
			_, err := profiles.Tighten(t.Context(), m.Node, o)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %s", err, test.says)
			}
			if k.Writes(t) != before {
				t.Error("something was loaded")
			}
		})
	}
}
