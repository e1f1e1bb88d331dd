package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// What a cluster of a guest is made of is built, or unpacked, and runs: each program tells its version, by which the API server
// and kubectl judge whom they talk to.
func TestToolsOfACluster(t *testing.T) {
	guesttest.Outside(t)
	guesttest.Leave(t, "make test does not build Kubernetes, which takes ten minutes of a processor")
	dir, err := guest.Kubernetes.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	wantVersion := func(want, program string, args ...string) {
		t.Helper()
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, %q, want %q", program, err, out, want)
		}
	}
	for _, p := range guest.Kubernetes.Packages {
		wantVersion("Kubernetes "+guest.Kubernetes.Version+"\n", filepath.Join(dir, filepath.Base(p)), "--version")
	}
	for _, test := range []struct {
		guest.Packaged
		want string
		args []string
	}{
		{guest.Etcd, "etcd Version: 3.5.", []string{"--version"}},
		{guest.Kubectl, "Client Version: v1.", []string{"version", "--client"}},
	} {
		file, err := test.Unpack(t.Context(), os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		wantVersion(test.want, file, test.args...)
	}
}
