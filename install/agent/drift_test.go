package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// drifting is a machine with a policy in force and the part that looks after its profiles.
type drifting struct {
	kerneltest.Machine
	t      *testing.T
	kernel *kernel.Kernel
	store  store.Store
	part   Part
	r      *Reporter
	log    lines
	table  *counts.Table
}

// compiling compiles a text to a blob that has it.
type compiling struct{}

func (compiling) Compile(_ context.Context, name string, _ profile.Mode, _ string, text []byte) (profile.Blob, error) {
	return profile.Parse(kerneltest.Blob(string(text), name))
}

func newDrifting(t *testing.T, profiles ...policy.Profile) *drifting {
	t.Helper()
	d := &drifting{Machine: kerneltest.New(t), t: t, table: counts.New(filepath.Join(t.TempDir(), "counts"))}
	d.kernel, d.store = d.Kernel(), store.Store{Dir: filepath.Join(t.TempDir(), "store")}
	if err := os.Mkdir(d.kernel.State, 0o700); err != nil {
		t.Fatal(err)
	}
	d.apply(profiles...)
	var err error
	if d.part, err = NewDrift(d.kernel, d.store.Dir, func(...string) string { return "" }, d.table); err != nil {
		t.Fatal(err)
	}
	d.r = &Reporter{New(Options{Dir: d.kernel.State, Log: d.log.log}), d.part.Name()}
	return d
}

func (d *drifting) apply(profiles ...policy.Profile) {
	d.t.Helper()
	c := &policy.Config{Profiles: profiles, Policies: []policy.Policy{{Name: policy.Keep, Profile: policy.Keep}}}
	if _, _, err := d.store.Apply(d.t.Context(), c, compiling{}, store.Manifest{Digest: "d"}, func(store.Progress) {}); err != nil {
		d.t.Fatal(err)
	}
}

// start makes sure of a profile as a container's start does.
func (d *drifting) start(name, text string) {
	d.t.Helper()
	blob := kerneltest.Blob(text, name)
	parsed, err := profile.Parse(blob)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.kernel.Ensure(d.t.Context(), []kernel.Profile{{Name: name, Compiled: parsed.Profiles, OnDrift: profile.ReplaceAny,
		Blob: func() ([]byte, error) { return blob, nil }}}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *drifting) act() error { return d.part.Act(d.t.Context(), d.r) }

func (d *drifting) must() {
	d.t.Helper()
	if err := d.act(); err != nil {
		d.t.Fatal(err)
	}
}

// counts checks how often drift was found and repaired, and which profiles are so now.
func (d *drifting) counts(found, repaired uint64, standing ...string) {
	d.t.Helper()
	s := d.r.State().Drift
	var names []string
	for _, one := range s.Standing {
		names = append(names, one.Profile)
	}
	if s.Found != found || s.Repaired != repaired || strings.Join(names, " ") != strings.Join(standing, " ") {
		d.t.Errorf("found %d, repaired %d, standing %q; want %d, %d, %q\n%s", s.Found, s.Repaired, names, found, repaired, standing,
			strings.Join(d.log.all, "\n"))
	}
	all, err := d.table.Read()
	if err != nil {
		d.t.Fatal(err)
	}
	var counted uint64
	for _, c := range all.All {
		if c.Name == counts.Drifts.Name && c.Labels["by"] == counts.ByAgent && c.Labels["outcome"] == counts.Replaced {
			counted += c.N
		}
	}
	if counted != repaired {
		d.t.Errorf("counted %d repairs, want %d: %v", counted, repaired, all)
	}
}

// has reports whether the kernel has a profile with the content of a text.
func (d *drifting) has(name, text string) bool {
	d.t.Helper()
	parsed, err := profile.Parse(kerneltest.Blob(text, name))
	if err != nil {
		d.t.Fatal(err)
	}
	found, err := d.kernel.Check(kernel.Profile{Name: name, Compiled: parsed.Profiles})
	if err != nil {
		d.t.Fatal(err)
	}
	return found.Status == kernel.Matches
}

func prof(name, text string) policy.Profile {
	return policy.Profile{Name: name, Source: "profiles/" + name, Text: []byte(text)}
}

// What somebody else replaces or removes is loaded again. What is not loaded is left, and so is what we have removed.
func TestDriftIsRepaired(t *testing.T) {
	d := newDrifting(t, prof("web", "one"), prof("idle", "x"))
	d.must()
	d.start("web", "one")
	d.must()
	d.counts(0, 0)
	d.Load(t, kerneltest.Blob("evil", "web"))
	d.must()
	d.counts(1, 1)
	if !d.has("web", "one") || !d.log.has("profile web: it was loaded with other content than the policy's") {
		t.Errorf("%q", d.log.all)
	}
	d.must() // its own load is none
	d.counts(1, 1)

	d.Remove(t, "web")
	d.must()
	d.counts(2, 2)
	if !d.has("web", "one") || !d.log.has("what ran under it is unconfined until it is started anew") {
		t.Errorf("%q", d.log.all)
	}
	if err := d.kernel.Remove(t.Context(), "web", func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	d.must()
	d.counts(2, 2)
	if d.has("web", "one") || d.has("idle", "x") {
		t.Error("what we have removed, or what nobody needs yet, was loaded")
	}
	d.start("web", "one") // and it is looked after again
	d.must()
	d.Load(t, kerneltest.Blob("evil", "web"))
	d.must()
	d.counts(3, 3)
	if s := d.r.State(); s.Policy.Generation != 1 || s.Policy.Digest != "sha256:d" {
		t.Errorf("%+v", s.Policy)
	}
}

// What drifted before the agent came is found when it comes.
func TestDriftBefore(t *testing.T) {
	d := newDrifting(t, prof("web", "one"))
	d.start("web", "one")
	d.Load(t, kerneltest.Blob("evil", "web"))
	d.must()
	d.counts(1, 1)
}

// With onDrift: refuse, and for a profile that somebody else has loaded, it is said once, and stands until it is over.
func TestDriftIsReported(t *testing.T) {
	refusing := prof("web", "one")
	refusing.OnDrift = profile.RefuseDrift
	d := newDrifting(t, refusing, prof("docker-default", "ours"))
	d.start("web", "one")
	d.Load(t, kerneltest.Blob("docker's", "docker-default"))
	d.must()
	d.counts(1, 0, "docker-default")
	d.Load(t, kerneltest.Blob("evil", "web"))
	d.must()
	d.must()
	d.counts(2, 0, "docker-default", "web")
	if !d.has("web", "evil") || !d.has("docker-default", "docker's") {
		t.Error("what must not be replaced was")
	}
	if n := strings.Count(strings.Join(d.log.all, "\n"), "onDrift: refuse"); n != 1 {
		t.Errorf("said %d times: %q", n, d.log.all)
	}
	d.Load(t, kerneltest.Blob("evil 2", "web"))
	d.must()
	d.counts(3, 0, "docker-default", "web")
	d.Load(t, kerneltest.Blob("one", "web"))
	d.must()
	d.counts(3, 0, "docker-default")
}

// The content of an earlier policy is no drift until a start has replaced it.
func TestDriftOfAnotherPolicy(t *testing.T) {
	d := newDrifting(t, prof("web", "one"))
	d.start("web", "one")
	d.must()
	d.r.Update(func(s *State) { s.Policy.Last = &Apply{Outcome: Refused} })
	d.apply(prof("web", "two"))
	d.must()
	d.counts(0, 0)
	if last := d.r.State().Policy.Last; last == nil || last.Outcome != Refused {
		t.Errorf("of the last apply is known %+v", last)
	}
	if !d.has("web", "one") {
		t.Error("a new policy is loaded before a start needs it")
	}
	if s := d.r.State(); s.Policy.Generation != 2 {
		t.Errorf("%+v", s.Policy)
	}
	d.start("web", "two")
	d.must()
	d.Load(t, kerneltest.Blob("one", "web"))
	d.must()
	d.counts(1, 1)
	if !d.has("web", "two") {
		t.Error("the earlier policy's content, brought back by somebody, stays")
	}
}

// A removal is found also where the profile is there again, as what ran under it is unconfined. It is said once.
func TestDriftRemovedAndLoadedAgain(t *testing.T) {
	byUs := func(d *drifting) {
		if err := d.kernel.Remove(d.t.Context(), "web", func() error { return nil }); err != nil {
			d.t.Fatal(err)
		}
	}
	others := func(d *drifting) { d.Remove(d.t, "web") }
	for name, c := range map[string]struct {
		remove, load func(d *drifting)
		found        uint64
	}{
		"by somebody":               {others, func(d *drifting) { d.Load(d.t, kerneltest.Blob("one", "web")) }, 1},
		"for a start":               {others, func(d *drifting) { d.start("web", "one") }, 1},
		"after our own removal":     {byUs, func(d *drifting) { d.Load(d.t, kerneltest.Blob("one", "web")) }, 0},
		"for a start after our own": {byUs, func(d *drifting) { d.start("web", "one") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDrifting(t, prof("web", "one"), prof("shop", "two"))
			d.start("web", "one")
			d.start("shop", "two")
			d.must()
			c.remove(d)
			c.load(d)
			d.must()
			d.must()
			d.counts(c.found, 0)
			if said := d.log.has("unconfined until it is started anew"); said != (c.found > 0) {
				t.Errorf("%q", d.log.all)
			}
			if !d.has("web", "one") {
				t.Error("it is not loaded")
			}
		})
	}

	// With other content two things are said, and that is not ours to replace.
	other := newDrifting(t, prof("web", "one"))
	other.start("web", "one")
	other.must()
	other.Remove(t, "web")
	other.Load(t, kerneltest.Blob("evil", "web"))
	other.must()
	other.must()
	other.counts(2, 0, "web")

	// One that was found missing, and stands so, is not said again.
	refusing := prof("web", "one")
	refusing.OnDrift = profile.RefuseDrift
	d := newDrifting(t, refusing)
	d.start("web", "one")
	d.must()
	d.Remove(t, "web")
	d.must()
	d.must()
	d.counts(1, 0, "web")
	d.Load(t, kerneltest.Blob("one", "web"))
	d.must()
	d.counts(1, 0)
}

// What was removed while no agent ran is found by the record of what the kernel had; not what we have removed, nor what no start has needed.
func TestDriftRemovedBefore(t *testing.T) {
	d := newDrifting(t, prof("web", "one"), prof("shop", "two"), prof("idle", "three"))
	d.start("web", "one")
	d.start("shop", "two")
	d.Remove(t, "web")
	if err := d.kernel.Remove(t.Context(), "shop", func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	d.must()
	d.must()
	d.counts(1, 1)
	if !d.has("web", "one") || d.has("shop", "two") || d.has("idle", "three") || !d.log.has("profile web: somebody has removed it") {
		t.Errorf("%q", d.log.all)
	}

	// A removal of ours that was cut off before its record was cleared is ours.
	cut := newDrifting(t, prof("web", "one"))
	cut.start("web", "one")
	verdicts, err := filepath.Glob(filepath.Join(cut.kernel.State, "verdict.*"))
	if err != nil || len(verdicts) != 1 {
		t.Fatal(verdicts, err)
	}
	text, err := os.ReadFile(verdicts[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := cut.kernel.Remove(t.Context(), "web", func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(verdicts[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	cut.must()
	cut.counts(0, 0)

	// One of an earlier policy is not needed yet.
	next := newDrifting(t, prof("web", "one"))
	next.start("web", "one")
	next.apply(prof("web", "two"))
	next.Remove(t, "web")
	next.must()
	next.counts(0, 0)
}

// What stands is what the policy in force has: not a profile that has left it, nor one whose content or answer to drift is another.
func TestDriftStandsNoMore(t *testing.T) {
	refusing, replacing := prof("web", "one"), prof("web", "one")
	refusing.OnDrift, replacing.OnDrift = profile.RefuseDrift, profile.ReplaceAny
	for name, c := range map[string]struct {
		next     []policy.Profile
		repaired uint64
		has      string
	}{
		"no profile is left":       {nil, 0, "evil"},
		"it has left the policy":   {[]policy.Profile{prof("shop", "two")}, 0, "evil"},
		"it is replaced by now":    {[]policy.Profile{replacing}, 1, "one"},
		"the content is adopted":   {[]policy.Profile{prof("web", "evil")}, 0, "evil"},
		"and the answer is as was": {[]policy.Profile{refusing, prof("shop", "two")}, 0, "evil"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDrifting(t, refusing)
			d.start("web", "one")
			d.must()
			d.Load(t, kerneltest.Blob("evil", "web"))
			d.must()
			d.counts(1, 0, "web")
			d.apply(c.next...)
			d.must()
			if len(c.next) > 0 && c.next[0].OnDrift == profile.RefuseDrift {
				d.counts(1, 0, "web")
			} else {
				d.counts(1+c.repaired, c.repaired)
			}
			if !d.has("web", c.has) {
				t.Errorf("the kernel has not %q", c.has)
			}
		})
	}
	d := newDrifting(t, refusing)
	d.start("web", "one")
	d.Load(t, kerneltest.Blob("evil", "web"))
	d.must()
	d.counts(1, 0, "web")
	if err := os.RemoveAll(d.store.Dir); err != nil {
		t.Fatal(err)
	}
	d.must()
	d.counts(1, 0)
}

// Somebody who replaces a profile again and again is not answered each time.
func TestDriftAgainAndAgain(t *testing.T) {
	d := newDrifting(t, prof("web", "one"))
	d.start("web", "one")
	d.must()
	var err error
	for i := range 20 {
		d.Load(t, kerneltest.Blob("evil "+string(rune('a'+i)), "web"))
		err = d.act()
	}
	if s := d.r.State().Drift; s.Repaired != mostRepairs || len(s.Standing) != 1 || len(s.Last) != maxDrifted || err == nil {
		t.Errorf("%+v, %v", s, err)
	}
	p := d.part.(*driftPart)
	for i := range p.ours[0].repairs {
		p.ours[0].repairs[i] = p.ours[0].repairs[i].Add(-moreRepairs)
	}
	d.must()
	if !d.has("web", "one") {
		t.Error("after a while it is not put right")
	}
}

// A profile that was not changed is not looked at again: a hash that changes without the directory's time is not read.
func TestDriftLooksAtWhatChanged(t *testing.T) {
	d := newDrifting(t, prof("web", "one"), prof("shop", "two"))
	d.start("web", "one")
	d.start("shop", "two")
	time.Sleep(100 * time.Millisecond) // until their times tell
	d.must()
	path, ok := d.Path("web")
	if !ok {
		t.Fatal("no directory")
	}
	old, err := os.ReadFile(path + "/sha256")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"/sha256", []byte(strings.Repeat("0", 64)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d.Load(t, kerneltest.Blob("evil", "shop"))
	d.must()
	d.counts(1, 1)
	if err := os.WriteFile(path+"/sha256", old, 0o644); err != nil {
		t.Fatal(err)
	}
	// But one that was changed right before it was looked at is: it could change again without a trace.
	d.Load(t, kerneltest.Blob("evil", "web"))
	d.must()
	d.counts(2, 2)
	if path, ok = d.Path("web"); !ok {
		t.Fatal("no directory")
	}
	if err := os.WriteFile(path+"/sha256", []byte(strings.Repeat("0", 64)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_ = d.act()
	if d.r.State().Drift.Found != 3 {
		t.Errorf("%+v", d.r.State().Drift)
	}
}

// Children count: one that is replaced by itself, and one that is added.
func TestDriftOfChildren(t *testing.T) {
	d := newDrifting(t, prof("web", "one"))
	d.start("web", "one")
	time.Sleep(100 * time.Millisecond)
	d.must()
	d.Load(t, kerneltest.Blob("evil", "web//hat"))
	d.must()
	d.counts(1, 0, "web")
	if !d.log.has("web//hat") {
		t.Errorf("%q", d.log.all)
	}
}
