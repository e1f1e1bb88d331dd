package command

import (
	"os"
	"strings"
	"testing"
)

// What explain says of a container is what a start would decide with what its engine tells: no more, and no less.
func TestExplainWhatEnginesTell(t *testing.T) {
	dir := packageDir(t)
	m := newMachine(t)
	m.write("etc/policy.yaml", `version: 1
profiles: {web: {file: profiles/web}}
policies: {web: {profile: web}}
assign:
  - {container: shop, policy: web}
  - {image: "nginx:*", policy: web}
  - {label: {com.docker.compose.project: shop}, policy: web}
  - {policy: keep, request: web}
`)
	m.write("etc/profiles/web", "profile web { signal, }\n")
	m.run("policy", "check", "--config", "etc")
	explain := func(args ...string) { m.run(append([]string{"policy", "explain", "--config", "etc"}, args...)...) }
	for _, args := range []string{
		"--engine docker --container shop", "--engine docker --container ship", "--engine docker --image nginx",
		"--engine docker --image docker.io/library/nginx:1", "--engine docker --image quay.io/nginx:1",
		"--engine docker --label com.docker.compose.project=shop",
		"--engine docker --container a --annotation oci-apparmor/policy.a=web",
		"--engine docker --container b --annotation oci-apparmor/policy.a=web", "--engine docker --annotation oci-apparmor/policy.a=web",
		"--annotation oci-apparmor/policy.a=web", "--id a --annotation oci-apparmor/policy.a=web", "--engine podman --image nginx:1", "--engine podman --container x --label com.docker.compose.project=shop",
		"--engine other --image nginx:1 --id a", "--engine other --id shop", "--label com.docker.compose.project=shop", "--label =x",
		"--engine containerd --image nginx:1", "--privileged=partly", "--privileged=perhaps",
	} {
		explain(strings.Fields(args)...)
	}
	m.note("a bundle of Docker's, without and with its file")
	m.write("docker/overlay2/l/merged/x", "")
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	m.write("c1/config.json", `{"process": {}, "root": {"path": "`+wd+`/docker/overlay2/l/merged"}}`)
	explain("--bundle", "c1", "--engine", "docker")
	m.write("docker/containers/c1/config.v2.json", `{"ID": "c1", "Name": "/shop", "Config": {"Image": "nginx:1"}}`)
	if err := os.Chmod("docker/containers/c1/config.v2.json", 0o600); err != nil {
		t.Fatal(err)
	}
	explain("--bundle", "c1", "--engine", "docker")
	m.golden(dir)
}

// A seccomp profile and blanks between brackets make a container no less privileged.
func TestExplainFindsPrivilegesInABundle(t *testing.T) {
	for name, linux := range map[string]string{
		"seccomp": `"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}`,
		"blank":   `"maskedPaths": [ ]`,
		"null":    `"maskedPaths": null, "readonlyPaths": null`,
	} {
		t.Run(name, func(t *testing.T) {
			packageDir(t)
			m := newMachine(t)
			m.write("etc/policy.yaml", `version: 1
profiles: {strict: {template: docker-default}}
policies: {held: {profile: strict}}
assign:
  - privileged: true
    policy: held
  - policy: keep
`)
			m.write("b1/config.json", `{"ociVersion": "1.0.2", "process": {"args": ["sh"], "capabilities": {"bounding": ["CAP_SYS_ADMIN",
				"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_MAC_ADMIN", "CAP_NET_ADMIN"]}}, "root": {"path": "rootfs"}, "linux": {`+linux+`}}`)
			code, out := m.run("policy", "explain", "--config", "etc", "--bundle", "b1")
			if code != 0 || !strings.Contains(out, "label     strict\n") {
				t.Errorf("exit code %d:\n%s", code, out)
			}
		})
	}
}
