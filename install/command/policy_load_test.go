package command

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// loadable compiles to what a kernel takes.
type loadable struct{ fakeCompiler }

func (c loadable) Compile(ctx context.Context, _ string, mode profile.Mode, source string, text []byte) (profile.Blob, error) {
	b, err := c.CompileText(ctx, source, text)
	if err != nil {
		return b, err
	}
	return b.WithMode(mode)
}

const bootPolicy = `version: 1
profiles:
  web:  {file: profiles/web}
  work: {file: profiles/work, onDrift: refuse}
policies:
  web:  {profile: web}
  work: {profile: work}
assign:
  - policy: web
    request: [work]
`

// newBoots is a machine with AppArmor's service on it.
func newBoots(t *testing.T) (*machine, kerneltest.Machine) {
	m, k := newUnloads(t)
	m.CompilerOf = func([]byte) (node.Compiler, error) { return loadable{fakeCompiler{m}}, nil }
	if err := os.Mkdir("apparmor.d", 0o755); err != nil {
		t.Fatal(err)
	}
	m.write("etc/policy.yaml", bootPolicy)
	m.write("etc/profiles/web", sound("web", "  audit deny /etc/** w,\n"))
	m.write("etc/profiles/work", sound("work", "  profile kid {\n    file,\n  }\n"))
	m.transcript.Reset()
	return m, k
}

// files notes what AppArmor's service finds.
func (m *machine) files() {
	m.t.Helper()
	paths, err := filepath.Glob("apparmor.d/*")
	if err != nil {
		m.t.Fatal(err)
	}
	m.note("in apparmor.d: " + strings.Join(paths, " "))
}

func TestPolicyLoad(t *testing.T) {
	dir := packageDir(t)
	m, k := newBoots(t)
	m.run("policy", "load")
	m.run("policy", "apply", "--quiet")
	m.files()
	m.note("of web another text was loaded by hand")
	m.run("policy", "load")
	m.run("policy", "load", "--quiet")
	m.note("work drifts, which the policy refuses, and web, which it does not")
	k.Load(t, kerneltest.Blob("y", "work", "work//kid"))
	k.Load(t, kerneltest.Blob("y", "web"))
	m.run("policy", "load")
	m.note("a policy with a fault leaves the last good one")
	m.write("etc/policy.yaml", bootPolicy+"nonsense: 1\n")
	m.run("policy", "apply")
	m.write("etc/policy.yaml", strings.Replace(bootPolicy, ", onDrift: refuse", ", onDrift: replace", 1))
	m.run("policy", "apply", "--quiet")
	m.run("policy", "load")
	m.write("etc/policy.yaml", "version: 1\nassign:\n  - policy: keep\n")
	m.run("policy", "apply", "--quiet")
	m.files()
	m.run("policy", "load")
	m.golden(dir)
}

// What AppArmor's service is told follows the policy, and what was loaded by hand, and touches nothing else.
func TestServiceFiles(t *testing.T) {
	dir := packageDir(t)
	m, k := newBoots(t)
	m.write("apparmor.d/nginx", "profile docker-nginx {\n}\n")
	m.run("policy", "apply", "--quiet")
	m.files()
	m.note("work leaves the policy, and a process runs under it")
	m.task(10, "sleep", "work (enforce)", "")
	m.write("etc/policy.yaml", strings.NewReplacer("  work: {file: profiles/work, onDrift: refuse}\n", "",
		"  work: {profile: work}\n", "", "    request: [work]\n", "").Replace(bootPolicy))
	m.run("policy", "apply", "--quiet")
	m.files()
	m.note("it has ended")
	os.RemoveAll(m.Kernel.Proc + "/10")
	m.run("policy", "apply", "--quiet")
	m.files()
	m.note("by hand: a profile of nobody's, the policy's, one that another file defines, and one that somebody has loaded")
	m.write("docker-nginx", sound("docker-nginx", ""))
	m.write("other", sound("other", ""))
	m.run("profile", "load", "--quiet", "loose")
	m.run("profile", "load", "--quiet", "--replace", "web")
	m.run("profile", "load", "--quiet", "docker-nginx")
	k.Load(t, kerneltest.Blob(sound("foreign", ""), "foreign"))
	m.write("foreign", sound("foreign", ""))
	m.run("profile", "load", "foreign")
	m.files()
	m.run("profile", "unload", "--quiet", "loose", "web")
	m.files()
	m.note("what is in the place of ours stays, and a store elsewhere is for another node")
	m.write("apparmor.d/loose.oci-apparmor", "mine\n")
	m.run("profile", "load", "--quiet", "loose")
	os.RemoveAll("apparmor.d/web.oci-apparmor")
	m.run("policy", "apply", "--quiet", "--store", "elsewhere")
	m.files()
	m.golden(dir)
}

// onlyShop is a policy of a profile that newBoots has not loaded.
func (m *machine) onlyShop(rules string) {
	m.write("etc/policy.yaml", "version: 1\nprofiles:\n  shop: {file: profiles/shop}\nassign:\n  - policy: keep\n")
	m.write("etc/profiles/shop", sound("shop", rules))
}

// A profile that somebody else has loaded does not become ours by a file of ours with the same content.
func TestForeignProfileWithOurContentStaysForeign(t *testing.T) {
	m, k := newBoots(t)
	m.onlyShop("")
	k.Load(t, kerneltest.Blob(sound("shop", ""), "shop"))
	if code, _ := m.run("policy", "apply"); code != 0 || !strings.Contains(m.errOut.String(), "somebody else has loaded one of that name") {
		t.Errorf("exit code %d, %s", code, &m.errOut)
	}
	if _, err := os.Stat("apparmor.d/shop.oci-apparmor"); err == nil {
		t.Error("a file is there")
	}
	if code, out := m.run("policy", "load"); code != 0 || !strings.Contains(out, "shop: is loaded already") {
		t.Errorf("exit code %d, %s%s", code, out, &m.errOut)
	}
	if code, _ := m.run("profile", "unload", "shop"); code != exit.Cannot || !strings.Contains(m.errOut.String(), "not loaded by oci-apparmor") {
		t.Errorf("exit code %d, %s", code, &m.errOut)
	}

	// What the service has loaded from our file is ours, and the file follows the policy.
	k.Remove(t, "shop")
	m.run("policy", "apply")
	k.Load(t, kerneltest.Blob(sound("shop", ""), "shop"))
	m.onlyShop("  network,\n")
	m.run("policy", "apply", "--quiet")
	if said := m.errOut.String(); said != "" {
		t.Error(said)
	}
	if data, err := os.ReadFile("apparmor.d/shop.oci-apparmor"); err != nil || !strings.Contains(string(data), "network") {
		t.Errorf("%s, %v", data, err)
	}
}

// crooked is a compiler whose texts do not compile to the same without their includes.
type crooked struct{ node.Compiler }

func (crooked) Standalone(context.Context, []byte, profile.Mode, func() (profile.Blob, error)) ([]byte, error) {
	return nil, errors.New("it compiles to something else")
}

// A policy of which AppArmor's service is not known is not put in force: what the service does not know, aa-remove-unknown
// takes from under running containers.
func TestApplyIsRefusedWithoutTheServiceFile(t *testing.T) {
	m, _ := newBoots(t)
	m.onlyShop("")
	m.run("policy", "apply")
	before, err := os.ReadFile("apparmor.d/shop.oci-apparmor")
	if err != nil {
		t.Fatal(err)
	}
	m.onlyShop("  network,\n")
	working := m.CompilerOf
	for what, fails := range map[string]func(){
		"it compiles to something else": func() {
			m.CompilerOf = func(features []byte) (node.Compiler, error) {
				c, err := working(features)
				return crooked{c}, err
			}
		},
		"apparmor.d/shop.oci-apparmor: it was not written by oci-apparmor, and stays as it is": func() {
			before = []byte("# mine\n")
			m.write("apparmor.d/shop.oci-apparmor", string(before))
		},
	} {
		m.CompilerOf = working
		fails()
		code, _ := m.run("policy", "apply", "--quiet")
		said := m.errOut.String()
		if code != exit.Cannot || !strings.Contains(said, "profile shop for AppArmor's service cannot be written") ||
			!strings.Contains(said, what) || !strings.Contains(said, "not applied: the last good policy (generation 1) stays in force") {
			t.Errorf("exit code %d, %s", code, said)
		}
		if after, err := os.ReadFile("apparmor.d/shop.oci-apparmor"); err != nil || string(after) != string(before) {
			t.Errorf("the service's file is\n%s%v, was\n%s", after, err, before)
		}
		if files, _ := filepath.Glob("apparmor.d/.*"); len(files) > 0 {
			t.Errorf("%q are left", files)
		}
	}
}

// What the service's file was found to be is remembered, and the file is not read again. A change of it is found all the same, and
// what is remembered is not believed if it is damaged.
func TestAChangedServiceFileIsWrittenAgain(t *testing.T) {
	const path, record = "apparmor.d/shop.oci-apparmor", "store/seen"
	read := func(path string) string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for what, spoil := range map[string]func(m *machine, whole string){
		"other text of the same size and time": func(m *machine, whole string) {
			info, err := os.Stat(path)
			m.write(path, strings.Replace(whole, "signal", "SIGNAL", 1))
			if err := errors.Join(err, os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
				t.Fatal(err)
			}
		},
		"cut short": func(m *machine, whole string) { m.write(path, whole[:len(whole)-4]) },
		"gone":      func(*machine, string) { os.Remove(path) },
		"edited, and what is remembered is cut short": func(m *machine, whole string) {
			m.write(path, whole+"# edited\n")
			m.write(record, read(record)[:100])
		},
		"edited, and what is remembered is gone": func(m *machine, whole string) {
			m.write(path, whole+"# edited\n")
			os.Remove(record)
		},
	} {
		m, _ := newBoots(t)
		m.onlyShop("")
		m.run("policy", "apply")
		whole := read(path)
		for range 2 {
			time.Sleep(30 * time.Millisecond) // a file that has just been written is read again
			if code, _ := m.run("policy", "apply"); code != 0 || read(path) != whole {
				t.Fatalf("exit code %d, %s", code, &m.errOut)
			}
		}
		if !strings.Contains(read(record), path+"\t") {
			t.Errorf("%s is not remembered:\n%s", path, read(record))
		}
		time.Sleep(30 * time.Millisecond)
		spoil(m, whole)
		if code, _ := m.run("policy", "apply"); code != 0 || read(path) != whole {
			t.Errorf("%s: exit code %d, %s\n%s", what, code, &m.errOut, read(path))
		}
	}
}

// A profile of ours that attaches to an engine's program counts among those whose labels are looked for, however often its file was
// read.
func TestAServiceFileThatAttachesIsReadEachTime(t *testing.T) {
	const path = "apparmor.d/shop.oci-apparmor"
	m, _ := newBoots(t)
	m.onlyShop("")
	m.write("etc/profiles/shop", strings.Replace(sound("shop", ""), "profile shop", "profile shop /usr/bin/crun", 1))
	for n := range 3 {
		if code, _ := m.run("policy", "apply"); code != 0 {
			t.Fatalf("exit code %d, %s", code, &m.errOut)
		}
		time.Sleep(30 * time.Millisecond)
		if n == 0 {
			continue // the file was not there yet
		}
		g, err := store.Store{Dir: "store"}.Current()
		if err != nil {
			t.Fatal(err)
		}
		if made, err := g.Manifest(); err != nil || !slices.Contains(made.Attached, "shop") {
			t.Errorf("apply %d: generated profiles take signals from %q, %v", n+1, made.Attached, err)
		}
	}
	if data, err := os.ReadFile("store/seen"); err == nil && strings.Contains(string(data), path) {
		t.Errorf("it is remembered:\n%s", data)
	}
}

// A file that is remembered is removed when its profile leaves the policy, and its text is kept for a rollback.
func TestARememberedServiceFileIsRemoved(t *testing.T) {
	const path = "apparmor.d/shop.oci-apparmor"
	m, _ := newBoots(t)
	m.onlyShop("")
	for range 3 {
		m.run("policy", "apply")
		time.Sleep(30 * time.Millisecond)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m.write("etc/policy.yaml", "version: 1\nassign:\n  - policy: keep\n")
	if code, _ := m.run("policy", "apply"); code != 0 {
		t.Fatalf("exit code %d, %s", code, &m.errOut)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if code, _ := m.run("policy", "rollback"); code != 0 {
		t.Fatalf("exit code %d, %s", code, &m.errOut)
	}
	if back, err := os.ReadFile(path); err != nil || string(back) != string(whole) {
		t.Errorf("after a rollback: %v\n%s", err, back)
	}
}

// A file that another file overrules has an earlier text in it, which a boot can load.
func TestServiceFileOfEarlierTextIsTold(t *testing.T) {
	m, _ := newBoots(t)
	m.onlyShop("")
	m.run("policy", "apply")
	m.onlyShop("  network,\n")
	m.write("apparmor.d/mine", "profile shop {\n}\n")
	m.run("policy", "apply")
	if said := m.errOut.String(); !strings.Contains(said, "apparmor.d/mine defines a profile shop") ||
		!strings.Contains(said, "; apparmor.d/shop.oci-apparmor still has an earlier text of it, which a boot or a reload can put back") {
		t.Error(said)
	}
}

// A file of the service's own that is loaded by hand is what the service knows already.
func TestServiceFileThatIsLoadedByHand(t *testing.T) {
	m, _ := newBoots(t)
	m.write("shop", sound("shop", ""))
	m.run("profile", "load", "shop")
	m.write("apparmor.d/shop", sound("shop", "  network,\n"))
	if code, _ := m.run("profile", "load", "apparmor.d/shop"); code != 0 || m.errOut.Len() > 0 {
		t.Errorf("exit code %d, %s", code, &m.errOut)
	}
	if files, err := os.ReadDir("apparmor.d"); err != nil || len(files) != 1 {
		t.Errorf("%v, %v: shop alone would do", files, err)
	}
}

// Of several profiles that were removed all are told, and what is left of each.
func TestProfileUnloadTellsWhatIsLeft(t *testing.T) {
	m, _ := newBoots(t)
	if err := errors.Join(os.Remove("store/texts/web.json"), os.MkdirAll("store/texts/web.json/full", 0o755)); err != nil {
		t.Fatal(err)
	}
	code, out := m.run("profile", "unload", "web", "work")
	if code != exit.Cannot || out != "web: removed\nwork: removed\n" ||
		!strings.Contains(m.errOut.String(), "profile web was removed, and its text cannot be") {
		t.Errorf("exit code %d, %s%s", code, out, &m.errOut)
	}
	if _, err := os.Stat("store/texts/work.json"); err == nil {
		t.Error("the text of work is left")
	}
}

// profile list says whose a profile is after a boot by AppArmor's service alone, and how its content stands to policies.
func TestProfileListKnowsEarlierPolicies(t *testing.T) {
	m, k := newBoots(t)
	loadedBy := func(want string) {
		t.Helper()
		_, out := m.run("profile", "list")
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); f[0] == "shop" {
				if f[2] != want {
					t.Errorf("it is listed as loaded by %s, want %s", f[2], want)
				}
				return
			}
		}
		t.Errorf("it is not listed:\n%s", out)
	}
	apply := func(rules string) {
		t.Helper()
		m.onlyShop(rules)
		if code, _ := m.run("policy", "apply", "--quiet"); code != 0 {
			t.Fatal(m.errOut.String())
		}
	}
	apply("")
	k.Load(t, kerneltest.Blob(sound("shop", ""), "shop")) // AppArmor's service does so
	loadedBy("oci-apparmor")
	apply("  network,\n")
	loadedBy("earlier")
	if _, out := m.run("profile", "show", "shop"); !strings.Contains(strings.ReplaceAll(out, "\n#          ", " "), "by an earlier policy; the next start") {
		t.Errorf("profile show says %s", out)
	}
	k.Load(t, kerneltest.Blob("by somebody", "shop"))
	loadedBy("changed")
	m.run("policy", "load")
	loadedBy("oci-apparmor")
	m.write("etc/policy.yaml", bootPolicy)
	if code, _ := m.run("policy", "apply", "--quiet"); code != 0 {
		t.Fatal(m.errOut.String())
	}
	loadedBy("dropped")
	k.Load(t, kerneltest.Blob("by somebody", "shop"))
	loadedBy("changed")
}

// The profile of a container that is recorded was never in the policy, so that it was not dropped from it either.
func TestProfileListKnowsRecordings(t *testing.T) {
	m, _ := newBoots(t)
	name := recording.NameFor("web", "docker", "c1")
	blob, err := profile.Parse(kerneltest.Blob("recording", name))
	if err != nil {
		t.Fatal(err)
	}
	p := kernel.Profile{Name: name, Compiled: blob.Profiles, OnDrift: profile.ReplaceOwn,
		Blob: func() ([]byte, error) { return blob.Data, nil }}
	if _, err := m.Kernel.Ensure(t.Context(), []kernel.Profile{p}); err != nil {
		t.Fatal(err)
	}
	if _, out := m.run("profile", "list"); !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` +[a-z]+ +recording +0$`).MatchString(out) {
		t.Errorf("lists\n%s", out)
	}
}
