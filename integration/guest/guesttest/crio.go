package guesttest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// CRIOBin is the directory of CRI-O's programs in the guest that has them.
const CRIOBin = "/usr/local/cri-o"

const (
	crioConfig = "/etc/crio"
	crioOwn    = "/usr/libexec/crio" // where CRI-O's packages have their own runtimes and conmon
)

// A CRIO is a CRI-O that runs for one test.
type CRIO struct {
	*CRI
	process *process
}

// NeedCRIO skips the test in a guest without CRI-O. make test builds none, which takes minutes.
func NeedCRIO(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(CRIOBin + "/crio"); err != nil {
		Leave(t, "make test does not build CRI-O")
		t.Skip("this guest has no CRI-O: ", err)
	}
}

// CRIOSocket is where CRI-O listens in guests.
const CRIOSocket = crioState + "/crio.sock"

const crioState = "/run/crio"

// PutCRIO writes the configuration of CRI-O's packages, with what a guest needs. When the test is over, CRI-O's containers are
// killed, and its files removed.
func PutCRIO(t testing.TB) {
	t.Helper()
	NeedCRIO(t)
	t.Cleanup(func() {
		CleanEngine(t, crioConfig, crioOwn, crioState, "/var/lib/crio", "/var/log/crio", "/run/runc", "/run/crun",
			"/var/lib/containers", "/run/containers", "/run/libpod")
	})
	dropIns := filepath.Join(crioConfig, "crio.conf.d")
	err := errors.Join(os.MkdirAll(crioOwn, 0o755), os.MkdirAll(dropIns, 0o755))
	if err == nil {
		err = errors.Join(
			os.Symlink("/usr/bin/crun", filepath.Join(crioOwn, "crun")),
			os.Symlink("/usr/sbin/runc", filepath.Join(crioOwn, "runc")),
			os.Symlink("/usr/bin/conmon", filepath.Join(crioOwn, "conmon")),
			os.WriteFile(filepath.Join(crioConfig, "crio.conf"), fmt.Appendf(nil, guestsCRIO, CRIOBin+"/pinns", PauseImage), 0o644),
			os.WriteFile(filepath.Join(dropIns, "10-crio.conf"), []byte(packagedCRIO), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// LoadCRIO gives a CRI-O that runs the images of Images, by Podman, which has the same storage. CRI-O empties that when it starts
// for the first time.
func LoadCRIO(t testing.TB) {
	t.Helper()
	MustRun(t, "podman", "--events-backend", "none", "load", "--quiet", "--input", Images(t))
}

// StartCRIO starts a CRI-O that has the images of Images, and returns when it answers. At the end of the test its pods end, and its
// files are removed.
func StartCRIO(t testing.TB) *CRIO {
	t.Helper()
	PutCRIO(t)
	c := &CRIO{process: startProcess(t, os.Environ(), func(testing.TB) bool {
		conn, err := net.Dial("unix", CRIOSocket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, CRIOBin+"/crio")}
	c.CRI = DialCRI(t, CRIOSocket)
	LoadCRIO(t)
	return c
}

// guestsCRIO is what a guest needs: it has no D-Bus, by which systemd would make cgroups, and a kernel in user mode has no
// interrupts to balance.
const guestsCRIO = `[crio.runtime]
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
pinns_path = %q
irqbalance_config_restore_file = "disable"
[crio.image]
pause_image = %q
pause_command = "" # the image's own
`

// packagedCRIO is what CRI-O's packages have in this file (templates/latest/cri-o/bundle of cri-o's repository packaging), but
// for the type pod, which newer ones give their runtimes: there is no conmon-rs here.
const packagedCRIO = `[crio.runtime]
default_runtime = "crun"

[crio.runtime.runtimes.crun]
runtime_path = "/usr/libexec/crio/crun"
runtime_root = "/run/crun"
monitor_path = "/usr/libexec/crio/conmon"
allowed_annotations = [
    "io.containers.trace-syscall",
]

[crio.runtime.runtimes.runc]
runtime_path = "/usr/libexec/crio/runc"
runtime_root = "/run/runc"
monitor_path = "/usr/libexec/crio/conmon"
`

// Restart stops CRI-O by SIGTERM, as systemctl restart does, and starts it again. Its pods go on.
func (c *CRIO) Restart(t testing.TB) {
	t.Helper()
	c.process.restart(t)
	c.Ready(t)
}
