package hook

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

const (
	containerID = "2af081cf420e1548a6beefd934fbc5ea7eef96e89c88f2733b69df3751d780d1"
	imageID     = "dc9b771e81c5824d926f734e7d5eac60483110d988ff0a350f72e3b738108237"
)

// dockersFile is what Docker 26 writes before it calls the runtime, shortened.
const dockersFile = `{"StreamConfig":{},"State":{"Running":false,"Health":null},"ID":"` + containerID + `","Created":"2026-11-29T06:39:27Z",
	"Path":"true","Args":[],"Config":{"Hostname":"2af081cf420e","Env":["ID=x","Name=/forged"],"Cmd":["true"],"Image":"nginx:1.27","Volumes":null,
	"Labels":{"a":"b","com.docker.compose.project":"proj","ID":"x","empty":""}},"Image":"sha256:` + imageID + `",
	"NetworkSettings":{"Networks":{"none":{"Name":"/x"}}},"Name":"/shop","Driver":"overlay2"}`

// podmansList is what Podman 5 has in its storage.
const podmansList = `[{"id":"other","names":["x"],"metadata":"{}"},{"id":"` + containerID + `","names":["after"],"image":"` + imageID + `",
	"metadata":"{\"image-name\":\"localhost/nginx:1.27\",\"name\":\"before\",\"created-at\":1795935528}","flags":{"MountLabel":""}}]`

// nginxes are the images of both.
var nginxes = []string{"docker.io/library/nginx:1.27", "localhost/nginx:1.27"}

func put(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func described(f policy.Facts) string {
	if f.Unverified != nil {
		return "unverified: " + f.Unverified.Error()
	}
	return fmt.Sprintf("%s %s %v", f.Container, f.Image, f.Labels)
}

func TestLookIntoDockersFile(t *testing.T) {
	const told = "shop nginx:1.27 map[ID:x a:b com.docker.compose.project:proj empty:]"
	for _, test := range []struct {
		name, at, content string
		mode              os.FileMode
		rootfs, want      string // what the want begins with; DIR stands for Docker's directory
	}{
		{"overlay2", "containers/ID/config.v2.json", dockersFile, 0o600, "DIR/overlay2/LAYER/merged", told},
		{"containerd's snapshotters", "containers/ID/config.v2.json", dockersFile, 0o600, "DIR/rootfs/overlayfs/ID", told},
		{"an image's id", "containers/ID/config.v2.json", strings.Replace(dockersFile, "nginx:1.27", imageID[:12], 1), 0o600,
			"DIR/vfs/dir/LAYER", "shop sha256:" + imageID},
		{"a whole image id", "containers/ID/config.v2.json", strings.Replace(dockersFile, `"nginx:1.27"`, `"sha256:`+imageID+`"`, 1), 0o600,
			"DIR/vfs/dir/LAYER", "shop sha256:" + imageID},
		{"no such file", "containers/x/config.v2.json", dockersFile, 0o600, "DIR/overlay2/LAYER/merged", "unverified: its file of Docker's"},
		{"one in the image", "overlay2/LAYER/merged/containers/ID/config.v2.json", dockersFile, 0o600, "DIR/overlay2/LAYER/merged",
			"unverified: its file of Docker's"},
		{"of another container", "containers/ID/config.v2.json", strings.Replace(dockersFile, containerID, imageID, 1), 0o600,
			"DIR/overlay2/LAYER/merged", "unverified: DIR/containers/ID/config.v2.json is of container"},
		{"without a name", "containers/ID/config.v2.json", strings.Replace(dockersFile, `"/shop"`, `"/"`, 1), 0o600,
			"DIR/overlay2/LAYER/merged", "unverified: DIR/containers/ID/config.v2.json is of container"},
		{"that others may write", "containers/ID/config.v2.json", dockersFile, 0o620, "DIR/overlay2/LAYER/merged",
			"unverified: DIR/containers/ID/config.v2.json could have been written by others"},
		{"cut off", "containers/ID/config.v2.json", dockersFile[:len(dockersFile)/2], 0o600, "DIR/overlay2/LAYER/merged",
			"unverified: DIR/containers/ID/config.v2.json: line 2: unexpected EOF"},
		{"a name that is there twice", "containers/ID/config.v2.json", strings.Replace(dockersFile, `"Driver"`, `"Name"`, 1), 0o600,
			"DIR/overlay2/LAYER/merged", "unverified: DIR/containers/ID/config.v2.json: line"},
		{"a relative root", "containers/ID/config.v2.json", dockersFile, 0o600, "rootfs", "unverified: its spec"},
		{"no root", "containers/ID/config.v2.json", dockersFile, 0o600, "", "unverified: its spec"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			fill := strings.NewReplacer("DIR", dir, "/ID", "/"+containerID).Replace
			path := fill("DIR/" + test.at)
			put(t, path, test.content)
			if err := os.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			f, err := Identify(fmt.Appendf(nil, `{"process":{},"root":{"path":%q}}`, fill(test.rootfs)), Caller{Engine: "docker"},
				containerID, "")
			if err != nil {
				t.Fatal(err)
			}
			f.Read()
			if got := described(f); !strings.HasPrefix(got, fill(test.want)) {
				t.Errorf("got %s, want %s", got, fill(test.want))
			}
		})
	}
	t.Run("a link", func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir+"/x", dockersFile)
		put(t, dir+"/containers/"+containerID+"/y", "")
		if err := os.Symlink(dir+"/x", dir+"/containers/"+containerID+"/config.v2.json"); err != nil {
			t.Fatal(err)
		}
		if _, err := dockerNames(dir+"/overlay2/x/merged", containerID); err == nil {
			t.Error("followed")
		}
	})
	t.Run("a file where a directory of Docker's would be", func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir+"/containers", "")
		put(t, dir+"/docker/containers/"+containerID+"/config.v2.json", dockersFile)
		if names, err := dockerNames(dir+"/docker/overlay2/x/merged", containerID); err != nil || names.container != "shop" {
			t.Errorf("%+v, %v", names, err)
		}
	})
	for _, id := range []string{"", ".", "..", "../x", "a/b"} {
		if _, err := dockerNames("/var/lib/docker/overlay2/x/merged", id); err == nil {
			t.Errorf("id %q is looked for", id)
		}
	}
}

func TestLookIntoPodmansLists(t *testing.T) {
	for _, test := range []struct {
		name              string
		lasting, volatile string
		bundle, want      string
	}{
		{"one that lasts", podmansList, "[]", "overlay-containers/ID/userdata", "after localhost/nginx:1.27 map[]"},
		{"one that does not", "", podmansList, "overlay-containers/ID/userdata", "after localhost/nginx:1.27 map[]"},
		{"another driver", podmansList, "", "vfs-containers/ID/userdata", "after localhost/nginx:1.27 map[]"},
		{"in neither", "[]", "", "overlay-containers/ID/userdata", "unverified: it is in none"},
		{"no lists", "", "", "overlay-containers/ID/userdata", "unverified: it is in none"},
		{"twice, of which the first counts", strings.TrimSuffix(podmansList, "]") + "," + strings.TrimPrefix(podmansList, "["), "",
			"overlay-containers/ID/userdata", "after localhost/nginx:1.27 map[]"},
		{"not all of a list", podmansList[:len(podmansList)-1], "", "overlay-containers/ID/userdata", "after localhost/nginx:1.27 map[]"},
		{"cut off before it", podmansList[:60], "", "overlay-containers/ID/userdata", "unverified: "},
		{"a list that is none", `{"id":1}`, "", "overlay-containers/ID/userdata", "unverified: "},
		{"a name that is missing", strings.Replace(podmansList, `"after"`, "", 1), "", "overlay-containers/ID/userdata", "unverified: "},
		{"another container's bundle", podmansList, "", "overlay-containers/x/userdata", "unverified: its bundle"},
		{"another place", podmansList, "", "ID/userdata", "unverified: its bundle"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			bundle := filepath.Join(dir, strings.Replace(test.bundle, "ID", containerID, 1))
			if test.lasting != "" {
				put(t, filepath.Join(bundle, "../../containers.json"), test.lasting)
			}
			if test.volatile != "" {
				put(t, filepath.Join(bundle, "../../volatile-containers.json"), test.volatile)
			}
			f, err := Identify([]byte(`{"process":{}}`), Caller{Engine: "podman"}, containerID, bundle)
			if err != nil {
				t.Fatal(err)
			}
			f.Read()
			if got := described(f); !strings.HasPrefix(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func BenchmarkLookIntoDockersFile(b *testing.B) {
	dir := b.TempDir()
	os.MkdirAll(dir+"/containers/"+containerID, 0o700)
	os.WriteFile(dir+"/containers/"+containerID+"/config.v2.json", []byte(dockersFile), 0o600)
	for b.Loop() {
		if _, err := dockerNames(dir+"/overlay2/layer/merged", containerID); err != nil {
			b.Fatal(err)
		}
	}
}

// thousand is Podman's list with a container at its end, where one that is created stands.
func thousand() string {
	entry := strings.Trim(podmansList, "[]")
	return "[" + strings.Repeat(strings.ReplaceAll(entry, containerID, imageID)+",", 999) + entry + "]"
}

func BenchmarkLookIntoPodmansList(b *testing.B) {
	dir := b.TempDir()
	put(b, dir+"/overlay-containers/containers.json", thousand())
	for b.Loop() {
		if _, err := podmanNames(dir+"/overlay-containers/"+containerID+"/userdata", containerID); err != nil {
			b.Fatal(err)
		}
	}
}

// rules puts a policy in force that has these rules for the policy web, and last one for everyone.
func (n node) rules(t testing.TB, rules ...policy.Assignment) {
	t.Helper()
	p := &policy.Config{
		Profiles:    []policy.Profile{{Name: "web", Source: "web", Text: []byte("v1")}},
		Policies:    []policy.Policy{{Name: "web", Profile: "web"}, {Name: "hands-off", Profile: policy.Keep}},
		Assignments: append(rules, policy.Assignment{Policy: "hands-off", Request: []string{"web"}}),
	}
	for i := range p.Assignments {
		if a := &p.Assignments[i]; a.Policy == "" {
			a.Policy = "web"
		}
		p.Assignments[i].File, p.Assignments[i].Line = "policy.yaml", i+1
	}
	if _, _, err := n.Store.Apply(t.Context(), p, kerneltest.Texts{}, store.Manifest{}, nil); err != nil {
		t.Fatal(err)
	}
}

// opens returns a function that returns the files of a directory that were opened since it was called last.
func opens(t *testing.T, dir string) func() []string {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	return func() (names []string) {
		buf := make([]byte, 64<<10)
		n, err := unix.Read(fd, buf)
		if err == unix.EAGAIN {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < n; {
			length := int(binary.NativeEndian.Uint32(buf[at+12:]))
			name, _, _ := strings.Cut(string(buf[at+unix.SizeofInotifyEvent:at+unix.SizeofInotifyEvent+length]), "\x00")
			names = append(names, name)
			at += unix.SizeofInotifyEvent + length
		}
		return names
	}
}

func TestEnginesFilesAreReadWhereTheDecisionDependsOnThem(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	podman := Caller{Engine: "podman", Root: filepath.Join(dir, "podman-root")}
	docker := Caller{Engine: "docker", Root: filepath.Join(dir, "docker-root")}
	lists := filepath.Join(dir, "overlay-containers")
	put(t, lists+"/containers.json", podmansList)
	dockers := filepath.Join(dir, "containers", containerID)
	put(t, dockers+"/config.v2.json", dockersFile)
	opened := map[string]func() []string{"podman": opens(t, lists), "docker": opens(t, dockers)}
	file := map[string]string{"podman": "containers.json", "docker": "config.v2.json"}

	image := policy.Assignment{Image: nginxes}
	for _, test := range []struct {
		name        string
		w           Caller
		rules       []policy.Assignment
		annotations string
		want        string // the policy, or what the error says
		reads       bool
	}{
		{"no rule", podman, nil, "", "hands-off", false},
		{"no rule, Docker", docker, nil, "", "hands-off", false},
		{"one for an engine", podman, []policy.Assignment{{Engine: []string{"podman"}}}, "", "web", false},
		{"one for all before one for names", podman, []policy.Assignment{{}, {Container: []string{"after"}}}, "", "web", false},
		{"one for another engine's images", podman, []policy.Assignment{{Engine: []string{"docker"}, Image: image.Image}}, "",
			"hands-off", false},
		{"one for unprivileged pods' images", podman, []policy.Assignment{{Namespace: []string{"shop"}, Image: image.Image}}, "",
			"hands-off", false},
		{"a request", podman, nil, `"oci-apparmor/policy":"web"`, "web", false},
		{"a request for a name", podman, nil, `"oci-apparmor/policy.after":"web"`, "web", true},
		{"a request for another name", podman, nil, `"oci-apparmor/policy.before":"web"`, "hands-off", true},
		{"a request for a name, Docker", docker, nil, `"oci-apparmor/policy.shop":"web"`, "web", true},
		{"one for a name", podman, []policy.Assignment{{Container: []string{"af*"}}}, "", "web", true},
		{"one for another name", podman, []policy.Assignment{{Container: []string{"before"}}}, "", "hands-off", true},
		{"one for an image, Docker", docker, []policy.Assignment{image}, "", "web", true},
		{"one for a label, Docker", docker, []policy.Assignment{{Label: []policy.Labelled{{Key: "a", Patterns: []string{"b"}}}}}, "",
			"web", true},
		{"one for a label", podman, []policy.Assignment{{Label: []policy.Labelled{{Key: "a", Patterns: []string{"b"}}}}}, "",
			"Podman does not report labels", true},
		{"a refusal, which names the container", podman, nil, `"oci-apparmor/policy":"hers"`, "hers", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			n.rules(t, test.rules...)
			b, rootfs := filepath.Join(lists, containerID, "userdata"), filepath.Join(dir, "overlay2/layer/merged")
			put(t, b+"/config.json", fmt.Sprintf(`{"process":{"apparmorProfile":""},"root":{"path":%q},"annotations":{%s}}`, rootfs,
				test.annotations))
			opened[test.w.Engine]()
			out, err := n.Prepare(t.Context(), test.w, containerID, NewBundle(b))
			reads := slices.Contains(opened[test.w.Engine](), file[test.w.Engine])
			if got := out.Decision.Policy; err == nil && got != test.want || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("policy %q, %v", got, err)
			}
			if reads != test.reads {
				t.Errorf("reads: %v", reads)
			}
			known := map[string]string{"podman": "after", "docker": "shop"}[test.w.Engine]
			if named := out.Names.Container == known; named != reads {
				t.Errorf("the name is %q", out.Names.Container)
			}
			if err != nil {
				return
			}
			r, err := n.Recall(test.w, containerID)
			if err != nil {
				t.Fatal(err)
			}
			if Name(r); r.Known() != known || !strings.Contains(r.Names.Image, "nginx:1.27") {
				t.Errorf("later it is called %+v", r.Names)
			}
			n.Forget(test.w, containerID)
		})
	}
}

// What a create costs under Podman with a thousand containers, with a policy that needs what is in its list and with
// one that does not.
func BenchmarkPrepareForPodman(b *testing.B) {
	for name, rules := range map[string][]policy.Assignment{
		"no rule for names": nil,
		"one for an image":  {{Image: nginxes}},
	} {
		b.Run(name, func(b *testing.B) {
			n := newNode(b)
			n.rules(b, rules...)
			w := Caller{Engine: "podman", Root: b.TempDir()}
			dir := filepath.Join(b.TempDir(), "overlay-containers", containerID, "userdata")
			put(b, filepath.Join(dir, "../../containers.json"), thousand())
			put(b, dir+"/config.json", `{"process":{"apparmorProfile":""}}`)
			for b.Loop() {
				if _, err := n.Prepare(b.Context(), w, containerID, NewBundle(dir)); err != nil {
					b.Fatal(err)
				}
				n.Forget(w, containerID)
			}
		})
	}
}
