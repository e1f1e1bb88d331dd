package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// guarded puts our hook into a spec, at one stage of those that run before the profile is applied.
func guarded(stage string) func(*specs.Spec) {
	return hooked(stage, specs.Hook{Path: "/usr/local/bin/oci-apparmor-hook", Args: []string{"oci-apparmor-hook", stage}})
}

func hooked(stage string, hook specs.Hook) func(*specs.Spec) {
	return func(s *specs.Spec) {
		h := []specs.Hook{hook}
		s.Hooks = &specs.Hooks{}
		if stage == "prestart" {
			//lint:ignore SA1019 what older engines still write
			s.Hooks.Prestart = h
		} else {
			s.Hooks.CreateRuntime = h
		}
	}
}

// Under plain runc or crun, with nothing of ours but a hook in the spec.
func TestGuard(t *testing.T) {
	setPolicy(t, floorPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		for _, stage := range []string{"createRuntime", "prestart"} {
			t.Run(stage, func(t *testing.T) {
				t.Run("loads what is missing", func(t *testing.T) {
					unload(t, "web")
					c := guesttest.NewBundle(t, asks("web"), names("web"), guarded(stage)).Start(t, rt.bare)
					wantConfined(t, c, webTries, "web")
				})
				t.Run("takes a stack in any order", func(t *testing.T) {
					c := guesttest.NewBundle(t, asks("work"), names("work//&base"), guarded(stage)).Start(t, rt.bare)
					wantConfined(t, c, bothTries, "base", "work")
				})
				t.Run("puts content right", func(t *testing.T) {
					guesttest.LoadProfile(t, loose("web"))
					c := guesttest.NewBundle(t, asks("web"), names("web"), guarded(stage)).Start(t, rt.bare)
					wantConfined(t, c, webTries, "web")
				})
				t.Run("refuses another profile", func(t *testing.T) {
					b := guesttest.NewBundle(t, asks("web"), names("base"), guarded(stage))
					wantRefused(t, b, rt.bare, "names the profile", "base", "gives it web")
				})
				t.Run("refuses no profile", func(t *testing.T) {
					wantRefused(t, guesttest.NewBundle(t, asks("web"), guarded(stage)), rt.bare, "names no profile")
				})
				t.Run("refuses a request that is not allowed", func(t *testing.T) {
					wantRefused(t, guesttest.NewBundle(t, asks("nosuch"), names("web"), guarded(stage)), rt.bare, "nosuch")
				})
			})
		}
	})
}

// What design.md says of a hook at this stage: it can load a profile in time, and cannot rename it. This is why the
// project's work is done one step earlier.
func TestRewriteAtPrestartDoesNotReachTheInit(t *testing.T) {
	setPolicy(t, webPolicy)
	guesttest.LoadProfile(t, "profile early flags=(attach_disconnected) { file, signal, deny /etc/** w, }")
	guesttest.LoadProfile(t, "profile late flags=(attach_disconnected) { file, signal, deny /mnt/** w, }")
	eachRuntime(t, func(t *testing.T, rt arms) {
		for _, stage := range []string{"createRuntime", "prestart"} {
			t.Run(stage, func(t *testing.T) {
				b := guesttest.NewBundle(t)
				hook := filepath.Join(t.TempDir(), "rewrite")
				write(t, hook, "#!/bin/sh\nsed -i 's/\"early\"/\"late\"/' "+b.Dir+"/config.json\n")
				if err := os.Chmod(hook, 0o755); err != nil {
					t.Fatal(err)
				}
				spec := b.Spec(t)
				names("early")(spec)
				hooked(stage, specs.Hook{Path: hook})(spec)
				b.SetSpec(t, spec)
				c := b.Start(t, rt.bare)
				if got := b.Spec(t).Process.ApparmorProfile; got != "late" {
					t.Fatalf("the hook did not rewrite the spec: it names %s", got)
				}
				wantConfined(t, c, webTries, "early")
			})
		}
	})
}

func TestPrepareByHand(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm) // the hook comes before any runtime
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		unload(t, "web")
		b := guesttest.NewBundle(t, asks("web"))
		if out := guesttest.MustRun(t, "oci-apparmor-hook", "prepare", "--bundle", b.Dir); !strings.Contains(out, "web") {
			t.Errorf("prepare does not say what it did: %s", out)
		}
		wantConfined(t, b.Start(t, rt.bare), webTries, "web")
	})
}

// What install prints for a runtime that is called by hand, as it stands there: the command prepares a bundle, and the hook
// loads what is missing then, and refuses a bundle that was not prepared.
func TestInstallRunc(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // what is printed is the same everywhere
	setPolicy(t, webPolicy)
	var printed struct {
		Hooks   specs.Hooks
		Prepare []string
	}
	if err := json.Unmarshal([]byte(guesttest.MustRun(t, "oci-apparmor", "install", "runc", "--json")), &printed); err != nil {
		t.Fatal(err)
	}
	text := guesttest.MustRun(t, "oci-apparmor", "install", "runc")
	hooks, err := json.Marshal(printed.Hooks)
	if err != nil || !strings.Contains(text, `"hooks": `+string(hooks)) || !strings.Contains(text, strings.Join(printed.Prepare, " ")) {
		t.Errorf("%v: it prints %s", err, text)
	}
	eachRuntime(t, func(t *testing.T, rt arms) {
		guard := func(s *specs.Spec) { s.Hooks = &printed.Hooks }
		wantRefused(t, guesttest.NewBundle(t, asks("web"), guard), rt.bare, "names no profile")
		b := guesttest.NewBundle(t, asks("web"), guard)
		prepare := strings.NewReplacer("BUNDLE", b.Dir, "ID", "by-hand").Replace(strings.Join(printed.Prepare, " "))
		guesttest.MustRun(t, "sh", "-c", prepare)
		unload(t, "web")
		wantConfined(t, b.Start(t, rt.bare), webTries, "web")
	})
}

// Podman's stage: the spec comes on standard input and goes to standard output.
func TestPrecreate(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // the hook comes before any runtime
	setPolicy(t, webPolicy)
	precreate := func(t *testing.T, config string) guesttest.Outcome {
		cmd := exec.Command("oci-apparmor-hook", "precreate")
		cmd.Stdin = strings.NewReader(config)
		return guesttest.RunCommand(t, cmd)
	}
	eachRuntime(t, func(t *testing.T, rt arms) {
		unload(t, "web")
		b := guesttest.NewBundle(t, asks("web"))
		path := filepath.Join(b.Dir, "config.json")
		o := precreate(t, read(t, path))
		var spec specs.Spec
		if err := json.Unmarshal([]byte(o.Stdout), &spec); err != nil || spec.Process.ApparmorProfile != "web" {
			t.Fatalf("got %s (%v): %s", o.Stdout, err, o.Stderr)
		}
		write(t, path, o.Stdout)
		wantConfined(t, b.Start(t, rt.bare), webTries, "web")

		refused := guesttest.NewBundle(t, asks("nosuch"))
		o = precreate(t, read(t, filepath.Join(refused.Dir, "config.json")))
		if o.Code == 0 || o.Stdout != "" || !strings.Contains(o.Stderr, "nosuch") {
			t.Errorf("a refused request gave exit code %d, %q and %q", o.Code, o.Stdout, o.Stderr)
		}
	})
}
