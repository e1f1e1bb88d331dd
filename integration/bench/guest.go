package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/bundle"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

const apparmorfs = securityfs + "/apparmor"

// work is a directory of the guest for what is measured there.
const work = "/tmp/bench"

// inGuest measures with a real kernel. The guest is ours alone, so nothing is put back.
func inGuest(bin, old string, fast bool) error {
	ctx := context.Background()
	features, err := profile.ReadFeatures(kernel.New().Features())
	if err != nil {
		return err
	}
	compiler, err := profile.NewCompiler(features)
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(work, 0o755), os.MkdirAll(etc, 0o700)); err != nil {
		return err
	}
	if err := os.WriteFile(etc+"/policy.yaml", []byte(policyFile), 0o600); err != nil {
		return err
	}
	if err := quiet(filepath.Join(bin, "oci-apparmor"), "policy", "apply", "--quiet"); err != nil {
		return err
	}
	if fast {
		return measureParts(
			part{"agent", func() error { return scraped(bin) }},
			part{"pods", func() error { return podStarts(bin, inGuestPrograms) }},
			part{"follow", func() error { return follow(bin) }},
		)
	}
	parts := []part{
		{"wrapper", func() error { return starts(bin) }},
		{"shim", func() error { return shimMemory(bin, inGuestPrograms, 4, profiled) }},
		{"ctr", func() error { return ctrRuns(bin, inGuestPrograms, 15, profiled) }},
		{"ctr", func() error { return ctrRuns(bin, containerdPrograms{name: "Debian's", bin: "/usr/bin"}, 10, profiled) }},
		{"load", func() error { return loads(ctx, compiler) }},
		{"hash", func() error { return byHash(ctx, compiler) }},
		{"query", func() error { return queries(ctx, compiler) }},
		{"status", func() error { return statuses(bin) }},
		{"install", func() error { return installs(bin) }},
		{"doctor", func() error { return doctors(bin) }},
	}
	if old != "" {
		parts = append(parts, part{"old", func() error { return againstOldInGuest(bin, old) }})
	}
	return measureParts(parts...)
}

// starts times whole starts: bare, through the wrapper, and with a hook that runs the parser, as people do today.
func starts(bin string) error {
	const asked, named, hooked = work + "/asked", work + "/named", work + "/hooked"
	for _, b := range []string{asked, named, hooked} {
		if err := makeBundle(b, filepath.Join(bin, "runc-empty")); err != nil {
			return err
		}
	}
	text, err := output(filepath.Join(bin, "oci-apparmor"), "policy", "explain", "--bundle", asked, "--json")
	if err != nil {
		return err
	}
	var explained struct{ Label string }
	if err := json.Unmarshal(text, &explained); err != nil || explained.Label != "docker-default" {
		return fmt.Errorf("the policy gives %s (%v)", text, err)
	}

	config, err := os.ReadFile(asked + "/config.json")
	if err != nil {
		return err
	}
	spec, err := bundle.Read(asked)
	if err != nil {
		return err
	}
	spec.Process.ApparmorProfile = "docker-default"
	if err := bundle.Write(named, spec); err != nil {
		return err
	}
	const path = work + "/docker-default"
	source, err := templates.Text("docker-default", "docker-default", templates.Target{})
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, source, 0o644); err != nil {
		return err
	}
	spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{
		Path: "/usr/sbin/apparmor_parser", Args: []string{"apparmor_parser", "-r", "-W", path},
	}}}
	if err := bundle.Write(hooked, spec); err != nil {
		return err
	}

	wrapper := filepath.Join(bin, "oci-apparmor-runtime")
	var n int
	run := func(runtime, b string) func() error {
		return func() error {
			n++
			return quiet(runtime, "run", "--bundle", b, "bench"+strconv.Itoa(n))
		}
	}
	fresh := func() error { return os.WriteFile(asked+"/config.json", config, 0o644) }

	empty := filepath.Join(bin, "runc-empty")
	os.Setenv("OCI_APPARMOR_RUNTIME", empty)
	one, err := wrapperAdds(60, fresh,
		func() error { n++; return quiet(wrapper, "create", "--bundle", asked, "bench"+strconv.Itoa(n)) },
		func() error { return quiet(wrapper, "--version") },
		func() error { return quiet(empty) })
	os.Unsetenv("OCI_APPARMOR_RUNTIME")
	if err != nil {
		return err
	}

	times, err := measure(40, fresh, run(wrapper, asked), run("runc", named))
	if err != nil {
		return err
	}
	ratio("runc run through the wrapper ÷ bare", 1.08, times[1], times[2], "40 starts each", startsOf(one, times[2]))
	// The parser moves the kernel's revision, which costs our next start a look at the hash: one that is not counted.
	times, err = measure(20, fresh, run(wrapper, asked), fresh, run(wrapper, asked), run("runc", hooked))
	if err != nil {
		return err
	}
	ratio("start with a hook that runs apparmor_parser -r -W ÷ ours", 0, times[4], times[3], "20 starts each", "")
	return nil
}

// loads times the first load of a compiled profile: ours, one write by hand, and the parser with a warm cache.
func loads(ctx context.Context, compiler *profile.Compiler) error {
	const name = "bench-load"
	text := func(n int) []byte {
		source, err := templates.Text("docker-default", name, templates.Target{})
		if err != nil {
			panic(err)
		}
		return append(source, fmt.Sprintf("# %d\n", n)...)
	}
	blob, err := compiler.Compile(ctx, name, profile.Enforce, "bench", text(0))
	if err != nil {
		return err
	}
	const path = work + "/" + name
	if err := os.WriteFile(path, text(0), 0o644); err != nil {
		return err
	}
	remove := func() error { return os.WriteFile(apparmorfs+"/.remove", []byte(name), 0) }
	k := kernel.New()
	want := []kernel.Profile{{Name: name, Compiled: blob.Profiles, Blob: func() ([]byte, error) { return blob.Data, nil }}}
	times, err := measure(60,
		settle, func() error { _, err := k.Ensure(ctx, want); return err }, remove,
		settle, func() error { return os.WriteFile(apparmorfs+"/.replace", blob.Data, 0) }, remove,
		settle, func() error { return quiet("apparmor_parser", "-r", "-W", path) }, remove)
	if err != nil {
		return err
	}
	ratio("first load ÷ writing the blob by hand", 1.5, times[1], times[4], "lock, proof and record included",
		"the lock, two looks at the kernel, the blob's hashes and two records are some 50 system calls, which emulation makes "+
			"5 to 15 times dearer while the kernel's work on the blob is one")
	ratio("apparmor_parser -r -W with a warm cache ÷ first load", 0, times[7], times[1], "60 times each", "")
	return nil
}

// settle lets the kernel end what a load or a removal has left it to do, which would fall into the time of what comes next.
// It takes as long as the machine is slow: it reads a file of /proc 20 times.
func settle() (err error) {
	for range 20 {
		_, err = os.ReadFile("/proc/self/stat")
	}
	return err
}

// byHash times ensure when the kernel's revision has moved, with few and with many profiles loaded.
func byHash(ctx context.Context, compiler *profile.Compiler) error {
	compile := func(name string) (profile.Blob, error) {
		return compiler.Compile(ctx, name, profile.Enforce, "bench", []byte("profile "+name+" { file, }\n"))
	}
	k := kernel.New()
	ours, err := compile("bench-hash")
	if err != nil {
		return err
	}
	want := []kernel.Profile{{Name: "bench-hash", Compiled: ours.Profiles, Blob: func() ([]byte, error) { return ours.Data, nil }}}
	other, err := compile("bench-other")
	if err != nil {
		return err
	}
	move := func() error { return os.WriteFile(apparmorfs+"/.replace", other.Data, 0) }
	ensure := func() error { _, err := k.Ensure(ctx, want); return err }

	var few, many []series
	for _, n := range []int{10, 2000} {
		if err := manyProfiles(n); err != nil {
			return err
		}
		times, err := measure(200, move, settle, ensure)
		if err != nil {
			return err
		}
		if n == 10 {
			few = times
		} else {
			many = times
		}
	}
	// The two are measured one after the other, and the machine's speed drifts.
	drift := float64(many[1].median()) / float64(few[1].median())
	line(fmt.Sprintf("ensure by hash, %d profiles loaded ÷ 10", loaded()),
		float64(many[2].median())/float64(few[2].median())/drift, 1.3, "",
		fmt.Sprintf("after the revision moved; %s ÷ %s, divided by what the machine's speed has changed, %.3f: to "+
			"read a file of /proc 20 times took %s and %s", many[2], few[2], drift, many[1], few[1]),
		"the calls are the same ones, whatever the number; what differs is noise of the emulation, and colder caches")
	return nil
}

// loaded counts the profiles in the kernel.
func loaded() int {
	text, _ := os.ReadFile(apparmorfs + "/profiles")
	return strings.Count(string(text), "\n")
}

func output(args ...string) ([]byte, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", args, err)
	}
	return out, nil
}
