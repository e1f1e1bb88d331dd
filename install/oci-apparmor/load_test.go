package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
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
	m.compiler = func([]byte) (compiler, error) { return loadable{fakeCompiler{m}}, nil }
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
	os.RemoveAll(m.kernel.Proc + "/10")
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
