package guesttest

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// The names of the images in the archive that Images returns. No registry has these images.
const (
	ProbeImage = "oci-apparmor.test/probe:1" // runs "probe hold"
	PauseImage = "oci-apparmor.test/pause:1" // sleeps until it gets SIGTERM, as the container does that holds a pod's namespaces
)

// Images returns the path of an archive with ProbeImage and PauseImage, for "ctr images import" and "docker load". Both
// images have the root file system of bundles. Images makes the archive once for all tests of a guest.
func Images(t testing.TB) string {
	t.Helper()
	path, err := images()
	if err != nil {
		t.Fatal("making an archive of images: ", err)
	}
	return path
}

// images writes what "docker save" wrote before it took up the OCI layout (image/spec/v1.2.md in moby's repository),
// which every containerd and every Docker reads: a tar archive for each layer, a configuration for each image, and
// manifest.json, which names them.
var images = sync.OnceValues(func() (string, error) {
	if err := rootfs(); err != nil {
		return "", err
	}
	dir := filepath.Join(bundles, "images")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	pack := func(from, to string) error {
		out, err := exec.Command("tar", "-C", from, "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-cf", to,
			".").CombinedOutput()
		if err != nil {
			return fmt.Errorf("tar: %w: %s", err, out)
		}
		return nil
	}
	layer := filepath.Join(dir, "layer.tar")
	if err := pack(filepath.Join(bundles, "rootfs"), layer); err != nil {
		return "", err
	}
	content, err := os.ReadFile(layer)
	if err != nil {
		return "", err
	}

	type image map[string]any
	var manifest []image
	for name, command := range map[string][]string{ProbeImage: {"/bin/probe", "hold"}, PauseImage: {"/bin/probe", "sleep"}} {
		config, err := json.Marshal(image{
			"architecture": "amd64", // as the guests are
			"os":           "linux",
			"config":       image{"Env": DefaultSpec().Process.Env, "Cmd": command, "WorkingDir": "/"},
			"rootfs":       image{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(content))}},
		})
		if err != nil {
			return "", err
		}
		file := fmt.Sprintf("%x.json", sha256.Sum256(config))
		if err := os.WriteFile(filepath.Join(dir, file), config, 0o644); err != nil {
			return "", err
		}
		manifest = append(manifest, image{"Config": file, "RepoTags": []string{name}, "Layers": []string{filepath.Base(layer)}})
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), text, 0o644); err != nil {
		return "", err
	}
	path := filepath.Join(bundles, "images.tar")
	return path, errors.Join(pack(dir, path), os.RemoveAll(dir))
})
