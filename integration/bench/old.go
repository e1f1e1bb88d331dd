package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// A build is one of two that are compared: ours and an older one. Each has an applied policy and records of its own,
// since the formats of these may differ.
type build struct {
	bin  string            // directory of its programs
	dirs map[string]string // of what is its own: where it looks for it, and where it is
}

// twoBuilds returns the build of bin, and the one of old. Both have the policy of the configuration file in force. Their
// programs are copies that are made alike: a file that a linker has written lies in other pages than one that was copied,
// and starts up to a tenth faster or slower for it.
func twoBuilds(bin, old, dir string, apply ...string) ([]*build, error) {
	var builds []*build
	for _, from := range []struct{ name, bin string }{{"this", bin}, {"old", old}} {
		own := filepath.Join(dir, from.name)
		b := &build{bin: filepath.Join(own, "bin"), dirs: make(map[string]string)}
		if err := os.MkdirAll(b.bin, 0o755); err != nil {
			return nil, err
		}
		for _, p := range programs {
			if err := quiet("cp", filepath.Join(from.bin, p), b.bin); err != nil {
				return nil, err
			}
		}
		for i, at := range []string{store.Dir, stateDir} {
			b.dirs[at] = filepath.Join(own, strconv.Itoa(i))
			if err := errors.Join(os.MkdirAll(b.dirs[at], 0o700), os.MkdirAll(at, 0o755)); err != nil {
				return nil, err
			}
		}
		builds = append(builds, b)
	}
	return builds, applyBoth(builds, apply...)
}

// applyBoth puts the policy of the configuration file in force for each.
func applyBoth(builds []*build, apply ...string) error {
	for _, b := range builds {
		err := b.used(func() error {
			return quiet(append([]string{b.program("oci-apparmor"), "policy", "apply", "--quiet"}, apply...)...)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *build) program(name string) string { return filepath.Join(b.bin, name) }

// used calls a function while the build's programs find what is their own.
func (b *build) used(f func() error) error {
	for at, dir := range b.dirs {
		if err := syscall.Mount(dir, at, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting on %s: %w", at, err)
		}
		defer syscall.Unmount(at, syscall.MNT_DETACH)
	}
	return f()
}

// arm returns an arm of a comparison: the time of f, while the build is used. prepare comes before it and is not counted.
func (b *build) arm(prepare, f func() error) func() (time.Duration, error) {
	return func() (took time.Duration, err error) {
		err = b.used(func() error {
			if err := prepare(); err != nil {
				return err
			}
			begin := time.Now()
			err := f()
			took = time.Since(begin)
			return err
		})
		return took, err
	}
}

// paired prints how long something takes by our build, divided by the old one's time.
func paired(name string, n int, builds []*build, prepare func() error, f func(*build) error) error {
	return comparePair(name, n,
		builds[0].arm(prepare, func() error { return f(builds[0]) }),
		builds[1].arm(prepare, func() error { return f(builds[1]) }))
}

// comparePair times two functions n times in turn, and prints the median of the ratios of their pairs. Of two times one
// after the other, both are slowed by what else the machine does.
func comparePair(name string, n int, ours, old func() (time.Duration, error)) error {
	times, err := compare(n, ours, old)
	if err != nil {
		return err
	}
	ratios := make([]float64, n)
	for i := range ratios {
		ratios[i] = float64(times[0][i]) / float64(times[1][i])
	}
	slices.Sort(ratios)
	line(name+", this build ÷ the old one", ratios[n/2], 0, "", fmt.Sprintf("%d each in turn, the ratios' quartiles %.3f and %.3f; %s ÷ %s",
		n, ratios[n/4], ratios[n*3/4], times[0], times[1]), "")
	return nil
}

// creates times a create through the wrapper, which ends in an empty program.
func creates(name string, n int, builds []*build, dir, empty string) error {
	if err := makeBundle(dir, empty); err != nil {
		return err
	}
	config, err := os.ReadFile(dir + "/config.json")
	if err != nil {
		return err
	}
	os.Setenv("OCI_APPARMOR_RUNTIME", empty)
	defer os.Unsetenv("OCI_APPARMOR_RUNTIME")
	i := 0
	return paired(name, n, builds, func() error { return os.WriteFile(dir+"/config.json", config, 0o644) }, func(b *build) error {
		i++
		return quiet(b.program("oci-apparmor-runtime"), "create", "--bundle", dir, "old"+strconv.Itoa(i))
	})
}

func nothing() error { return nil }

// againstOldOnHost compares the builds' wrappers and shims.
func againstOldOnHost(bin, old, dir string, with containerdPrograms) error {
	builds, err := twoBuilds(bin, old, dir, "--features", abi)
	if err != nil {
		return err
	}
	asked, empty := filepath.Join(dir, "asked-of-both"), filepath.Join(dir, "runc-empty")
	if err := creates("create through the wrapper", 400, builds, asked, empty); err != nil {
		return err
	}
	err = paired("wrapper --version", 400, builds, nothing, func(b *build) error {
		return quiet(b.program("oci-apparmor-runtime"), "--version")
	})
	if err != nil {
		return err
	}
	d, err := startDaemon(with.bin, with.shims)
	if err != nil {
		return err
	}
	defer d.stop()
	const shim = "containerd-shim-apparmor-v2"
	err = paired("shim -v", 200, builds, nothing, func(b *build) error { return quiet(b.program(shim), "-v") })
	if err != nil {
		return err
	}
	start := func(b *build) func() (time.Duration, error) {
		return func() (took time.Duration, err error) {
			err = b.used(func() error { took, err = d.startShim(b.program(shim), true, false); return err })
			return took, err
		}
	}
	if err := comparePair("start of the shim until it serves", 200, start(builds[0]), start(builds[1])); err != nil {
		return err
	}
	return manyRules(builds, asked, empty)
}

// manyRules times a create whose decision is the last one of many rules.
func manyRules(builds []*build, asked, empty string) error {
	const n = 1000
	var policies, rules strings.Builder
	for i := range n {
		fmt.Fprintf(&policies, "  p%d: {profile: docker-default}\n", i)
		fmt.Fprintf(&rules, "  - namespace: [ns%d]\n    policy: p%[1]d\n", i)
	}
	text := fmt.Sprintf("version: 1\npolicies:\n%s  web: {profile: docker-default}\nassign:\n%s  - policy: web\n    request: [web]\n",
		&policies, &rules)
	if err := os.WriteFile(etc+"/policy.yaml", []byte(text), 0o600); err != nil {
		return err
	}
	if err := applyBoth(builds, "--features", abi); err != nil {
		return err
	}
	return creates(fmt.Sprintf("create through the wrapper with %d rules and policies", n), 400, builds, asked, empty)
}

// againstOldInGuest compares the builds' wrappers, shims and status.
func againstOldInGuest(bin, old string) error {
	builds, err := twoBuilds(bin, old, work)
	if err != nil {
		return err
	}
	asked, empty := work+"/asked-of-both", filepath.Join(bin, "runc-empty")
	if err := creates("create through the wrapper", 100, builds, asked, empty); err != nil {
		return err
	}
	d, err := startDaemon(inGuestPrograms.bin, inGuestPrograms.shims)
	if err != nil {
		return err
	}
	run := func(b *build) func() (time.Duration, error) {
		run := d.run(arm{"shim", []string{"--runtime", b.program("containerd-shim-apparmor-v2")}})
		return func() (took time.Duration, err error) {
			err = b.used(func() error { took, err = run(); return err })
			return took, err
		}
	}
	err = comparePair("ctr run --rm through the shim", 30, run(builds[0]), run(builds[1]))
	d.stop()
	if err != nil {
		return err
	}
	return statusOfBoth(builds, asked)
}

// statusOfBoth compares status, on a node with many containers.
func statusOfBoth(builds []*build, asked string) error {
	if err := manyProfiles(2000); err != nil {
		return err
	}
	log, err := os.Create(asked + "/log") // which the container's process keeps open
	if err != nil {
		return err
	}
	defer log.Close()
	models := make(map[string]*model)
	for _, b := range builds {
		err := b.used(func() error {
			records, wrapper := stateDir+"/containers", b.program("oci-apparmor-runtime")
			if err := os.RemoveAll(records); err != nil {
				return err
			}
			const name = "model"
			m, err := readModel(wrapper, asked, name, records, log)
			if err != nil {
				return err
			}
			models[b.dirs[stateDir]+"/containers"] = m
			return quiet(wrapper, "delete", "--force", name)
		})
		if err != nil {
			return err
		}
	}
	made, err := makePods(podCount, models)
	defer made.close()
	if err != nil {
		return err
	}
	for _, b := range builds {
		err := b.used(func() error {
			return awaitStatus(b.program("oci-apparmor"), fmt.Sprintf("%d containers: %[1]d confined", podCount), " lab/pod-499/web ")
		})
		if err != nil {
			return err
		}
	}
	for _, what := range [][]string{{"--json"}, {"--json", "--show=profiles,processes"}, {"--show=containers"}} {
		name := "status " + strings.Join(what, " ")
		err := paired(name, 60, builds, nothing, func(b *build) error {
			return quiet(append([]string{b.program("oci-apparmor"), "status"}, what...)...)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
