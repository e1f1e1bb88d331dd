package workload

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/draft"
)

// write writes a file in a new directory, and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// reads reads the only container of a description, and fails the test if it cannot.
func reads(t *testing.T, kind, text string) *Workload {
	t.Helper()
	w, err := (&Sources{Stdin: strings.NewReader(text)}).Read(kind, "")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

const dockerInspect = `[{"Id": "0123", "Name": "/web", "Path": "/docker-entrypoint.sh", "Args": ["nginx", "-g", "daemon off;"],
	"Config": {"Image": "nginx:1", "User": "101:101", "Env": ["A=b", "PATH=/usr/sbin:relative:/usr/bin"], "WorkingDir": "/srv",
		"ExposedPorts": {"80/tcp": {}, "8000-8010/udp": {}}},
	"HostConfig": {"ReadonlyRootfs": true, "CapAdd": ["net_admin"], "CapDrop": ["CAP_MKNOD", "NET_RAW"],
		"SecurityOpt": ["no-new-privileges", "seccomp=x"], "NetworkMode": "bridge", "IpcMode": "private",
		"PortBindings": {"80/tcp": [{"HostPort": "8080"}], "443/tcp": []}, "Tmpfs": {"/scratch": "ro,size=1m"},
		"MaskedPaths": ["/proc/kcore"], "Devices": [{"PathOnHost": "/dev/kvm", "PathInContainer": "/dev/kvm", "CgroupPermissions": "rm"}]},
	"Mounts": [{"Type": "volume", "Source": "/var/lib/docker/volumes/x/_data", "Destination": "/data", "RW": true},
		{"Type": "bind", "Source": "/srv/html", "Destination": "/html", "RW": false}]}]`

func TestDockerInspect(t *testing.T) {
	for _, kind := range []string{"docker:-", "-"} {
		w := reads(t, kind, dockerInspect)
		want := &Workload{Name: "web", Container: draft.Container{
			From: "standard input", Image: "nginx:1", Args: []string{"/docker-entrypoint.sh", "nginx", "-g", "daemon off;"},
			Path: []string{"/usr/sbin", "/usr/bin"}, Dir: "/srv", User: "101:101", NoNewPrivileges: true, ReadOnlyRoot: true, LowPorts: true,
			Masked: []string{"/proc/kcore"}, Devices: []draft.Device{{Path: "/dev/kvm"}},
			Ports: []draft.Port{{Number: 443, Protocol: "tcp"}, {Number: 80, Protocol: "tcp"}, {Number: 8000, Protocol: "udp"}},
			Mounts: []draft.Mount{{At: "/dev/shm", Type: "tmpfs", Writable: true}, {At: "/dev/mqueue", Type: "mqueue", Writable: true},
				{At: "/data", Source: "/var/lib/docker/volumes/x/_data", Type: "bind", Writable: true},
				{At: "/html", Source: "/srv/html", Type: "bind"}, {At: "/scratch", Type: "tmpfs"}},
		}}
		want.Bounding = w.Bounding
		if fmt.Sprintf("%+v", w) != fmt.Sprintf("%+v", want) {
			t.Errorf("got\n%+v\nwant\n%+v", w, want)
		}
		for name, want := range map[string]bool{"CAP_NET_ADMIN": true, "CAP_CHOWN": true, "CAP_MKNOD": false, "CAP_NET_RAW": false, "CAP_SYS_ADMIN": false} {
			if slices.Contains(w.Bounding, name) != want {
				t.Errorf("%s: %v", name, !want)
			}
		}
	}
}

func TestCapabilities(t *testing.T) {
	usual := []string{"CAP_CHOWN", "CAP_KILL"}
	for want, got := range map[string][]string{
		"[CAP_CHOWN CAP_KILL]":    capabilities(usual, nil, nil, false),
		"[CAP_KILL CAP_SYS_NICE]": capabilities(usual, []string{"sys_nice"}, []string{"Chown"}, false),
		"[CAP_SYS_TIME]":          capabilities(usual, []string{"SYS_TIME"}, []string{"all"}, false),
		"[]":                      capabilities(usual, nil, []string{"ALL"}, false),
	} {
		if fmt.Sprint(got) != want {
			t.Errorf("%v, want %s", got, want)
		}
	}
	every := capabilities(usual, nil, []string{"CAP_CHOWN"}, true)
	if len(every) != 41 || len(capabilities(usual, []string{"ALL"}, []string{"CHOWN"}, false)) != 40 {
		t.Errorf("privileged has %d", len(every))
	}
}

func TestPodmanInspectHasItsCapabilities(t *testing.T) {
	w := reads(t, "-", `[{"Name": "web", "Path": "nginx", "OCIConfigPath": "/x/config.json", "BoundingCaps": ["CAP_CHOWN"], "Config": {"User": ""},
		"HostConfig": {"NetworkMode": "none", "IpcMode": "none", "CapAdd": ["CAP_SYS_ADMIN"]}}]`)
	if fmt.Sprint(w.Bounding) != "[CAP_CHOWN]" || !w.Root || w.User != "root" || !w.NoNetwork || len(w.Mounts) != 0 {
		t.Errorf("%+v", w)
	}
}

const config = `{"ociVersion": "1.0.2", "process": {"user": {"uid": 33}, "args": ["nginx"], "env": ["PATH=/usr/sbin"], "cwd": "/",
	"noNewPrivileges": true, "capabilities": {"bounding": ["CAP_CHOWN"], "ambient": ["CAP_KILL"]}},
	"root": {"path": "rootfs", "readonly": true},
	"mounts": [{"destination": "/data", "type": "none", "source": "/srv", "options": ["rbind", "ro", "rw"]},
		{"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "ro"]}],
	"linux": {"maskedPaths": ["/proc/keys"], "devices": [{"path": "/dev/fuse", "type": "c"}],
		"sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"}}}`

// A bundle is read by its directory, by the file in it, and by what it looks like; its image is looked at.
func TestBundle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	for name, text := range map[string]string{"config.json": config, "rootfs/usr/sbin/nginx": "#!/bin/sh\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, source := range []string{"bundle:" + dir, "bundle:" + dir + "/config.json", dir} {
		w, err := new(Sources).Read(source, "")
		if err != nil {
			t.Fatal(err)
		}
		if w.Name != "shop" || w.Root || w.User != "33" || !w.NoNewPrivileges || !w.ReadOnlyRoot || !w.LowPorts ||
			fmt.Sprint(w.Bounding, w.Ambient, w.Masked) != "[CAP_CHOWN] [CAP_KILL] [/proc/keys]" {
			t.Errorf("%s: %+v", source, w)
		}
		if fmt.Sprint(w.Mounts) != "[{/data /srv bind true} {/run tmpfs tmpfs false}]" {
			t.Errorf("%s: %v", source, w.Mounts)
		}
		if real, ok := w.Files.Real("/usr/sbin/nginx"); !ok || real != "/usr/sbin/nginx" {
			t.Errorf("%s: its program is %q", source, real)
		}
	}
}

func TestCrictlInspect(t *testing.T) {
	text := `{"status": {"metadata": {"name": "front"}, "image": {"image": "docker.io/library/nginx:1"}}, "info": {"runtimeSpec": ` + config + `}}`
	for _, kind := range []string{"crictl:-", "-"} {
		w := reads(t, kind, text)
		if w.Name != "front" || w.Image != "docker.io/library/nginx:1" || w.User != "33" || len(w.Mounts) != 2 {
			t.Errorf("%+v", w)
		}
	}
}

const deployment = `kind: ConfigMap
data: {a: b}
---
kind: Deployment
spec:
  template:
    spec:
      securityContext: {runAsUser: 0, sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "0"}]}
      volumes:
        - {name: data, persistentVolumeClaim: {claimName: d}}
        - {name: conf, configMap: {name: c}}
        - {name: node, hostPath: {path: /run}}
      initContainers:
        - {name: first, image: busybox}
      containers:
        - name: web
          image: nginx:1
          command: [nginx]
          args: [-g, "daemon off;"]
          env: [{name: PATH, value: "/usr/sbin"}]
          ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP}]
          volumeMounts:
            - {name: data, mountPath: /data}
            - {name: conf, mountPath: /etc/nginx}
            - {name: node, mountPath: /node, readOnly: true}
          securityContext:
            runAsUser: 33
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}
`

func TestPod(t *testing.T) {
	name := write(t, "d.yaml", deployment)
	if _, err := new(Sources).Read("pod:"+name, ""); err == nil || !strings.Contains(err.Error(), "web and first with --container") {
		t.Errorf("without --container: %v", err)
	}
	w, err := new(Sources).Read(name, "web")
	if err != nil {
		t.Fatal(err)
	}
	if w.Root || w.User != "33" || !w.NoNewPrivileges || !w.ReadOnlyRoot || !w.LowPorts || fmt.Sprint(w.Bounding) != "[CAP_NET_BIND_SERVICE]" ||
		fmt.Sprint(w.Ports) != "[{80 tcp} {53 udp}]" || fmt.Sprint(w.Args) != "[nginx -g daemon off;]" {
		t.Errorf("%+v", w)
	}
	for _, m := range []draft.Mount{{At: "/data", Type: "bind", Writable: true},
		{At: "/etc/nginx", Type: "bind"}, {At: "/node", Type: "bind", Source: "/run"}} {
		if !slices.Contains(w.Mounts, m) {
			t.Errorf("%+v is not in %+v", m, w.Mounts)
		}
	}
	if w, err := new(Sources).Read(name, "first"); err != nil || w.Args != nil || fmt.Sprint(w.Bounding) != fmt.Sprint(sorted(engine.Named("containerd").Capabilities)) {
		t.Errorf("%+v, %v", w, err)
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// What is wrong with a description is said with its place.
func TestBadDescriptions(t *testing.T) {
	for text, says := range map[string]string{
		"":                                   "no pod with containers",
		"kind: Pod\nspec: {containers: [}":   "yaml: line",
		"[":                                  "standard input:1",
		"[]":                                 "no container",
		"[\n{\"Path\": 1}]":                  `standard input:2: "Path" is a number`,
		`[{"RepoTags": ["nginx"]}]`:          "has no Path",
		`{"a": 1}`:                           "in a form that is known",
		`{"info": {}}`:                       "no info.runtimeSpec",
		`{"ociVersion": "1", "process": []}`: `"process" is a array`,
		`[{"Path": "x", "Config": {"ExposedPorts": {"http": {}}}}]`:                 "no port",
		"spec: {containers: [{name: a, ports: [{containerPort: 70000}]}]}":          "cannot unmarshal",
		"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b]": "no pod",
	} {
		_, err := (&Sources{Stdin: strings.NewReader(text)}).Read("-", "")
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
	for _, source := range []string{"nosuch", "bundle:nosuch", "docker:nosuch", "pod:" + t.TempDir()} {
		if _, err := new(Sources).Read(source, ""); err == nil {
			t.Errorf("%s: no error", source)
		}
	}
	huge := strings.NewReader("[" + strings.Repeat(" ", maxSize+10) + "]")
	if _, err := (&Sources{Stdin: huge}).Read("-", ""); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Error(err)
	}
}

// Nothing in an image leads out of it, or makes its reader wait.
func TestRootIsNotLeft(t *testing.T) {
	dir := t.TempDir()
	outside := write(t, "secret", "secret")
	for name, to := range map[string]string{"out": outside, "up": "../../../../.." + outside, "loop": "loop", "abs": "/usr/x", "twice": "/abs/../y", "usr": "real"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"real/x", "y", "real/y"} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		if err := os.WriteFile(filepath.Join(dir, name), []byte("inside"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := openRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"/out": "", "/up": "", "/loop": "", "/abs": "/real/x", "/usr/x": "/real/x", "/y": "/y", "/../y": "/y", "/none": "", "/": "/"} {
		if real, ok := r.Real(name); real != want || ok != (want != "") {
			t.Errorf("%s: %q, %v, want %q", name, real, ok, want)
		}
	}
	buf := make([]byte, 100)
	if n, err := r.Start("/real/x", buf); err != nil || string(buf[:n]) != "inside" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	for _, name := range []string{"/out", "/up", "/real", "/none"} {
		if n, err := r.Start(name, buf); err == nil {
			t.Errorf("%s: %q", name, buf[:n])
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range []string{dockerInspect, config, deployment, `{"info": {"runtimeSpec": ` + config + `}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := (&Sources{Stdin: strings.NewReader(text)}).Read("-", "")
		if err != nil {
			return
		}
		if d, err := draft.Text(&w.Container, "web", draft.Target{Sockets: engine.Sockets()}); err == nil && strings.Count(string(d.Text), "\nprofile ") != 1 {
			t.Errorf("%s", d.Text)
		}
	})
}
