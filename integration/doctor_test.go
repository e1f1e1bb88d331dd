package integration

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
	if got = slices.Compact(got); !slices.Equal(got, ids) || len(r.Unseen) > 0 {
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

// On a healthy node nothing is found, and whoever may not see all of it is told so. TestSystemdDoctor has what is wrong.
func TestDoctor(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm, guesttest.Forky) // what it finds is ours
	setPolicy(t, floorPolicy)
	guesttest.MustRun(t, "oci-apparmor", "policy", "load")
	runDoctor(t).want(t, "a node without a wired engine")
	t.Run("as a user", func(t *testing.T) {
		r := parseDoctor(t, guesttest.RunCommand(t, asNobody("doctor", "--json")))
		if r.code != 3 || slices.ContainsFunc(r.Findings, func(f finding) bool { return f.Severity != "note" }) {
			t.Errorf("%+v", r)
		}
		for _, want := range []string{"the policy in force", "containers", "/var/lib/oci-apparmor/wiring", "whether engines run"} {
			if !strings.Contains(strings.Join(r.Unseen, "\n"), want) {
				t.Errorf("it does not say that %q was not seen: %q", want, r.Unseen)
			}
		}
	})
	t.Cleanup(func() { guesttest.MustRun(t, "oci-apparmor", "uninstall", "--yes") })
	wantDone(t, guesttest.Run(t, "oci-apparmor", "install", "--yes"))
	runDoctor(t).want(t, "a node whose engines are wired, and do not run", "engine-down")
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
	guesttest.EnoughIn(t, guesttest.Bookworm, guesttest.Forky) // a containerd that ignores runtime_path, and one that does not
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
				putTree(t, v, "older-us")
				r := parseDoctor(t, run("doctor", "--json"))
				putTree(t, v, "default")
				if !slices.ContainsFunc(r.Findings, func(f finding) bool { return f.ID == "engine-version" }) {
					t.Errorf("containerd %s ignores runtime_path, and doctor says only %+v", v.Name, r.Findings)
				}
				return
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
	hasText(config, "[engine]\nhooks_dir = [\"/srv/others\""+more+"]\n")(t, func(...string) {
		runDoctor(t).want(t, "a hook that is not read", "wiring-ignored")
	})
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
