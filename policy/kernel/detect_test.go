package kernel_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

func TestDetect(t *testing.T) {
	const gone = "(gone)"
	for _, test := range []struct {
		name           string
		files          map[string]string
		admin, initial bool
		want           kernel.Readiness
	}{
		{"all there", nil, true, true, kernel.Ready},
		{"not built in", map[string]string{"module": gone}, true, true, kernel.NoAppArmor},
		{"switched off", map[string]string{"module/enabled": "N\n"}, true, true, kernel.NoAppArmor},
		{"huge parameter", map[string]string{"module/enabled": strings.Repeat("Y", 1<<16)}, true, true, kernel.NoAppArmor},
		{"not mounted", map[string]string{"fs": gone}, true, true, kernel.NoSecurityfs},
		{"no capability", nil, false, true, kernel.NoRight},
		{"user namespace", nil, true, false, kernel.NoRight},
		{"locked", map[string]string{"module/lock_policy": "Y\n"}, true, true, kernel.NoRight},
		{"policy namespace", map[string]string{"fs/.ns_stacked": "yes\n"}, true, true, kernel.Namespaced},
		{"deeper namespace", map[string]string{"fs/.ns_level": "1\n"}, true, true, kernel.Namespaced},
		{"named namespace", map[string]string{"fs/.ns_name": "lxd-c1\n"}, true, true, kernel.Namespaced},
		{"policy and user namespace", map[string]string{"fs/.ns_level": "1\n"}, true, false, kernel.Namespaced},
		{"old kernel without namespace files",
			map[string]string{"fs/.ns_stacked": gone, "fs/.ns_level": gone, "fs/.ns_name": gone}, true, true, kernel.Ready},
		{"hashes off", map[string]string{"module/hash_policy": "N\n"}, true, true, kernel.NoHash},
		{"hashes not built in", map[string]string{"module/hash_policy": gone}, true, true, kernel.NoHash},
		{"complain mode", map[string]string{"module/mode": "complain\n"}, true, true, kernel.NotEnforcing},
		{"complain mode, as kernels before 6.15 print it", map[string]string{"module/mode": "complain"}, true, true,
			kernel.NotEnforcing},
		{"complain mode in a policy namespace", map[string]string{"module/mode": "complain\n", "fs/.ns_level": "1\n"},
			true, true, kernel.NotEnforcing},
		{"kill mode", map[string]string{"module/mode": "kill\n"}, true, true, kernel.Ready},
		{"a mode that only names one for profiles", map[string]string{"module/mode": "unconfined\n"}, true, true,
			kernel.NotEnforcing},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := kerneltest.New(t)
			for name, text := range test.files {
				if text == gone {
					os.RemoveAll(filepath.Join(m.Dir, name))
				} else {
					m.Write(t, name, text)
				}
			}
			k := m.Kernel()
			k.SetRights(test.admin, test.initial)
			got := k.Detect()
			if got != test.want {
				t.Errorf("%d (%s), want %d", got, got, test.want)
			}
			if got.Usable() != (test.want >= kernel.NotEnforcing) {
				t.Errorf("Usable is %v", got.Usable())
			}
		})
	}
}

func TestEnsureSaysWhyTheKernelCannot(t *testing.T) {
	for name, test := range map[string]struct {
		gone string
		want kernel.Readiness
	}{
		"no AppArmor":   {"fs module", kernel.NoAppArmor},
		"no securityfs": {"fs", kernel.NoSecurityfs},
	} {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t)
			for _, dir := range strings.Fields(test.gone) {
				os.RemoveAll(filepath.Join(m.Dir, dir))
			}
			var notReady *kernel.NotReadyError
			err := refused(t, m.Kernel(), want(t, kerneltest.Blob("1", "web")), "AppArmor")
			if !errors.As(err, &notReady) || notReady.Readiness != test.want || !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%v", err)
			}
		})
	}
}

// The global mode counts beside a profile's own, and shows in no hash.
func TestProfilesThatTheKernelDoesNotEnforce(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	k.SetRights(true, true)
	enforced := want(t, kerneltest.Blob("1", "web"))
	complains := want(t, kerneltest.Blob("1", "watched"))
	complains.Compiled[0].Mode = profile.Complain
	ensure(t, k, enforced)
	ensure(t, k, complains)
	for _, mode := range []string{"complain", "unconfined", "user"} {
		m.Write(t, "module/mode", mode+"\n")
		var notReady *kernel.NotReadyError
		err := refused(t, k, enforced, "write enforce to /sys/module/apparmor/parameters/mode", "global mode is "+mode)
		if !errors.As(err, &notReady) || notReady.Readiness != kernel.NotEnforcing {
			t.Errorf("%s: %v", mode, err)
		}
		if _, _, err := k.Held("web"); !errors.As(err, &notReady) {
			t.Errorf("%s: held is %v", mode, err)
		}
		ensure(t, k, complains) // which wants no more than that
		free := enforced
		free.Unenforced = true
		ensure(t, k, free)
	}
	for _, mode := range []string{"kill", "enforce"} {
		m.Write(t, "module/mode", mode+"\n")
		ensure(t, k, enforced)
	}
	os.Remove(filepath.Join(m.Dir, "module/mode")) // not to be told is not to be ready
	refused(t, k, enforced, "mode")
}

func TestEnsureWithoutHashesLoadsNothing(t *testing.T) {
	m := kerneltest.New(t)
	m.Write(t, "module/hash_policy", "N\n")
	k := m.Kernel()
	k.SetRights(true, true)
	var notReady *kernel.NotReadyError
	err := refused(t, k, want(t, kerneltest.Blob("1", "web")), "hash_policy")
	if !errors.As(err, &notReady) || notReady.Readiness != kernel.NoHash || m.Writes(t) != 0 {
		t.Errorf("%v, %d loads", err, m.Writes(t))
	}
}

func TestLoadSaysWhoMayNot(t *testing.T) {
	for name, test := range map[string]struct {
		admin, locked bool
		words         string
	}{
		"no capability": {false, false, "CAP_MAC_ADMIN"},
		"locked":        {true, true, "lock_policy"},
		"confined":      {true, false, "mac_admin"},
	} {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t)
			if test.locked {
				m.Write(t, "module/lock_policy", "Y\n")
			}
			k := m.Kernel()
			k.SetRights(test.admin, true)
			k.WriteReplace = func([]byte) error { return unix.EACCES }
			err := k.Load(kerneltest.Blob("1", "web"))
			if !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), test.words) {
				t.Error(err)
			}
		})
	}
}
