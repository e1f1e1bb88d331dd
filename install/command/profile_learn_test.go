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
