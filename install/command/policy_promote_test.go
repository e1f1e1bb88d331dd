package command

import (
	"context"
	"encoding/hex"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/watcher"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

const waitingPolicy = `version: 1
profiles:
  web: {file: profiles/web}
  work: {file: profiles/work, onDrift: refuse}
policies:
  web: {profile: web, mode: complain, enforceAfter: 1h}
  work: {profile: work, mode: complain, enforceAfter: 2h}
assign:
  - policy: web
    request: [work]
`

// profileInForce returns a profile of the policy in force.
func (m *machine) profileInForce(name string) policy.Profile {
	m.t.Helper()
	g, err := store.Store{Dir: m.Store}.Current()
	if err != nil {
		m.t.Fatal(err)
	}
	c, err := g.Config()
	if err != nil {
		m.t.Fatal(err)
	}
	for _, p := range c.Profiles {
		if p.Name == name {
			return p
		}
	}
	m.t.Fatalf("no profile %s", name)
	return policy.Profile{}
}

// wantMode checks the mode of a profile of the policy in force.
func (m *machine) wantMode(when, name string, want profile.Mode) {
	m.t.Helper()
	if p := m.profileInForce(name); p.Mode != want || p.EnforceAfter == 0 {
		m.t.Errorf("%s, profile %s is in mode %s, to be enforced after %v; want %s", when, name, p.Mode, p.EnforceAfter, want)
	}
}

// shows lets a watcher show that profiles were quiet for a time, until the test ends.
func (m *machine) shows(times map[string]time.Duration) {
	m.t.Helper()
	m.showsSince(0, times)
}

// boot returns what names the machine's boot.
func (m *machine) boot() string {
	m.t.Helper()
	boot, err := quiet.Boot()
	if err != nil {
		m.t.Skip(err)
	}
	return boot
}

// showsSince is shows, by a proof that is so old.
func (m *machine) showsSince(age time.Duration, times map[string]time.Duration) {
	m.t.Helper()
	s := &quiet.State{Boot: m.boot(), PID: 1, Every: time.Minute, Proved: quiet.Clock() - age}
	for name, d := range times {
		p := m.profileInForce(name)
		s.Profiles = append(s.Profiles, &quiet.Profile{Name: name, Content: hex.EncodeToString(p.Blob[:]), Quiet: d, Since: time.Unix(0, 0)})
	}
	if err := m.State.Quiet.Write(s); err != nil {
		m.t.Fatal(err)
	}
}

// nothingCame says that profiles are quiet after they were compiled, too.
func nothingCame(context.Context) error { return nil }

// meanwhile is a compiler, while which does its work something else happens.
type meanwhile struct {
	loadable
	do func()
}

func (c meanwhile) Compile(ctx context.Context, name string, mode profile.Mode, source string, text []byte) (profile.Blob, error) {
	c.do()
	return c.loadable.Compile(ctx, name, mode, source, text)
}

// What comes while profiles are compiled prevents that they are enforced. Nothing is changed then.
func TestPromoteLooksAgainOnceCompiled(t *testing.T) {
	m, _ := newBoots(t)
	m.State.Quiet = quiet.Dir("run/quiet")
	do := func() {}
	m.CompilerOf = func([]byte) (node.Compiler, error) { return meanwhile{loadable{fakeCompiler{m}}, func() { do() }}, nil }
	m.write("etc/policy.yaml", waitingPolicy)
	m.run("policy", "apply")
	release, err := m.State.Quiet.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, c := range []struct {
		what  string
		comes func()
		says  string // empty if it is enforced
	}{
		{"a denial", func() { m.shows(map[string]time.Duration{"web": 0}) },
			"profile web stays in complain mode: it was quiet for long enough before it was compiled, and is no longer known to be: missing: 1h of 1h"},
		{"another content", func() { m.shows(nil) }, "missing: the watcher has not looked at its present content"},
		{"the watcher's end", func() {
			if err := m.State.Quiet.Write(&quiet.State{Boot: m.boot(), Dead: "it was ended"}); err != nil {
				t.Error(err)
			}
		}, "missing: nothing is shown now: it was ended"},
		{"a newer proof", func() { m.shows(map[string]time.Duration{"web": 2 * time.Hour}) }, ""},
	} {
		m.shows(map[string]time.Duration{"web": time.Hour})
		compiled := false
		do = sync.OnceFunc(func() {
			compiled = true
			c.comes()
		})
		code, out := m.run("policy", "promote", "web")
		says, mode := m.errOut.String(), profile.Enforce
		refused := code == exit.Refused && strings.Contains(says, c.says) && strings.Contains(says, "(generation 1) stays in force")
		if c.says != "" {
			mode = profile.Complain
		}
		if !compiled || refused != (c.says != "") || !refused && code != 0 {
			t.Errorf("%s: compiled %v, exit code %d, %s%s", c.what, compiled, code, out, says)
		}
		m.wantMode(c.what, "web", mode)
	}
}

// What was quiet for its time is enforced, and nothing else is changed by that. It stays so until its text changes or a
// rollback says otherwise.
func TestPromote(t *testing.T) {
	m, _ := newBoots(t)
	m.State.Quiet = quiet.Dir("run/quiet")
	m.write("etc/policy.yaml", waitingPolicy)
	if _, out := m.run("policy", "apply"); !strings.Contains(out, "of policy web: complain mode until quiet for 1h") || !strings.Contains(out, "missing: nobody watches") {
		t.Errorf("policy apply: %s", out)
	}
	m.wantMode("applied", "web", profile.Complain)
	if code, _ := m.run("policy", "promote", "web"); code != exit.Refused || !strings.Contains(m.errOut.String(), "policy web stays in complain mode: missing: nobody watches") {
		t.Errorf("without a watcher: exit code %d, %s", code, &m.errOut)
	}
	release, err := m.State.Quiet.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	m.shows(map[string]time.Duration{"web": time.Hour - 1, "work": time.Hour})
	if code, _ := m.run("policy", "promote"); code != 0 {
		t.Errorf("before the time: exit code %d, %s", code, &m.errOut)
	}
	m.wantMode("before the time", "web", profile.Complain)

	m.shows(map[string]time.Duration{"web": time.Hour, "work": time.Hour})
	if code, _ := m.run("policy", "promote", "web", "work"); code != exit.Refused || !strings.Contains(m.errOut.String(), "policy work stays in complain mode") {
		t.Errorf("one of two is not due: exit code %d, %s", code, &m.errOut)
	}
	if code, _ := m.run("policy", "promote", "keep"); code != exit.Usage {
		t.Errorf("of a policy without a time: exit code %d, %s", code, &m.errOut)
	}
	m.write("etc/policy.yaml", strings.Replace(waitingPolicy, "    request: [work]\n", "", 1))
	if code, _ := m.run("policy", "promote"); code != exit.Cannot || !strings.Contains(m.errOut.String(), "changes that are not in force") {
		t.Errorf("with changes of the policy file: exit code %d, %s", code, &m.errOut)
	}
	m.wantMode("with changes of the policy file", "web", profile.Complain)
	m.write("etc/policy.yaml", waitingPolicy)
	m.showsSince(2*time.Minute+time.Second, map[string]time.Duration{"web": time.Hour, "work": time.Hour})
	hasty, stop := context.WithCancel(t.Context())
	stop()
	if _, _, err := watcher.Promote(hasty, m.Node, []string{"web"}, func(apply.Loaded) {}); err == nil || !strings.Contains(err.Error(), "too old to enforce") {
		t.Errorf("with an old proof: %v", err)
	}
	m.wantMode("with an old proof", "web", profile.Complain)
	m.shows(map[string]time.Duration{"web": time.Hour, "work": time.Hour})
	code, out := m.run("policy", "promote")
	if code != 0 || !strings.Contains(out, "profile web is enforced: generation 2 is in force, in place of generation 1") || !strings.Contains(out, "missing: 1h of 2h") {
		t.Errorf("exit code %d, %s%s", code, out, &m.errOut)
	}
	m.wantMode("promoted", "web", profile.Enforce)
	m.wantMode("not promoted", "work", profile.Complain)

	if _, out := m.run("policy", "apply"); !strings.Contains(out, "generation 2 stays in force") || !strings.Contains(out, "enforced, as it was quiet for 1h") {
		t.Errorf("an apply of the same: %s", out)
	}
	m.write("etc/policy.yaml", strings.Replace(waitingPolicy, "1h", "30d", 1))
	m.run("policy", "apply")
	m.wantMode("with another time", "web", profile.Enforce)
	m.run("policy", "rollback")
	m.wantMode("rolled back", "web", profile.Complain)
	m.run("policy", "apply")
	m.wantMode("rolled back, and applied", "web", profile.Complain)
	m.run("policy", "rollback")
	m.run("policy", "rollback")

	m.write("etc/policy.yaml", waitingPolicy)
	m.run("policy", "apply")
	m.shows(map[string]time.Duration{"web": time.Hour})
	m.run("policy", "promote", "web")
	m.wantMode("promoted again", "web", profile.Enforce)
	m.write("etc/profiles/web", sound("web", "  /other r,\n"))
	if _, out := m.run("policy", "apply", "--dry-run"); !strings.Contains(out, "profile web: mode complain, before enforce") {
		t.Errorf("a dry run with another text: %s", out)
	}
	if _, out := m.run("policy", "apply"); !strings.Contains(out, "in complain mode until quiet again: web") {
		t.Errorf("an apply with another text: %s", out)
	}
	m.wantMode("with another text", "web", profile.Complain)
	if _, out := m.run("policy", "explain"); !strings.Contains(out, "missing: the watcher has not looked at its present content yet") {
		t.Errorf("policy explain: %s", out)
	}
}

// uncommented is a compiler to which comments mean nothing, as to the real one.
type uncommented struct{ loadable }

func (c uncommented) Compile(ctx context.Context, name string, mode profile.Mode, source string, text []byte) (profile.Blob, error) {
	return c.loadable.Compile(ctx, name, mode, source, regexp.MustCompile("(?m)^#.*\n").ReplaceAll(text, nil))
}

// What a person has written since the last apply counts, also where containers are started from the same as before.
func TestPromoteOfAChangedPolicy(t *testing.T) {
	m, _ := newBoots(t)
	m.CompilerOf = func([]byte) (node.Compiler, error) { return uncommented{loadable{fakeCompiler{m}}}, nil }
	m.State.Quiet = quiet.Dir("run/quiet")
	m.write("etc/policy.yaml", waitingPolicy)
	m.run("policy", "apply")
	release, err := m.State.Quiet.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	m.shows(map[string]time.Duration{"web": time.Hour})
	web := m.read("etc/profiles/web")
	for name, c := range map[string]struct{ file, text, says string }{
		"a longer time":       {strings.Replace(waitingPolicy, "1h", "9h", 1), web, "in enforceAfter of profile web"},
		"another one's time":  {strings.Replace(waitingPolicy, "2h", "9h", 1), web, "in enforceAfter of profile work"},
		"no time any more":    {strings.Replace(waitingPolicy, ", enforceAfter: 1h", "", 1), web, "in enforceAfter of profile web"},
		"tests are required":  {waitingPolicy + "require: tests\n", web, "in require"},
		"a comment in a text": {waitingPolicy, "# not to be enforced yet\n" + web, "in the text of a profile"},
		"another rule":        {strings.Replace(waitingPolicy, "    request: [work]\n", "", 1), web, "in what it decides"},
	} {
		m.write("etc/policy.yaml", c.file)
		m.write("etc/profiles/web", c.text)
		if code, _ := m.run("policy", "promote", "web"); code != exit.Cannot || !strings.Contains(m.errOut.String(), "not in force, "+c.says) {
			t.Errorf("%s: exit code %d, %s", name, code, &m.errOut)
		}
		m.wantMode(name, "web", profile.Complain)
	}

	// A longer time that comes into force while the policy is promoted.
	m.write("etc/policy.yaml", strings.Replace(waitingPolicy, "1h", "9h", 1))
	m.write("etc/profiles/web", web)
	m.run("policy", "apply")
	due := []apply.Quiet{{Profile: "web", Blob: m.profileInForce("web").Blob, After: time.Hour}}
	if _, err := apply.Promote(t.Context(), m.Node, due, nothingCame, func(apply.Loaded) {}); err == nil || !strings.Contains(err.Error(), "is to be quiet for 9h now") {
		t.Errorf("with a longer time in force: %v", err)
	}
	m.wantMode("with a longer time in force", "web", profile.Complain)

	// A comment in the policy file decides nothing.
	m.write("etc/policy.yaml", "# the web's\n"+waitingPolicy)
	m.run("policy", "apply")
	m.write("etc/policy.yaml", "# the web's, as before\n"+waitingPolicy)
	if code, _ := m.run("policy", "promote", "web"); code != 0 {
		t.Errorf("with another comment in the policy file: exit code %d, %s", code, &m.errOut)
	}
	m.wantMode("with another comment in the policy file", "web", profile.Enforce)
}
