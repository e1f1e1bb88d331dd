package command

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
)

const runningPolicy = `version: 1
profiles:
  web:  {file: profiles/web}
  work: {file: profiles/work}
  base: {file: profiles/base}
policies:
  web:  {profile: web, floor: base}
  work: {profile: work}
assign:
  - policy: keep
    request: [web, work]
`

// newRunning is a machine with AppArmor's service, on which containers run: front under a stack, batch under one
// profile, and plain under what its engine chose.
func newRunning(t *testing.T) (*machine, kerneltest.Machine) {
	m, k := newBoots(t)
	m.write("etc/policy.yaml", runningPolicy)
	m.write("etc/profiles/base", sound("base", ""))
	for _, args := range [][]string{{"policy", "apply", "--quiet"}, {"policy", "load", "--quiet"}} {
		if code, _ := m.run(args...); code != 0 {
			t.Fatal(m.errOut.String())
		}
	}
	m.starts("front", `, "annotations": {"oci-apparmor/policy": "web"}`, 40, "base//&web (enforce)")
	m.starts("batch", `, "annotations": {"oci-apparmor/policy": "work"}`, 41, "work (enforce)")
	m.starts("plain", "", 42, "unconfined")
	return m, k
}

// starts starts a container, but for its runtime's part.
func (m *machine) starts(id, members string, pid int, label string) {
	m.t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("bundles/"+id+"/config.json", `{"ociVersion": "1.0.0", "process": {}`+members+`}`)
	if _, err := m.State.Host.Prepare(m.t.Context(), hook.Caller{Root: wd + "/run/runc"}, id, hook.NewBundle(wd+"/bundles/"+id)); err != nil {
		m.t.Fatal(err)
	}
	m.task(pid, "sleep", label, "")
	m.write("run/runc/"+id+"/state.json", fmt.Sprintf(`{"init_process_pid": %d}`, pid))
}

// tree returns all that is in directories, with its dates, by path.
func tree(t *testing.T, dirs ...string) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			var content []byte
			if info.Mode().IsRegular() {
				content, err = os.ReadFile(path)
			} else if info.Mode()&fs.ModeSymlink != 0 {
				var to string
				to, err = os.Readlink(path)
				content = []byte(to)
			}
			fmt.Fprintf(&all, "%s %s %s %x\n", path, info.Mode(), info.ModTime(), content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

func TestDryRun(t *testing.T) {
	edit := func(file, old, new string) func(*machine, kerneltest.Machine) {
		return func(m *machine, _ kerneltest.Machine) {
			data, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(data), old) {
				m.t.Fatalf("%s has no %q, %v", file, old, err)
			}
			m.write(file, strings.Replace(string(data), old, new, 1))
		}
	}
	const policyFile = "etc/policy.yaml"
	all := func(fs ...func(*machine, kerneltest.Machine)) func(*machine, kerneltest.Machine) {
		return func(m *machine, k kerneltest.Machine) {
			for _, f := range fs {
				f(m, k)
			}
		}
	}
	other := func(name string) func(*machine, kerneltest.Machine) {
		return edit("etc/profiles/"+name, "}\n", "  deny /x w,\n}\n")
	}
	for what, test := range map[string]struct {
		change func(*machine, kerneltest.Machine)
		code   int
		says   []string // of its words
		never  string
	}{
		"nothing is other": {func(*machine, kerneltest.Machine) {}, 0, []string{
			"an apply would change nothing: generation 1 would stay in force", "nothing changes for 3 running containers"}, "container "},
		"a rule has lost a request": {edit(policyFile, "[web, work]", "[work]"), exit.Refused, []string{
			"in the place of generation 1", "rule for everyone: changed: keep; may ask for work (before: keep; may ask for",
			"container front: would be REFUSED at its next start:", "oci-apparmor/policy", "nothing changes for 2 running containers"},
			"container batch"},
		"a policy is gone": {all(edit(policyFile, "  work: {profile: work}\n", ""), edit(policyFile, ", work]", "]")), exit.Refused, []string{
			"policy work: gone", "container batch: would be REFUSED at its next start:", `policy "work"`}, "container front"},
		"another label": {edit(policyFile, "web:  {profile: web, floor: base}", "web:  {profile: work, floor: base}"), 0, []string{
			"policy web: changed",
			"container front: would be under base//&work at its next start, and now is under base//&web: web: asked for by annotation"},
			"REFUSED"},
		"a policy instead of the engine's choice": {edit(policyFile, "policy: keep", "policy: work"), 0, []string{
			"container plain: would be under work at its next start, and now is under what its engine chooses"}, "container batch"},
		"the engine's choice instead of a policy": {edit(policyFile, "work: {profile: work}", "work: {profile: keep}"), 0, []string{
			"container batch: would be under what its engine chooses at its next start, and now is under work"}, "container front"},
		"another mode": {edit(policyFile, "{profile: work}", "{profile: work, mode: complain}"), 0, []string{
			"profile work: changed", "profile work: mode complain, before enforce", "container batch: profile work changes: what runs in it takes over"},
			"container front"},
		"a single profile changes": {other("work"), 0, []string{"profile work: changed",
			"container batch: profile work changes: what runs in it takes over the change at the next policy load"}, "container front"},
		"a part of a stack changes": {other("web"), 0, []string{
			"container front: profile web changes: what runs in it takes over"}, "container batch"},
		"a part of a stack changes for the second time": {all(
			func(m *machine, k kerneltest.Machine) {
				other("web")(m, k)
				m.run("policy", "apply", "--quiet")
				m.run("policy", "load", "--quiet")
			}, other("web")), 0, []string{
			"container front: profile web changes: what runs in it stays under older content, because its label is a stack of profiles: start it anew"},
			"REFUSED"},
		"both parts of a stack change": {all(other("web"), other("base")), 0, []string{
			"container front: profiles base and web change: what runs in it stays under older content"}, "REFUSED"},
		"new, and gone": {edit(policyFile, "web:  {file: profiles/web}", "shop: {template: docker-default}\n  web:  {file: profiles/web}"), 0,
			[]string{"profile shop: new"}, "container "},
		"a bundle is gone": {func(*machine, kerneltest.Machine) { os.RemoveAll("bundles/front") }, 0, []string{
			"container front: what its next start would get is not known: its bundle", "is gone"}, "REFUSED"},
		"a bundle that is no file": {func(m *machine, _ kerneltest.Machine) {
			os.Remove("bundles/front/config.json")
			os.Symlink("/dev/zero", "bundles/front/config.json")
		}, 0, []string{"container front: what its next start would get is not known:", "is not a regular file"}, "REFUSED"},
		"a bundle that is no JSON": {func(m *machine, _ kerneltest.Machine) { m.write("bundles/front/config.json", "{\"process\": \x1b[31m") }, 0,
			[]string{"container front: what its next start would get is not known:", "line 1"}, "REFUSED"},
		"a container has ended": {all(edit(policyFile, "[web, work]", "[work]"), func(m *machine, _ kerneltest.Machine) {
			os.RemoveAll(m.Kernel.Proc + "/40")
		}), 0, []string{"nothing changes for 2 running containers"}, "container front"},
		"somebody else's profile is in the way": {func(m *machine, k kerneltest.Machine) {
			edit(policyFile, "work: {profile: work}", "work: {profile: shop}")(m, k)
			edit(policyFile, "work: {file: profiles/work}", "shop: {file: profiles/shop, onDrift: refuse}")(m, k)
			m.write("etc/profiles/shop", sound("shop", ""))
			k.Load(m.t, kerneltest.Blob("theirs", "shop"))
		}, exit.Refused, []string{"container batch: would be REFUSED at its next start:", "shop"}, "container front"},
		"a fault": {edit(policyFile, "request:", "requests:"), exit.BadPolicy, nil, "container "},
	} {
		t.Run(what, func(t *testing.T) {
			m, k := newRunning(t)
			test.change(m, k)
			dirs := []string{"store", "etc", "apparmor.d", "records", "run", "bundles", k.Dir}
			before := tree(t, dirs...)
			code, out := m.run("policy", "apply", "--dry-run")
			words := strings.Join(strings.Fields(out), " ")
			for _, says := range test.says {
				if !strings.Contains(words, says) {
					t.Errorf("it does not say %q", says)
				}
			}
			if code != test.code || test.never != "" && strings.Contains(words, test.never) || strings.ContainsRune(out, '\x1b') {
				t.Errorf("exit code %d, want %d, and never %q", code, test.code, test.never)
			}
			if t.Failed() {
				t.Logf("%s%s", out, &m.errOut)
			}
			if after := tree(t, dirs...); after != before {
				t.Errorf("it wrote something: before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

// What would be refused is refused, with that reason: a dry run tells what the apply means.
func TestDryRunTellsWhatAStartSays(t *testing.T) {
	m, _ := newRunning(t)
	m.write("etc/policy.yaml", strings.Replace(runningPolicy, "[web, work]", "[work]", 1))
	_, out := m.run("policy", "apply", "--dry-run", "--quiet")
	if code, _ := m.run("policy", "apply", "--quiet"); code != 0 {
		t.Fatal(m.errOut.String())
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	os.RemoveAll("run/runc/front")
	_, err = m.State.Host.Prepare(t.Context(), hook.Caller{Root: wd + "/run/runc"}, "front", hook.NewBundle(wd+"/bundles/front"))
	if err == nil {
		t.Fatal("it starts")
	}
	if got, want := strings.Join(strings.Fields(out), " "), "container front: would be REFUSED at its next start: "+err.Error(); got != want {
		t.Errorf("the dry run says\n%s\nand the start\n%s", got, want)
	}
}

// Where nothing was ever applied, a dry run makes no store.
func TestDryRunOnANewNode(t *testing.T) {
	m := newShop(t)
	before := tree(t, ".")
	if code, out := m.run("policy", "apply", "--dry-run"); code != 0 || !strings.Contains(out, "an apply would make the first generation") ||
		!strings.Contains(out, "  profile docker-nginx: new\n") || !strings.Contains(out, "no container of oci-apparmor's runs\n") {
		t.Errorf("exit code %d, %s%s", code, out, &m.errOut)
	}
	if after := tree(t, "."); after != before {
		t.Errorf("it wrote something: before\n%s\nafter\n%s", before, after)
	}
	m.Root = false
	if code, out := m.run("policy", "apply", "--dry-run"); code != exit.Cannot || out != "" || !strings.Contains(m.errOut.String(), "run this as root") {
		t.Errorf("without root: exit code %d, %s%s", code, out, &m.errOut)
	}
}
