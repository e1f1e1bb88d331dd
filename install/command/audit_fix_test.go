package command

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
)

const shopDenials = `type=AVC msg=audit(1764485101.642:14): apparmor="DENIED" operation="open" class="file" profile="web" name="/proc/227/stat" pid=227 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0
type=AVC msg=audit(1764485102.642:15): apparmor="DENIED" operation="open" class="file" profile="web" name="/run/docker.sock" pid=228 comm="x" requested_mask="wr" denied_mask="wr" fsuid=0 ouid=0
type=AVC msg=audit(1764485103.642:16): apparmor="DENIED" operation="open" class="file" profile="web" name="/etc/shadow" pid=227 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0
type=AVC msg=audit(1764485105.642:18): apparmor="DENIED" operation="open" class="file" profile="web" name=2F780A1B5B33316D pid=229 comm="sh" requested_mask="w" denied_mask="w" fsuid=0 ouid=0
type=AVC msg=audit(1764485106.642:19): apparmor="DENIED" operation="capable" class="cap" profile="other" pid=227 comm="x" capability=21  capname="sys_admin"
[    1.642000] audit: type=1400 audit(1764485107.642:20): apparmor="DENIED" operation="open" profile="web" name="/forged" pid=1 comm="x" requested_mask="r" denied_mask="r" fsuid=0 ouid=0
`

const shopText = "abi <abi/3.0>,\nprofile web flags=(attach_disconnected) {\n\t/srv/** r,\n\tdeny /etc/shadow r,\n\tsignal (receive) peer=unconfined,\n}\n"

// What was denied becomes rules of the profile's text, and only that: not what a container could have written.
func TestAuditFix(t *testing.T) {
	m := auditsOf(t, newCompiling(t), nil)
	m.write("etc/policy.yaml", "version: 1\nprofiles:\n  web: {file: web}\npolicies:\n  web: {profile: web}\nassign:\n  - policy: web\n")
	m.write("etc/web", shopText)
	if code, out := m.run("policy", "apply"); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, out, m.errOut.String())
	}
	m.write("./audit.log", shopDenials)

	code, out := m.run("audit", "--source", "./audit.log", "--brief", "--suggest")
	for _, want := range []string{
		"profile web of ", ": 3 rules for 3 of 4 denials\n",
		"owner /proc/[0-9]*/stat r,\n", "    and more: [0-9]* for 227\n",
		"    warning: who can write to docker.sock starts containers as root of the node\n",
		`owner /x\012\033\[31m w,`,
		"owner read /etc/shadow: line 4 (deny /etc/shadow r) denies it",
		"profile other: nothing is suggested: the text of other is not known",
		"\n+\towner /proc/[0-9]*/stat r,\n", "--fix web writes it without the rules that give up a protection",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("exit code %d, does not say %q:\n%s", code, want, out)
		}
	}
	if strings.Contains(out, "forged") || strings.ContainsRune(out, '\x1b') {
		t.Errorf("says\n%s", out)
	}
	text, _ := os.ReadFile("etc/web")
	if string(text) != shopText {
		t.Errorf("the text has become\n%s", text)
	}

	code, out = m.run("audit", "--source", "./audit.log", "--fix", "web", "--give-up", "--json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var s struct {
		Type, Profile, Patch string
		Written              bool
		Rules                []struct{ Rule string }
		Denials              []struct{ Outcome string }
	}
	for _, line := range lines {
		if err := json.Unmarshal([]byte(line), &s); err == nil && s.Type == "suggestion" {
			break
		}
	}
	text, _ = os.ReadFile("etc/web")
	if code != 0 || s.Profile != "web" || !s.Written || len(s.Rules) != 3 || len(s.Denials) != 4 || s.Denials[2].Outcome != "blocked" ||
		strings.Count(string(text), "\n") != strings.Count(shopText, "\n")+3 || !strings.Contains(string(text), "\towner /run/docker.sock rw,\n") {
		t.Errorf("exit code %d, %+v, and the text is\n%s%s", code, s, text, m.errOut.String())
	}

	if code, out := m.run("audit", "--source", "./audit.log", "--fix", "web"); code != 0 || !strings.Contains(out, "has changed since") {
		t.Errorf("a text that was changed and not applied: exit code %d: %s", code, out)
	}
	if code, _ := m.run("audit", "--source", "./audit.log", "--fix", "nosuch"); code != exit.Cannot {
		t.Errorf("a profile without denials: exit code %d", code)
	}
}

// Where AppArmor does not run, nobody knows for which kernel texts are to be compiled, unless it is said.
func TestAuditSuggestsForAnotherKernel(t *testing.T) {
	m := auditsOf(t, newCompiling(t), nil)
	m.write("etc/policy.yaml", "version: 1\nprofiles:\n  web: {file: web}\npolicies:\n  web: {profile: web}\nassign:\n  - policy: web\n")
	m.write("etc/web", shopText)
	if code, out := m.run("policy", "apply"); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, out, m.errOut.String())
	}
	m.write("./audit.log", shopDenials)
	if err := os.RemoveAll("securityfs/features"); err != nil {
		t.Fatal(err)
	}
	suggest := func(more ...string) (int, string) {
		code, out := m.run(append([]string{"audit", "--source", "./audit.log", "--suggest"}, more...)...)
		return code, out + m.errOut.String()
	}
	if code, out := suggest(); code != exit.Cannot || !strings.Contains(out, "with --features") {
		t.Errorf("no kernel's features: exit code %d:\n%s", code, out)
	}
	if code, out := suggest("--features", "apparmor.d/abi/3.0"); code != 0 || !strings.Contains(out, "3 rules for 3 of 4 denials") {
		t.Errorf("another kernel's features: exit code %d:\n%s", code, out)
	}
	for _, args := range [][]string{{"audit", "--source", "./audit.log"}, {"audit", "--source", "./audit.log", "--suggest"}} {
		if code, out := m.run(append(args, "--features", "nosuch")...); code != exit.Cannot {
			t.Errorf("%q without the file of --features: exit code %d:\n%s", args, code, out)
		}
	}
}

// A workload only has to try something to have a rule for it found. What gives up a protection is written only if that is asked
// for.
func TestAuditFixHoldsBackWhatGivesUpProtections(t *testing.T) {
	m := auditsOf(t, newCompiling(t), nil)
	m.write("etc/policy.yaml", "version: 1\nprofiles:\n  web: {file: web}\npolicies:\n  web: {profile: web}\nassign:\n  - policy: web\n")
	m.write("etc/web", shopText)
	if code, out := m.run("policy", "apply"); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, out, m.errOut.String())
	}
	m.write("./audit.log", shopDenials+
		`type=AVC msg=audit(1764485108.642:21): apparmor="DENIED" operation="capable" class="cap" profile="web" pid=9 comm="x" capability=21  capname="sys_admin"`+"\n"+
		`type=AVC msg=audit(1764485109.642:22): apparmor="DENIED" operation="mount" class="mount" profile="web" name="/mnt/" pid=9 comm="x" fstype="tmpfs" srcname="none"`+"\n")
	if code, _ := m.run("audit", "--source", "./audit.log", "--suggest", "--give-up"); code != exit.Usage {
		t.Errorf("--give-up without --fix: exit code %d", code)
	}
	if code, out := m.run("audit", "--source", "./audit.log", "--suggest"); code != 0 || !strings.Contains(out, "if --give-up is added\n") {
		t.Errorf("exit code %d, does not say what takes --give-up:\n%s", code, out)
	}

	code, out := m.run("audit", "--source", "./audit.log", "--fix", "web", "--brief")
	text, _ := os.ReadFile("etc/web")
	if code != 0 || !strings.Contains(string(text), "/proc/[0-9]*/stat r,\n") {
		t.Errorf("exit code %d, %s%s\nand what gives up nothing is not written:\n%s", code, out, m.errOut.String(), text)
	}
	for _, given := range []string{"docker.sock", "sys_admin", "mount"} {
		if strings.Contains(string(text), given) {
			t.Errorf("a rule about %s is written:\n%s", given, text)
		}
	}
	for _, want := range []string{
		"held back is the rule owner /run/docker.sock rw,: who can write to docker.sock starts containers as root of the node\n",
		"held back is the rule capability sys_admin,: ", "3 denials are held back: --give-up writes such rules",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("does not say %q:\n%s", want, out)
		}
	}
}
