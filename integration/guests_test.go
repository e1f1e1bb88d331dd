package integration

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// programs are the main packages that tests in a guest find in its PATH. One that is not there yet is left out.
var programs = []string{
	"hook/oci-apparmor-hook",
	"shim/oci-apparmor-runtime",
	"shim/containerd-shim-apparmor-v2",
	"install/oci-apparmor",
	"integration/probe",
	"integration/demo",
	"integration/pageserver",
}

// toolsSuites are the guests whose tests of containerd, and those under systemd, have the present containerd beside
// Debian's, and nerdctl.
var toolsSuites = []string{guesttest.Trixie, guesttest.Forky}

// crioSuite is the guest whose usual boot and those with systemd and with a cluster have CRI-O. It has conmon by Podman's package.
const crioSuite = "forky"

// TestGuests runs the other tests of this package in guests, and reports each as a subtest: TestGuests/trixie/TestName.
//
// OCI_APPARMOR_GUESTS says in which: all, or suites with commas between them. The parts of -run behind the suite choose
// the tests, so that -run TestGuests/trixie/TestName runs one test in one guest. With -v every guest's output is shown
// as it comes.
//
// Some tests run in some of the guests only, and some in part, as guesttest.EnoughIn tells: OCI_APPARMOR_EVERYTHING=yes
// has nothing left out, and neither has a test that -run names.
//
// OCI_APPARMOR_REPORT names a file for the list of the slowest tests and of what was left out.
//
// OCI_APPARMOR_CONTAINERDS names more versions of containerd to test with, as v2.0.7,v2.3.0.
func TestGuests(t *testing.T) {
	suites := os.Getenv("OCI_APPARMOR_GUESTS")
	if suites == "" {
		t.Skip("boots virtual machines: set OCI_APPARMOR_GUESTS to all, or to some of bookworm,trixie,forky")
	}
	guests, err := guest.Select(suites)
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel() // with the other tests that boot guests, in their turn
	root := sources(t)
	files := build(t, root)
	has := func(suites ...string) bool {
		return slices.ContainsFunc(guests, func(g guest.Guest) bool { return slices.Contains(suites, g.Suite) })
	}
	later := buildLater(t, root)
	var packages, tools, crio, kubernetes map[string]string
	if has(packagesSuite) {
		packages = buildPackages(t, files)
	}
	if has(toolsSuites...) && wants(t, files, "Test", guest.Containerd, guest.Systemd, guest.Cluster) {
		tools = buildTools(t)
	}
	if has(crioSuite) && wantsAlso(t, files, "CRIO", guest.Variant{}, guest.Systemd, guest.Cluster) {
		crio = buildCRIO(t)
	}
	if has(guest.Cluster.Suites...) && (wantsAlso(t, files, "TestKubernetes", guest.Cluster) || wantsAlso(t, files, "DaemonSet", guest.Systemd)) {
		kubernetes = buildKubernetes(t)
	}

	boots := longestFirst(guests)
	ran := make([]*ranBoot, len(boots))
	t.Cleanup(func() { writeReport(t, ran) }) // when the last boot is over
	for n, b := range boots {
		t.Run(b.name(), func(t *testing.T) {
			files := maps.Clone(files)
			if b.Name == guest.Cluster.Name {
				if kubernetes == nil {
					t.Skip(guesttest.LeftOut + "make test does not build Kubernetes")
				}
				maps.Copy(files, kubernetes)
			}
			if b.Systemd && slices.Contains(guest.Cluster.Suites, b.Suite) {
				maps.Copy(files, kubernetes)
			}
			if slices.Contains(toolsSuites, b.Suite) && (b.Name == guest.Containerd.Name || b.Name == guest.Cluster.Name || b.Systemd) {
				maps.Copy(files, tools)
			}
			if b.Name == guest.Containerd.Name || b.Systemd && b.Suite == guesttest.Forky {
				maps.Copy(files, later)
			}
			if b.Suite == packagesSuite && (b.Name == guest.Containerd.Name || b.Systemd) {
				maps.Copy(files, packages)
			}
			if b.Suite == crioSuite && (b.Name == "" || b.Name == guest.Cluster.Name || b.Systemd) {
				maps.Copy(files, crio)
			}
			if b.Name == "" && wantsAlso(t, files, postgresTests, b.Variant) {
				maps.Copy(files, buildPostgres(t, b.Suite))
			}
			report := runGuest(t, b.Guest, b.Variant, files)
			t.Parallel()
			ran[n] = report()
		})
	}
}

// A bootOf is a guest and a way to boot it.
type bootOf struct {
	guest.Guest
	guest.Variant
}

// name returns the boot's name, as trixie-containerd.
func (b bootOf) name() string { return strings.TrimSuffix(b.Suite+"-"+b.Variant.Name, "-") }

// lasts is how many seconds the tests of a boot took under make test when that was last looked at, on two processors without
// KVM. It need not be right: it says which boots begin first. A boot that is not in it begins last.
var lasts = map[string]int{
	"forky": 1300, "trixie": 850, "forky-containerd": 750, "bookworm": 710, "trixie-containerd": 490, "trixie-systemd": 490,
	"forky-systemd": 430, "bookworm-containerd": 360,
}

// longestFirst returns the boots of guests, those that last longest first: two run at a time, and the short ones at the end
// leave neither alone for long.
func longestFirst(guests []guest.Guest) (boots []bootOf) {
	for _, g := range guests {
		for _, v := range append([]guest.Variant{{}}, guest.Variants...) {
			if v.Suites == nil || slices.Contains(v.Suites, g.Suite) {
				boots = append(boots, bootOf{g, v})
			}
		}
	}
	slices.SortStableFunc(boots, func(a, b bootOf) int { return cmp.Compare(lasts[b.name()], lasts[a.name()]) })
	return boots
}

// Begun in this order on two processors, the boots end within a tenth of the time that there is for half of all.
func TestBootsArePackedWell(t *testing.T) {
	guesttest.Outside(t)
	var busy [2]int
	total, known := 0, maps.Clone(lasts)
	for _, b := range longestFirst(guest.Guests) {
		slices.Sort(busy[:])
		busy[0] += lasts[b.name()]
		total += lasts[b.name()]
		delete(known, b.name())
	}
	if longest := max(busy[0], busy[1]); longest > total/2*11/10 {
		t.Errorf("the last boot ends after %d s, and half of all time is %d s", longest, total/2)
	}
	if len(known) > 0 {
		t.Errorf("there are no boots %v", known)
	}
}

// writeReport prints where the time went, and writes it to the file that the environment names.
func writeReport(t *testing.T, ran []*ranBoot) {
	var boots []ranBoot
	for _, b := range ran {
		if b != nil {
			boots = append(boots, *b)
		}
	}
	report := reportOf(boots)
	fmt.Print(report)
	if name := os.Getenv(reportVariable); name != "" {
		if err := os.WriteFile(name, []byte(report), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// queue is that of the tests which boot guests: each guest takes a processor and 3 GiB.
var queue = inOrder(2)

// inOrder returns a function that runs others in the background, so many at once, in the order in which it gets them. What
// it returns is closed when the one is done.
func inOrder(atOnce int) func(job func()) (done <-chan struct{}) {
	slots := make(chan struct{}, atOnce)
	turn := make(chan struct{})
	close(turn)
	return func(job func()) <-chan struct{} {
		mine, next, done := turn, make(chan struct{}), make(chan struct{})
		turn = next
		go func() {
			<-mine
			slots <- struct{}{}
			close(next)
			defer func() { <-slots; close(done) }()
			job()
		}()
		return done
	}
}

// sources looks at every file that goes into the guests, so that go's test cache knows of them, and gives the module's
// directory. A result is only taken from the cache while all of them are the same.
func sources(t *testing.T) (root string) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") || name == filepath.Join(root, "bin")) { // what make writes there goes into no guest
			return fs.SkipDir
		}
		_, err = os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) { // an editor's file that has come and gone
			err = nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// testDir is where a guest has this package's test binary, and its testdata beside it.
const testDir = "/usr/local/lib/oci-apparmor/integration"

// build builds the programs and this package's test binary, and gives them as guest.Job wants them.
func build(t *testing.T, root string) map[string]string {
	dir := t.TempDir()
	files := map[string]string{}
	for _, p := range programs {
		if sources, _ := filepath.Glob(filepath.Join(root, p, "*.go")); len(sources) == 0 {
			continue
		}
		binary := filepath.Join(dir, path.Base(p))
		buildProgram(t, root, p, binary, "")
		files["/usr/local/bin/"+path.Base(p)] = binary
	}
	for _, unit := range []string{"oci-apparmor.service", "oci-apparmor-agent.service"} {
		files["/usr/local/lib/systemd/system/"+unit] = filepath.Join(root, "install/systemd", unit)
	}
	files[path.Join(testDir, placeScript)] = filepath.Join(root, "install/place.sh")
	binary := filepath.Join(dir, "integration.test")
	goFor(t, root, "test", "-c", "-o", binary, "./integration")
	files[testDir+"/integration.test"] = binary
	for _, name := range documentsIn(t, root) { // where tests find them from here, too
		files[path.Join(testDir, "..", name)] = filepath.Join(root, name)
	}
	for _, name := range []string{"base", "chart", "overlays"} {
		files[path.Join(testDir, "../install/kubernetes", name)] = filepath.Join(root, "install/kubernetes", name)
	}
	if _, err := os.Stat("testdata"); err == nil {
		files[testDir+"/testdata"] = "testdata"
	}
	files[path.Join(testDir, compiledTables)] = filepath.Join(root, "integration", compiledTables)
	return files
}

// goFor runs the go command for a guest's processor.
func goFor(t *testing.T, root string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// buildProgram builds a program as the Makefile does, with more flags for the linker.
func buildProgram(t *testing.T, root, program, to, linker string) {
	t.Helper()
	goFor(t, root, "build", "-trimpath", "-tags", "no_grpc", "-ldflags", "-s -w "+linker, "-o", to, "./"+program)
}

// buildTools builds what no suite has, and gives it as guest.Job wants it.
func buildTools(t *testing.T) map[string]string {
	files := make(map[string]string)
	for version := range strings.SplitSeq(guest.Containerd24.Version+","+os.Getenv("OCI_APPARMOR_CONTAINERDS"), ",") {
		if version != "" {
			tool := guest.Containerd24
			tool.Version = version
			dir, err := tool.Build(t.Context(), os.Stderr)
			if err != nil {
				t.Fatal(err)
			}
			files["/usr/local/containerd-"+version] = dir
		}
	}
	nerdctl, err := guest.Nerdctl.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	crictl, err := guest.Crictl.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	files["/usr/local/nerdctl"], files["/usr/local/bin/crictl"] = nerdctl, filepath.Join(crictl, "crictl")
	return files
}

// wants reports whether a test is chosen that is run in one of the variants and has a word in its name. What such tests need
// takes minutes to build.
func wants(t *testing.T, files map[string]string, word string, in ...guest.Variant) bool {
	return pattern() == "" || slices.ContainsFunc(in, func(v guest.Variant) bool {
		return strings.Contains(testsIn(t, files[testDir+"/integration.test"], v, pattern()), word)
	})
}

// wantsAlso is wants for what only tests need that make test leaves out.
func wantsAlso(t *testing.T, files map[string]string, word string, in ...guest.Variant) bool {
	return (pattern() != "" || guesttest.Everything()) && wants(t, files, word, in...)
}

// buildKubernetes builds Kubernetes and Helm, unpacks etcd and kubectl, and gives them as guest.Job wants them.
func buildKubernetes(t *testing.T) map[string]string {
	dir, err := guest.Kubernetes.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	helm, err := guest.Helm.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{guesttest.KubernetesBin: dir, "/usr/local/bin/helm": filepath.Join(helm, "helm")}
	for _, p := range []guest.Packaged{guest.Etcd, guest.Kubectl} {
		file, err := p.Unpack(t.Context(), os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		files["/usr/local/bin/"+path.Base(p.Path)] = file
	}
	return files
}

// buildCRIO builds CRI-O and crictl, and gives it as guest.Job wants it.
func buildCRIO(t *testing.T) map[string]string {
	dir, err := guest.CRIO.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	client, err := guest.Crictl.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{guesttest.CRIOBin: dir, "/usr/local/bin/crictl": filepath.Join(client, "crictl")}
}

// buildPostgres makes the root file system of a container with PostgreSQL, and gives it as guest.Job wants it.
func buildPostgres(t *testing.T, suite string) map[string]string {
	dir, err := guest.PostgreSQL.Build(t.Context(), suite, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{postgresRoot: dir}
}

// runGuest has a guest booted in its turn, and this package's tests run in it. The function that it gives waits for that,
// and reports them as subtests of t.
func runGuest(t *testing.T, g guest.Guest, v guest.Variant, files map[string]string) func() *ranBoot {
	run, chosen := pattern(), pattern() != ""
	if chosen {
		if run = testsIn(t, files[testDir+"/integration.test"], v, pattern()); run == "" {
			t.Skipf("no test that is run here matches -run %s", pattern())
		}
	}
	skip := []string{"^TestGuests$"}
	if v.Name == "" {
		for _, v := range guest.Variants {
			skip = append(skip, v.Tests)
		}
	} else if !chosen {
		run = v.Tests
	}
	everything := guesttest.EverythingVariable + "=" + os.Getenv(guesttest.EverythingVariable)
	if chosen {
		everything = guesttest.EverythingVariable + "=yes"
	}
	job := guest.Job{
		Command: []string{
			"./integration.test", "-test.v=test2json", "-test.run=" + run, "-test.skip=" + strings.Join(skip, "|"),
		},
		Dir:        testDir,
		Env:        []string{guesttest.SuiteVariable + "=" + g.Suite, guesttest.VariantVariable + "=" + v.Name, everything},
		Files:      files,
		KernelArgs: v.KernelArgs,
		Systemd:    v.Systemd,
		Memory:     v.Memory,
		Progress:   os.Stderr,
		Silence:    8 * time.Minute, // a test takes two at most, and more where the machine has other work
	}
	var image *guest.Image
	ran := ranBoot{name: path.Base(t.Name())}
	var err error
	deadline, hasDeadline := t.Deadline()
	done := queue(func() {
		ctx := context.Background()
		if hasDeadline {
			// Time enough is kept for a test binary that hangs to show its stacks, and for the report.
			timeout := max(time.Until(deadline)-90*time.Second, time.Second)
			job.Command = append(job.Command, "-test.timeout="+timeout.String())
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, deadline.Add(-15*time.Second))
			defer cancel()
		}
		if image, err = g.Build(ctx, os.Stderr); err != nil {
			return
		}
		err = ran.run(ctx, image.Run, job)
	})
	return func() *ranBoot {
		<-done
		if ran.tests == nil {
			t.Fatal(err)
		}
		installed := image.Versions()
		for _, p := range slices.Concat(g.Packages, g.Optional) {
			t.Logf("%s %s", p, cmp.Or(installed[p], "is missing: "+image.Missing()[p]))
		}
		for _, test := range ran.tests.children {
			test.report(t)
		}
		switch {
		case err != nil:
			t.Error(err)
		case ran.result.ExitCode != 0 && !t.Failed():
			t.Errorf("the tests' exit code is %d\n%s", ran.result.ExitCode, ran.tests.output.String())
		case len(ran.tests.children) == 0:
			t.Errorf("no test ran\n%s", ran.tests.output.String())
		}
		for _, line := range image.NotShown() { // its tests have skipped, which nobody sees otherwise
			fmt.Fprintln(os.Stderr, line)
			t.Log(line)
		}
		t.Logf("booted in %.1f s, tests took %.1f s", ran.result.Boot.Seconds(), ran.result.Command.Seconds())
		return &ran
	}
}

// run has the job's tests run by a guest, which is Image.Run. Where the guest has stopped in user mode, it is none of the
// tests' fault, and those that have not passed by then run under QEMU.
func (b *ranBoot) run(ctx context.Context, in func(context.Context, guest.Job) (guest.Result, error), job guest.Job) error {
	tests, output, err := startReport(b.name)
	if err != nil {
		return err
	}
	job.Output = output
	b.result, err = in(ctx, job)
	var fault error
	b.tests, fault = tests()
	if errors.Is(err, guest.ErrStopped) && !b.again {
		before, names := b.tests.ended()
		fmt.Fprintf(os.Stderr, "guest %s: the tests go on under QEMU, without %d that have ended: %v\n", b.name, len(names), err)
		b.again, job.Accel, job.Command = true, "qemu", withoutTests(job.Command, names)
		err := b.run(ctx, in, job)
		b.tests.children = append(before, b.tests.children...)
		return err
	}
	return errors.Join(err, fault)
}

// ended returns the tests below g that have passed or were skipped, and their names.
func (g *guestTest) ended() (all []*guestTest, names []string) {
	for _, c := range g.children {
		if c.action == "pass" || c.action == "skip" {
			all, names = append(all, c), append(names, c.name)
		}
	}
	return all, names
}

// withoutTests returns a test binary's command line that also skips the tests of these names.
func withoutTests(command, names []string) []string {
	command = slices.Clone(command)
	if len(names) == 0 {
		return command
	}
	const skip = "-test.skip="
	tests := "^(" + strings.Join(names, "|") + ")$"
	if i := slices.IndexFunc(command, func(arg string) bool { return strings.HasPrefix(arg, skip) }); i >= 0 {
		command[i] += "|" + tests
		return command
	}
	return append(command, skip+tests)
}

// A guest that stops is played. Tests that have passed by then, or were skipped, count as they ended, and all others by their second run,
// which is said.
func TestTestsOfAGuestThatStopsGoOn(t *testing.T) {
	guesttest.Outside(t)
	output := []struct{ test, first, second string }{ // the first run ends in the last one
		{"TestA", "--- PASS: TestA (1.00s)\n", "--- FAIL: TestA (2.00s)\n"},
		{"TestF", "--- FAIL: TestF (1.00s)\n", "--- PASS: TestF (2.00s)\n"},
		{"TestS", "--- SKIP: TestS (1.00s)\n", "--- PASS: TestS (2.00s)\n"},
		{"TestB", "    b_test.go:1: half a li", "--- PASS: TestB (3.00s)\n"},
	}
	const whole = "TestA fail 2s, TestF pass 2s, TestS pass 2s, TestB pass 3s"
	for name, test := range map[string]struct {
		stops int
		ran   string // each way that it was run in
		want  string
	}{
		"once":  {1, "[ qemu]", "TestA pass 1s, TestS skip 1s, TestF pass 2s, TestB pass 3s"},
		"twice": {2, "[ qemu]", "TestA pass 1s, TestS skip 1s, TestF fail 1s, TestB  0s"},
		"never": {0, "[]", whole},
	} {
		t.Run(name, func(t *testing.T) {
			var ran []string
			b := ranBoot{name: "forky"}
			err := b.run(t.Context(), func(_ context.Context, job guest.Job) (guest.Result, error) {
				ran = append(ran, job.Accel)
				skipped := regexp.MustCompile(strings.TrimPrefix(job.Command[1], "-test.skip="))
				stops := len(ran) <= test.stops
				for _, o := range output {
					text := o.second
					if stops {
						text = o.first
					}
					if !skipped.MatchString(o.test) {
						io.WriteString(job.Output, "=== RUN   "+o.test+"\n"+text)
					}
				}
				if stops {
					return guest.Result{}, fmt.Errorf("guest forky: %w", guest.ErrStopped)
				}
				io.WriteString(job.Output, "FAIL\n")
				return guest.Result{ExitCode: 1}, nil
			}, guest.Job{Command: []string{"./integration.test", "-test.skip=^TestGuests$"}})
			var told []string
			for _, c := range b.tests.children {
				told = append(told, fmt.Sprintf("%s %s %v", c.name, c.action, c.elapsed))
			}
			if got := strings.Join(told, ", "); got != test.want || fmt.Sprint(ran) != test.ran || b.again != (test.stops > 0) {
				t.Errorf("it ran by %q and told %s; again: %v", ran, got, b.again)
			}
			if errors.Is(err, guest.ErrStopped) != (test.stops == 2) || err != nil && test.stops < 2 {
				t.Error(err)
			}
			if said := strings.Contains(reportOf([]ranBoot{b}), " forky (ended under QEMU: in user mode it stopped)\n"); said != b.again {
				t.Errorf("the report says so: %v", said)
			}
		})
	}
}

// testsIn returns a pattern for the tests that another one chooses, as far as they are run in the variant, or "" where
// none is.
func testsIn(t *testing.T, binary string, v guest.Variant, pattern string) string {
	t.Helper()
	first, subtests, below := strings.Cut(pattern, "/")
	out, err := exec.Command(binary, "-test.list="+first).Output()
	if err != nil {
		t.Fatalf("listing the tests that match %q: %v", first, err)
	}
	var names []string
	for name := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(name, "Test") && name != "TestGuests" && isRunIn(v, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	chosen := "^(" + strings.Join(names, "|") + ")$"
	if below {
		chosen += "/" + subtests
	}
	return chosen
}

// isRunIn reports whether the test of that name is run in guests that are booted as the variant.
func isRunIn(v guest.Variant, test string) bool {
	return v.Name != "" && regexp.MustCompile(v.Tests).MatchString(test) ||
		v.Name == "" && !slices.ContainsFunc(guest.Variants, func(v guest.Variant) bool { return regexp.MustCompile(v.Tests).MatchString(test) })
}

func TestEachTestHasItsBoots(t *testing.T) {
	for test, want := range map[string]string{
		"TestGuard": "", "TestContainerdPods": "containerd", "TestStatusNoAppArmor": "no-apparmor", "TestSystemdLoadsBeforeContainerd": "systemd",
		"TestPodmanFacts": "",
	} {
		var in []string
		for _, v := range append([]guest.Variant{{}}, guest.Variants...) {
			if isRunIn(v, test) {
				in = append(in, v.Name)
			}
		}
		if !slices.Equal(in, []string{want}) {
			t.Errorf("%s is run in %q, want %q", test, in, want)
		}
	}
}

// pattern returns the part of -run that chooses tests within a guest.
func pattern() string {
	parts := strings.SplitN(flag.Lookup("test.run").Value.String(), "/", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[2]
}

// A guestTest is a test, or a subtest, that ran in a guest; the one without a name is the whole run.
type guestTest struct {
	name     string
	ran      bool   // or else it is only a part of others' names, which may have slashes
	action   string // how it ended: pass, fail, skip; "" if it did not
	elapsed  time.Duration
	output   strings.Builder
	children []*guestTest
}

// child returns the test of that name below g, which it makes if there is none.
func (g *guestTest) child(name string) *guestTest {
	i := slices.IndexFunc(g.children, func(c *guestTest) bool { return c.name == name })
	if i < 0 {
		i = len(g.children)
		g.children = append(g.children, &guestTest{name: name})
	}
	return g.children[i]
}

// report makes a subtest of t that ends as the test did in the guest, with what it said there.
func (g *guestTest) report(t *testing.T) {
	t.Run(g.name, func(t *testing.T) {
		if !testing.Verbose() || g.action != "pass" { // -v has shown it already
			io.WriteString(t.Output(), g.output.String())
		}
		for _, c := range g.children {
			c.report(t)
		}
		switch g.action {
		case "fail":
			t.Fail()
		case "skip":
			t.SkipNow()
		case "":
			if g.ran {
				t.Error("did not end")
			}
		}
	})
}

// startReport takes the output of a test binary that runs with -test.v=test2json, in the guest of that name. The function
// gives what it told, once the output is complete.
func startReport(name string) (tests func() (*guestTest, error), output io.Writer, err error) {
	cmd := exec.Command("go", "tool", "test2json", "-t")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	all := new(guestTest)
	done := make(chan error, 1)
	go func() {
		events := json.NewDecoder(bufio.NewReader(stdout))
		for {
			var event struct {
				Action, Test, Output string
				Elapsed              float64 // seconds
			}
			if err := events.Decode(&event); err != nil {
				done <- err
				io.Copy(io.Discard, stdout)
				return
			}
			test := all
			if event.Test != "" {
				for name := range strings.SplitSeq(event.Test, "/") {
					test = test.child(name)
				}
			}
			switch event.Action {
			case "output":
				line := strings.TrimLeft(event.Output, " ")
				if strings.HasPrefix(line, "=== ") {
					break
				}
				if testing.Verbose() {
					fmt.Printf("%s | %s", name, event.Output)
				}
				if !strings.HasPrefix(line, "--- ") {
					test.output.WriteString(event.Output)
				}
			case "run":
				test.ran = true
			case "pass", "fail", "skip":
				test.action, test.elapsed = event.Action, time.Duration(event.Elapsed*float64(time.Second))
			}
		}
	}()
	return func() (*guestTest, error) {
		stdin.Close()
		err := <-done
		if err == io.EOF {
			err = nil
		}
		if err = errors.Join(err, cmd.Wait()); err != nil {
			err = fmt.Errorf("go tool test2json: %w", err)
		}
		return all, err
	}, stdin, nil
}
