package command

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/hook/notice/reader"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
)

// written are notices for a command to read, and what it asked for.
type written struct {
	notices []notice.Notice
	asked   reader.Query
	err     error
}

func (w *written) Read(_ context.Context, q reader.Query, each func(notice.Notice) error, warn func(string)) error {
	w.asked = q
	for _, n := range w.notices {
		if err := each(n); err != nil {
			return err
		}
	}
	warn("not all is seen")
	return w.err
}

func TestLog(t *testing.T) {
	at := time.Date(2026, 11, 29, 6, 45, 1, 2000, time.UTC)
	id := "4f0cab" + strings.Repeat("0", 58) // as engines make them
	all := &written{notices: []notice.Notice{
		{Time: at, Level: notice.Refusal, Engine: "containerd", Command: "create", ID: id, Container: "front", Namespace: "shops", Pod: "shop-1",
			Message: `policy "batch" <is> not allowed`},
		{Time: at, Level: notice.Warning, Engine: "docker", Command: "exec", ID: "77aa", Policy: "web", Message: "profile web was replaced"},
		{Time: at, Level: notice.Refusal, Command: "load", Message: "profile work: no"},
		{Time: at, Level: notice.Warning, Engine: "containerd", Command: "start", ID: "5", Namespace: "shops", Pod: "shop-1", Message: "of the sandbox"},
	}}
	m := newMachine(t)
	m.notices = all
	zone := time.Local
	time.Local = time.UTC
	defer func() { time.Local = zone }()
	const want = `2026-11-29T06:45:01Z  refusal  containerd  shops/shop-1/front  -             create: policy "batch" <is> not allowed
2026-11-29T06:45:01Z  warning  docker      77aa                web           exec: profile web was replaced
2026-11-29T06:45:01Z  refusal  -           -                   -             load: profile work: no
2026-11-29T06:45:01Z  warning  containerd  shops/shop-1        -             start: of the sandbox
`
	code, out := m.run("log")
	if code != 0 || out != want {
		t.Errorf("exit code %d, prints\n%swant\n%s", code, out, want)
	}
	if !strings.Contains(m.errOut.String(), "not all is seen") || all.asked != (reader.Query{}) {
		t.Errorf("warns %q, asks %+v", &m.errOut, all.asked)
	}
	lines := slices.Collect(strings.Lines(want))
	blanks := regexp.MustCompile(` {2,}`)
	if m.run("log", "--container", "nosuch"); !strings.Contains(m.errOut.String(), `nothing is noted of a container or pod "nosuch"`) {
		t.Errorf("of a container that is not there it says %q", &m.errOut)
	}
	for asked, want := range map[string][]int{
		id: {0}, "4f0cab": {0}, "4f": {0}, "front": {0}, "shop-1": {0, 3}, "shops/shop-1": {0, 3}, "shops/shop-1/front": {0}, "77aa": {1},
		"77aab": nil, "77a": nil, id + "0": nil, "shop": nil, "shops": nil, "shops/shop-1/fro": nil,
	} {
		var some string
		for _, i := range want {
			some += lines[i]
		}
		// Without the longer name the columns are narrower.
		if _, out := m.run("log", "--container", asked); blanks.ReplaceAllString(out, "  ") != blanks.ReplaceAllString(some, "  ") {
			t.Errorf("--container %s prints\n%swant\n%s", asked, out, some)
		}
	}

	if m.run("log", "--follow", "--since", "2026-11-29 06:45:00"); all.asked != (reader.Query{Follow: true, Since: at.Truncate(time.Minute)}) {
		t.Errorf("asks %+v", all.asked)
	}
	before := time.Now()
	if m.run("log", "--since=10m"); all.asked.Since.Before(before.Add(-10*time.Minute)) || all.asked.Since.After(time.Now().Add(-10*time.Minute)) {
		t.Errorf("asks %+v", all.asked)
	}
	for _, since := range []string{"yesterday", "-10m", "10", ""} {
		if code, _ := m.run("log", "--since", since); (code == exit.Usage) != (since != "") {
			t.Errorf("--since %q: exit code %d", since, code)
		}
	}

	_, out = m.run("log", "--json")
	objects := slices.Collect(strings.Lines(out))
	if want := `{"time":"2026-11-29T06:45:01.000002Z","level":"refusal","engine":"containerd","command":"create","id":"` + id + `","container":"front",` +
		`"namespace":"shops","pod":"shop-1","message":"policy \"batch\" <is> not allowed"}` + "\n"; len(objects) != 4 || objects[0] != want {
		t.Errorf("prints\n%swant first\n%s", out, want)
	}
	m.notices = &written{err: os.ErrPermission}
	if code, _ := m.run("log"); code != exit.Cannot {
		t.Errorf("exit code %d of what cannot be read, want %d", code, exit.Cannot)
	}
}

// The columns stay in line when a name is longer than those before.
func TestLogColumnsGrow(t *testing.T) {
	long := notice.Notice{Level: notice.Warning, Engine: "docker", Container: "a-container-with-a-long-name", Policy: "web", Message: "two"}
	short := notice.Notice{Level: notice.Warning, Engine: "docker", Container: "shop", Policy: "web", Message: "one"}
	var columns logColumns
	first, second, third := columns.line(short), columns.line(long), columns.line(short)
	if strings.Index(second, "two") != strings.Index(third, "one") || len(first) >= len(third) {
		t.Errorf("prints\n%s\n%s\n%s", first, second, third)
	}
}

// Where standard error is the journal, that has each error and warning of policy load once: as a notice.
func TestJournaledOnce(t *testing.T) {
	for _, journaled := range []bool{false, true} {
		m := newMachine(t)
		m.journaled = journaled
		m.warnAndNote("load", "look here")
		if said := m.errOut.String(); (said == "") != journaled {
			t.Errorf("journaled %v: warns %q", journaled, said)
		}
		if err := m.noteErrors("load", exit.With(exit.BadPolicy, os.ErrInvalid)); err == nil || (err.Error() == "") != journaled {
			t.Errorf("journaled %v: %v", journaled, err)
		} else if code, _ := exit.Split(err); code != exit.BadPolicy {
			t.Errorf("journaled %v: exit code %d", journaled, code)
		}
	}
	f, err := os.Create("stream")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	stream := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	if !isJournal(int(f.Fd()), stream) || isJournal(int(f.Fd()), "") || isJournal(int(f.Fd()), stream+"1") || isJournal(-1, stream) {
		t.Errorf("of stream %s: %v", stream, isJournal(int(f.Fd()), stream))
	}
}

// The help tells every key.
func TestLogKeysAreDocumented(t *testing.T) {
	full, err := json.Marshal(notice.Notice{Level: "x", Engine: "x", Command: "x", ID: "x", Container: "x", Namespace: "x", Pod: "x", Policy: "x", Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(full, &keys); err != nil {
		t.Fatal(err)
	}
	help := logCommand(newMachine(t).session).Long
	for key := range keys {
		if !regexp.MustCompile(`(?m)^  ` + key + ` +\S`).MatchString(help) {
			t.Errorf("key %s is not told of", key)
		}
	}
	if told := strings.Count(help, "\n  ") - strings.Count(help, "\n             "); told != len(keys) {
		t.Errorf("%d keys are told, and there are %d", told, len(keys))
	}
}

// What policy load says at boot is in the node's log.
func TestPolicyLoadIsNoted(t *testing.T) {
	m, k := newBoots(t)
	m.write("kmsg", "")
	m.log = notice.Log{Kernel: "kmsg"}
	noted := func() string {
		t.Helper()
		said, err := os.ReadFile("kmsg")
		if err != nil {
			t.Fatal(err)
		}
		m.write("kmsg", "")
		return string(said)
	}
	if code, _ := m.run("policy", "load"); code != exit.Cannot || noted() != "" {
		t.Errorf("before the first apply: exit code %d, or something is noted", code)
	}
	m.run("policy", "apply", "--quiet")
	if err := os.Rename("store/current", "away"); err != nil {
		t.Fatal(err)
	}
	m.run("policy", "load")
	if said := noted(); !strings.HasPrefix(said, "<11>oci-apparmor: level=refusal command=load msg=") || strings.Count(said, "\n") != 1 {
		t.Errorf("of a policy that is lost: %s", said)
	}
	if err := os.Rename("away", "store/current"); err != nil {
		t.Fatal(err)
	}
	k.Load(t, kerneltest.Blob("y", "work", "work//kid"))
	m.run("policy", "load", "--quiet")
	if said := noted(); strings.Count(said, "\n") != 3 || strings.Count(said, "level=refusal command=load msg=\"") != 2 || !strings.Contains(said, "profile work") ||
		!strings.Contains(said, "level=warning command=load msg=\"profile web was loaded with other content") {
		t.Errorf("of a profile that may not be replaced: %s", said)
	}
	m.onlyShop("")
	m.run("policy", "apply", "--quiet")
	if code, _ := m.run("policy", "load"); code != 0 || noted() != "" {
		t.Errorf("where all is well: exit code %d, and something is noted", code)
	}

	m.onlyShop("  deny /etc/passwd w,\n")
	m.run("policy", "apply", "--quiet")
	if code, out := m.run("policy", "load"); code != 0 || !strings.Contains(out, "shop: replaced") || noted() != "" {
		t.Errorf("of a profile that the policy changed: exit code %d, or something is noted:\n%s", code, out)
	}

	warned := func(want ...string) {
		t.Helper()
		if code, _ := m.run("policy", "load", "--quiet"); code != 0 {
			t.Errorf("exit code %d", code)
		}
		said := noted()
		for _, want := range want {
			if !strings.Contains(said, "<12>oci-apparmor: level=warning command=load msg=\""+want) {
				t.Errorf("of %q: %s", want, said)
			}
		}
		if strings.Count(said, "\n") != len(want) {
			t.Errorf("want %d lines: %s", len(want), said)
		}
	}
	m.task(20, "nginx", "shop//&base (enforce)", "")
	m.container("web-1", 20, "shop//&base", false)
	k.Load(t, kerneltest.Blob("y", "base"))
	k.Load(t, kerneltest.Blob("y", "shop"))
	warned("profile shop was loaded with other content than the policy's, and has been replaced", "what runs in web-1 ")
	m.Kernel.QueryAccess = func(query string) (string, error) {
		if strings.HasSuffix(query, "podman") {
			return "allow 0x00000002\ndeny 0x00000000\n", nil
		}
		return "allow 0x00008006\ndeny 0x00000000\n", nil
	}
	k.Load(t, kerneltest.Attached("", "podman", "/usr/bin/podman"))
	m.write("programs/usr/bin/podman", "")
	warned("profile shop refuses signals from programs under the label ")
}
