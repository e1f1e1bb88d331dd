package command

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/hook/notice/reader"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

const auditdLog = `type=AVC msg=audit(1764485101.642:14): apparmor="DENIED" operation="open" class="file" profile="web" name="/etc/shadow" pid=227 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0
type=AVC msg=audit(1764485102.642:15): apparmor="DENIED" operation="open" class="file" profile="web" name="/etc/shadow" pid=228 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0
type=AVC msg=audit(1764485103.642:16): apparmor="ALLOWED" operation="capable" class="cap" profile="work" pid=227 comm="ping" capability=13  capname="net_raw"
type=AVC msg=audit(1764485104.642:17): apparmor="STATUS" operation="profile_replace" profile="unconfined" name="web" pid=5 comm="apparmor_parser"
type=AVC msg=audit(1764485105.642:18): apparmor="DENIED" operation="open" class="file" profile="web" name=2F780A1B5B33316D pid=229 comm="sh" requested_mask="w" denied_mask="w" fsuid=0 ouid=0
type=AVC msg=audit(1764485106.642:19): apparmor="DENIED" operation="open" class="file" info="Failed name lookup - disconnected path" error=-13 profile="web" name="dev/log" pid=230 comm="nginx" requested_mask="w" denied_mask="w" fsuid=0 ouid=0
[    1.642000] audit: type=1400 audit(1764485107.642:20): apparmor="DENIED" operation="open" profile="web" name="/forged" pid=1 comm="x" requested_mask="r" denied_mask="r" fsuid=0 ouid=0
`

// audits makes a machine whose sources are files, and whose canary is as said.
func audits(t *testing.T, dead error) *machine {
	t.Helper()
	return auditsOf(t, newMachine(t), dead)
}

func auditsOf(t *testing.T, m *machine, dead error) *machine {
	zone := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = zone })
	m.notices = unread{}
	m.records = source.Open
	m.alive = func(context.Context, source.Source) ([]source.Loss, error) { return nil, dead }
	m.write("proc/self/stat", "")
	return m
}

func TestAudit(t *testing.T) {
	dir := packageDir(t)
	m := audits(t, nil)
	m.write("./audit.log", auditdLog)
	m.run("audit", "--source", "./audit.log", "--brief")
	m.run("audit", "--source", "./audit.log")
	m.run("audit", "--source", "./audit.log", "--each", "--brief", "--type", "denied,changed")
	m.run("audit", "--source", "./audit.log", "--profile", "work", "--untrusted", "--brief")
	m.run("audit", "--source", "./audit.log", "--since", "2025-11-30 06:45:03", "--brief", "--untrusted")
	m.run("audit", "--source", "./audit.log", "--summary")
	m.run("audit", "--source", "./audit.log", "--json", "--type", "complain")
	m.run("audit", "--source", "./audit.log", "--json", "--summary")
	m.run("audit", "--source", "./audit.log", "--container", "nosuch")
	m.write("./empty.log", "")
	m.run("audit", "--source", "./empty.log")
	m.run("audit", "--source", "./audit.log", "--type", "denied,nosuch")
	m.run("audit", "--source", "nosuch")
	m.run("audit", "--source", "./none")
	m.run("audit", "--since", "yesterday")
	m.run("audit", "--follow", "--summary")
	m.golden(dir)
}

// unread are notices of which there are none.
type unread struct{}

func (unread) Read(context.Context, reader.Query, func(notice.Notice) error, func(string)) error {
	return nil
}

// silent is a source of the node without a record.
type silent struct {
	source.Source
	lost []source.Loss
}

func (s silent) Name() string                              { return source.Kmsg }
func (s silent) Next(context.Context, *source.Entry) error { return io.EOF }
func (s silent) Lost() []source.Loss                       { return s.lost }
func (s silent) Close() error                              { return nil }

// What was not found is only said not to be there if the source is alive and has lost nothing.
func TestNoDenialsIsSaidOnlyOfALivingSource(t *testing.T) {
	for name, test := range map[string]struct {
		dead error
		lost []source.Loss
		args string
		code int
		says string // on standard output or on the other
	}{
		"alive":       {nil, nil, "audit", 0, "no denials: the source kmsg is alive, and nothing was lost\n"},
		"of a policy": {nil, nil, "audit --policy desk", 0, `no denials of policy "desk": the source kmsg is alive`},
		"of none":     {nil, nil, "audit --policy shop", exit.Cannot, "the policy that was asked for is not in force"},
		"of nobody":   {nil, nil, "audit --container shop", exit.Cannot, "no container is known that was asked for"},
		"dead":        {errors.New("the canary did not come back"), nil, "audit", exit.Cannot, "the canary did not come back"},
		"with losses": {nil, []source.Loss{{By: "the kernel", Records: 3}}, "audit", exit.Cannot, "records were lost: 3: the kernel"},
		"with what may be none": {nil, []source.Loss{{By: "the journal, in which numbers are missing", Unknown: true}}, "audit", exit.Cannot,
			"records may have been lost: the journal, in which numbers are missing"},
		"dead, as JSON":      {errors.New("the canary did not come back"), nil, "audit --json", exit.Cannot, `"alive":false`},
		"alive, as JSON":     {nil, nil, "audit --json", 0, `"alive":true,"records":0,"shown":0,"denials":0,"untrusted":0,"lost":[],"unknown":[]`},
		"dead, as a summary": {errors.New("the canary did not come back"), nil, "audit --summary", exit.Cannot, "the canary did not come back"},
	} {
		m := audits(t, test.dead)
		m.write("etc/policy.yaml", "version: 1\nprofiles: {web: {file: web}}\npolicies: {desk: {profile: web}}\nassign: [{policy: desk}]\n")
		m.write("etc/web", "profile web { }\n")
		if code, out := m.run("policy", "apply"); code != 0 {
			t.Fatal(out, m.errOut.String())
		}
		m.records = func(context.Context, string, source.Options) (source.Source, error) {
			return silent{lost: test.lost}, nil
		}
		code, out := m.run(strings.Fields(test.args)...)
		if all := out + m.errOut.String(); code != test.code || !strings.Contains(all, test.says) {
			t.Errorf("%s: exit code %d, says %s", name, code, all)
		}
		if test.code != 0 && strings.Contains(out, "no denials") {
			t.Errorf("%s: says %s", name, out)
		}
	}
}

func TestAuditShowsRefusalsOfStarts(t *testing.T) {
	m := audits(t, nil)
	m.records = func(context.Context, string, source.Options) (source.Source, error) { return silent{}, nil }
	m.notices = &written{notices: []notice.Notice{{Time: time.Unix(1764485101, 0), Level: notice.Refusal, Engine: "docker", Command: "create",
		ID: "4f0c", Container: "shop", Message: "policy \"x\" is not allowed here"}}}
	const want = `2025-11-30T06:45:01Z  refusal   docker      shop          -             create: policy "x" is not allowed here` + "\n"
	if code, out := m.run("audit"); code != 0 || out != want {
		t.Errorf("exit code %d, prints\n%swant\n%s", code, out, want)
	}
	code, out := m.run("audit", "--json", "--container", "shop")
	var e struct {
		Kind      string
		Container struct{ Name string }
	}
	if err := json.Unmarshal([]byte(strings.Split(out, "\n")[0]), &e); err != nil || code != 0 || e.Kind != "refusal" || e.Container.Name != "shop" {
		t.Errorf("exit code %d, %v, prints %s", code, err, out)
	}
}

// The command that the error of a file names reads standard input.
func TestWhatIsAdvisedForXZIsACommand(t *testing.T) {
	m := audits(t, nil)
	m.write("./audit.log.xz", "\xfd7zXZ\x00...")
	if code, _ := m.run("audit", "--source", "./audit.log.xz"); code != exit.Cannot {
		t.Errorf("of xz: exit code %d", code)
	}
	_, advised, _ := strings.Cut(m.errOut.String(), "| oci-apparmor ")
	advised, _, ok := strings.Cut(advised, "`")
	if !ok {
		t.Fatal(m.errOut.String())
	}
	var opened string
	m.records = func(_ context.Context, name string, _ source.Options) (source.Source, error) {
		opened = name
		return silent{}, nil
	}
	if code, _ := m.run(strings.Fields(advised)...); code != 0 || opened != source.Stdin {
		t.Errorf("%s: exit code %d, reads %q: %s", advised, code, opened, m.errOut.String())
	}
}
