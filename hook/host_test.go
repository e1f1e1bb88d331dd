package hook

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// node is a Host with a policy in force and a kernel made of files: web and work may be asked for, work stacked on
// base; a container called kept keeps the engine's choice.
type node struct {
	*Host
	machine kerneltest.Machine
	caller  Caller
}

func newNode(t testing.TB) node {
	t.Helper()
	dir := t.TempDir()
	machine := kerneltest.New(t)
	n := node{
		Host: &Host{
			Store: store.Store{Dir: filepath.Join(dir, "store")}, Kernel: machine.Kernel(),
			Containers: filepath.Join(dir, "containers"),
		},
		machine: machine,
		caller:  Caller{Root: filepath.Join(dir, "root")},
	}
	n.apply(t, "v1")
	return n
}

// apply puts the policy in force, with content in its profiles.
func (n node) apply(t testing.TB, content string) {
	t.Helper()
	p := &policy.Config{
		Policies: []policy.Policy{
			{Name: "web", Profile: "web"},
			{Name: "work", Profile: "work", Floor: "base"},
			{Name: "hands-off", Profile: policy.Keep},
			{Name: "secret", Profile: "web"},
		},
		Assignments: []policy.Assignment{
			{File: "policy.yaml", Line: 1, Container: []string{"kept"}, Policy: "hands-off"},
			{File: "policy.yaml", Line: 2, Policy: "web", Request: []string{"work"}},
		},
	}
	for _, name := range []string{"web", "work", "base"} {
		p.Profiles = append(p.Profiles, policy.Profile{Name: name, Source: name, Text: []byte(content)})
	}
	if _, _, err := n.Store.Apply(t.Context(), p, kerneltest.Texts{}, store.Manifest{}, nil); err != nil {
		t.Fatal(err)
	}
}

// bundle writes a bundle whose annotations ask for a policy, and that names a profile, where these are not empty.
func bundle(t *testing.T, asks, names string) string {
	t.Helper()
	spec := specs.Spec{Version: "1.0.2", Process: &specs.Process{Args: []string{"true"}, ApparmorProfile: names}}
	if asks != "" {
		spec.Annotations = map[string]string{policy.Annotation: asks}
	}
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func config(t *testing.T, bundle string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// created makes the runtime's state of a container whose init process is pid.
func (n node) created(t *testing.T, id string, pid int) {
	t.Helper()
	dir := filepath.Join(n.caller.Root, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	state := fmt.Sprintf(`{"id":%q,"init_process_pid":%d}`, id, pid)
	if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ended changes the record of a container as if the process that created it had ended, and its pid was taken again.
func (n node) ended(t *testing.T, id string) {
	t.Helper()
	r, err := n.Recall(n.caller, id)
	if err != nil {
		t.Fatal(err)
	}
	r.Started = "1"
	data := r.marshal()
	if err := os.WriteFile(n.recordPath(n.caller, id), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestPrepareLoadsRewritesAndRemembers(t *testing.T) {
	n := newNode(t)
	b := bundle(t, "work", "engines-choice")
	out, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(b))
	if err != nil {
		t.Fatal(err)
	}
	if out.Label != "base//&work" || !strings.Contains(config(t, b), `"apparmorProfile":"base//\u0026work"`) &&
		!strings.Contains(config(t, b), `"apparmorProfile":"base//&work"`) {
		t.Errorf("label %q, spec %s", out.Label, config(t, b))
	}
	for _, name := range []string{"base", "work"} {
		if _, ok := n.machine.Path(name); !ok {
			t.Errorf("profile %s was not loaded", name)
		}
	}
	if _, ok := n.machine.Path("web"); ok {
		t.Error("a profile that is not needed was loaded")
	}
	r, err := n.Recall(n.caller, "c1")
	if err != nil || r.Label != "base//&work" || r.Policy != "work" || len(r.Profiles) != 2 {
		t.Errorf("remembered %+v, %v", r, err)
	}
	p, err := n.Exec(t.Context(), n.caller, "c1")
	if p.Label != "base//&work" || !p.Ours || err != nil {
		t.Errorf("exec gets %q, %v, %v", p.Label, p.Ours, err)
	}
	if p, err := n.Exec(t.Context(), Caller{Root: "/elsewhere"}, "c1"); p.Ours || err != nil {
		t.Errorf("a container of that id under another root is taken for ours (%v)", err)
	}
}

func TestRefusedContainerLeavesEverythingAsItWas(t *testing.T) {
	for _, asks := range []string{"secret", "nosuch", "u", ":", "base//&work", strings.Repeat("w", 300), "work\n"} {
		n := newNode(t)
		b := bundle(t, asks, "engines-choice")
		before := config(t, b)
		_, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(b))
		var refusal *policy.Refusal
		if !errors.As(err, &refusal) {
			t.Errorf("%.10q: got %v, want a refusal", asks, err)
		}
		if after := config(t, b); after != before {
			t.Errorf("%.10q: the spec was changed to %s", asks, after)
		}
		if n.machine.Writes(t) != 0 {
			t.Errorf("%.10q: something was loaded", asks)
		}
		if _, err := n.Recall(n.caller, "c1"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%.10q: it is remembered (%v)", asks, err)
		}
	}
}

func TestNothingIsDecidedWithoutAPolicy(t *testing.T) {
	n := newNode(t)
	if err := os.RemoveAll(n.Store.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "", ""))); !errors.Is(err, store.ErrNone) {
		t.Errorf("got %v, want %v", err, store.ErrNone)
	}
}

func TestKeptContainerIsNotTouched(t *testing.T) {
	n := newNode(t)
	n.machine.Load(t, kerneltest.Blob("the engine's own", "web"))
	b := bundle(t, "", "web")
	before := config(t, b)
	out, err := n.Prepare(t.Context(), n.caller, "kept", NewBundle(b))
	if err != nil || out.Label != "" || config(t, b) != before {
		t.Errorf("label %q, error %v, spec %s", out.Label, err, config(t, b))
	}
	if n.machine.Writes(t) != 0 {
		t.Error("a profile that the engine loaded and chose was replaced")
	}
	if p, err := n.Exec(t.Context(), n.caller, "kept"); p.Ours || err != nil {
		t.Errorf("exec in it is taken for ours (%v)", err)
	}

	// One that is missing is loaded: it would only keep the container from starting.
	if _, err := n.Prepare(t.Context(), n.caller, "kept", NewBundle(bundle(t, "", "work"))); err != nil {
		t.Fatal(err)
	}
	if _, ok := n.machine.Path("work"); !ok {
		t.Error("the missing profile that the engine chose was not loaded")
	}

	if p, err := n.Start(t.Context(), n.caller, "kept"); p.Ours || err != nil {
		t.Errorf("start with its profile there: %v, %v", p.Ours, err)
	}
	n.machine.Remove(t, "work") // between create and start
	if p, err := n.Start(t.Context(), n.caller, "kept"); !p.Ours || err == nil || !strings.Contains(err.Error(), "profile work was removed") {
		t.Errorf("started after its profile was removed: %v, %v", p.Ours, err)
	}

	// So are those of a stack, which an earlier start of the same bundle has written.
	if out, err = n.Prepare(t.Context(), n.caller, "kept", NewBundle(bundle(t, "", "base//&theirs//&web//&base"))); err != nil {
		t.Fatal(err)
	}
	if p, err := n.Start(t.Context(), n.caller, "kept"); p.Ours || err != nil {
		t.Errorf("start with other content under a name of ours: %v, %v", p.Ours, err)
	}
	if _, ok := n.machine.Path("base"); !ok || n.machine.Writes(t) != 2 || !strings.Contains(out.Warning, "profile web,") {
		t.Errorf("of a stack, base was loaded: %v, after %d writes; warning: %q", ok, n.machine.Writes(t), out.Warning)
	}
}

func TestStartOfOneNotRememberedNeedsWhatItsSpecNames(t *testing.T) {
	for _, c := range []struct {
		names, pending string
		refused        bool
	}{
		{"unconfined", "unconfined", false},
		{"unconfined", "crun//&unconfined (unconfined)", false},
		{"", "unconfined", false},
		{"", "theirs (enforce)", false},
		{"theirs", "theirs (enforce)", false},
		{"theirs", "crun//&theirs (mixed)", false},
		{"theirs", "theirs//&unconfined (enforce)", false},
		{"work//&base", "base//&runc//&work (mixed)", false},
		{"web", "unconfined", true},
		{"base//&work", "work (enforce)", true},
		{"base//&work", "unconfined//&work (enforce)", true},
		{"base//&work", "crun//&base (mixed)", true},
		{"web", "webb (enforce)", true},
		{":ns://theirs", ":ns:theirs (enforce)", false},
		{":ns://theirs", "unconfined", true},
	} {
		n := newNode(t)
		pending, err := kernel.ParseLabel(c.pending)
		if err != nil {
			t.Fatal(err)
		}
		dir := bundle(t, "", c.names)
		_, err = n.checkPending(t.Context(), pending, dir)
		if (err != nil) != c.refused {
			t.Errorf("spec %q, pending %q: %v", c.names, c.pending, err)
		}
		if err != nil && !strings.HasPrefix(c.names, ":") && (!strings.Contains(err.Error(), pending.String()) ||
			!strings.Contains(err.Error(), dir+"/config.json names \""+c.names+"\"") || !strings.Contains(err.Error(), "create it anew")) {
			t.Errorf("spec %q, pending %q: it says %v", c.names, c.pending, err)
		}
	}

	n := newNode(t)
	for _, dir := range []string{"", t.TempDir()} { // a spec that cannot be read
		t.Chdir(bundle(t, "", "unconfined"))
		if _, err := n.checkPending(t.Context(), kernel.Label{Components: []string{"unconfined"}}, dir); err == nil {
			t.Errorf("bundle %q: unconfined passes", dir)
		}
		if _, err := n.checkPending(t.Context(), kernel.Label{Components: []string{"theirs"}, Mode: "enforce"}, dir); err != nil {
			t.Errorf("bundle %q: %v", dir, err)
		}
	}
}

func TestBundleInARuntimesState(t *testing.T) {
	for _, c := range []struct{ name, state, want string }{
		{"state.json", `{"id":"c","init_process_pid":7,"config":{"rootfs":"/r","labels":["bundle=/forged","a=b","bundle=/b c"],` +
			`"mounts":[]},"cgroup_paths":{}}`, "/b c"},
		{"status", `{"pid":7,"rootfs":"/r","bundle":"/b","detached":true}`, "/b"},
		{"state.json", `{"init_process_pid":7,"config":{"labels":null}}`, ""},
		{"state.json", `{"init_process_pid":7,"config":{"labels":[1,"x"]}}`, ""},
		{"state.json", `{"init_process_pid":7,"config":{"labels":["bundle=/b"`, ""},
		{"status", `{"pid":7,"bundle":"b"}`, ""},
	} {
		n := newNode(t)
		dir := filepath.Join(n.caller.Root, "c")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, c.name), []byte(c.state), 0o600); err != nil {
			t.Fatal(err)
		}
		if pid, bundle := initAndBundle(n.caller, "c"); pid != 7 || bundle != c.want {
			t.Errorf("%s: pid %d, bundle %q, want %q", c.state, pid, bundle, c.want)
		}
	}
}

func TestStartNeedsTheProfileOfCreate(t *testing.T) {
	n := newNode(t)
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "work", ""))); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Start(t.Context(), n.caller, "c1"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Prepare(t.Context(), n.caller, "c2", NewBundle(bundle(t, "web", ""))); err != nil {
		t.Fatal(err)
	}
	n.machine.Load(t, kerneltest.Blob("loosened", "web"))
	p, err := n.Start(t.Context(), n.caller, "c2")
	if err != nil || !p.Ours || !strings.Contains(p.Warning, "web") {
		t.Errorf("after it was replaced by hand: %q, %v; want it put right with a warning", p.Warning, err)
	}
	// Under a stack that would not reach the process, which gets what was there first.
	n.machine.Load(t, kerneltest.Blob("loosened", "work"))
	if _, err := n.Start(t.Context(), n.caller, "c1"); err == nil || !strings.Contains(err.Error(), "profile work was replaced") {
		t.Errorf("after a part of its stack was replaced by hand: %v", err)
	}

	n.machine.Remove(t, "base")
	if _, err := n.Start(t.Context(), n.caller, "c1"); err == nil || !strings.Contains(err.Error(), "profile base was removed") {
		t.Errorf("after the floor was removed: %v", err)
	}
	n.machine.Load(t, kerneltest.Blob("v1", "base"))
	if _, err := n.Start(t.Context(), n.caller, "c1"); err == nil || !strings.Contains(err.Error(), "profile base was removed") {
		t.Errorf("after the floor was removed and loaded again: %v", err)
	}
	if p, err := n.Start(t.Context(), n.caller, "not-ours"); err != nil || p.Ours {
		t.Errorf("a container that we did not create: ours %v, %v", p.Ours, err)
	}
}

func TestExecVerifiesContent(t *testing.T) {
	n := newNode(t)
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "work", ""))); err != nil {
		t.Fatal(err)
	}
	n.machine.Remove(t, "work")
	p, err := n.Exec(t.Context(), n.caller, "c1")
	if err != nil || p.Label != "base//&work" || !strings.Contains(p.Warning, "profile work was removed") {
		t.Errorf("got %q, %q, %v; want a warning that the container is unconfined", p.Label, p.Warning, err)
	}
	if _, ok := n.machine.Path("work"); !ok {
		t.Error("the profile that was removed was not loaded again")
	}
	n.apply(t, "v2") // a new text in the policy reaches the next exec
	if _, err := n.Exec(t.Context(), n.caller, "c1"); err != nil {
		t.Fatal(err)
	}
	if raw, _ := os.ReadFile(filepath.Join(first(n.machine.Path("work")), "raw_data")); !strings.Contains(string(raw), "v2") {
		t.Errorf("the kernel has %q", raw)
	}

	// What a policy changes is no drift, and what somebody else changes is, also if that is what an earlier policy had.
	n.apply(t, "v3")
	if p, err := n.Exec(t.Context(), n.caller, "c1"); err != nil || strings.Contains(p.Warning, "other content") {
		t.Errorf("after another policy: %q, %v", p.Warning, err)
	}
	n.machine.Load(t, kerneltest.Blob("v2", "work"))
	if p, err := n.Exec(t.Context(), n.caller, "c1"); err != nil || !strings.Contains(p.Warning, "profile work was loaded with other content") {
		t.Errorf("after an earlier content was brought back: %q, %v", p.Warning, err)
	}
}

func TestPolicyThatNoLongerHasAProfile(t *testing.T) {
	n := newNode(t)
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "work", ""))); err != nil {
		t.Fatal(err)
	}
	p := &policy.Config{Policies: []policy.Policy{{Name: "hands-off", Profile: policy.Keep}},
		Assignments: []policy.Assignment{{Policy: "hands-off"}}}
	if _, _, err := n.Store.Apply(t.Context(), p, kerneltest.Texts{}, store.Manifest{}, nil); err != nil {
		t.Fatal(err)
	}
	if p, err := n.Exec(t.Context(), n.caller, "c1"); p.Label != "base//&work" || !p.Ours || err != nil {
		t.Errorf("got %q, %v, %v; want the container's label", p.Label, p.Ours, err)
	}
	n.machine.Load(t, kerneltest.Blob("loosened", "work"))
	if _, err := n.Exec(t.Context(), n.caller, "c1"); err == nil || !strings.Contains(err.Error(), "does not have") {
		t.Errorf("with other content: got %v", err)
	}
	n.machine.Remove(t, "work")
	if _, err := n.Exec(t.Context(), n.caller, "c1"); err == nil || !strings.Contains(err.Error(), "does not have") {
		t.Errorf("removed: got %v", err)
	}
}

func TestOfTwoThatAreCreatedAtOnceOneIsRefused(t *testing.T) {
	n := newNode(t)
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "work", ""))); err != nil {
		t.Fatal(err)
	}
	r, err := n.Recall(n.caller, "c1")
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "100") // the runtime that creates it, and has not made its directory yet
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	r.PID = other.Process.Pid
	r.Started, _ = StartOf(r.PID)
	data := r.marshal()
	if err := os.WriteFile(n.recordPath(n.caller, "c1"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	b := bundle(t, "web", "")
	before := config(t, b)
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(b)); err == nil || !strings.Contains(err.Error(), "being created") {
		t.Errorf("got %v", err)
	}
	if config(t, b) != before {
		t.Error("its spec was changed")
	}
	if p, _ := n.Exec(t.Context(), n.caller, "c1"); p.Label != "base//&work" {
		t.Errorf("the first one's processes now get %q", p.Label)
	}

	other.Process.Kill() // it failed, and the id is free again
	other.Wait()
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(b)); err != nil {
		t.Error(err)
	}
}

// What profile unload removes before a container's record is written, it could not know to be in use.
func TestAProfileThatIsRemovedBeforeTheRecordIsWrittenIsLoadedAgain(t *testing.T) {
	for id, profile := range map[string]string{"c1": "base", "kept": "web"} {
		t.Run(id, func(t *testing.T) {
			for range 100 {
				if removedBeforeTheRecord(t, id, profile) {
					return
				}
			}
			t.Error("the profile was never removed between the start's look at it and the record")
		})
	}
}

// removedBeforeTheRecord removes a profile as soon as a start has loaded it. It returns false if that was before the start has
// looked at what it had loaded: then the start is refused, as it must be.
func removedBeforeTheRecord(t *testing.T, id, profile string) bool {
	n := newNode(t)
	b := bundle(t, map[string]string{"c1": "work"}[id], "web")
	release, err := n.Hold() // as unload does for its last look
	if err != nil {
		t.Fatal(err)
	}
	var label string
	done := make(chan error)
	go func() {
		out, err := n.Prepare(t.Context(), n.caller, id, NewBundle(b))
		label = out.Label
		done <- err
	}()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, ok := n.machine.Path(profile); ok {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatal("it is not loaded")
		}
	}
	if err := n.machine.RemoveProfile(profile); err != nil {
		t.Fatal(err)
	}
	release()
	err = <-done
	if err != nil && strings.Contains(err.Error(), "somebody else loads or removes profiles at the same moment") {
		return false
	}
	if err != nil || id == "c1" && label != "base//&work" {
		t.Fatalf("%q, %v", label, err)
	}
	if _, ok := n.machine.Path(profile); !ok {
		t.Errorf("profile %s is not loaded", profile)
	}
	if _, err := n.Start(t.Context(), n.caller, id); err != nil {
		t.Errorf("the start is refused: %v", err)
	}
	if ended, _, err := n.Ended(); err != nil || len(ended) > 0 {
		t.Errorf("%d containers have ended (%v)", len(ended), err)
	}
	return true
}

func TestKeptContainerWithDriftSaysSo(t *testing.T) {
	n := newNode(t)
	n.machine.Load(t, kerneltest.Blob("loosened", "web"))
	out, err := n.Prepare(t.Context(), n.caller, "kept", NewBundle(bundle(t, "", "web")))
	if err != nil || !strings.Contains(out.Warning, "other content") {
		t.Errorf("got %q, %v", out.Warning, err)
	}
}

// AppArmor's global complain mode: nothing that is loaded is enforced, then or later.
func TestKernelThatEnforcesNothing(t *testing.T) {
	n := newNode(t)
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "work", ""))); err != nil {
		t.Fatal(err)
	}
	n.machine.Write(t, "module/mode", "complain\n")
	b := bundle(t, "work", "")
	before := config(t, b)
	says := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "write enforce to") {
			t.Errorf("%s: got %v", what, err)
		}
	}
	_, err := n.Prepare(t.Context(), n.caller, "c2", NewBundle(b))
	says("create", err)
	if config(t, b) != before {
		t.Error("the spec of a refused container was changed")
	}
	_, err = n.Guard(t.Context(), n.caller, "c2", NewBundle(bundle(t, "work", "base//&work")))
	says("guard", err)
	_, err = n.Start(t.Context(), n.caller, "c1")
	says("start", err)
	_, err = n.Exec(t.Context(), n.caller, "c1")
	says("exec", err)
	p := &policy.Config{Policies: []policy.Policy{{Name: "hands-off", Profile: policy.Keep}},
		Assignments: []policy.Assignment{{Policy: "hands-off"}}}
	if _, _, err := n.Store.Apply(t.Context(), p, kerneltest.Texts{}, store.Manifest{}, nil); err != nil {
		t.Fatal(err)
	}
	_, err = n.Exec(t.Context(), n.caller, "c1")
	says("exec under a policy that has not its profiles", err)
}

func TestKeptContainerOnAKernelThatEnforcesNothing(t *testing.T) {
	n := newNode(t)
	n.machine.Write(t, "module/mode", "complain\n")
	out, err := n.Prepare(t.Context(), n.caller, "kept", NewBundle(bundle(t, "", "web")))
	if err != nil || !strings.Contains(out.Warning, "write enforce to") || n.machine.Writes(t) != 1 {
		t.Errorf("got %q, %v, %d loads", out.Warning, err, n.machine.Writes(t))
	}
}

func TestSecondContainerOfAnIDIsRefusedAndTheFirstKept(t *testing.T) {
	n := newNode(t)
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "work", ""))); err != nil {
		t.Fatal(err)
	}
	n.created(t, "c1", os.Getpid())
	b := bundle(t, "web", "")
	before := config(t, b)
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(b)); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("got %v", err)
	}
	if config(t, b) != before {
		t.Error("its spec was changed")
	}
	if p, _ := n.Exec(t.Context(), n.caller, "c1"); p.Label != "base//&work" {
		t.Errorf("the first one's processes now get %q", p.Label)
	}
}

func TestForget(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer zombie.Wait()
	waitForZombie(t, zombie.Process.Pid)
	for name, tc := range map[string]struct {
		pid    int // 0: the runtime does not know the container
		forget bool
	}{
		"a running container is kept, since a delete of it fails": {os.Getpid(), false},
		"a stopped one is forgotten":                              {gone.Process.Pid, true},
		"a zombie has stopped":                                    {zombie.Process.Pid, true},
		"one that the runtime does not know is forgotten":         {0, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "work", ""))); err != nil {
				t.Fatal(err)
			}
			if tc.pid != 0 {
				n.created(t, "c1", tc.pid)
			}
			n.Forget(n.caller, "c1")
			if p, _ := n.Exec(t.Context(), n.caller, "c1"); p.Ours == tc.forget {
				t.Errorf("remembered: %v", p.Ours)
			}
		})
	}
}

func TestContainerWhoseSpecCannotBeWrittenIsForgotten(t *testing.T) {
	n := newNode(t)
	deep := t.TempDir() // so deep that the name of config.json is as long as names may be, and no longer one is
	const longest = unix.PathMax - 1 - len("/config.json")
	for len(deep) < longest-200 {
		deep += "/" + strings.Repeat("d", 100)
	}
	deep += "/" + strings.Repeat("d", longest-len(deep)-1)
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(bundle(t, "work", ""), "config.json"), filepath.Join(deep, "config.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(deep)); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Fatalf("gave %v, want that no other file could be made beside config.json", err)
	}
	if left, err := filepath.Glob(n.Containers + "/*.json"); err != nil || len(left) > 0 {
		t.Errorf("it is remembered: %q (%v)", left, err)
	}
}

// A shim lives while containers of its come and go.
func TestDropForgetsAContainerWhoseCreatorLives(t *testing.T) {
	n := newNode(t)
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "work", ""))); err != nil {
		t.Fatal(err)
	}
	r, err := n.Recall(n.caller, "c1")
	if err != nil {
		t.Fatal(err)
	}
	r.PID = os.Getppid()
	r.Started, _ = StartOf(r.PID)
	if err := os.WriteFile(n.recordPath(n.caller, "c1"), r.marshal(), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Forget(n.caller, "c1")
	if _, err := n.Recall(n.caller, "c1"); err != nil {
		t.Errorf("one that may be in the making was forgotten: %v", err)
	}
	n.created(t, "c1", os.Getpid())
	n.Drop(n.caller, "c1")
	if _, err := n.Recall(n.caller, "c1"); err != nil {
		t.Errorf("one that runs was dropped: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(n.caller.Root, "c1")); err != nil {
		t.Fatal(err)
	}
	n.Drop(n.caller, "c1")
	if _, err := n.Recall(n.caller, "c1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that is gone is remembered: %v", err)
	}
}

func TestRecordIsReadAsItWasWritten(t *testing.T) {
	r := Record{
		ID: "c\"1", Root: "/run/runc", Engine: "cri-o", Bundle: "/b\xff", Created: time.Unix(1700000000, 0).UTC(), PID: 7,
		Started: "123", Generation: 1 << 60, Policy: "work", Reason: "because\n", Label: "base//&work",
		Names: Names{Namespace: "shop", Pod: "shop-1", Container: "web\n", Image: "example.org/web:1", Sandbox: true},
		Profiles: []RecordProfile{
			{Name: "base", Dir: "base.1", Compiled: []profile.Compiled{{Name: "base", SHA1: [20]byte{1}, SHA256: [32]byte{2}}}},
			{Name: "work", Dir: "work.2", Compiled: []profile.Compiled{{Name: "work"}, {Name: "work//x", SHA1: [20]byte{3}, Mode: profile.Complain}}},
		},
	}
	data := r.marshal()
	var got Record
	if err := got.parse(data, nil); err != nil {
		t.Fatal(err)
	}
	r.Bundle = "/b\ufffd" // JSON has no other bytes
	if !reflect.DeepEqual(got, r) {
		t.Errorf("got  %+v\nwant %+v", got, r)
	}
	for _, bad := range []string{"", "{}", "[]", string(data[:len(data)-3]), `{"id":"a","label":"b"}`,
		strings.Replace(string(data), " 0", " ", 1)} {
		if err := new(Record).parse([]byte(bad), nil); err == nil {
			t.Errorf("%q is taken for a record", bad)
		}
	}
}

func TestSweepForgetsWhatTheRuntimeForgot(t *testing.T) {
	n := newNode(t)
	for _, id := range []string{"gone", "running", "being-created"} {
		if _, err := n.Prepare(t.Context(), n.caller, id, NewBundle(bundle(t, "work", ""))); err != nil {
			t.Fatal(err)
		}
	}
	n.created(t, "running", os.Getpid())
	for _, id := range []string{"gone", "running"} { // the process that created them has ended
		n.ended(t, id)
	}
	n.Sweep(Caller{Root: "/elsewhere"})
	n.Sweep(Caller{Root: filepath.Join(n.caller.Root, "not-there")})
	if paths, _ := filepath.Glob(n.Containers + "/*.json"); len(paths) != 3 {
		t.Fatalf("a sweep of other roots left %d of 3", len(paths))
	}
	n.Sweep(n.caller)
	for id, want := range map[string]bool{"gone": false, "running": true, "being-created": true} {
		if p, _ := n.Exec(t.Context(), n.caller, id); p.Ours != want {
			t.Errorf("%s is remembered: %v", id, p.Ours)
		}
	}
}

// A container of an id that was used before is created while others sweep: its record must survive.
func TestSweepLeavesTheRecordOfOneThatIsBeingCreated(t *testing.T) {
	n := newNode(t)
	if err := os.MkdirAll(n.caller.Root, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "work", ""))); err != nil {
		t.Fatal(err)
	}
	r, err := n.Recall(n.caller, "c1")
	if err != nil {
		t.Fatal(err)
	}
	var sweeps atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				n.Sweep(n.caller)
				sweeps.Add(1)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	const rounds = 100
	lost := 0
	old, path := *r, n.recordPath(n.caller, "c1")
	old.Started = "1" // the process that created it has ended
	for range rounds {
		if err := errors.Join(os.WriteFile(path+".old", old.marshal(), 0o600), os.Rename(path+".old", path)); err != nil {
			t.Fatal(err)
		}
		if err := n.remember(n.caller, r); err != nil {
			t.Fatal(err)
		}
		for now := sweeps.Load(); sweeps.Load() < now+2; { // the one that may have read the old record is over
			runtime.Gosched()
		}
		if _, err := n.Recall(n.caller, "c1"); err != nil {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d containers lost their records", lost, rounds)
	}
}

// crun hands the bundle to its hooks as it was spelled.
func TestGuardReadsTheSpecThatTheRuntimeRead(t *testing.T) {
	n := newNode(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, names := range map[string]string{"real/b": "unconfined", "b": "web"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		data := config(t, bundle(t, "", names))
		if err := os.WriteFile(filepath.Join(dir, name, "config.json"), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(dir+"/real/sub", 0o700), os.Symlink("real/sub", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Guard(t.Context(), n.caller, "c1", NewBundle(dir+"/link/../b")); err == nil || !strings.Contains(err.Error(), `"unconfined"`) {
		t.Errorf("a container whose spec names unconfined: got %v", err)
	}
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(dir+"/link/../b")); err != nil {
		t.Fatal(err)
	}
	if r, err := n.Recall(n.caller, "c1"); err != nil || r.Bundle != dir+"/real/b" ||
		!strings.Contains(config(t, r.Bundle), `"apparmorProfile":"web"`) {
		t.Errorf("remembered is %+v (%v)", r, err)
	}
}

func TestGuard(t *testing.T) {
	for name, tc := range map[string]struct{ asks, names, err string }{
		"the policy's profile passes":         {"", "web", ""},
		"a stack passes in any order":         {"work", "work//&base", ""},
		"another profile is refused":          {"", "work", `names the profile "work", and the policy gives it web`},
		"a part of a stack is refused":        {"work", "work", "the policy gives it base//&work"},
		"more than the stack is refused":      {"work", "work//&base//&unconfined", "the policy gives it base//&work"},
		"no profile is refused":               {"", "", "names no profile"},
		"a request not allowed is refused":    {"secret", "web", "secret"},
		"an alias of the kernel's is refused": {"", "::web", "the policy gives it web"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			b := bundle(t, tc.asks, tc.names)
			before := config(t, b)
			_, err := n.Guard(t.Context(), n.caller, "c1", NewBundle(b))
			if tc.err == "" {
				if err != nil {
					t.Error(err)
				}
				if n.machine.Writes(t) == 0 {
					t.Error("what was missing was not loaded")
				}
			} else {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("got %v, want an error with %q", err, tc.err)
				}
				if n.machine.Writes(t) != 0 {
					t.Error("something was loaded for a refused container")
				}
			}
			if config(t, b) != before {
				t.Error("the guard changed the spec")
			}
		})
	}
}

func TestIdentifyTrustsOnlyTheEnginesKeys(t *testing.T) {
	const forged = `{"process":{},"annotations":{
		"io.kubernetes.cri.sandbox-namespace":"kube-system","io.kubernetes.cri.container-name":"a","io.kubernetes.cri.image-name":"i",
		"io.kubernetes.cri.sandbox-name":"p","io.kubernetes.cri.container-type":"container",
		"io.kubernetes.pod.namespace":"default","io.kubernetes.pod.name":"q","io.kubernetes.container.name":"b",
		"io.kubernetes.cri-o.ImageName":"j","io.kubernetes.cri-o.ContainerType":"sandbox",
		"oci-apparmor/policy":"all","oci-apparmor/policy.a":"for-a","oci-apparmor/policy.id":"for-id"}}`
	for engine, want := range map[string]string{
		"containerd": "kube-system p a i false for-a",
		"cri-o":      "default q   true all",
		"docker":     "    false unclear", // without their files: see TestLook
		"podman":     "    false unclear",
		"other":      "  id  false for-id",
	} {
		f, err := Identify([]byte(forged), Caller{Engine: engine}, "id", "")
		if err != nil {
			t.Fatal(err)
		}
		if f.Request == nil && f.Unverified != nil && strings.HasPrefix(f.RequestKey, policy.Annotation+".") {
			f.Request = new("unclear")
		}
		if got := fmt.Sprintf("%s %s %s %s %v %s", f.Namespace, f.Pod, f.Container, f.Image, f.Sandbox, *f.Request); got != want {
			t.Errorf("%s: got %q, want %q", engine, got, want)
		}
	}
}

func waitForZombie(t *testing.T, pid int) {
	t.Helper()
	for range 10000 {
		if stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Fatal("the process did not end")
}

func first[T, U any](v T, _ U) T { return v }

// Without root's rights, as under a rootless engine, the error says what that means, and not only which file.
func TestRootlessIsToldWhy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can do without its rights for a while")
	}
	n := newNode(t)
	bundle := t.TempDir()
	if err := os.WriteFile(bundle+"/config.json", []byte(`{"ociVersion": "1.0.2", "process": {"args": ["true"]}}`), 0o666); err != nil {
		t.Fatal(err)
	}
	for dir := bundle; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Of this thread only, which go's own calls would change in all.
	runtime.LockOSThread()
	become := func(uid uintptr) {
		t.Helper()
		if _, _, err := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uid, ^uintptr(0)); err != 0 {
			t.Fatal(err)
		}
	}
	become(65534)
	_, err := n.Prepare(t.Context(), n.caller, "shop", NewBundle(bundle))
	become(0)
	runtime.UnlockOSThread()
	if err == nil || !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "Rootless containers cannot have AppArmor") {
		t.Errorf("%v", err)
	}
}
