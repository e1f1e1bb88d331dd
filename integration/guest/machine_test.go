package guest

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMachineIsTheFastestThatRunsTheKernel(t *testing.T) {
	there, missing := filepath.Join(t.TempDir(), "kvm"), filepath.Join(t.TempDir(), "kvm")
	writeFile(t, there, "")
	no := errors.New("nothing said")
	for name, test := range map[string]struct {
		wanted, device string
		kvm, uml       error
		tried, accel   string
		why            string
	}{
		"it boots by KVM":            {"", there, nil, no, "kvm", "kvm", "has begun to boot"},
		"it boots in user mode":      {"", there, no, nil, "kvm uml", "uml", "does not run the guest's kernel: nothing said"},
		"there is no device":         {"", missing, nil, nil, "uml", "uml", missing},
		"there is no device and no":  {"", missing, nil, no, "uml", "tcg", "in user mode does not run here: nothing said"},
		"it boots in neither":        {"", there, no, no, "kvm uml", "tcg", "does not run the guest's kernel: nothing said; the kernel in user mode"},
		"KVM is forced":              {"kvm", missing, no, nil, "", "kvm", "OCI_APPARMOR_ACCEL=kvm"},
		"user mode is forced":        {"uml", there, nil, no, "", "uml", "OCI_APPARMOR_ACCEL=uml"},
		"software emulation is, too": {"tcg", there, nil, nil, "", "tcg", "OCI_APPARMOR_ACCEL=tcg"},
		"QEMU is forced":             {"qemu", there, no, nil, "kvm", "tcg", "does not run the guest's kernel: nothing said"},
		"QEMU has KVM":               {"qemu", there, nil, nil, "kvm", "kvm", "has begun to boot"},
		"a word of no meaning":       {"hvf", there, nil, nil, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var tried []string
			accel, why, err := chooseAccel(test.wanted, test.device,
				func() error { tried = append(tried, "kvm"); return test.kvm },
				func() error { tried = append(tried, "uml"); return test.uml })
			if accel != test.accel || strings.Join(tried, " ") != test.tried || !strings.Contains(why, test.why) || (err != nil) != (test.why == "") {
				t.Errorf("%s, tried %v, because %q, %v", accel, tried, why, err)
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
		"it hangs":                    {"exec sleep 100", `it has not said "Linux version " in 300ms`, 300 * time.Millisecond},
		"it hangs after its firmware": {"echo SeaBIOS; exec sleep 100", `it has not said "Linux version " in 300ms`, 300 * time.Millisecond},
		"it can't":                    {"echo Could not access KVM kernel module: Permission denied >&2; exit 1", "Permission denied", time.Minute},
		"it ends without a word":      {"exit 0", "has ended", time.Minute},
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
