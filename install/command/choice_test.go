package command

import "testing"

func TestExplainEngineChoice(t *testing.T) {
	dir := packageDir(t)
	m := newMachine(t)
	m.write("etc/policy.yaml", `version: 1
profiles:
  web:  {file: profiles/web}
  app:  {file: profiles/app}
  base: {file: profiles/base}
policies:
  app: {profile: app, floor: base}
assign:
  - namespace: kube-system
    policy: keep
  - policy: app
    request: [baseline]
    acceptChoice: [web, by-hand]
`)
	for _, name := range []string{"web", "app", "base"} {
		m.write("etc/profiles/"+name, "profile "+name+" { signal, }\n")
	}
	m.run("policy", "apply")
	m.run("policy", "show", "--json")
	explain := func(args ...string) { m.run(append([]string{"policy", "explain"}, args...)...) }
	for _, choice := range []string{"docker-default", "web", "app", "unconfined", "::by-hand", "\x1b[31m"} {
		explain("--engine-choice", choice)
	}
	explain("--engine-choice", "web", "--annotation", "oci-apparmor/policy=baseline")
	for _, choice := range []string{"unconfined", "nosuch", "docker-default"} {
		explain("--engine-choice", choice, "--engine", "containerd", "--namespace", "kube-system")
	}

	m.note("one that is loaded by hand")
	explain("--engine-choice", "by-hand")
	m.load("by-hand", [32]byte{1})
	m.write("securityfs/policy/profiles/by-hand.7/mode", "complain\n")
	explain("--engine-choice", "by-hand")
	explain("--engine-choice", "by-hand", "--json")
	m.write("proc/4711", "base//&by-hand (mixed)\n")
	explain("--engine-choice", "by-hand", "--pid", "4711")
	m.write("securityfs/policy/profiles/by-hand.7/mode", "unconfined\n")
	explain("--engine-choice", "by-hand")

	m.note("in a spec")
	m.write("b1/config.json", `{"process": {"apparmorProfile": "web"}}`)
	explain("--bundle", "b1")
	explain("--bundle", "b1", "--engine-choice", "web")
	m.golden(dir)
}
