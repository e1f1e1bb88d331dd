package integration

import (
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// factsPolicy has a rule for each thing that Docker and Podman tell of a container in files of their own. Whoever is
// privileged gets work; everybody else keeps what the engine chose, but for an annotation.
const factsPolicy = `version: 1
profiles:
  web:  {file: profiles/web}
  work: {file: profiles/work}
policies:
  web:  {profile: web}
  work: {profile: work}
assign:
  - {privileged: true, policy: work}
  - {container: "shop-*", policy: web}
  - {image: "told:*", policy: web}
  - {engine: docker, label: {com.docker.compose.project: shop, com.docker.compose.service: "front*"}, policy: web}
  - {policy: keep, request: web}
`

// allowAll is a seccomp profile, by which privileged containers were not known for such before.
const allowAll = `{"defaultAction": "SCMP_ACT_ALLOW"}`

// The wrapper and the shim read what Docker tells of a container, and how far it is privileged.
func TestContainerdDockerFacts(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // what is read are Docker's files; status reads those of the others, too
	setPolicy(t, factsPolicy)
	c := guesttest.StartContainerd(t, guesttest.Containerds(t)[0], guesttest.ContainerdConfig{})
	d := guesttest.StartDocker(t, c, map[string]map[string]any{
		"wrapper": {"path": guesttest.DockerWrappers + "/runc"}, "shim": {"runtimeType": guesttest.Type.Type},
	})
	d.MustDocker(t, "tag", guesttest.ProbeImage, "told:1.27")
	seccomp := t.TempDir() + "/seccomp.json"
	write(t, seccomp, allowAll)
	engine := "docker-default"
	const ask = "--annotation oci-apparmor/policy"
	for _, test := range []struct {
		name, options, image string
		label                string
		brief                bool
	}{
		{"privileged", "--privileged", "", "work", false},
		{"privileged, with a seccomp profile", "--privileged --security-opt seccomp=" + seccomp, "", "work", true},
		{"privileged in part", "--cap-add SYS_ADMIN", "", "work", false},
		{"with an open /proc", "--security-opt systempaths=unconfined", "", "work", false},
		{"with the node's memory", "--device /dev/mem", "", "work", false},
		{"its name", "--name shop-1", "", "web", true},
		{"another name", "--name ship-1", "", engine, false},
		{"its image", "", "told:1.27", "web", true},
		{"its labels", "--label com.docker.compose.project=shop --label com.docker.compose.service=front1", "", "web", true},
		{"one of the labels", "--label com.docker.compose.project=shop", "", engine, false},
		{"an annotation for its name", "--name desk " + ask + ".desk=web", "", "web", true},
		{"an annotation for another name", "--name dusk " + ask + ".desk=web", "", engine, false},
	} {
		for _, runtime := range []string{"wrapper", "shim"} {
			if runtime == "shim" && !test.brief {
				continue
			}
			t.Run(runtime+"/"+test.name, func(t *testing.T) {
				image := guesttest.ProbeImage
				if test.image != "" {
					image = test.image
				}
				what := map[string]tries{"web": webTries, "work": workTries, engine: tryEngines}[test.label]
				wantOverride(t, d.Docker, override{options: test.options, label: test.label, what: what}, engine, false, "--runtime", runtime, image)
			})
		}
	}
	for name, options := range map[string]string{
		`annotation oci-apparmor/polcy means nothing: did you mean oci-apparmor/policy?`:            "--annotation oci-apparmor/polcy=web",
		`annotation oci-apparmor/policies.a means nothing: did you mean oci-apparmor/policy.a?`:     "--annotation oci-apparmor/policies.a=web",
		`policy "work", asked for by annotation oci-apparmor/policy.desk, is not allowed here: the`: "--name desk --annotation oci-apparmor/policy.desk=work",
	} {
		o := d.Docker(t, append(append([]string{"run", "--rm", "--network", "none", "--runtime", "wrapper"}, strings.Fields(options)...),
			guesttest.ProbeImage, "/bin/true")...)
		if o.Code == 0 || !strings.Contains(o.Stderr, name) {
			t.Errorf("%s: exit code %d, %s; want %s", options, o.Code, o.Stderr, name)
		}
		d.Docker(t, "rm", "--force", "desk")
	}

	// Renamed, a container is known by its new name at its next start.
	id := d.MustDocker(t, "create", "--network", "none", "--runtime", "wrapper", "--name", "bench", guesttest.ProbeImage, "/bin/sh", "-c", webTries.script())
	d.MustDocker(t, "rename", "bench", "shop-2")
	webTries.check(t, "a renamed container", d.MustDocker(t, "start", "--attach", id), "web")
	d.MustDocker(t, "rm", "--force", id)
}
