package guest

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestKVMIsTakenWhereItRunsTheKernel(t *testing.T) {
	there, missing := filepath.Join(t.TempDir(), "kvm"), filepath.Join(t.TempDir(), "kvm")
	writeFile(t, there, "")
	for name, test := range map[string]struct {
		wanted, device string
		probe          error
		probed, kvm    bool
		why            string
	}{
		"it boots":             {"", there, nil, true, true, "has begun to boot"},
		"it does not":          {"", there, errors.New("nothing said"), true, false, "does not run the guest's kernel: nothing said"},
		"there is no device":   {"", missing, nil, false, false, missing},
		"forced":               {"kvm", missing, errors.New("nothing said"), false, true, "OCI_APPARMOR_ACCEL=kvm"},
		"forced not to":        {"tcg", there, nil, false, false, "OCI_APPARMOR_ACCEL=tcg"},
		"a word of no meaning": {"hvf", there, nil, false, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			probed := false
			kvm, why, err := chooseAccel(test.wanted, test.device, func() error { probed = true; return test.probe })
			if kvm != test.kvm || probed != test.probed || !strings.Contains(why, test.why) || (err != nil) != (test.why == "") {
				t.Errorf("kvm %v, probed %v, because %q, %v", kvm, probed, why, err)
			}
			if err != nil && !strings.Contains(err.Error(), `OCI_APPARMOR_ACCEL="hvf"`) {
				t.Error(err)
			}
		})
	}
}

// What a QEMU does is played by programs, as this machine may have no KVM.
func TestProbeWantsTheKernelsFirstLine(t *testing.T) {
	image := &Image{Guest: Guest{Suite: "trixie"}, Dir: t.TempDir()}
	for name, test := range map[string]struct {
		script, want string
		limit        time.Duration
	}{
		"it boots":                    {"echo SeaBIOS; echo '[    0.000000] Linux version 6.12.117'; exec sleep 100", "", time.Minute},
		"it boots and ends":           {"echo '[    0.000000] Linux version 6.12.117'", "", time.Minute},
		"it hangs":                    {"exec sleep 100", "it has said nothing in 300ms", 300 * time.Millisecond},
		"it hangs after its firmware": {"echo SeaBIOS; exec sleep 100", "it has said nothing in 300ms", 300 * time.Millisecond},
		"it can't":                    {"echo Could not access KVM kernel module: Permission denied >&2; exit 1", "Permission denied", time.Minute},
		"it ends without a word":      {"exit 0", "QEMU has ended", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			q := &qemu{command: []string{fakeProgram(t, qemuProgram, test.script)}}
			begun := time.Now()
			err := image.probe(t.Context(), q, test.limit)
			if took := time.Since(begun); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	t.Run("it is asked for KVM", func(t *testing.T) {
		told := filepath.Join(t.TempDir(), "told")
		q := &qemu{command: []string{fakeProgram(t, qemuProgram, `echo "$@" >`+told+"; echo Linux version 6.12")}}
		if err := image.probe(t.Context(), q, time.Minute); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"accel=kvm", "-kernel " + image.kernel(), "-initrd " + image.initramfs()} {
			if got := readFile(t, told); !strings.Contains(got, want) {
				t.Errorf("%s: no %s", got, want)
			}
		}
	})
	t.Run("it is broken off", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		q := &qemu{command: []string{fakeProgram(t, qemuProgram, "exec sleep 100")}}
		if err := image.probe(ctx, q, time.Minute); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
