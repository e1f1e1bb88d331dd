package command

import (
	"context"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

// auditd's log of a container under the profile record, and of a child that the kernel made for what it executed. The last
// two lines are in the form of the kernel's log, as anybody may write them.
const learnedLog = `type=AVC msg=audit(1796000000.100:10): apparmor="STATUS" operation="profile_load" profile="unconfined" name="record" pid=1 comm="apparmor_parser"
type=AVC msg=audit(1796000000.200:11): apparmor="ALLOWED" operation="file_inherit" class="file" profile="record" name="/run/runc.log" pid=7 comm="runc:[2:INIT]" requested_mask="w" denied_mask="w" fsuid=0 ouid=0
type=AVC msg=audit(1796000000.300:12): apparmor="ALLOWED" operation="file_mmap" class="file" profile="record" name="/usr/bin/dash" pid=7 comm="sh" requested_mask="rm" denied_mask="rm" fsuid=0 ouid=0
type=AVC msg=audit(1796000000.400:13): apparmor="ALLOWED" operation="exec" class="file" profile="record" name="/usr/bin/sed" pid=8 comm="sh" requested_mask="x" denied_mask="x" fsuid=0 ouid=0 target="record//null-/usr/bin/sed"
type=AVC msg=audit(1796000000.500:14): apparmor="ALLOWED" operation="open" class="file" profile="record//null-/usr/bin/sed" name=2F7372762F61206E616D65 pid=8 comm="sed" requested_mask="r" denied_mask="r" fsuid=0 ouid=0
type=AVC msg=audit(1796000000.600:15): apparmor="ALLOWED" operation="capable" class="cap" profile="record" pid=7 comm="sh" capability=21  capname="sys_admin"
type=AVC msg=audit(1796000000.700:16): apparmor="ALLOWED" operation="open" class="file" profile="other" name="/other" pid=9 comm="x" requested_mask="r" denied_mask="r" fsuid=0 ouid=0
[   12.345678] audit: type=1400 audit(1796000000.800:17): apparmor="ALLOWED" operation="open" class="file" profile="record" name="/etc/shadow" pid=7 comm="sh" requested_mask="r" denied_mask="r" fsuid=0 ouid=0
`

func TestProfileLearn(t *testing.T) {
	dir := packageDir(t)
	m := newCompiling(t)
	m.write("recorded.log", learnedLog)
	m.write("kernel.log", learnedLog[strings.LastIndex(learnedLog, "[   12"):])
	m.write("long.log", learnedLog+strings.Repeat("x", 70000)+"\n")
	m.run("profile", "learn", "--from", "recorded.log", "--profile", "record", "--name", "shop")
	m.run("profile", "learn", "--from", "recorded.log", "--from", "kernel.log", "--vouched", "--profile", "record")
	m.run("profile", "learn", "--from", "kernel.log", "--profile", "record")
	m.run("profile", "learn", "--from", "recorded.log", "--profile", "nobody")
	m.run("profile", "learn", "--from", "long.log", "--profile", "record")
	m.run("profile", "learn", "--from", "./missing", "--profile", "record")
	m.run("profile", "learn", "--from", "recorded.log", "--profile", "record", "--name", "unconfined")
	m.run("profile", "learn", "--from", "recorded.log")
	m.golden(dir)
}

// A word that is a source of the node's is not the file of that name in the working directory, and whoever has one is told.
func TestAFileThatHasTheNameOfASourceIsWarnedOf(t *testing.T) {
	const warning = "kmsg is the source of that name, and not the file here: for that, write ./kmsg"
	m := auditsOf(t, newCompiling(t), nil)
	m.records = func(context.Context, string, source.Options) (source.Source, error) { return silent{}, nil }
	said := func(args ...string) bool {
		m.transcript.Reset()
		m.run(args...)
		return strings.Contains(m.transcript.String(), warning)
	}
	if said("audit", "--source", "kmsg") {
		t.Error("warned where there is no such file")
	}
	m.write("kmsg", learnedLog)
	if !said("audit", "--source", "kmsg") {
		t.Errorf("audit says nothing of the file:\n%s", m.transcript.String())
	}
	if !said("profile", "learn", "--from", "kmsg", "--profile", "record", "--features", "nosuch") { // so that it reads no records
		t.Errorf("profile learn says nothing of the file:\n%s", m.transcript.String())
	}
	if said("audit", "--source", "./kmsg") {
		t.Error("warned where the file is meant")
	}
}

// What is made of records, profile check has nothing to say of, whatever they are of.
func TestProfileLearnPassesCheck(t *testing.T) {
	m := newCompiling(t)
	m.write("apparmor.d/tunables/global", "@{PROC}=/proc/\n@{pid}=[0-9]*\n")
	const open = `type=AVC msg=audit(1796000000.200:11): apparmor="ALLOWED" operation="open" class="file" profile="record" name="NAME" pid=7 ` +
		`comm="x" requested_mask="MASK" denied_mask="MASK" fsuid=0 ouid=0` + "\n"
	log := learnedLog
	for _, f := range [][2]string{{"/bin/busybox", "r"}, {"/lib/x.so", "rm"}, {"/usr/lib/x.so", "rm"}, {"/dev/null", "wr"}, {"/proc/7/mem", "wr"},
		{"/run/docker.sock", "wr"}, {"/var/run/x", "wc"}, {"/tmp/a", "wrc"}, {"/sys/fs/cgroup/x", "w"}} {
		log += strings.NewReplacer("NAME", f[0], "MASK", f[1]).Replace(open)
	}
	check := func(what, log string) {
		t.Helper()
		m.write("recorded.log", log)
		code, out := m.run("profile", "learn", "--from", "recorded.log", "--profile", "record", "--name", "shop")
		if code != 0 {
			t.Fatalf("%s: exit code %d, %s%s", what, code, out, m.errOut.String())
		}
		m.write("shop", out)
		if code, out := m.run("profile", "check", "--strict", "shop"); code != 0 {
			t.Errorf("%s: exit code %d, %s\nof %s", what, code, out+m.errOut.String(), m.read("shop"))
		}
	}
	check("files", log)
	check("files, a process that traces another one, and raw sockets", log+`type=AVC msg=audit(1796000001.100:21): apparmor="ALLOWED" operation="ptrace" class="ptrace" profile="record" pid=9 comm="x" requested_mask="trace" denied_mask="trace" peer="record"
type=AVC msg=audit(1796000001.100:22): apparmor="ALLOWED" operation="signal" class="signal" profile="record" pid=9 comm="x" requested_mask="send" denied_mask="send" signal=term peer="record"
type=AVC msg=audit(1796000001.100:23): apparmor="ALLOWED" operation="create" class="net" profile="record" pid=9 comm="x" family="inet" sock_type="raw" protocol=1 requested_mask="create" denied_mask="create"
`)
}
