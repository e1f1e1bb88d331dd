package integration

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/suggest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

// bare is what a probe needs to run, to be ended, and to ask for another profile.
const bare = `abi <kernel>,
profile NAME {
  /usr/local/bin/probe mrix,
  /dev/null rw,
  /proc/** r,
  /proc/*/{,task/*/}attr/{,apparmor/}{current,exec} w,
  /sys/** r,
  signal (receive) peer=unconfined,
  signal (send, receive) set=(urg, exists) peer=NAME,
}
`

// A trial is an operation that a profile denies.
type trial struct {
	command string
	NAME    bool   // NAME in the command is the profile, to which the probe changes for it
	mode    string // of the profile, if it is not enforced
	more    string // of its text
	asks    string // the operation that the kernel logs; empty if it is among those of all trials
	leave   bool   // to make test-all
}

// hat is a hat in which a thread can be preempted and ended as in its profile.
const hat = `  signal (send, receive) set=(urg, exists) peer=NAME//hat,
  ^hat {
    signal (send, receive) set=(urg, exists) peer=NAME{,//hat},
    signal (receive) peer=unconfined,
  }
`

// preempts is what a thread needs that has changed its profile: Go preempts its threads by signals.
const preempts = "  signal (send) set=(urg, exists) peer=unconfined,\n"

// shownOnce are trials of which one kernel is enough. No guest's kernel asks about message queues or has dbus-daemon ask: for these
// there are tests by records.
var shownOnce = []trial{
	{command: "pivot-root /m/there /m/there", asks: "pivotroot"},
	{command: "uring-override NAME", NAME: true, more: preempts, asks: "uring_override"},
	{command: "in-hat hat open /m/a rw", more: hat, asks: "open"},
	{command: "map-code /m/a", asks: "file_mmap"},
	{command: "protect-code /m/a", asks: "file_mprotect"},
	{command: "use-held m-other NAME read /m/a", NAME: true, asks: "file_perm"},
	{command: "use-held m-other NAME receive /m/a", NAME: true, asks: "file_receive"},
	{command: "use-held m-other NAME inherit /m/a", NAME: true, asks: "file_inherit"},
	{command: "lock-held m-other NAME /m/a", NAME: true, asks: "file_lock"},
	{command: "socket-held NAME bind", NAME: true, more: preempts, asks: "bind"},
	{command: "socket-held NAME listen", NAME: true, more: preempts, asks: "listen", leave: true},
	{command: "socket-held NAME connect", NAME: true, more: preempts, asks: "connect", leave: true},
	{command: "socket-held NAME accept", NAME: true, more: preempts, asks: "accept", leave: true},
	{command: "socket-held NAME send", NAME: true, more: preempts, asks: "sendmsg"},
	{command: "socket-held NAME receive", NAME: true, more: preempts, asks: "recvmsg"},
	{command: "socket-held NAME getsockname", NAME: true, more: preempts, asks: "getsockname", leave: true},
	{command: "socket-held NAME getpeername", NAME: true, more: preempts, asks: "getpeername", leave: true},
	{command: "socket-held NAME getsockopt", NAME: true, more: preempts, asks: "getsockopt", leave: true},
	{command: "socket-held NAME setsockopt", NAME: true, more: preempts, asks: "setsockopt", leave: true},
	{command: "socket-held NAME shutdown", NAME: true, more: preempts, asks: "socket_shutdown", leave: true},
	{command: "abstract-unix", asks: "create"}, // later kernels ask also who binds, listens, connects and accepts
	{command: "signal-under NAME m-other", NAME: true, asks: "signal"},
	{command: "ptrace-under NAME m-other", NAME: true, asks: "ptrace"},
	{command: "as m-other stat /m", asks: "change_profile"},
	{command: "chown /m/a 5", asks: "chown"},
	{command: "output /bin/busybox echo ok", mode: "complain", asks: "exec"},
	{command: "rename /m/a /m/new", mode: "complain", asks: "rename_dest"},
	{command: "open /m/a rw", mode: "kill", asks: "open"},
	{command: "mount /m/mnt", mode: "kill", asks: "mount"},
}

// text returns the text of a profile that lets the probe do nothing.
func (o trial) text(name string) string {
	text := strings.TrimSuffix(bare, "}\n") + o.more + "}\n"
	if o.mode != "" {
		text = strings.Replace(text, "NAME {", "NAME"+o.flags()+" {", 1)
	}
	return strings.ReplaceAll(text, "NAME", name)
}

func (o trial) flags() string { return " flags=(" + o.mode + ")" }

// complains reports whether the operation works whatever the profile says.
func (o trial) complains() bool { return o.mode == "complain" }

// What is suggested for a denial lets the operation work, and nothing of it can be left out. Each operation is tried under a
// profile that lets it do nothing. What the kernel then logs is read and explained, and the suggestion loaded, until the
// operation works.
func TestSuggestionsWork(t *testing.T) {
	guesttest.Require(t)
	guesttest.RemoveProfilesAtEnd(t)
	guesttest.LoadProfile(t, "profile m-other { file, signal, ptrace, capability, change_profile, network, }\n")
	t.Cleanup(func() { clearDoing(t) })
	logEverything(t)
	for _, address := range []string{"@suggested", "/run/suggested.sock"} {
		server, err := net.Listen("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
	}
	free, other := running(t, "unconfined"), running(t, "m-other")
	old := strings.HasPrefix(release(t), "6.1.")
	tries := []string{"open /m/a rw", "append /m/a", "write /m/new", "link /m/a /m/new", "rename /m/a /m/new", "mkdir /m/new", "rmdir /m/empty",
		"symlink x /m/new", "chmod /m/foreign/a", "chown /m/a 5", "truncate /m/a", "lock /m/a", "mknod /m/new", "unlink /m/a", "exec /bin/true",
		"socket inet dgram", "socket inet raw", "socket netlink raw", "unix-bind @suggests", "unix-connect @suggested",
		"unix-connect /run/suggested.sock", "mount /m/mnt", "bind /m/d /m/mnt", "umount /m/there",
		fmt.Sprint("mount-as none /m/there none ", unix.MS_SLAVE),
		fmt.Sprint("mount-as none /m/there none ", unix.MS_REMOUNT|unix.MS_RDONLY), fmt.Sprint("mount-as none /m/there none ", unix.MS_REMOUNT),
		"change-profile m-other", fmt.Sprint("signal ", free), fmt.Sprint("signal ", other), fmt.Sprint("ptrace ", other)}
	if !old {
		tries = append(tries, "move-mount /m/d /m/mnt", "unshare user", "io-uring")
	}
	reader := &why.Reader{Compiler: guestCompiler(t)}
	operations := make(map[string]bool)
	for i, command := range tries {
		t.Run(fmt.Sprintf("%02d %s", i, strings.Fields(command)[0]), func(t *testing.T) {
			for op := range wantAllNeeded(t, reader, fmt.Sprintf("m-suggests%02d", i), trial{command: command}) {
				operations[op] = true
			}
		})
	}
	for i, o := range shownOnce {
		t.Run(fmt.Sprintf("once %02d %s %s", i, o.mode, strings.Fields(o.command)[0]), func(t *testing.T) {
			guesttest.EnoughIn(t, guesttest.Forky)
			if o.leave {
				guesttest.Leave(t, "what is done with a socket is allowed by the same rule as others that are tried")
			}
			if old && strings.HasPrefix(o.asks, "uring") {
				t.Skip("this kernel does not ask about an io_uring")
			}
			types := wantAllNeeded(t, reader, fmt.Sprintf("m-once%02d", i), o)
			if want := map[string]audit.Type{"": audit.Denied, "complain": audit.Allowed, "kill": audit.Killed}[o.mode]; types[o.asks] != want {
				t.Errorf("the kernel has logged %v, want %s of %s", types, want, o.asks)
			}
		})
	}
	want := []string{"capable", "chmod", "create", "exec", "file_lock", "link", "mkdir", "mknod", "mount", "open", "ptrace", "rename_dest",
		"rename_src", "rmdir", "signal", "symlink", "truncate", "umount", "unlink"}
	if !old {
		want = append(want, "uring_sqpoll", "userns_create")
	}
	t.Logf("the kernel has logged %q", slices.Sorted(maps.Keys(operations)))
	for _, op := range want {
		if !operations[op] {
			t.Errorf("the kernel has logged no %s, but %q", op, slices.Sorted(maps.Keys(operations)))
		}
	}
}

// wantAllNeeded checks that an operation works with what is suggested, and without any of it does not. It returns the operations of
// which the kernel has logged something, and what.
func wantAllNeeded(t *testing.T, r *why.Reader, name string, o trial) map[string]audit.Type {
	t.Helper()
	learned := learn(t, r, name, o)
	if len(learned.rules) == 0 {
		t.Fatal("the operation works under a profile that does not allow it")
	}
	for _, rule := range learned.rules {
		if len(learned.rules) == 1 && !o.complains() {
			break // without it the text is the first one, under which it did not work
		}
		without := strings.Replace(learned.text, rule+"\n", "\n", 1)
		if without == learned.text {
			t.Fatalf("%s is not a line of\n%s", rule, learned.text)
		}
		if answer, _ := attempted(t, r, name, without, o); answer == "ok" {
			t.Errorf("it works without %s, too:\n%s", rule, learned.text)
		}
	}
	t.Logf("%s: %s", o.command, strings.Join(learned.rules, " "))
	return learned.logged
}

// learned is a text under which something works. It is not in complain mode.
type learned struct {
	text   string
	rules  []string
	logged map[string]audit.Type // by operation
}

// learn tries something under a profile, and does what is suggested, until it works.
func learn(t *testing.T, r *why.Reader, name string, o trial) learned {
	t.Helper()
	l := learned{text: o.text(name), logged: make(map[string]audit.Type)}
	for range 8 {
		answer, records := attempted(t, r, name, l.text, o)
		switch {
		case answer == "ok" && !o.complains():
			return l
		case len(records) == 0 && o.complains():
			l.text = strings.Replace(l.text, o.flags(), "", 1)
			if answer, _ := attempted(t, r, name, l.text, o); answer != "ok" {
				t.Fatalf("in complain mode nothing is logged of it any more, and enforced it is %s, under\n%s", answer, l.text)
			}
			return l
		}
		var denials []suggest.Denial
		for _, line := range records {
			var record audit.Record
			record.Parse([]byte(line))
			asked, err := record.Asked()
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			of, _ := record.Profile()
			denials = append(denials, suggest.Denial{Profile: of, Accesses: asked.Accesses})
			l.logged[record.Get("operation")] = record.Type
			read, err := r.Read(t.Context(), name, []byte(l.text))
			if err != nil {
				t.Fatal(err)
			}
			if reason, err := read.Why(t.Context(), of, asked.Accesses[0]); err != nil || reason.Verdict != why.NotAllowed {
				t.Errorf("%s is explained by %+v, %v", line, reason, err)
			}
		}
		s, err := suggest.For(t.Context(), r, name, []byte(l.text), denials, suggest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range s.Answers {
			if a.Outcome != suggest.Suggested {
				t.Fatalf("%s: %s", records[i], a.Message)
			}
		}
		if s.Text == l.text {
			t.Fatalf("%s, and nothing is logged of it, under\n%s", answer, l.text)
		}
		l.text = s.Text
		for _, rule := range s.Rules {
			l.rules = append(l.rules, rule.Text)
		}
	}
	t.Fatalf("it never works, under\n%s", l.text)
	return l
}

// attempted has a new probe under a profile do something, and returns what it answers and what the kernel has denied it, or would
// have.
func attempted(t *testing.T, r *why.Reader, name, text string, o trial) (answer string, records []string) {
	t.Helper()
	data, err := r.Compiler.(*profile.Compiler).CompileSeveral(context.Background(), name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	loadBlob(t, data)
	prepare(t)
	under, command := name, o.command
	if o.NAME {
		under, command = "", strings.ReplaceAll(command, "NAME", name)
	}
	log, answer := done(t, under, command)
	for end := time.Now().Add(2 * time.Second); (answer != "ok" || strings.Contains(text, "(complain)")) && len(records) == 0 && time.Now().Before(end); {
		time.Sleep(while)
		for _, line := range log.Lines(t) {
			var record audit.Record
			if _, ok := record.Parse([]byte(line)); !ok || record.Type != audit.Denied && record.Type != audit.Allowed && record.Type != audit.Killed {
				continue
			}
			if of, _ := record.Profile(); (of == name || of == name+"//hat") && !slices.Contains(records, line) {
				records = append(records, strings.Clone(line))
			}
		}
	}
	return answer, records
}

// A limit in a text is in the way of a higher one, which no rule beside it would allow: that is said, with the line. With the higher limit
// written there, the operation works.
func TestSuggestionForALimit(t *testing.T) {
	guesttest.Require(t)
	guesttest.EnoughIn(t, guesttest.Forky)
	guesttest.RemoveProfilesAtEnd(t)
	t.Cleanup(func() { clearDoing(t) })
	logEverything(t)
	const name = "m-limited"
	reader := &why.Reader{Compiler: guestCompiler(t)}
	limited := func(n int) trial { // to raise a limit also takes the capability
		return trial{command: "rlimit 4096", more: fmt.Sprintf("  capability sys_resource,\n  set rlimit nofile <= %d,\n", n)}
	}
	for n, want := range map[int]string{1024: "errno EACCES", 4095: "errno EACCES", 4096: "ok"} {
		o := limited(n)
		answer, records := attempted(t, reader, name, o.text(name), o)
		if answer != want || (len(records) == 0) != (want == "ok") {
			t.Fatalf("with the limit %d: %s, %q", n, answer, records)
		}
		if want == "ok" {
			continue
		}
		var record audit.Record
		record.Parse([]byte(records[0]))
		asked, err := record.Asked()
		if op := record.Get("operation"); err != nil || op != "setrlimit" {
			t.Fatalf("the kernel has logged %s: %v", records[0], err)
		}
		s, err := suggest.For(t.Context(), reader, name, []byte(o.text(name)), []suggest.Denial{{Profile: name, Accesses: asked.Accesses}}, suggest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		said := fmt.Sprintf("(set rlimit nofile <= %d) limits it: write the higher limit there", n)
		if a := s.Answers[0]; a.Outcome != suggest.Blocked || !strings.Contains(a.Message, said) || s.Text != o.text(name) {
			t.Errorf("%s is answered by %+v, want %q", records[0], a, said)
		}
	}
}

// No guest's kernel asks about message queues, as Ubuntu's do. What would be suggested for their record is compiled here for such a
// kernel, which needs a parser that knows these rules.
func TestSuggestionForAMessageQueue(t *testing.T) {
	guesttest.Require(t)
	guesttest.EnoughIn(t, guesttest.Forky)
	features, err := profile.ReadFeatures(securityfs + "/features")
	if err != nil {
		t.Fatal(err)
	}
	features = append(features, "ipc {posix_mqueue {create read write open delete setattr getattr\n}\n}\n"...)
	c, err := profile.NewCompiler(features)
	if err != nil {
		t.Fatal(err)
	}
	abi := t.TempDir() + "/features"
	c.Conf = t.TempDir() + "/parser.conf"
	write(t, abi, string(features))
	write(t, c.Conf, "policy-features="+abi+"\n")
	var record audit.Record
	record.Parse([]byte(`audit(1790000000.100:7): apparmor="DENIED" operation="mqueue_create" class="posix_mqueue" profile="m-queue" ` +
		`name="/probe" pid=77 comm="probe" requested="create" denied="create" fsuid=0 ouid=0`))
	asked, err := record.Asked()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.TrimPrefix(strings.ReplaceAll(bare, "NAME", "m-queue"), "abi <kernel>,\n") // by that of c.Conf
	for _, deny := range []bool{false, true} {
		want := suggest.Suggested
		if deny {
			text, want = strings.Replace(text, "\n}\n", "\n  deny mqueue create /probe,\n}\n", 1), suggest.Blocked
		}
		s, err := suggest.For(t.Context(), &why.Reader{Compiler: c}, "m-queue", []byte(text), []suggest.Denial{{Profile: "m-queue", Accesses: asked.Accesses}},
			suggest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Answers[0].Outcome != want || !deny && (len(s.Rules) != 1 || s.Rules[0].Text != "mqueue (create) type=posix /probe,") {
			t.Errorf("of %s: %+v, want %s", text, s, want)
		}
	}
}

// What audit --fix writes into a text is in force when the text is loaded again.
func TestAuditFixIsPutInForce(t *testing.T) {
	guesttest.Require(t)
	guesttest.RemoveProfilesAtEnd(t)
	t.Cleanup(func() { clearDoing(t) })
	logEverything(t)
	const name = "m-fixed"
	file := t.TempDir() + "/" + name
	write(t, file, strings.ReplaceAll(bare, "NAME", name))
	guesttest.MustRun(t, "oci-apparmor", "profile", "load", file)
	prepare(t)
	if answer := startProbe(t, name)("open /m/a r"); answer == "ok" {
		t.Fatal("the profile allows it already")
	}
	time.Sleep(while)
	out := guesttest.MustRun(t, "oci-apparmor", "audit", "--source", "kmsg", "--fix", name)
	if text := read(t, file); !strings.Contains(text, "\n  owner /m/a r,\n") || !strings.Contains(out, "\n+  owner /m/a r,\n") {
		t.Fatalf("the text is\n%s\nand audit says\n%s", text, out)
	}
	guesttest.MustRun(t, "oci-apparmor", "profile", "load", file)
	if answer := startProbe(t, name)("open /m/a r"); answer != "ok" {
		t.Errorf("with the rule loaded: %s", answer)
	}
}
