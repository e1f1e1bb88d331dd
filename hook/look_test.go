package hook

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy"
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

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func described(f policy.Facts) string {
	if f.Untold != nil {
		return "untold: " + f.Untold.Error()
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
		{"no such file", "containers/x/config.v2.json", dockersFile, 0o600, "DIR/overlay2/LAYER/merged", "untold: its file of Docker's"},
		{"one in the image", "overlay2/LAYER/merged/containers/ID/config.v2.json", dockersFile, 0o600, "DIR/overlay2/LAYER/merged",
			"untold: its file of Docker's"},
		{"of another container", "containers/ID/config.v2.json", strings.Replace(dockersFile, containerID, imageID, 1), 0o600,
			"DIR/overlay2/LAYER/merged", "untold: DIR/containers/ID/config.v2.json is of container"},
		{"without a name", "containers/ID/config.v2.json", strings.Replace(dockersFile, `"/shop"`, `"/"`, 1), 0o600,
			"DIR/overlay2/LAYER/merged", "untold: DIR/containers/ID/config.v2.json is of container"},
		{"that others may write", "containers/ID/config.v2.json", dockersFile, 0o620, "DIR/overlay2/LAYER/merged",
			"untold: DIR/containers/ID/config.v2.json could have been written by others"},
		{"cut off", "containers/ID/config.v2.json", dockersFile[:len(dockersFile)/2], 0o600, "DIR/overlay2/LAYER/merged",
			"untold: DIR/containers/ID/config.v2.json: line 2: unexpected EOF"},
		{"a name that is there twice", "containers/ID/config.v2.json", strings.Replace(dockersFile, `"Driver"`, `"Name"`, 1), 0o600,
			"DIR/overlay2/LAYER/merged", "untold: DIR/containers/ID/config.v2.json: line"},
		{"a relative root", "containers/ID/config.v2.json", dockersFile, 0o600, "rootfs", "untold: its spec"},
		{"no root", "containers/ID/config.v2.json", dockersFile, 0o600, "", "untold: its spec"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			fill := strings.NewReplacer("DIR", dir, "/ID", "/"+containerID).Replace
			path := fill("DIR/" + test.at)
			put(t, path, test.content)
			if err := os.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			f, err := Identify(fmt.Appendf(nil, `{"process":{},"root":{"path":%q}}`, fill(test.rootfs)), Wiring{Engine: policy.EngineDocker},
				containerID, "")
			if err != nil {
				t.Fatal(err)
			}
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
		{"in neither", "[]", "", "overlay-containers/ID/userdata", "untold: it is in none"},
		{"no lists", "", "", "overlay-containers/ID/userdata", "untold: it is in none"},
		{"twice, of which the first counts", strings.TrimSuffix(podmansList, "]") + "," + strings.TrimPrefix(podmansList, "["), "",
			"overlay-containers/ID/userdata", "after localhost/nginx:1.27 map[]"},
		{"not all of a list", podmansList[:len(podmansList)-1], "", "overlay-containers/ID/userdata", "after localhost/nginx:1.27 map[]"},
		{"cut off before it", podmansList[:60], "", "overlay-containers/ID/userdata", "untold: "},
		{"a list that is none", `{"id":1}`, "", "overlay-containers/ID/userdata", "untold: "},
		{"a name that is missing", strings.Replace(podmansList, `"after"`, "", 1), "", "overlay-containers/ID/userdata", "untold: "},
		{"another container's bundle", podmansList, "", "overlay-containers/x/userdata", "untold: its bundle"},
		{"another place", podmansList, "", "ID/userdata", "untold: its bundle"},
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
			f, err := Identify([]byte(`{"process":{}}`), Wiring{Engine: policy.EnginePodman}, containerID, bundle)
			if err != nil {
				t.Fatal(err)
			}
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

// Podman adds a container at the end of its list, so one that is created is the last of a thousand.
func BenchmarkLookIntoPodmansList(b *testing.B) {
	dir := b.TempDir()
	entry := strings.Trim(podmansList, "[]")
	list := "[" + strings.Repeat(strings.ReplaceAll(entry, containerID, imageID)+",", 999) + entry + "]"
	os.MkdirAll(dir+"/overlay-containers", 0o700)
	os.WriteFile(dir+"/overlay-containers/containers.json", []byte(list), 0o600)
	for b.Loop() {
		if _, err := podmanNames(dir+"/overlay-containers/"+containerID+"/userdata", containerID); err != nil {
			b.Fatal(err)
		}
	}
}
