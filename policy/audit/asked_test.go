package audit_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// showAsked prints what a record stands for in the language of accesses.
func showAsked(asked Asked, err error) string {
	var no *NoAccess
	if errors.As(err, &no) {
		return fmt.Sprintf("error %d: %s", no.Because, no)
	}
	var words []string
	for _, a := range asked.Accesses {
		words = append(words, access.Format(a))
	}
	text := strings.Join(words, " | ")
	if asked.Open != "" {
		text += " (" + asked.Open + ")"
	}
	return text
}

func TestAsked(t *testing.T) {
	for _, test := range []struct{ name, record, want string }{
		{"a read", `operation="open" class="file" profile="p" name="/etc/shadow" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`,
			"owner read /etc/shadow"},
		{"by another user than the owner", `operation="open" class="file" profile="p" name="/f" requested_mask="wc" denied_mask="w" fsuid=0 ouid=7`,
			"other write+create /f"},
		{"without owners", `operation="file_lock" profile="p" name="/f" requested_mask="k" denied_mask="k"`, "other lock /f"},
		{"a name in digits", `operation="mkdir" profile="p" name=2F6120622F requested_mask="c" denied_mask="c" fsuid=1 ouid=1`,
			`owner create "/a b/"`},
		{"chmod", `operation="chmod" profile="p" name="/f" requested_mask="w" denied_mask="w" fsuid=0 ouid=1`, "other chmod /f"},
		{"chown", `operation="chown" profile="p" name="/f" requested_mask="w" denied_mask="w" fsuid=0 ouid=1`, "other chown /f"},
		{"getattr", `operation="getattr" profile="p" name="/f" requested_mask="r" denied_mask="r" fsuid=0 ouid=1`, "other getattr /f"},
		{"truncate", `operation="truncate" profile="p" name="/f" requested_mask="w" denied_mask="w" fsuid=0 ouid=1`, "other write+setattr /f"},
		{"rename", `operation="rename_src" profile="p" name="/f" requested_mask="wrd" denied_mask="wrd" fsuid=0 ouid=1`,
			"other read+write+delete+setattr /f"},
		{"a mask of old kernels", `operation="open" profile="p" name="/f" requested_mask="r::" denied_mask="r::" fsuid=7 ouid=7`, "owner read /f"},
		{"a link", `operation="link" class="file" profile="p" name="/l" requested_mask="l" denied_mask="l" fsuid=0 ouid=0 target="/f"`, "owner l /l -> /f"},
		{"a link that would have more rights", `operation="link" profile="p" name="/l" requested_mask="xm" denied_mask="xm" fsuid=0 ouid=0 target="/f"`,
			"owner l /l -> /f"},
		{"an exec", `operation="exec" class="file" profile="p" name="/bin/sh" requested_mask="x" denied_mask="x" fsuid=0 ouid=0`, "owner x /bin/sh"},
		{"an exec in complain mode", `operation="exec" profile="p" name="/bin/sh" requested_mask="x" denied_mask="x" fsuid=0 ouid=0 target="p//null-/bin/sh"`,
			"owner x /bin/sh"},
		{"an exec after a request for another label", `operation="exec" class="file" profile="p" name="/bin/sh" target="q"`,
			"change_profile onexec other /bin/sh -> q | change_profile onexec stack other /bin/sh -> q (whether the label was to be stacked is not logged)"},
		{"change_profile", `operation="change_profile" class="file" profile="p" name="q" target="q"`, "change_profile now -> q"},
		{"change_profile, old", `operation="change_profile" profile="p" target="q"`, "change_profile now -> q"},
		{"change_onexec", `operation="change_onexec" class="file" profile="p" name="q" target="q"`, "change_profile request -> q"},
		{"stack", `operation="stack" class="file" profile="p" name="q" target="q"`, "change_profile now stack -> q"},
		{"change_hat", `operation="change_hat" profile="p" target="p//h"`, "change_hat h"},
		{"a capability", `operation="capable" class="cap" profile="p" capability=21  capname="sys_admin"`, "capability sys_admin"},
		{"a capability by its name", `operation="capable" profile="p" name="setuid"`, "capability setuid"},
		{"a capability that is new", `operation="capable" profile="p" capability=41  capname="new"`, "capability 41"},
		{"a socket", `operation="create" class="net" info="failed type match" error=-13 profile="p" family="inet" sock_type="raw" protocol=1 requested_mask="create" denied_mask="create"`,
			"network inet raw create protocol=1"},
		{"a socket's address", `operation="sendmsg" class="net" profile="p" laddr=::1 lport=1 faddr=::1 fport=2 family="inet6" sock_type="dgram" protocol=17 requested="send" denied="send"`,
			"network inet6 dgram send protocol=17"},
		{"a socket without a mask", `operation="recvmsg" profile="p" lport=2048 family="inet6" sock_type="stream" protocol=6`,
			"network inet6 stream receive protocol=6"},
		{"a socket that was inherited", `operation="file_inherit" profile="p" family="inet" sock_type="stream" protocol=6 requested_mask="send receive" denied_mask="send receive"`,
			"network inet stream send+receive protocol=6"},
		{"a family without a word", `operation="create" profile="p" family="unknown(99)" sock_type="raw" protocol=0 requested_mask="create" denied_mask="create"`,
			"network 99 raw create protocol=0"},
		{"a unix socket", `operation="create" class="net" profile="p" family="unix" sock_type="stream" protocol=0 requested_mask="create" denied_mask="create" addr=none`,
			"other unix stream create protocol=0"},
		{"a unix socket's peer", `operation="connect" class="net" profile="p" family="unix" sock_type="stream" protocol=0 requested="send receive connect" denied="connect" addr=none peer_addr="@srv" peer="q"`,
			"other unix stream connect+send+receive protocol=0 addr=none peer=(addr=@srv, label=q)"},
		{"a unix socket's unknown peer", `operation="sendmsg" class="net" profile="p" family="unix" sock_type="dgram" protocol=0 requested_mask="send" denied_mask="send" addr=none peer_addr="/s"`,
			"other unix dgram send protocol=0 addr=none peer=(addr=/s, label=p) | other unix dgram send protocol=0 addr=none peer=(addr=/s, label=unconfined)" +
				" (the label of the other side is not logged)"},
		{"an abstract address in digits", `operation="bind" class="net" profile="p" family="unix" sock_type="stream" protocol=0 requested_mask="bind" denied_mask="bind" addr="@612062"`,
			`other unix stream bind protocol=0 addr="@a b" | other unix stream bind protocol=0 addr=@612062` +
				" (whether the abstract address is the name itself or its hexadecimal digits is not logged)"},
		{"a mount", `operation="mount" class="mount" info="failed mntpnt match" error=-13 profile="p" name="/mnt/" fstype="tmpfs" srcname="none" flags="ro, nosuid"`,
			`mount fstype=tmpfs options=(ro, nosuid) data="" none -> /mnt/ (the data of the mount is not logged)`},
		{"a bind", `operation="mount" profile="p" name="/mnt/" srcname="/etc/" flags="rw, rbind"`, "mount options=rbind /etc/ -> /mnt/"},
		{"a change of propagation", `operation="mount" profile="p" name="/" flags="rw, rprivate"`, "mount options=rprivate -> /"},
		{"a remount", `operation="mount" profile="p" name="/mnt/" flags="rw, nosuid, remount, bind, silent, relatime"`,
			`remount options=(nosuid, bind, silent, relatime) data="" -> /mnt/ (the data of the mount is not logged)`},
		{"a move from where nothing is mounted", `operation="mount" class="mount" profile="p" name="/mnt/" flags="rw, move"`, `mount options=move "" -> /mnt/`},
		{"umount", `operation="umount" class="mount" profile="p" name="/mnt/"`, "umount /mnt/"},
		{"pivot_root", `operation="pivotroot" profile="p" name="/new/" srcname="/new/old/"`, "pivot_root oldroot=/new/old/ /new/"},
		{"ptrace", `operation="ptrace" class="ptrace" profile="p" requested_mask="tracedby" denied_mask="tracedby" peer="a//&b"`, "ptrace tracedby peer=a//&b"},
		{"a signal", `operation="signal" class="signal" profile="p" requested_mask="send" denied_mask="send" signal=rtmin+1 peer="unconfined"`,
			"signal send set=rtmin+1 peer=unconfined"},
		{"a signal without a name", `operation="signal" profile="p" requested_mask="receive" denied_mask="receive"signal=unknown(35) peer="q"`,
			"signal receive set=unknown peer=q (AppArmor has no name for the signal, so that only a rule about all signals is about it)"},
		{"a limit", `operation="setrlimit" class="rlimits" profile="p" rlimit=nofile value=4096`, "rlimit nofile = 4096"},
		{"no limit", `operation="setrlimit" profile="p" rlimit=core value=18446744073709551615`, "rlimit core = infinity"},
		{"a user namespace", `operation="userns_create" class="namespace" profile="p" requested="userns_create" denied="userns_create" execpath="/bin/x"`, "userns create"},
		{"io_uring", `operation="uring_sqpoll" class="io_uring" profile="p" requested="sqpoll" denied="sqpoll"`, "io_uring sqpoll"},
		{"io_uring of others", `operation="uring_override" class="io_uring" profile="p" requested="override_creds" denied="override_creds" tcontext="q"`,
			"io_uring override_creds label=q"},
		{"a message queue", `operation="create" profile="p" name="/q" requested="create" denied="create" class="posix_mqueue" fsuid=0 ouid=0`,
			`mqueue create label="" /q`},
		{"a message", `operation="dbus_method_call"  bus="system" path="/o" interface="i.f" member="Get" mask="send" name="org.x" pid=1 label="p" peer_pid=2 peer_label="q"`,
			"dbus send bus=system path=/o interface=i.f member=Get peer=(name=org.x, label=q)"},
		{"a message, old", `operation="dbus_signal"  bus="session" name="org.x" path="/o" interface="i.f" method="Get" mask="receive" profile="p" peer_profile="q"`,
			"dbus receive bus=session path=/o interface=i.f member=Get peer=(name=org.x, label=q)"},
		{"a name on a bus", `operation="dbus_bind"  bus="system" name="org.x" mask="bind" label="p"`, "dbus bind bus=system name=org.x"},

		{"a disconnected path", `operation="getattr" class="file" info="Failed name lookup - disconnected path" error=-13 profile="p" name="f" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`,
			`error 1: the kernel found no path to "f", since it is not below the root of the process, as a file is that was opened outside of the container: the profile needs flags=(attach_disconnected)`},
		{"a label that is not loaded", `operation="change_onexec" class="file" info="label not found" error=-2 profile="p" name="no"`,
			`error 2: no profile "no" is loaded: load it, or correct its name in what asks for it`},
		{"no_new_privs", `operation="exec" info="no new privs" error=-1 profile="p" name="/bin/x" requested_mask="x" denied_mask="x" fsuid=0 ouid=0 target="q"`,
			`error 4: the process has no_new_privs, under which it can only go to a stack that has its own profile in it, and not to "q": leave out no_new_privs, or have the rule say ix`},
		{"several hats that are not there", `operation="change_hat" class="file" info="hat not found" error=-2 profile="p"`,
			"error 3: the profile has none of the hats that the process asked for, and the kernel does not log which these were: " +
				"write one into it, or correct the names in what asks for them"},
		{"no hats", `operation="change_hat" class="file" info="no hats defined" error=-10 profile="p"`,
			"error 3: the profile has no hats, and the process asked for one: write it, or have the program not ask"},
		{"a guessed token", `operation="change_hat" class="file" info="failed token match" error=-13 profile="p//h" target="p"`,
			"error 10: the program asked to leave its hat with another token than the one with which it came in, as somebody does who guesses " +
				"it, and the kernel killed it"},
		{"unconfined", `operation="open" class="file" profile="unconfined" name="/no"`, "error 7: no profile decided about it: the process was unconfined"},
		{"another class", `operation="x" class="new" profile="p"`, `error 9: accesses of this kind are not known here (operation "x", class "new")`},
		{"another letter", `operation="open" profile="p" name="/f" requested_mask="q" denied_mask="q"`, `error 8: no kernel writes the permissions "q" for a file`},
		{"no mask", `operation="open" class="file" profile="p" name="/f"`, "error 8: the record does not say which permission was asked for"},
		{"cut", `operation="open" profile="p" requested_mask="r" denied_mask="r" name="/etc/sha`,
			"error 8: the record is cut short in its field name, so that it does not tell what was asked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r Record
			if _, ok := r.Parse([]byte(`audit(1790000000.100:7): apparmor="DENIED" ` + test.record)); !ok {
				t.Fatal("no record")
			}
			if got := showAsked(r.Asked()); got != test.want {
				t.Errorf("%s\n got %s\nwant %s", test.record, got, test.want)
			}
		})
	}
}

// Each record of three kernels stands for an access, or for something that is known.
func TestAskedOfAllKernels(t *testing.T) {
	files, err := filepath.Glob("testdata/linux-*")
	if err != nil || len(files) != 3 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in, accesses := NewReader(f), 0
		for {
			var r Record
			if err := in.Next(&r); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			asked, err := r.Asked()
			var no *NoAccess
			switch {
			case errors.As(err, &no) && (no.Because == Unreadable || no.Because == NotUnderstood):
				t.Errorf("%s: %s %s: %v", path, r.Get("operation"), r.Get("name"), err)
			case err == nil:
				accesses += len(asked.Accesses)
			}
		}
		if accesses < 60 {
			t.Errorf("%s has %d accesses", path, accesses)
		}
	}
}

// What kernels denied, and then allowed when the profile had one rule more, its compiled profiles deny and allow. The file
// has operations that were tried on three kernels: in rounds, the records of what was denied, and the rules that were added.
func TestAskedIsDecidedAsByTheKernel(t *testing.T) {
	data, err := os.ReadFile("testdata/learned")
	if err != nil {
		t.Fatal(err)
	}
	type round struct {
		of            string
		records       []string
		before, after int // profiles without and with the rules of the round
	}
	var rounds []round
	var text, rules strings.Builder
	profiles, of := 0, ""
	add := func() int {
		fmt.Fprintf(&text, "profile L%d {\n%s}\n", profiles, rules.String())
		profiles++
		return profiles - 1
	}
	text.WriteString("abi <abi/3.0>,\n")
	end := func() {
		if len(rounds) > 0 && rounds[len(rounds)-1].after == 0 {
			rounds[len(rounds)-1].after = add()
		}
	}
	for line := range strings.Lines(string(data)) {
		switch {
		case strings.HasPrefix(line, "@"):
			end()
			of = strings.TrimSpace(line[1:])
			rules.Reset()
		case strings.HasPrefix(line, "round"):
			end()
			rounds = append(rounds, round{of: of, before: add()})
		case strings.HasPrefix(line, " "):
			rules.WriteString(line)
		default:
			last := &rounds[len(rounds)-1]
			last.records = append(last.records, strings.TrimSpace(line))
		}
	}
	end()
	compiled, err := meaning.Read(profiletest.Several(t, text.String()))
	if err != nil || len(compiled) != profiles {
		t.Fatalf("%d profiles of %d: %v", len(compiled), profiles, err)
	}
	named := make(map[string]*meaning.Profile)
	for _, p := range compiled {
		named[p.Name] = p
	}
	decided := 0
	for _, round := range rounds {
		for _, record := range round.records {
			var r Record
			if _, ok := r.Parse([]byte(record)); !ok {
				t.Fatalf("%s: no record: %s", round.of, record)
			}
			asked, err := r.Asked()
			if err != nil {
				t.Errorf("%s: %s: %v", round.of, record, err)
			}
			for _, a := range asked.Accesses {
				decided++
				before := named[fmt.Sprintf("L%d", round.before)].Decide(a)
				after := named[fmt.Sprintf("L%d", round.after)].Decide(a)
				if before.Allowed || before.Denied&asked.Denied != asked.Denied || !after.Allowed {
					t.Errorf("%s: %s\n%s: before %+v, after %+v", round.of, record, access.Format(a), before, after)
				}
			}
		}
	}
	if decided < 150 {
		t.Errorf("only %d accesses were decided about", decided)
	}
}

func FuzzAsked(f *testing.F) {
	files, _ := filepath.Glob("testdata/linux-*")
	for _, path := range append(files, "testdata/learned") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			f.Add([]byte(line))
		}
	}
	f.Add([]byte(`apparmor="DENIED" operation="connect" class="net" profile="p" family="unix" sock_type="dgram" protocol=0 requested="send" denied="send" addr="@6161" peer_addr="@"`))
	compiled, err := meaning.Read(profiletest.Several(f, profiletest.Decided))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var r Record
		if _, ok := r.Parse(line); !ok {
			return
		}
		asked, err := r.Asked()
		if (err == nil) != (len(asked.Accesses) > 0) {
			t.Fatalf("%d accesses and %v", len(asked.Accesses), err)
		}
		for _, a := range asked.Accesses {
			meaning.Stack(compiled).Decide(a)
			if access.Format(a) == "" {
				t.Fatalf("%T%+v has no text", a, a)
			}
		}
	})
}
