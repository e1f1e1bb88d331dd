package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// What the project promises of a container, shown by the label that the kernel gives and by operations that it denies
// and allows, through runc and through crun.

func TestAnnotatedContainerIsConfined(t *testing.T) {
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		wantConfined(t, c, webTries, "web")
	})
}

// A runtime goes to its bundle by chdir, to which link/.. is the parent of what the link leads to.
func TestBundleBehindALink(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm) // how the path is read is ours
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		b := guesttest.NewBundle(t, asks("web"))
		dir := t.TempDir()
		for _, err := range []error{
			os.MkdirAll(dir+"/real/sub", 0o755),
			os.Symlink("real/sub", dir+"/link"),
			os.Symlink(b.Dir, dir+"/real/b"),
			os.Mkdir(dir+"/b", 0o755), // where link/../b leads who takes it for text
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		write(t, dir+"/b/config.json", read(t, b.Dir+"/config.json"))
		linked := *b
		linked.Dir = dir + "/link/../b"
		wantConfined(t, linked.Start(t, rt.wrapped), webTries, "web")
	})
}

// AppArmor's global complain mode shows in no label and in no hash, and lets everything pass.
func TestKernelThatEnforcesNothing(t *testing.T) {
	setPolicy(t, webPolicy)
	const mode = "/sys/module/apparmor/parameters/mode"
	t.Cleanup(func() { write(t, mode, "enforce") })
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		wantConfined(t, c, webTries, "web")
		write(t, mode, "complain")
		wantConfined(t, c, freeTries, "web") // which is why
		wantRefused(t, guesttest.NewBundle(t, asks("web")), rt.wrapped, "global mode is complain", "write enforce to "+mode)
		if o := c.Exec(t, "/bin/probe", "label"); o.Code == 0 || !strings.Contains(o.Stderr, "write enforce to "+mode) {
			t.Errorf("exec: exit code %d, %s%s", o.Code, o.Stdout, o.Stderr)
		}
		write(t, mode, "enforce")
		wantExecConfined(t, c, webTries, "web (enforce)", byCommandLine(c))
	})
}

// A profile that allows next to nothing leaves a container that can be stopped, or is not applied.
func TestContainerUnderAStrictProfileCanBeStopped(t *testing.T) {
	const policy = "version: 1\nprofiles:\n  strict: {file: profiles/strict}\npolicies:\n  strict: {profile: strict}\n" +
		"assign:\n  - policy: strict\n"
	const rules = "  signal (receive) peer=unconfined,\n  signal (receive) peer=runc,\n  signal (receive) peer=crun,\n"
	strict := func(more string) map[string]string {
		return map[string]string{"strict": "abi <abi/3.0>,\nprofile strict flags=(attach_disconnected,mediate_deleted) {\n" +
			"  / r,\n  /** rix,\n" + more + "}\n"}
	}
	setPolicy(t, keepPolicy)
	writePolicy(t, policy, strict(""))
	o := guesttest.Run(t, "oci-apparmor", "policy", "apply")
	if o.Code == 0 || !strings.Contains(o.Stderr, "profiles/strict:2: an unconfined runtime cannot kill what runs under profile strict") {
		t.Errorf("apply without rules for signals: exit code %d, %s%s", o.Code, o.Stdout, o.Stderr)
	}
	writePolicy(t, policy, strict(rules))
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t).Start(t, rt.wrapped)
		wantConfined(t, c, tries{"write /tmp/x": denied, "read /etc/passwd": "ok"}, "strict")
		guesttest.MustRun(t, rt.wrapped, "kill", c.ID, "KILL")
		waitFor(t, "the container to stop", func() bool {
			return strings.Contains(guesttest.Run(t, rt.bare, "state", c.ID).Stdout, `"stopped"`)
		})
	})
}

// In a policy namespace AppArmor is ready, for that namespace only.
func TestDetectionInAPolicyNamespace(t *testing.T) {
	guesttest.Require(t)
	const name = "graded"
	dir := securityfs + "/policy/namespaces/" + name
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	before := kernel.New().Detect()
	var within kernel.Readiness
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with its label
		if err = os.WriteFile("/proc/thread-self/attr/current", []byte("changeprofile :"+name+":unconfined"), 0); err == nil {
			within = kernel.New().Detect()
		}
	}()
	<-done
	if err != nil || before != kernel.Ready || within != kernel.Namespaced {
		t.Errorf("outside %q, within %q (%v)", before, within, err)
	}
}

func TestContainerThatAsksForNothingIsConfined(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm) // the decision is ours
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t).Start(t, rt.wrapped)
		wantConfined(t, c, workTries, "work")
	})
}

func TestAnnotationForOneContainerWins(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // the decision is ours
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		b, other := guesttest.NewBundle(t), guesttest.NewBundle(t)
		for _, b := range []*guesttest.Bundle{b, other} {
			spec := b.Spec(t)
			annotate(spec, "oci-apparmor/policy", "work")
			annotate(spec, "oci-apparmor/policy."+other.ID, "web")
			b.SetSpec(t, spec)
		}
		wantConfined(t, b.Start(t, rt.wrapped), workTries, "work")
		wantConfined(t, other.Start(t, rt.wrapped), webTries, "web")
	})
}

func TestExecIsConfinedAsTheContainer(t *testing.T) {
	setPolicy(t, webPolicy)
	guesttest.LoadProfile(t, "profile other flags=(attach_disconnected) { file, signal, }")
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		const label = "web (enforce)"
		for name, profile := range map[string]*string{
			"another profile": new("other"), "no profile": nil, "an empty profile": new(""), "unconfined": new("unconfined"),
		} {
			t.Run("process file with "+name, func(t *testing.T) {
				wantExecConfined(t, c, webTries, label, byFile(t, c, profile))
			})
		}
		t.Run("command line", func(t *testing.T) {
			wantExecConfined(t, c, webTries, label, byCommandLine(c))
		})
		t.Run("command line that names a profile", func(t *testing.T) {
			wantExecConfined(t, c, webTries, label, byCommandLine(c, "--apparmor", "other"))
			wantExecConfined(t, c, webTries, label, byCommandLine(c, "--apparmor=other"))
		})
		t.Run("after the bundle's spec was changed", func(t *testing.T) {
			spec := c.Spec(t)
			spec.Process.ApparmorProfile = "other"
			c.SetSpec(t, spec)
			wantExecConfined(t, c, webTries, label, byCommandLine(c))
		})
		t.Run("after the profile was loosened by hand", func(t *testing.T) {
			guesttest.LoadProfile(t, loose("web"))
			if got := c.Ask(t, "write /etc/x"); got != "ok" {
				t.Fatalf("the profile was not loosened: %s", got)
			}
			wantExecConfined(t, c, webTries, label, byFile(t, c, nil))
			wantConfined(t, c, webTries, "web")
		})
	})
}

func TestContainersThatWeDidNotStartPassUnchanged(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm) // what passes is our doing
	setPolicy(t, webPolicy)
	guesttest.LoadProfile(t, "profile other flags=(attach_disconnected) { file, signal, deny /etc/** w, }")
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t, asks("web"), names("other")).Start(t, rt.bare)
		wantConfined(t, c, webTries, "other")
		c.Runtime = rt.wrapped
		wantExecConfined(t, c, webTries, "other (enforce)", byCommandLine(c))
		wantExecConfined(t, c, webTries, "other (enforce)", byFile(t, c, new("other")))
	})
}

func TestStartNeedsNoParser(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // what a start calls is ours
	setPolicy(t, webPolicy)
	calls := trapParser(t)
	eachRuntime(t, func(t *testing.T, rt arms) {
		unload(t, "web")
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		if mode := guesttest.Profiles(t)["web"]; mode != "enforce" {
			t.Errorf("profile web is loaded in mode %q, want enforce", mode)
		}
		wantConfined(t, c, webTries, "web")
		wantExecConfined(t, c, webTries, "web (enforce)", byFile(t, c, nil))
	})
	if text, err := os.ReadFile(calls); err == nil {
		t.Errorf("apparmor_parser was run:\n%s", text)
	}
}

func TestDriftIsNoticedByContent(t *testing.T) {
	for name, tc := range map[string]struct {
		onDrift string
		ours    bool // we had loaded it before
		refused bool
	}{
		"ours is put back":                                   {"", true, false},
		"a foreign one is refused":                           {"", false, true},
		"a foreign one is replaced where the policy says so": {"replace", false, false},
		"ours is refused where the policy says so":           {"refuse", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			policy := webPolicy
			if tc.onDrift != "" {
				policy = strings.Replace(policy, "{file: profiles/web}", "{file: profiles/web, onDrift: "+tc.onDrift+"}", 1)
			}
			setPolicy(t, policy)
			eachRuntime(t, func(t *testing.T, rt arms) {
				unload(t, "web")
				if err := os.RemoveAll("/run/oci-apparmor"); err != nil { // as if we had never loaded anything
					t.Fatal(err)
				}
				if tc.ours {
					wantLabel(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), "web")
				}
				guesttest.LoadProfile(t, loose("web"))
				before := revision(t)
				b := guesttest.NewBundle(t, asks("web"))
				if tc.refused {
					wantRefused(t, b, rt.wrapped, "another profile of that name", "onDrift")
					if after := revision(t); after != before {
						t.Errorf("the kernel's revision went from %d to %d", before, after)
					}
					return
				}
				c, o := b.TryStart(t, rt.wrapped)
				if c == nil {
					t.Fatal(o.Stderr)
				}
				wantConfined(t, c, webTries, "web")
				if !strings.Contains(o.Stderr, "profile web was loaded with other content") {
					t.Errorf("no warning that profile web was not ours: %q", o.Stderr)
				}
			})
		})
	}
}

func TestProfileRemovedBetweenTwoStartsIsLoadedAgain(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm) // TestDriftIsNoticedByContent loads again in all
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		wantConfined(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), webTries, "web")
		guesttest.RemoveProfile(t, "web")
		wantConfined(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), webTries, "web")
	})
}

func TestProfileRemovedBetweenCreateAndStart(t *testing.T) {
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		created := func(t *testing.T, kept bool) (b *guesttest.Bundle, ran string) {
			unload(t, "web") // the one that loadOurs has loaded is not ours to replace
			choose := asks("web")
			if kept {
				choose = names("web")
			}
			b = guesttest.NewBundle(t, choose, func(s *specs.Spec) {
				s.Process.Args = []string{"/bin/sh", "-c", "touch /tmp/ran; touch /etc/ran; exec probe sleep"}
			})
			if kept {
				b.ID = "kept-" + b.ID
			}
			t.Cleanup(func() { guesttest.Run(t, rt.wrapped, "delete", "--force", b.ID) })
			cmd := exec.Command(rt.wrapped, "create", "--bundle", b.Dir, b.ID)
			if o := guesttest.RunCommand(t, cmd); o.Code != 0 {
				t.Fatal(o.Stderr)
			}
			return b, b.Rootfs() + "/tmp/ran"
		}
		for _, test := range []struct {
			name         string
			kept, reload bool
		}{
			{"is refused", false, false}, {"and loaded again is refused", false, true},
			{"is refused where it is the engine's choice", true, false},
		} {
			t.Run(test.name, func(t *testing.T) {
				b, ran := created(t, test.kept)
				guesttest.RemoveProfile(t, "web")
				if test.reload {
					loadOurs(t, "web")
				}
				o := guesttest.Run(t, rt.wrapped, "start", b.ID)
				if o.Code == 0 || !strings.Contains(o.Stderr, "profile web was removed") || !strings.Contains(o.Stderr, b.ID) {
					t.Errorf("start gave exit code %d and %q", o.Code, o.Stderr)
				}
				if _, err := os.Stat(ran); err == nil {
					t.Error("its process has run")
				}
				guesttest.MustRun(t, rt.wrapped, "delete", "--force", b.ID)
			})
		}
		t.Run("is no matter when it was only replaced", func(t *testing.T) {
			b, ran := created(t, false)
			guesttest.LoadProfile(t, loose("web"))
			if o := guesttest.Run(t, rt.wrapped, "start", b.ID); o.Code != 0 {
				t.Fatal(o.Stderr)
			}
			waitFor(t, "its process to run", func() bool { _, err := os.Stat(ran); return err == nil })
			c := &guesttest.Container{Bundle: b, Runtime: rt.wrapped}
			wantLabel(t, c, "web")
			wantExecConfined(t, c, webTries, "web (enforce)", byCommandLine(c))
			if _, err := os.Stat(b.Rootfs() + "/etc/ran"); err == nil {
				t.Error("its process could write to /etc: the loose profile was not replaced")
			}
		})
	})
}

func TestFloorDeniesWhatEitherDenies(t *testing.T) {
	setPolicy(t, floorPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t, asks("work")).Start(t, rt.wrapped)
		wantConfined(t, c, bothTries, "base", "work")
		wantExecConfined(t, c, bothTries, "base//&work (enforce)", byFile(t, c, nil))
		wantExecConfined(t, c, bothTries, "base//&work (enforce)", byCommandLine(c))
		wantSignalsAndTraces(t, c)
	})
}

// The floor of a rule is below whatever the rule gives; a request that it refuses gets the assigned policy, with a warning.
func TestFloorAndFallbackOfARule(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // the decision is ours; TestFloorDeniesWhatEitherDenies is in all
	setPolicy(t, floorPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		b := guesttest.NewBundle(t, asks("batch"))
		b.ID = "floored-" + b.ID
		c, o := b.TryStart(t, rt.wrapped)
		if c == nil {
			t.Fatal(o.Stderr)
		}
		wantConfined(t, c, webTries, "batch", "web")
		if !strings.Contains(o.Stderr, "batch") || !strings.Contains(o.Stderr, "level=warning") {
			t.Errorf("no warning that the request was refused: %q", o.Stderr)
		}
		b = guesttest.NewBundle(t, asks("work"))
		b.ID = "floored-" + b.ID
		c = b.Start(t, rt.wrapped)
		wantConfined(t, c, bothTries, "base", "batch", "work")
		wantSignalsAndTraces(t, c)
	})
}

// crun takes what stands before a NUL in a key of JSON, and older ones take ./c1 for c1.
func TestWhatRuntimesReadOtherwiseIsRefused(t *testing.T) {
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		for _, key := range []string{`apparmorProfile\u0000x`, "AppArmorProfile", "apparmorProfile"} {
			b := guesttest.NewBundle(t, asks("web"), names("work"))
			path := filepath.Join(b.Dir, "config.json")
			config := read(t, path)
			twice := strings.Replace(config, `"apparmorProfile"`, `"`+key+`": "unconfined", "apparmorProfile"`, 1)
			if twice == config {
				t.Fatal("the spec names no profile")
			}
			write(t, path, twice)
			wantRefused(t, b, rt.wrapped, "runtimes disagree")
		}
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		for _, id := range []string{"./" + c.ID, c.ID + "/", c.ID + "/."} {
			args := byFile(t, c, new("unconfined"))("/bin/probe", "write", "/etc/x")
			if o := guesttest.Run(t, rt.wrapped, "exec", args[0], args[1], id); strings.Contains(o.Stdout, "ok") {
				t.Errorf("exec in %s: %s", id, o.Stdout)
			}
		}
		file := filepath.Join(t.TempDir(), "process.json")
		write(t, file, `{"apparmorProfile\u0000x":"unconfined","args":["/bin/probe","write","/etc/x"],"cwd":"/","user":{"uid":0,"gid":0}}`)
		if o := guesttest.Run(t, rt.wrapped, "exec", "--process", file, c.ID); strings.Contains(o.Stdout, "ok") || o.Code == 0 {
			t.Errorf("exec with a NUL in a key: exit code %d, %s", o.Code, o.Stdout)
		}
	})
}

// A hat that was loaded under our profile's name stays when ours replaces it, and a process can enter it at will.
func TestHatOfAForeignProfileIsNoWayOut(t *testing.T) {
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		wantLabel(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), "web")
		guesttest.LoadProfile(t, "profile web flags=(attach_disconnected) { file, signal, ^evil flags=(attach_disconnected) { file, signal, } }")
		wantRefused(t, guesttest.NewBundle(t, asks("web")), rt.wrapped, "web//evil", "change_hat")
		guesttest.RemoveProfile(t, "web//evil")
		wantConfined(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), webTries, "web")
	})
}

func TestTwoContainersOfOneIDAtOnce(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // the lock is ours
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		for i := range 5 {
			id := fmt.Sprintf("twice-%d", i)
			var bundles [2]*guesttest.Bundle
			for j := range bundles {
				asked := asks([]string{"web", "work"}[j])
				bundles[j] = guesttest.NewBundle(t, asked, func(s *specs.Spec) { s.Process.Args = []string{"/bin/probe", "sleep"} })
				bundles[j].ID = id
			}
			var created [2]guesttest.Outcome
			var wg sync.WaitGroup
			for j, b := range bundles {
				wg.Go(func() {
					cmd := exec.Command(rt.wrapped, "create", "--bundle", b.Dir, id)
					time.Sleep(time.Duration(i*j) * 20 * time.Millisecond)
					created[j] = guesttest.RunCommand(t, cmd)
				})
			}
			wg.Wait()
			if (created[0].Code == 0) == (created[1].Code == 0) {
				t.Errorf("of two containers of one id, want one: %+v", created)
			}
			guesttest.MustRun(t, rt.wrapped, "start", id)
			winner := bundles[0]
			if created[1].Code == 0 {
				winner = bundles[1]
			}
			c := &guesttest.Container{Bundle: winner, Runtime: rt.wrapped}
			asked, what := "web", webTries
			if winner == bundles[1] {
				asked, what = "work", workTries
			}
			wantLabel(t, c, asked)
			wantExecConfined(t, c, what, asked+" (enforce)", byFile(t, c, new("unconfined")))
			guesttest.MustRun(t, rt.wrapped, "delete", "--force", id)
		}
	})
}

func TestContainerWhoseRecordIsLost(t *testing.T) {
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		// Somebody deletes a container in a mount namespace of his own, where the runtime's root is empty.
		guesttest.MustRun(t, "unshare", "--mount", "sh", "-c", "mount -t tmpfs t /run/"+filepath.Base(rt.bare)+
			"; "+rt.wrapped+" delete nosuch; true")
		wantExecConfined(t, c, webTries, "web (enforce)", byFile(t, c, new("unconfined")))
		if err := os.RemoveAll("/run/oci-apparmor/containers"); err != nil {
			t.Fatal(err)
		}
		wantExecConfined(t, c, webTries, "web (enforce)", byFile(t, c, new("unconfined")))
		wantExecConfined(t, c, webTries, "web (enforce)", byCommandLine(c))
	})
}

func TestExecWithAProcessFileOnStandardInput(t *testing.T) {
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		for op, want := range (tries{"label": "web (enforce)", "write /etc/x": denied, "write /tmp/x": "ok"}) {
			file := byFile(t, c, new("unconfined"))(append([]string{"/bin/probe"}, strings.Fields(op)...)...)[1]
			cmd := exec.Command(rt.wrapped, "exec", "--process", "/dev/stdin", c.ID)
			cmd.Stdin = strings.NewReader(read(t, file))
			if o := guesttest.RunCommand(t, cmd); strings.TrimSpace(o.Stdout) != want {
				t.Errorf("%s: %q, want %q (%s)", op, o.Stdout, want, o.Stderr)
			}
		}
	})
}

func TestExecAfterThePolicyLostTheProfile(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm) // the record is ours
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		writePolicy(t, webPolicy, texts)
		guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		writePolicy(t, keepPolicy, nil)
		guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
		wantExecConfined(t, c, webTries, "web (enforce)", byFile(t, c, nil))
		guesttest.LoadProfile(t, loose("web"))
		if o := c.Exec(t, "/bin/probe", "write", "/etc/x"); o.Code == 0 || !strings.Contains(o.Stderr, "does not have") {
			t.Errorf("exec under a loosened profile: exit code %d, %s%s", o.Code, o.Stdout, o.Stderr)
		}
	})
}

func TestRequestThatIsNotAllowedIsRefused(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // the refusal is ours, and comes before any runtime
	setPolicy(t, webPolicy)
	unknown := func(quoted string) string {
		return "policy " + quoted + ", asked for by annotation oci-apparmor/policy, does not exist: the rule for everyone"
	}
	requests := map[string]struct{ value, reason string }{ // the value as JSON
		"not allowed": {`"hands-off"`,
			`policy "hands-off", asked for by annotation oci-apparmor/policy, is not allowed here: the rule for everyone`},
		"unknown":                     {`"nosuch"`, unknown(`"nosuch"`)},
		"empty":                       {`""`, unknown(`""`)},
		"unconfined":                  {`"unconfined"`, unknown(`"unconfined"`)},
		"u":                           {`"u"`, unknown(`"u"`)},
		"colon":                       {`":"`, unknown(`":"`)},
		"another namespace":           {`":ns:web"`, unknown(`":ns:web"`)},
		"the root namespace":          {`"::docker-default"`, unknown(`"::docker-default"`)},
		"a stack on the caller":       {`"&x"`, unknown(`"&x"`)},
		"a stack":                     {`"x//&unconfined"`, unknown(`"x//&unconfined"`)},
		"a profile that is no policy": {`"docker-default"`, unknown(`"docker-default"`)},
		"a blank in front":            {`" web"`, unknown(`" web"`)},
		"a blank behind":              {`"web "`, unknown(`"web "`)},
		"300 bytes":                   {`"` + strings.Repeat("w", 300) + `"`, unknown(`"` + strings.Repeat("w", 64) + `"... (300 bytes)`)},
		"newlines":                    {`"web\nnosuch"`, unknown(`"web\nnosuch"`)},
		"a log line":                  {`"x\n{\"level\":\"info\"}"`, unknown(`"x\n{\"level\":\"info\"}"`)},
		"NUL":                         {`"web\u0000"`, unknown(`"web\x00"`)},
		"not UTF-8":                   {"\"we\xff\xfeb\"", unknown(`"we\ufffd\ufffdb"`)},
		"an escape sequence":          {`"\u001b[2J"`, unknown(`"\x1b[2J"`)},
	}
	eachRuntime(t, func(t *testing.T, rt arms) {
		for name, request := range requests {
			t.Run(name, func(t *testing.T) {
				b := guesttest.NewBundle(t, asks("REQUEST"))
				path := filepath.Join(b.Dir, "config.json")
				config := strings.Replace(read(t, path), `"REQUEST"`, request.value, 1)
				write(t, path, config)
				before := revision(t)
				c, o := b.TryStart(t, rt.wrapped)
				if c != nil {
					t.Fatalf("it started, with label %s", c.Label(t))
				}
				if after := revision(t); after != before {
					t.Errorf("something was loaded: the kernel's revision went from %d to %d", before, after)
				}
				if read(t, path) != config {
					t.Error("the spec of a refused container was changed")
				}
				said := strconv.Quote("of container " + b.ID + ": " + request.reason) // as a log line has it
				if !strings.Contains(o.Stderr, said[1:len(said)-1]) {
					t.Errorf("the message is %q, and does not say which container and why: %s", o.Stderr, request.reason)
				}
				line := strings.TrimSuffix(o.Stderr, "\n")
				if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) || len(line) > 1000 {
					t.Errorf("the message is not one harmless line: %q", o.Stderr)
				}
			})
		}
	})
}

func TestRefusalReachesTheRuntimesLog(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // the log is written by us
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		log := filepath.Join(t.TempDir(), "log.json")
		b := guesttest.NewBundle(t, asks("nosuch"))
		if c, _ := b.TryStart(t, rt.wrapped, "--log", log, "--log-format", "json"); c != nil {
			t.Fatal("it started")
		}
		var entry struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(read(t, log)), &entry); err != nil || entry.Level != "error" ||
			!strings.Contains(entry.Msg, "nosuch") || !strings.Contains(entry.Msg, b.ID) {
			t.Errorf("the log is %q, want one line of JSON with the reason (%v)", read(t, log), err)
		}
	})
}

func TestManyStartsLoadOnce(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // the lock is ours
	starts := guesttest.Count(t, 8, 50, "starts at once")
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		unload(t, "web")
		before := revision(t)
		bundles := make([]*guesttest.Bundle, starts)
		for i := range bundles {
			bundles[i] = guesttest.NewBundle(t, asks("web"))
		}
		containers := make([]*guesttest.Container, starts)
		var wg sync.WaitGroup
		for i, b := range bundles {
			wg.Go(func() {
				c, o := b.TryStart(t, rt.wrapped)
				if c == nil {
					t.Errorf("container %s: %s", b.ID, o.Stderr)
				}
				containers[i] = c
			})
		}
		wg.Wait()
		if loads := revision(t) - before; loads != 1 {
			t.Errorf("%d starts made %d loads, want 1", starts, loads)
		}
		for _, c := range containers {
			if c != nil {
				wantConfined(t, c, webTries, "web")
			}
		}
	})
}

func TestNoAppArmorInTheKernel(t *testing.T) {
	guesttest.Need(t, guest.NoAppArmor)
	apply(t, webPolicy, "--features", "/etc/apparmor.d/abi/3.0")
	eachRuntime(t, func(t *testing.T, rt arms) {
		wantRefused(t, guesttest.NewBundle(t, asks("web")), rt.wrapped, "AppArmor is not switched on")

		b := guesttest.NewBundle(t)
		b.ID = "kept-" + b.ID
		c := b.Start(t, rt.wrapped)
		for op, want := range freeTries {
			if got := c.Ask(t, op); got != want {
				t.Errorf("%s: %s, want %s", op, got, want)
			}
		}
	})
}

func TestLongNamesNeverReachTheKernel(t *testing.T) {
	setPolicy(t, webPolicy)
	for _, length := range []int{201, 253, 300} {
		t.Run(fmt.Sprint(length, " bytes"), func(t *testing.T) {
			name := strings.Repeat("n", length)
			policy := fmt.Sprintf("version: 1\nprofiles:\n  %s: {template: docker-default}\npolicies:\n  p: {profile: %s}\n"+
				"assign:\n  - policy: p\n", name, name)
			before := revision(t)
			writePolicy(t, policy, nil)
			o := guesttest.Run(t, "oci-apparmor", "policy", "apply")
			if o.Code == 0 || !strings.Contains(o.Stderr, "200") || !strings.Contains(o.Stderr, "policy.yaml:3:") {
				t.Errorf("policy apply gave exit code %d and does not say where and why: %s", o.Code, o.Stderr)
			}
			if after := revision(t); after != before {
				t.Errorf("the kernel's revision went from %d to %d", before, after)
			}
		})
	}
	guesttest.LoadProfile(t, "profile still-works { file, }") // loading goes on working, for everyone
	eachRuntime(t, func(t *testing.T, rt arms) {
		unload(t, "web")
		wantConfined(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), webTries, "web")
	})
}

func TestPoisonedKernelIsCured(t *testing.T) {
	setPolicy(t, webPolicy)
	guesttest.LoadProfile(t, "profile bystander { file, }") // any profile that is there: its rewriting is the cure
	eachRuntime(t, func(t *testing.T, rt arms) {
		// A profile that no other test loads: bytes that something still holds, such as an open file of a process that
		// ran under them, are taken again even in this state, and there is nothing to cure.
		name := "new-to-" + filepath.Base(rt.bare)
		text := map[string]string{name: confining(name, "  file,\n  audit deny /etc/** w,\n")}
		writePolicy(t, fmt.Sprintf("version: 1\nprofiles:\n  %s: {file: profiles/%[1]s}\npolicies:\n  p: {profile: %[1]s}\n"+
			"assign:\n  - policy: p\n", name), text)
		guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
		poison(t, filepath.Base(rt.bare))
		// A later kernel cleans up behind such a load, as Debian's 6.12.117 does: there, nothing is to be cured.
		want := int64(1)
		if err := tryLoad(t, "profile poisoned { file, }"); err != nil {
			t.Logf("the kernel loads nothing new: %v", err)
			want++
		} else {
			unload(t, "poisoned")
		}
		before := revision(t)
		c, o := guesttest.NewBundle(t).TryStart(t, rt.wrapped)
		if c == nil {
			t.Fatal(o.Stderr)
		}
		wantConfined(t, c, webTries, name)
		if made := revision(t) - before; made != want {
			t.Errorf("the kernel's revision moved by %d, want %d: one load, and one cure where that was needed", made, want)
		}
		guesttest.LoadProfile(t, "profile cured { file, }") // for everyone
	})
}

func TestStackedLabelsCountAsThePolicys(t *testing.T) {
	setPolicy(t, floorPolicy)
	check := func(t *testing.T, c *guesttest.Container, what tries, profiles ...string) {
		t.Helper()
		wantConfined(t, c, what, profiles...)
		label := c.ExecProbe(t, "label")
		if l, err := kernel.ParseLabel(label); err != nil || !l.Covers(profiles...) {
			t.Errorf("an exec'd process has label %q, want %q (%v)", label, profiles, err)
		}
		if got := c.ExecProbe(t, "write", "/etc/x"); got != denied {
			t.Errorf("exec write /etc/x: %q", got)
		}
		wantSignalsAndTraces(t, c)
		guesttest.MustRun(t, "oci-apparmor", "policy", "explain", "--bundle", c.Dir, "--id", c.ID, "--pid", fmt.Sprint(c.Pid(t)))
	}
	t.Run("restricted unprivileged unconfined", func(t *testing.T) {
		const sysctl = "/proc/sys/kernel/apparmor_restrict_unprivileged_unconfined"
		old, err := os.ReadFile(sysctl)
		if err != nil {
			t.Skip("this kernel has no kernel.apparmor_restrict_unprivileged_unconfined (it came after 6.1)")
		}
		write(t, sysctl, "1")
		t.Cleanup(func() { write(t, sysctl, string(old)) })
		eachRuntime(t, func(t *testing.T, rt arms) {
			c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
			check(t, c, webTries, "web")
			// Which processes get the stack differs by kernel and runtime; those that runc starts by exec do in all.
			label := c.ExecProbe(t, "label")
			l, err := kernel.ParseLabel(label)
			if err != nil || !l.Covers("web") || filepath.Base(rt.bare) == "runc" && !l.Covers("web", "unconfined") {
				t.Errorf("exec'd processes have label %q: not the stack that this test is about (%v)", label, err)
			}
			check(t, guesttest.NewBundle(t, asks("batch")).Start(t, rt.wrapped), webTries, "base", "batch") // generated, on a floor
		})
	})
	// AppArmor 4 ships a profile for each runtime, which confines nothing. Newer cruns make it part of the label of a
	// container that runs with no_new_privs.
	t.Run("a runtime under its own profile", func(t *testing.T) {
		eachRuntime(t, func(t *testing.T, rt arms) {
			name := filepath.Base(rt.bare)
			text, err := os.ReadFile("/etc/apparmor.d/" + name)
			if err != nil {
				text = fmt.Appendf(nil, "profile %s /usr/{bin,sbin}/%[1]s flags=(unconfined) { }\n", name)
			}
			guesttest.LoadProfile(t, string(text))
			c := guesttest.NewBundle(t, asks("batch")).Start(t, rt.wrapped)
			label := c.Label(t)
			l, err := kernel.ParseLabel(label)
			if err != nil || name == "crun" && !hasRuntime(l) && guesttest.Suite() != "bookworm" {
				t.Errorf("the label is %q: not the stack that this test is about (%v)", label, err)
			}
			t.Logf("%s under its own profile gives the label %s", name, label)
			check(t, c, webTries, "base", "batch")
		})
	})
}

func TestModes(t *testing.T) {
	setPolicy(t, modesPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t, asks("watch")).Start(t, rt.wrapped)
		if label := c.Label(t); label != "watched (complain)" {
			t.Errorf("the label is %q, want watched (complain)", label)
		}
		log := guesttest.KernelLog(t)
		if got := c.Ask(t, "write /mnt/x"); got != "ok" {
			t.Errorf("complain mode denied a write: %s", got)
		}
		if len(log.Grep(t, `apparmor="ALLOWED"`, `"watched"`, "/mnt/x")) == 0 {
			t.Error("complain mode did not log a write that the profile does not allow")
		}

		c = guesttest.NewBundle(t, asks("strict")).Start(t, rt.wrapped)
		if label := c.Label(t); label != "killing (kill)" {
			t.Errorf("the label is %q, want killing (kill)", label)
		}
		if got := c.Ask(t, "write /tmp/x"); got != "ok" {
			t.Errorf("an allowed write: %s", got)
		}
		if o := c.Exec(t, "/bin/probe", "write", "/mnt/x"); o.Code != 128+9 {
			t.Errorf("a write that kill mode must answer with SIGKILL: exit code %d, %s%s", o.Code, o.Stdout, o.Stderr)
		}
	})
}

func TestKeepLeavesTheEnginesChoice(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm) // the decision is ours
	setPolicy(t, webPolicy)
	guesttest.LoadProfile(t, "profile engines flags=(attach_disconnected) { file, signal, deny /mnt/** w, }")
	eachRuntime(t, func(t *testing.T, rt arms) {
		b := guesttest.NewBundle(t, names("engines"))
		b.ID = "kept-" + b.ID
		before := read(t, filepath.Join(b.Dir, "config.json"))
		wantConfined(t, b.Start(t, rt.wrapped), workTries, "engines")
		if after := read(t, filepath.Join(b.Dir, "config.json")); after != before {
			t.Errorf("the spec was changed from %s to %s", before, after)
		}
	})
}

func TestDeletedContainerIsForgotten(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // the record is ours
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		if o := guesttest.Run(t, rt.wrapped, "delete", c.ID); o.Code == 0 {
			t.Fatal("a running container was deleted")
		}
		// The delete that failed changed nothing: exec is confined as before.
		wantExecConfined(t, c, webTries, "web (enforce)", byFile(t, c, nil))
		guesttest.MustRun(t, rt.wrapped, "kill", c.ID, "KILL")
		waitFor(t, "the container to stop", func() bool {
			return strings.Contains(guesttest.Run(t, rt.bare, "state", c.ID).Stdout, `"stopped"`)
		})
		guesttest.MustRun(t, rt.wrapped, "delete", c.ID)
		if left, _ := filepath.Glob("/run/oci-apparmor/containers/*.json"); len(left) > 0 {
			t.Errorf("still remembered: %v", left)
		}
	})
}

func TestSecondContainerOfTheSameIDChangesNothing(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm) // the record is ours
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		again := guesttest.NewBundle(t, asks("work"))
		o := guesttest.Run(t, rt.wrapped, "create", "--bundle", again.Dir, c.ID)
		if o.Code == 0 || !strings.Contains(o.Stderr, "exist") {
			t.Errorf("a second container of that id: exit code %d, %s", o.Code, o.Stderr)
		}
		wantExecConfined(t, c, webTries, "web (enforce)", byFile(t, c, nil))
	})
}

// A restored container gets the label that the policy gives it, also where it had another when it was saved.
func TestRestoredContainerIsConfined(t *testing.T) {
	setPolicy(t, webPolicy)
	if _, err := exec.LookPath("criu"); err != nil {
		t.Skip("this guest has no criu")
	}
	guesttest.NeedKcmp(t)
	// Debian builds crun without CRIU.
	rt := armsOf(t, "runc")
	for name, asked := range map[string]string{"as it was saved": "web", "under another policy": "work"} {
		t.Run(name, func(t *testing.T) {
			b := guesttest.NewBundle(t, asks("web"), func(s *specs.Spec) {
				// It goes on trying what one of the profiles denies. A sleep that CRIU interrupts ends early.
				s.Process.Args = []string{"/bin/sh", "-c",
					"while :; do for dir in etc mnt tmp; do echo >/$dir/tried; done; sleep 1; done"}
				s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
					return n.Type == specs.NetworkNamespace // CRIU would lock it with iptables, which the guest has not got
				})
			})
			t.Cleanup(func() { guesttest.Run(t, rt.wrapped, "delete", "--force", b.ID) })
			image, logs := b.Dir+"/image", b.Dir+"/logs" // of CRIU's
			null := func(args ...string) {
				t.Helper()
				devnull, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer devnull.Close()
				cmd := exec.Command(rt.wrapped, args...)
				cmd.Stdin, cmd.Stdout, cmd.Stderr = devnull, devnull, devnull // CRIU saves pipes, but not to whom they go
				if err := cmd.Run(); err != nil {
					log, _ := exec.Command("tail", "-n", "20", logs+"/restore.log", logs+"/dump.log").Output()
					t.Fatalf("%q: %v\n%s", args, err, log)
				}
			}
			null("run", "--detach", "--bundle", b.Dir, b.ID)
			c := &guesttest.Container{Bundle: b, Runtime: rt.wrapped}
			wantLabel(t, c, "web")
			null("checkpoint", "--image-path", image, "--work-path", logs, b.ID)
			spec := b.Spec(t)
			annotate(spec, "oci-apparmor/policy", asked)
			b.SetSpec(t, spec)
			unload(t, "web")
			null("restore", "--detach", "--image-path", image, "--work-path", logs, "--bundle", b.Dir, b.ID)
			wantLabel(t, c, asked)
			tried := func(dir string) bool { _, err := os.Stat(b.Rootfs() + "/" + dir + "/tried"); return err == nil }
			for range 2 { // the second time around all of the loop is the restored process's
				for _, dir := range []string{"etc", "mnt", "tmp"} {
					if err := os.Remove(b.Rootfs() + "/" + dir + "/tried"); err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Fatal(err)
					}
				}
				waitFor(t, "the restored process to write to /tmp", func() bool { return tried("tmp") })
			}
			if etc, mnt := tried("etc"), tried("mnt"); etc != (asked == "work") || mnt != (asked == "web") {
				t.Errorf("the restored process could write to /etc: %v, to /mnt: %v; its profile is %s", etc, mnt, asked)
			}
			want := map[string]tries{"web": webTries, "work": workTries}[asked]
			wantExecConfined(t, c, want, asked+" (enforce)", byFile(t, c, nil))
		})
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}
