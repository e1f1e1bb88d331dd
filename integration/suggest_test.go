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

// What is suggested for a denial lets the operation work, and nothing of it can be left out. Each operation is tried under a
// profile that lets it do nothing. What the kernel then logs is read and explained, and the suggestion loaded, until the
// operation works.
func TestSuggestionsWork(t *testing.T) {
	guesttest.Require(t)
	guesttest.RemoveProfilesAtEnd(t)
	guesttest.LoadProfile(t, "profile m-other { file, signal, ptrace, capability, }\n")
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
			learned := learn(t, reader, fmt.Sprintf("m-suggests%02d", i), command)
			for _, op := range learned.operations {
				operations[op] = true
			}
			if len(learned.rules) == 0 {
				t.Fatal("the operation works under a profile that does not allow it")
			}
			for _, rule := range learned.rules {
				if len(learned.rules) == 1 {
					break // without it the text is the first one, under which it did not work
				}
				without := strings.Replace(learned.text, rule+"\n", "\n", 1)
				if without == learned.text {
					t.Fatalf("%s is not a line of\n%s", rule, learned.text)
				}
				if answer, _ := attempted(t, reader, learned.profile, without, command); answer == "ok" {
					t.Errorf("it works without %s, too:\n%s", rule, learned.text)
				}
			}
			t.Logf("%s: %s", command, strings.Join(learned.rules, " "))
		})
	}
	want := []string{"capable", "chmod", "create", "exec", "file_lock", "link", "mkdir", "mknod", "mount", "open", "ptrace", "rename_dest",
		"rename_src", "rmdir", "signal", "symlink", "truncate", "umount", "unlink"}
	if !old {
		want = append(want, "uring_sqpoll", "userns_create")
	}
	for _, op := range want {
		if !operations[op] {
			t.Errorf("the kernel has logged no %s, but %q", op, slices.Sorted(maps.Keys(operations)))
		}
	}
}

// learned is a profile under which something works.
type learned struct {
	profile, text string
	rules         []string
	operations    []string // that records were of
}

// learn tries something under a profile, and does what is suggested, until it works.
func learn(t *testing.T, r *why.Reader, name, command string) learned {
	t.Helper()
	l := learned{profile: name, text: strings.ReplaceAll(bare, "NAME", name)}
	for range 8 {
		answer, records := attempted(t, r, name, l.text, command)
		if answer == "ok" {
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
			l.operations = append(l.operations, record.Get("operation"))
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

// attempted has a new probe under a profile do something, and returns what it answers and what the kernel has denied it.
func attempted(t *testing.T, r *why.Reader, name, text, command string) (answer string, records []string) {
	t.Helper()
	data, err := r.Compiler.(*profile.Compiler).CompileSeveral(context.Background(), name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	loadBlob(t, data)
	prepare(t)
	log, answer := done(t, name, command)
	for end := time.Now().Add(2 * time.Second); answer != "ok" && len(records) == 0 && time.Now().Before(end); {
		time.Sleep(while)
		for _, line := range log.Lines(t) {
			var record audit.Record
			if _, ok := record.Parse([]byte(line)); !ok || record.Type != audit.Denied {
				continue
			}
			if of, _ := record.Profile(); of == name && !slices.Contains(records, line) {
				records = append(records, strings.Clone(line))
			}
		}
	}
	return answer, records
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
