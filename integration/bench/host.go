package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"syscall"

	"github.com/oci-apparmor/oci-apparmor/integration/bundle"
	"github.com/oci-apparmor/oci-apparmor/integration/containerd"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

const (
	securityfs = "/sys/kernel/security"
	modules    = "/sys/module"
	etc        = "/etc/oci-apparmor"
	stateDir   = "/run/oci-apparmor"       // of records, among others
	abi        = "/etc/apparmor.d/abi/3.0" // kernel features, where there is no kernel to ask
)

const policyFile = `version: 1
policies:
  web: {profile: docker-default}
  kept: {profile: keep}
assign:
  - policy: baseline
    request: [web, kept]
`

// onHost measures on a machine whose kernel need not have AppArmor. A mount namespace of our own puts a directory
// where the kernel's interface would be, and keeps /etc, /var/lib and /run as they are.
func onHost(bin, old, dir string, with containerdPrograms) error {
	if err := privateDirs(securityfs, modules, etc, store.Dir, stateDir, containerd.State, containerd.Root); err != nil {
		return err
	}
	if err := os.WriteFile(etc+"/policy.yaml", []byte(policyFile), 0o600); err != nil {
		return err
	}
	if err := quiet(filepath.Join(bin, "oci-apparmor"), "policy", "apply", "--quiet", "--features", abi); err != nil {
		return err
	}
	gen, err := store.Store{Dir: store.Dir}.Current()
	if err != nil {
		return err
	}
	p, _ := gen.Index.Profile("docker-default")
	if err := fakeKernel(p); err != nil {
		return err
	}
	blob, err := gen.Blob(p)
	if err != nil {
		return err
	}
	compiled := same{profile.Blob{Data: blob, Profiles: p.Compiled}}
	parts := []part{
		{"wrapper", func() error { return wrapped(bin, dir) }},
		{"counts", func() error { return countedStarts(dir) }},
		{"ensure", func() error { return ensured(p) }},
		{"decide", func() error { return decided(dir, compiled) }},
		{"shim", func() error { return shimRuns(bin, with, 200) }},
		{"shim", func() error { return shimMemory(bin, with, 8, keptOnly) }},
		{"suite", func() error { return suites(dir) }},
		{"ctr", func() error { return ctrRuns(bin, with, 150, keptOnly) }},
		{"diff", func() error { return diffs(bin, dir) }},
		{"large", func() error { return larges(bin, dir) }},
		{"records", func() error { return records(bin, dir) }},
	}
	if old != "" {
		parts = append(parts, part{"old", func() error { return againstOldOnHost(bin, old, dir, with) }})
	}
	// It puts another policy in force.
	return measureParts(append(parts, part{"apply", func() error { return applies(bin, dir) }})...)
}

// privateDirs mounts an empty directory on each of paths, for this process and what it starts only.
func privateDirs(paths ...string) error {
	runtime.LockOSThread() // mount namespaces belong to threads
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, p := range paths {
		if err := os.MkdirAll(p, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount("bench", p, "tmpfs", 0, "mode=0700"); err != nil {
			return fmt.Errorf("mounting on %s: %w", p, err)
		}
	}
	return nil
}

// fakeKernel lays out securityfs as if p were loaded, and what tells that profiles are enforced. To runc and containerd
// this kernel has no AppArmor, as before.
func fakeKernel(p policy.Profile) error {
	dir, parameters := filepath.Join(securityfs, "apparmor/policy/profiles", p.Name+".1"), modules+"/apparmor/parameters"
	for _, d := range []string{dir, parameters} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for path, text := range map[string]string{
		filepath.Join(dir, "name"):                            p.Name + "\n",
		filepath.Join(dir, "mode"):                            "enforce\n",
		parameters + "/mode":                                  "enforce\n",
		filepath.Join(dir, "sha256"):                          hex.EncodeToString(p.Compiled[0].SHA256[:]) + "\n",
		filepath.Join(securityfs, "apparmor/revision"):        "1\n",
		filepath.Join(securityfs, "apparmor/policy/revision"): "1\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// wrapped times the runtime wrapper. runc itself cannot give a process a profile here, so that it runs by way of twin
// in both arms; twin's own time is not counted: the ratio is 1 + (with the wrapper - without it) ÷ runc alone.
func wrapped(bin, dir string) error {
	wrapper := filepath.Join(bin, "oci-apparmor-runtime")
	empty, twin := filepath.Join(dir, "runc-empty"), filepath.Join(dir, "runc-twin")
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	asked, plain := filepath.Join(dir, "asked"), filepath.Join(dir, "plain")
	for _, b := range []string{asked, plain} {
		if err := makeBundle(b, empty); err != nil {
			return err
		}
	}
	config, err := os.ReadFile(filepath.Join(asked, "config.json"))
	if err != nil {
		return err
	}
	fresh := func() error { return os.WriteFile(filepath.Join(asked, "config.json"), config, 0o644) }

	env := append(os.Environ(), "BENCH_TWIN="+plain, "BENCH_RUNC="+runc)
	start := func(runtime string, args ...string) func() error {
		return func() error {
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append(env, "OCI_APPARMOR_RUNTIME="+runtime)
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("%v: %w: %s", args, err, out)
			}
			return nil
		}
	}
	var n int
	id := func() string { n++; return "bench" + strconv.Itoa(n) }
	with := func() error {
		return start(twin, wrapper, "run", "--bundle", asked, id())()
	}
	one, err := wrapperAdds(200, fresh, func() error { return start(empty, wrapper, "create", "--bundle", asked, id())() },
		start(empty, wrapper, "--version"), start("", empty))
	if err != nil {
		return err
	}
	times, err := measure(60,
		fresh, with,
		func() error { return start("", twin, "run", "--bundle", asked, id())() },
		func() error { return start("", runc, "run", "--bundle", plain, id())() },
	)
	if err != nil {
		return err
	}
	a, b, bare := times[1], times[2], times[3]
	added := a.median() - b.median()
	line("runc run through the wrapper ÷ bare", 1+float64(added)/float64(bare.median()), 1.08, "",
		fmt.Sprintf("with the wrapper %s, without %s, both by way of a stand-in for the profile; bare %s", a, b, bare),
		startsOf(one, bare))

	var peaks [2]amounts
	for range 20 {
		if err := fresh(); err != nil {
			return err
		}
		for i, args := range [][]string{{wrapper, "create", "--bundle", asked, id()}, {empty}} {
			peak, err := peakMemory(append(env, "OCI_APPARMOR_RUNTIME="+empty), args...)
			if err != nil {
				return err
			}
			peaks[i] = append(peaks[i], peak)
		}
	}
	line("the wrapper's peak memory ÷ an empty Go program's", float64(peaks[0].median())/float64(peaks[1].median()), 1.3, "",
		fmt.Sprintf("maximum resident set size %s ÷ %s, in the same unit, 20 of each in turn", peaks[0], peaks[1]),
		"two thirds of it are pages of the program's own file, all of which are resident, and that is 2.2 times as large; a Go "+
			"program that prints a line with fmt and execs is at 1.4 already. It is gone with the execve")
	return nil
}

// wrapperAdds prints what the wrapper adds to a create. In create and passed it stands before an empty program, which
// it has nothing to do for but to exec it in passed; fresh makes the bundle new. It gives the times of the empty
// program.
func wrapperAdds(n int, fresh, create, passed, empty func() error) (series, error) {
	times, err := measure(n, fresh, create, passed, empty)
	if err != nil {
		return nil, err
	}
	w, p, e := times[1], times[2], times[3]
	added := func(s series) float64 { return float64(s.median()-e.median()) / float64(e.median()) }
	line("the wrapper's added time on create ÷ an empty Go program", added(w), 2, "",
		fmt.Sprintf("wrapper that ends in an empty program %s, empty program alone %s; a wrapper that has nothing to do but exec it %s",
			w, e, p),
		fmt.Sprintf("starting one more Go program and its execve are %.1f of these, before it does anything: more pages of a larger "+
			"file are mapped, one by one", added(p)))
	return e, os.RemoveAll(stateDir + "/containers") // what an empty program creates no runtime ever deletes
}

// startsOf is the reason why the wrapper shows in a whole start: it is about one more start of a program.
func startsOf(one, whole series) string {
	return fmt.Sprintf("the wrapper is a Go program more to start, and a whole runc run takes only as long as %.0f starts of an empty "+
		"one here: see the figure before", float64(whole.median())/float64(one.median()))
}

var maxRSS = regexp.MustCompile(`Maximum resident set size \(kbytes\): (\d+)`)

// peakMemory returns a program's peak memory as busybox time tells it: in pages of 4 KiB that it multiplies by 4 twice,
// so that only ratios mean anything. It is asked of a small process that starts the program, because the figure of a
// process begins with that of whoever forked it.
func peakMemory(env []string, args ...string) (int, error) {
	cmd := exec.Command("busybox", append([]string{"time", "-v"}, args...)...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%v: %w: %s", args, err, out)
	}
	m := maxRSS.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("busybox time does not tell the peak memory: %s", out)
	}
	return strconv.Atoi(string(m[1]))
}

// ensured times what a start spends on a profile that is loaded already, in a kernel that did not change.
func ensured(p policy.Profile) error {
	k := kernel.New()
	ctx := context.Background()
	want := []kernel.Profile{{Name: p.Name, Compiled: p.Compiled}}
	var buf [64]byte
	times, err := measure(5000,
		func() error { _, err := k.Ensure(ctx, want); return err },
		func() error {
			fd, err := syscall.Open(securityfs+"/apparmor/policy/revision", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer syscall.Close(fd)
			_, err = syscall.Read(fd, buf[:])
			return err
		})
	if err != nil {
		return err
	}
	line("ensure, already loaded, unchanged kernel", micros(times[0].median()), 50, "µs",
		fmt.Sprintf("%s; to open, read and close one file takes %s", times[0], times[1]),
		"it opens and reads four small files, which take this machine so long each, and looks at two directories")
	return nil
}

// decided times a decision, opening the store included.
func decided(dir string, c same) error {
	for _, n := range []int{1000, 10000} {
		s := store.Store{Dir: filepath.Join(dir, "store"+strconv.Itoa(n))}
		if err := manyPolicies(s, n, c); err != nil {
			return err
		}
		asked := "p" + strconv.Itoa(n-1)
		facts := policy.Facts{Engine: "containerd", Namespace: "ns" + strconv.Itoa(n-1), Image: "docker.io/library/x:1",
			Request: &asked, RequestKey: policy.Annotation}
		times, err := measure(1000, func() error {
			gen, err := s.Current()
			if err != nil {
				return err
			}
			d, err := gen.Index.Decide(facts)
			if err == nil && d.Policy != asked {
				err = fmt.Errorf("decided %q", d.Policy)
			}
			return err
		}, func() error { _, err := os.ReadFile(filepath.Join(s.Dir, "current/index")); return err })
		if err != nil {
			return err
		}
		mark := 200.0
		if n > 1000 {
			mark = 0
		}
		line(fmt.Sprintf("decision with %d rules and policies, the last one, store included", n),
			micros(times[0].median()), mark, "µs", fmt.Sprintf("%s; to read the index alone takes %s", times[0], times[1]),
			"the index is one file, which is read and checked whole, whatever is decided; more rules make it longer")
	}
	return nil
}

// same stands for a compiler. It returns the same blob whatever the text is, which is that of one profile.
type same struct{ profile.Blob }

func (c same) Compile(context.Context, string, profile.Mode, string, []byte) (profile.Blob, error) {
	return c.Blob, nil
}

func manyPolicies(s store.Store, n int, c same) error {
	var p policy.Config
	profileName := c.Profiles[0].Name
	p.Profiles = []policy.Profile{{Name: profileName, Text: []byte("any")}}
	for i := range n {
		name := "p" + strconv.Itoa(i)
		p.Policies = append(p.Policies, policy.Policy{Name: name, Profile: profileName})
		p.Assignments = append(p.Assignments, policy.Assignment{
			Line: i + 1, Namespace: []string{"ns" + strconv.Itoa(i)}, Image: []string{"docker.io/library/*"},
			Policy: name,
		})
	}
	_, _, err := s.Apply(context.Background(), &p, c, store.Manifest{}, func(store.Progress) {})
	return err
}

// makeBundle makes an OCI bundle whose process is the static program at path, and asks for policy web.
func makeBundle(dir, path string) error {
	if err := os.MkdirAll(filepath.Join(dir, "rootfs/proc"), 0o755); err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs/run"), data, 0o755); err != nil {
		return err
	}
	spec := bundle.Spec("/run")
	spec.Annotations = map[string]string{policy.Annotation: "web"}
	return bundle.Write(dir, spec)
}

func quiet(args ...string) error {
	var out bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, out.Bytes())
	}
	return nil
}
