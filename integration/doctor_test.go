package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// doctorReport is what `oci-apparmor doctor --json` prints.
type doctorReport struct {
	Findings, Fixed []finding
	Unseen          []string
	Probes          []struct{ Engine, Policy, Label, Executed string }

	code int
}

type finding struct{ ID, Severity, What, Do string }

func parseDoctor(t *testing.T, o guesttest.Outcome) (r doctorReport) {
	t.Helper()
	if err := json.Unmarshal([]byte(o.Stdout), &r); err != nil {
		t.Fatalf("%v: exit code %d, %s%s", err, o.Code, o.Stdout, o.Stderr)
	}
	r.code = o.Code
	return r
}

func runDoctor(t *testing.T, args ...string) doctorReport {
	t.Helper()
	return parseDoctor(t, guesttest.Run(t, "oci-apparmor", append([]string{"doctor", "--json"}, args...)...))
}

// want fails unless a report has findings with these identifiers and no others.
func (r doctorReport) want(t *testing.T, what string, ids ...string) {
	t.Helper()
	var got []string
	for _, f := range r.Findings {
		if f.ID != "engine-unwired" { // a note, in the parts that have no engine wired, whose checks take seconds
			got = append(got, f.ID)
		}
	}
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(slices.Compact(got), ids) || len(r.Unseen) > 0 {
		t.Errorf("%s: found %q, want %q; not seen %q\n%+v", what, got, ids, r.Unseen, r.Findings)
	}
	worst := map[string]int{"error": 1, "warning": 4, "note": 0}
	code := 0
	if len(r.Findings) > 0 { // the worst stands first
		code = worst[r.Findings[0].Severity]
	}
	if r.code != code {
		t.Errorf("%s: exit code %d, want %d", what, r.code, code)
	}
}

// On a healthy node nothing is found, and after that each condition that is made on purpose, and nothing else.
func TestDoctor(t *testing.T) {
	setPolicy(t, floorPolicy)
	guesttest.MustRun(t, "oci-apparmor", "policy", "load")
	runDoctor(t).want(t, "a node without a wired engine")
	t.Run("as a user", func(t *testing.T) {
		r := parseDoctor(t, guesttest.RunCommand(t, asNobody("doctor", "--json")))
		if r.code != 3 || slices.ContainsFunc(r.Findings, func(f finding) bool { return f.Severity != "note" }) {
			t.Errorf("%+v", r)
		}
		for _, want := range []string{"the policy in force", "containers", "/var/lib/oci-apparmor/wiring"} {
			if !strings.Contains(strings.Join(r.Unseen, "\n"), want) {
				t.Errorf("it does not say that %q was not seen: %q", want, r.Unseen)
			}
		}
	})
	t.Run("wired", func(t *testing.T) {
		t.Cleanup(func() { guesttest.MustRun(t, "oci-apparmor", "uninstall", "--yes") })
		wantDone(t, guesttest.Run(t, "oci-apparmor", "install", "--yes"))
		if o := guesttest.Run(t, "oci-apparmor", "doctor"); o.Code != 0 || !strings.HasSuffix(o.Stdout, "\nnothing is wrong\n") {
			t.Errorf("a healthy node: exit code %d: %s%s", o.Code, o.Stdout, o.Stderr)
		}
		guesttest.EnoughIn(t, guesttest.Trixie) // which has all engines
		guesttest.NeedDocker(t)
		doctorOfEngines(t)
	})
	guesttest.EnoughIn(t, guesttest.Trixie) // of the rest, another guest shows nothing else
	t.Run("profiles", doctorOfProfiles)
	t.Run("kernel", doctorOfKernel)
	t.Run("hooks", doctorOfHooks)
	t.Run("containers", doctorOfContainers)
}

func doctorOfProfiles(t *testing.T) {
	file := ourFile("web")
	before := read(t, file)
	fixed := func(what string, ids ...string) {
		t.Helper()
		runDoctor(t).want(t, what, ids...)
		r := runDoctor(t, "--fix")
		r.want(t, what+", with --fix")
		var got []string
		for _, f := range r.Fixed {
			got = append(got, f.ID)
		}
		if slices.Sort(got); !slices.Equal(got, ids) {
			t.Errorf("%s: fixed %q, want %q", what, got, ids)
		}
	}
	guesttest.LoadProfile(t, loose("web"))
	fixed("a loosened profile", "profile-drifted")
	guesttest.RemoveProfile(t, "web")
	fixed("a profile that was removed", "profile-missing")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	fixed("a file that was removed", "boot-file-missing")
	write(t, file, strings.Replace(before, "deny /etc/** w,", "", 1))
	fixed("a file that was loosened", "boot-file-changed")
	if got := read(t, file); got != before {
		t.Errorf("the file for AppArmor's service is\n%s\nand was\n%s", got, before)
	}

	const config = "/etc/oci-apparmor/profiles/web"
	text := read(t, config)
	write(t, config, text+"# changed\n")
	runDoctor(t, "--fix").want(t, "another text", "policy-pending")
	write(t, config, "profile web {\n")
	runDoctor(t).want(t, "a text that does not compile", "policy-pending")
	write(t, config, text)
	const policy = "/etc/oci-apparmor/policy.yaml"
	write(t, policy, read(t, policy)+"bad: 1\n")
	runDoctor(t).want(t, "a fault in the policy", "policy-refused")
	write(t, policy, floorPolicy)
}

func doctorOfKernel(t *testing.T) {
	for _, c := range []struct{ parameter, value, id string }{{"hash_policy", "N", "no-hashes"}, {"mode", "complain", "not-enforcing"}} {
		path := "/sys/module/apparmor/parameters/" + c.parameter
		before := read(t, path)
		write(t, path, c.value)
		runDoctor(t).want(t, c.parameter+" "+c.value, c.id)
		write(t, path, strings.TrimSpace(before))
	}
	guesttest.MustRun(t, "mount", "-t", "tmpfs", "none", "/sys/kernel/security")
	o := guesttest.Run(t, "oci-apparmor", "doctor", "--json")
	guesttest.MustRun(t, "umount", "/sys/kernel/security")
	parseDoctor(t, o).want(t, "without securityfs", "securityfs-missing")

	parser, err := filepath.EvalSymlinks(program(t, "apparmor_parser"))
	if err != nil {
		t.Fatal(err)
	}
	guesttest.MustRun(t, "mv", parser, parser+".away")
	o = guesttest.Run(t, "oci-apparmor", "doctor", "--json")
	guesttest.MustRun(t, "mv", parser+".away", parser)
	parseDoctor(t, o).want(t, "without a parser", "parser-missing")
}

// changed has what something says while a file has another content.
func changed(t *testing.T, path, text string, f func()) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, path, text)
	f()
	if err != nil {
		os.Remove(path)
		return
	}
	write(t, path, string(before))
}

func doctorOfEngines(t *testing.T) {
	const docker, shim = "/etc/docker/daemon.json", "/usr/local/bin/containerd-shim-apparmor-v2"
	find := func(what string, ids ...string) func() {
		return func() { t.Helper(); runDoctor(t).want(t, what, ids...) }
	}
	wired := read(t, docker)
	changed(t, docker, "{}", func() {
		find("a file that a package wrote anew", "wiring-lost")()
		shown := strings.SplitAfter(block(t, "install/README.md#what-is-wrong"), "\n")
		o := guesttest.Run(t, "oci-apparmor", "doctor")
		at := slices.IndexFunc(shown, func(line string) bool { return strings.HasPrefix(line, "ERROR ") })
		if tail := strings.Join(shown[at:], ""); o.Code != 1 || !strings.HasSuffix(o.Stdout, tail) {
			t.Errorf("exit code %d:\n%s\nand install/README.md shows\n%s", o.Code, o.Stdout, tail)
		}
	})
	changed(t, docker, "{\n", find("a broken file", "engine-unreadable"))
	changed(t, docker, strings.Replace(wired, "{", `{"nosuch-key": 1, `, 1), find("a file that its engine refuses", "engine-refuses"))
	containerd := read(t, containerdConfig)
	changed(t, containerdConfig, strings.Replace(containerd, "oci-apparmor/*", "example.org/*", 1),
		find("other annotations", "annotations-dropped"))
	guesttest.MustRun(t, "mv", shim, shim+".away")
	o := guesttest.Run(t, "oci-apparmor", "doctor", "--json")
	guesttest.MustRun(t, "mv", shim+".away", shim)
	parseDoctor(t, o).want(t, "without the shim", "wiring-program")
}

func doctorOfHooks(t *testing.T) {
	const shared = "/usr/share/containers/oci/hooks.d/test.json"
	find := func(what string, ids ...string) func() {
		return func() { t.Helper(); runDoctor(t).want(t, what, ids...) }
	}
	const hook = `{"version": "1.0.0", "when": {"always": true}, "stages": ["%s"], "hook": {"path": "%s"}}`
	changed(t, shared, fmt.Sprintf(hook, "precreate", "/bin/true"), find("a hook for all engines", "hooks-break-others"))
	changed(t, shared, fmt.Sprintf(hook, "createRuntime", "/opt/oci-apparmor-hook"), find("a hook without its program", "hook-program"))
	changed(t, "/srv/hooks/test.json", fmt.Sprintf(hook, "precreate", "/usr/local/bin/oci-apparmor-hook"), func() {
		changed(t, "/etc/containers/containers.conf.d/99-test.conf", "[engine]\nhooks_dir = [\"/srv/hooks\"]\n", find("a hook alone", "exec-escapes"))
	})
}

func doctorOfContainers(t *testing.T) {
	rt := armsOf(t, "runc")
	c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
	runDoctor(t).want(t, "a confined container")
	execOther(t, c, rt.bare, "unconfined")
	runDoctor(t).want(t, "a process past the wrapper", "container-differs")
	guesttest.MustRun(t, rt.wrapped, "delete", "--force", c.ID)

	stale := guesttest.NewBundle(t, asks("work")).Start(t, rt.wrapped) // under a stack
	guesttest.LoadProfile(t, loose("work"))
	runDoctor(t).want(t, "a loosened profile in use", "profile-drifted", "container-drifted")
	runDoctor(t, "--fix").want(t, "put right by --fix", "container-stale")
	guesttest.MustRun(t, rt.wrapped, "delete", "--force", stale.ID)

	past := guesttest.NewBundle(t, func(s *specs.Spec) { s.Process.ApparmorProfile = "" }).Start(t, rt.bare)
	runDoctor(t).want(t, "a container that did not come to us", "container-uncovered")
	guesttest.MustRun(t, rt.bare, "delete", "--force", past.ID)
}

func TestDoctorNoAppArmor(t *testing.T) {
	guesttest.Need(t, guest.NoAppArmor)
	r := runDoctor(t)
	if r.code != 1 || len(r.Findings) == 0 || r.Findings[0].ID != "apparmor-off" {
		t.Errorf("%+v", r)
	}
}

// A probe starts a container through each engine that is wired, and leaves nothing behind.
func TestContainerdDoctor(t *testing.T) {
	setPolicy(t, webPolicy)
	v := guesttest.Containerds(t)[0]
	putTree(t, v, "default")
	run := wiring(t, v.Bin)
	t.Cleanup(func() { run("uninstall", "--yes") })
	c := guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{CRI: true, File: containerdConfig})
	var docker *guesttest.Docker
	if _, err := exec.LookPath("dockerd"); err == nil {
		docker = guesttest.StartDocker(t, c, map[string]map[string]any{})
	}
	for _, via := range []string{"shim", "wrapper"} {
		t.Run(via, func(t *testing.T) {
			if via == "shim" && ignoresRuntimePath(v) {
				t.Skipf("containerd %s ignores runtime_path", v.Name)
			}
			want := []string{"containerd"}
			if docker != nil {
				want = append(want, "docker")
			}
			wantDone(t, run(append([]string{"install", "--yes", "--via", via}, want...)...)) // Podman has a test of its own
			c.Restart(t)
			if docker != nil {
				docker.Reload(t)
				waitFor(t, "Docker to take its runtimes over", func() bool {
					return strings.Contains(docker.MustDocker(t, "info", "--format", "{{json .Runtimes}}"), `"apparmor"`)
				})
			}
			guesttest.MustRun(t, "oci-apparmor", "policy", "load")
			o := run("doctor", "--json", "--probe", "--probe-policy", "web")
			r := parseDoctor(t, o)
			r.want(t, "a probe of "+strings.Join(want, ", "))
			for i, engine := range want {
				if i >= len(r.Probes) || r.Probes[i].Engine != engine || r.Probes[i].Policy != "web" || r.Probes[i].Label != "web (enforce)" ||
					r.Probes[i].Executed != "web (enforce)" {
					t.Errorf("the probes saw %+v", r.Probes)
				}
			}
			wantNothingOfProbes(t, c, docker)

			// A policy that is refused is told, in the engine's words.
			r = parseDoctor(t, run("doctor", "--json", "--probe", "--probe-policy", "nosuch"))
			r.want(t, "a probe that is refused", "probe-failed")
			refused := 0
			for _, f := range r.Findings {
				if f.ID == "probe-failed" && strings.Contains(f.What, "nosuch") {
					refused++
				}
			}
			if refused != len(want) {
				t.Errorf("%d are refused: %+v", refused, r.Findings)
			}
			wantNothingOfProbes(t, c, docker)
		})
	}
}

// Podman has no daemon, and comes to us by the wrapper, or by a hook alone, past which exec goes.
func TestDoctorProbesPodman(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // TestInstallPodman has each version of Podman
	setPolicy(t, unnamedPolicy)
	startPodman(t)
	t.Cleanup(func() { guesttest.Run(t, "oci-apparmor", "uninstall", "--yes") })
	for _, way := range []struct {
		via    string
		covers bool
		want   []string
	}{{"wrapper", true, nil}, {"hook", false, []string{"exec-escapes", "probe-exec"}}} {
		guesttest.MustRun(t, "oci-apparmor", "policy", "load")
		wantDone(t, guesttest.Run(t, "oci-apparmor", "install", "--yes", "podman", "--via", way.via))
		r := runDoctor(t, "--probe", "--probe-policy", "web")
		r.want(t, "a probe of Podman by the "+way.via, way.want...)
		if len(r.Probes) != 1 || r.Probes[0].Engine != "podman" ||
			(r.Probes[0].Policy == "web") != way.covers || r.Probes[0].Label != "web (enforce)" ||
			(r.Probes[0].Executed == "web (enforce)") != way.covers || r.Probes[0].Executed == "" {
			t.Errorf("by the %s the probe saw %+v", way.via, r.Probes)
		}
		if left := guesttest.MustRun(t, "podman", "ps", "--all", "--quiet"); left != "" {
			t.Errorf("Podman has left %s", left)
		}
	}
	const config = "/etc/containers/containers.conf.d/zz-test.conf"
	more := ", {append = false}" // or else it is appended to the list before
	if major, _ := podmanVersion(t); major < 5 {
		more = ""
	}
	changed(t, config, "[engine]\nhooks_dir = [\"/srv/others\""+more+"]\n", func() { runDoctor(t).want(t, "a hook that is not read", "wiring-ignored") })
}

// wantNothingOfProbes fails if a probe has left something with an engine or on the disk.
func wantNothingOfProbes(t *testing.T, c *guesttest.Containerd, docker *guesttest.Docker) {
	t.Helper()
	if left := c.MustCtr(t, "namespaces", "list", "--quiet"); strings.Contains(left, "probe") {
		t.Errorf("namespaces left: %s", left)
	}
	if docker != nil {
		if left := docker.MustDocker(t, "ps", "--all", "--quiet") + docker.MustDocker(t, "images", "--quiet", "--filter", "reference=oci-apparmor-probe*"); left != "" {
			t.Errorf("Docker has left: %s", left)
		}
	}
	if left, _ := filepath.Glob("/var/tmp/oci-apparmor-probe-*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	wantNothingLeft(t)
}

// Whether systemd applies the policy at boot is looked at where systemd runs.
func TestSystemdDoctor(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Forky) // what systemctl says of a unit is read
	const unit = "oci-apparmor.service"
	guesttest.Run(t, "systemctl", "disable", "--quiet", unit) // another test has left it as it was
	guesttest.Run(t, "systemctl", "reset-failed", unit)
	t.Cleanup(func() {
		guesttest.Run(t, "systemctl", "disable", "--quiet", unit)
		guesttest.Run(t, "systemctl", "reset-failed", unit)
		os.RemoveAll("/etc/oci-apparmor")
	})
	writeFile(t, "/etc/oci-apparmor/policy.yaml", "version: 1\nbad: 1\n")
	units := func() (ids []string) {
		t.Helper()
		for _, f := range runDoctor(t).Findings {
			if strings.HasPrefix(f.ID, "unit-") {
				ids = append(ids, f.ID)
			}
		}
		return ids
	}
	if ids := units(); !slices.Equal(ids, []string{"unit-off"}) {
		t.Errorf("a unit that is not enabled: %q", ids)
	}
	guesttest.MustRun(t, "systemctl", "enable", "--quiet", unit)
	if ids := units(); len(ids) > 0 {
		t.Errorf("a unit that is enabled: %q", ids)
	}
	guesttest.Run(t, "systemctl", "start", unit)
	if ids := units(); !slices.Equal(ids, []string{"unit-failed"}) {
		t.Errorf("a unit that has failed: %q", ids)
	}
}
