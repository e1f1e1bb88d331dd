package command

import (
	"os"
	"strings"
	"testing"
)

const webBundle = `{"ociVersion": "1.0.2", "process": {"user": {"uid": 0}, "args": ["start"], "env": ["PATH=/usr/sbin:/usr/bin"], "cwd": "/",
	"capabilities": {"bounding": ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]}},
	"root": {"path": "rootfs", "readonly": true},
	"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/run", "type": "tmpfs", "source": "tmpfs"},
		{"destination": "/my data", "type": "none", "source": "/srv", "options": ["rbind"]},
		{"destination": "/engine", "type": "none", "source": "/var/run", "options": ["rbind"]}],
	"linux": {"maskedPaths": ["/proc/keys"]}}`

func TestProfileNew(t *testing.T) {
	dir := packageDir(t)
	m := newCompiling(t)
	m.write("web/config.json", webBundle)
	m.write("web/rootfs/usr/bin/start", "#!/usr/bin/tool -x\n")
	m.write("web/rootfs/usr/bin/tool", "\x7fELF")
	m.run("profile", "new", "--from", "bundle:web")
	m.run("profile", "new", "--from", "web", "--name", "shop", "--output", "shop")
	m.run("profile", "check", "--strict", "shop")
	m.run("profile", "new", "--from", "web", "--name", "shop", "--output", "shop")
	m.run("profile", "new", "--from", "web", "--name", "shop", "-o", "shop", "--force")
	m.run("profile", "new")
	m.run("profile", "new", "--from", "bundle:missing")
	m.run("profile", "new", "--from", "web", "--name", "u")
	m.write("pod.yaml", "kind: Pod\nspec: {containers: [{name: '::', image: 'team/api:1'}, {name: b}]}\n")
	m.run("profile", "new", "--from", "pod:pod.yaml")
	m.run("profile", "new", "--from", "pod:pod.yaml", "--container", "::", "--output", "api")
	m.golden(dir)
}

// What a description says decides about nothing but the profile of its container.
func TestProfileNewOfHostileDescriptions(t *testing.T) {
	m := newCompiling(t)
	m.write("pod.yaml", `kind: Pod
spec:
  containers:
    - name: "x}\nprofile y {"
      image: "a\", policy: keep}\n#"
      command: ["/x\n  capability,"]
      volumeMounts: [{name: a, mountPath: "/a\uFFFD"}]
`)
	if code, out := m.run("profile", "new", "--from", "pod.yaml"); code == 0 || out != "" {
		t.Errorf("exit code %d, %s", code, out)
	}
	m.write("pod.yaml", strings.ReplaceAll(m.read("pod.yaml"), `/a\uFFFD`, `/a\n  mount,\\\" capability,`))
	code, out := m.run("profile", "new", "--from", "pod.yaml", "--output", "text")
	if code != 0 || strings.Contains(out, "keep}\n#") || !strings.Contains(out, "x--profile-y") {
		t.Errorf("exit code %d, %s", code, out)
	}
	if code, out := m.run("profile", "check", "--strict", "text"); code != 0 {
		t.Errorf("exit code %d, %s", code, out)
	}
}

// Whatever a description gives, profile check has nothing to say of the text that is made of it.
func TestProfileNewPassesCheck(t *testing.T) {
	m := newCompiling(t)
	m.write("pod.yaml", `kind: Pod
metadata: {name: shop}
spec:
  hostNetwork: true
  hostPID: true
  containers:
    - {name: admin, image: a, securityContext: {capabilities: {add: [SYS_ADMIN, SYS_PTRACE, NET_RAW, NET_ADMIN]}}}
    - {name: privileged, image: b, command: [/bin/sh, -c, id], securityContext: {privileged: true}}
    - {name: nobody, image: c, securityContext: {runAsUser: 1000, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}
    - name: mounts
      image: d
      volumeMounts: [{name: a, mountPath: "/my data"}, {name: b, mountPath: /var/run/docker.sock}, {name: c, mountPath: /bin/tools},
        {name: d, mountPath: /lib/x}, {name: e, mountPath: /node}]
  volumes: [{name: a, emptyDir: {}}, {name: b, hostPath: {path: /run/docker.sock}}, {name: c, hostPath: {path: /bin}},
    {name: d, configMap: {name: x}}, {name: e, hostPath: {path: /}}]
`)
	for _, name := range []string{"admin", "privileged", "nobody", "mounts"} {
		if code, out := m.run("profile", "new", "--from", "pod:pod.yaml", "--container", name, "--output", name); code != 0 {
			t.Fatalf("%s: exit code %d, %s%s", name, code, out, m.errOut.String())
		}
		if code, out := m.run("profile", "check", "--strict", name); code != 0 {
			t.Errorf("%s: exit code %d, %s", name, code, out+m.errOut.String())
		}
	}
}

// Where nothing can be compiled, the text is still made, and it is said that nothing is proven.
func TestProfileNewWithoutAppArmor(t *testing.T) {
	m := newMachine(t)
	m.write("web/config.json", webBundle)
	m.CompilerOf = nil // the machine has no features of a kernel
	if err := os.RemoveAll("securityfs/features"); err != nil {
		t.Fatal(err)
	}
	code, out := m.run("profile", "new", "--from", "web")
	if code != 0 || !strings.Contains(out, `profile "web" `) || !strings.Contains(m.errOut.String(), "nothing of it is proven") {
		t.Errorf("exit code %d, %s%s", code, out, m.errOut.String())
	}
	if code, out := m.run("profile", "new", "--from", "web", "--features", "nosuch"); code == 0 || out != "" {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func (m *machine) read(name string) string {
	m.t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}
