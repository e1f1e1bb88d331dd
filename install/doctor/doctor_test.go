package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/version"
	"github.com/oci-apparmor/oci-apparmor/install/apparmord"
	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/output/outputtest"
	"github.com/oci-apparmor/oci-apparmor/install/probe"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// machine is a made-up node, on which nothing is wrong.
type machine struct {
	*Node
	t      testing.TB
	kernel kerneltest.Machine
	dir    string
	ready  kernel.Readiness
	noMore error // why there is no compiler
	states []engines.State
	unit   map[string]string
}

const policyFile = `version: 1
profiles: {web: {file: profiles/web}}
policies: {web: {profile: web}}
assign:
  - policy: web
`

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{t: t, kernel: kerneltest.New(t), dir: t.TempDir(), ready: kernel.Ready}
	m.unit = map[string]string{"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active"}
	m.states = []engines.State{
		{Name: "containerd", Engine: "containerd", Title: "containerd", Files: []string{"/etc/containerd/config.toml"}, Recorded: true,
			Inspection: host.Inspection{Via: "shim"}},
		{Name: "docker", Engine: "docker", Title: "Docker", Absent: "there is no program dockerd"},
	}
	k := m.kernel.Kernel()
	k.Proc = m.path("proc")
	k.QueryAccess = func(string) (string, error) { return "allow 0xffffffff\n", nil }
	m.Node = &Node{
		Node: &node.Node{
			Config: m.path("etc"), Store: m.path("store"), Service: apparmord.Dir(m.path("apparmor.d")), ParserConf: m.path("parser.conf"),
			Kernel: k, Programs: m.path("root"), Uname: "6.12.117+deb13-amd64", Root: true, Warn: func(string) {},
			CompilerOf: func([]byte) (node.Compiler, error) { return m.compiler(), m.noMore },
			Detect:     func() kernel.Readiness { return m.ready },
			State: &status.Node{
				Host: &hook.Host{Store: store.Store{Dir: m.path("store")}, Kernel: k, Containers: m.path("records")}, Run: m.path("run"),
				Lib: m.dir, Programs: m.path("root"),
			},
		},
		Host:    host.New(m.path("root"), "/usr/local/bin"),
		Build:   "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-11-02)",
		Unit:    func(context.Context) (map[string]string, error) { return m.unit, nil },
		Engines: func(context.Context) ([]engines.State, error) { return m.states, nil },
	}
	m.kernel.Write(t, "fs/features/x", "y\n")
	m.write("apparmor.d/abi/4.0", "x\n")
	m.write("parser", "the program\n")
	m.write("root/usr/bin/true", "")
	m.write("etc/policy.yaml", policyFile)
	m.write("etc/profiles/web", "profile web { file, }\n")
	m.link("proc/self/ns/pid", "pid:[1]")
	m.write("proc/1/attr/apparmor/current", "unconfined\n")
	m.write("proc/1/cgroup", "0::/init.scope\n")
	m.link("proc/1/ns/pid", "pid:[1]")
	m.apply()
	m.load()
	return m
}

func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *machine) write(name, text string) {
	m.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(m.path(name)), 0o755), os.WriteFile(m.path(name), []byte(text), 0o644)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) link(name, to string) {
	m.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(m.path(name)), 0o755), os.Symlink(to, m.path(name))); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) remove(name string) {
	m.t.Helper()
	if err := os.RemoveAll(m.path(name)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) apply() {
	m.t.Helper()
	if _, err := apply.Apply(context.Background(), m.Node.Node, apply.Options{Config: m.Config, Store: m.Store, Progress: apply.Silent{}}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) load() {
	m.t.Helper()
	if _, _, err := apply.Load(context.Background(), m.Node.Node, m.Store, func(apply.Loaded) {}); err != nil {
		m.t.Fatal(err)
	}
}

// start has a container under the policy, with a process.
func (m *machine) start(id string, pid int) {
	m.t.Helper()
	m.write("bundles/"+id+"/config.json", `{"ociVersion": "1.0.2", "process": {"args": ["true"]}}`)
	c := hook.Caller{Root: m.path("run/runc")}
	if _, err := m.State.Host.Prepare(context.Background(), c, id, hook.NewBundle(m.path("bundles/"+id))); err != nil {
		m.t.Fatal(err)
	}
	m.runtime("runc", id, pid, "web (enforce)")
}

// runtime makes the state of a container of runc's, and its process.
func (m *machine) runtime(root, id string, pid int, label string) {
	m.t.Helper()
	quoted, _ := json.Marshal(id)
	m.write("run/"+root+"/"+id+"/state.json", fmt.Sprintf(`{"id":%s,"init_process_pid":%d}`, quoted, pid))
	m.process(pid, label, id)
}

func (m *machine) process(pid int, label, group string) {
	m.t.Helper()
	dir := fmt.Sprintf("proc/%d/", pid)
	m.write(dir+"attr/apparmor/current", label+"\n")
	m.write(dir+"cgroup", "0::/default/"+group+"\n")
	m.link(dir+"ns/pid", "pid:["+group+"]")
	m.link(dir+"exe", "/nowhere/server")
}

// compiler is the real one as to what it compiles from, and makes blobs that have the text for content.
func (m *machine) compiler() node.Compiler {
	return texts{&profile.Compiler{Parser: m.path("parser"), Base: m.path("apparmor.d"), Conf: m.path("parser.conf")}}
}

type texts struct{ *profile.Compiler }

func (texts) Compile(ctx context.Context, name string, mode profile.Mode, source string, text []byte) (profile.Blob, error) {
	return kerneltest.Texts{}.Compile(ctx, name, mode, source, text)
}
func (texts) Standalone(_ context.Context, text []byte, _ profile.Mode, want func() (profile.Blob, error)) ([]byte, error) {
	_, err := want()
	return text, err
}
func (texts) Version(context.Context) (string, error)                   { return "4.1.0", nil }
func (texts) Preprocess(_ context.Context, text []byte) ([]byte, error) { return text, nil }
func (texts) Supports(string) bool                                      { return true }
func (texts) AsLoaded(context.Context, []byte) (profile.Blob, error) {
	return profile.Blob{}, errors.New("not asked")
}
func (texts) CompileText(context.Context, string, []byte) (profile.Blob, error) {
	return profile.Blob{}, errors.New("not asked")
}

// faulty has a fault in the wiring of containerd.
func faulty(k host.Kind) func(*machine) {
	return func(m *machine) { m.states[0].Add(k, "the fault %s", k) }
}

var conditions = []struct {
	name   string
	change func(*machine)
	want   []string // findings, and nothing else
	says   string   // what one of them says
}{
	{"nothing", func(*machine) {}, nil, ""},
	{"AppArmor off", func(m *machine) { m.ready = kernel.NoAppArmor }, []string{"apparmor-off"}, "not switched on"},
	{"securityfs not mounted", func(m *machine) { m.ready = kernel.NoSecurityfs }, []string{"securityfs-missing"}, "its files are missing"},
	{"a locked policy", func(m *machine) { m.ready = kernel.NoRight }, []string{"no-right"}, "may not load"},
	{"no hashes", func(m *machine) { m.ready = kernel.NoHash }, []string{"no-hashes"}, "keeps no hashes"},
	{"a profile without a hash", func(m *machine) { os.Remove(m.loadedAt("web") + "/sha256") }, []string{"no-hashes"}, "no hash of profile web"},
	{"the global mode complain", func(m *machine) { m.ready = kernel.NotEnforcing }, []string{"not-enforcing"}, "only logs"},
	{"a policy namespace", func(m *machine) { m.ready = kernel.Namespaced }, []string{"policy-namespace"}, "inside a policy namespace"},
	{"a kernel of February 2026", func(m *machine) {
		m.Uname, m.Build = "6.12.73+deb13-amd64", "#1 SMP Debian 6.12.73-1 (2026-02-17)"
	}, []string{"kernel-unfixed"}, "6.12.73-1"},
	{"another distribution's kernel", func(m *machine) { m.Uname, m.Build = "6.8.0-100-generic", "#100-Ubuntu SMP" }, []string{"kernel-unknown"}, "6.8.0-100"},
	{"a load that failed half-way", func(m *machine) { m.kernel.Poison(m.t) }, []string{"loads-refused"}, "refuses every new profile"},
	{"no parser", func(m *machine) { m.noMore = fmt.Errorf("%w (looked around)", profile.ErrNoParser) },
		[]string{"parser-missing"}, "apparmor_parser is not installed"},
	{"features that are gone", func(m *machine) { m.write("parser.conf", "kernel-features="+m.path("gone")+"\n") },
		[]string{"parser-missing"}, "gone"},
	{"no ABI", func(m *machine) { m.remove("apparmor.d/abi") }, []string{"abi-missing"}, "no ABI"},
	{"no unit", func(m *machine) { m.unit["LoadState"] = "not-found" }, []string{"unit-missing"}, "does not know"},
	{"a disabled unit", func(m *machine) { m.unit["UnitFileState"] = "disabled" }, []string{"unit-off"}, "not enabled"},
	{"a failed unit", func(m *machine) { m.unit["ActiveState"] = "failed" }, []string{"unit-failed"}, "has failed"},

	{"no policy", func(m *machine) { m.remove("store") }, []string{"no-policy"}, "no policy was applied"},
	{"a store without its link", func(m *machine) { m.remove("store/current") }, []string{"policy-unreadable"}, "the link current is gone"},
	{"a store that others can write", func(m *machine) { os.Chmod(m.path("store"), 0o777) }, []string{"policy-unreadable"}, "store"},
	{"a fault in the policy file", func(m *machine) { m.write("etc/policy.yaml", policyFile+"bad: 1\n") }, []string{"policy-refused"}, "policy.yaml:6:1: unknown key"},
	{"a rule that was changed", func(m *machine) {
		m.write("etc/policy.yaml", strings.Replace(policyFile, "- policy: web", "- {container: [shop], policy: web}\n  - policy: keep", 1))
	}, []string{"policy-pending"}, "is not the one in force"},
	{"a text that was changed", func(m *machine) { m.write("etc/profiles/web", "profile web { file, network, }\n") },
		[]string{"policy-pending"}, "profile web is compiled anew"},
	{"another parser", func(m *machine) { m.write("parser", "a newer program\n") }, []string{"parser-changed"}, "another apparmor_parser (4.1.0)"},
	{"a kernel with other features", func(m *machine) { m.kernel.Write(m.t, "fs/features/x", "z\n") }, []string{"parser-changed"}, "other features"},
	{"a profile that is gone", func(m *machine) { m.kernel.Remove(m.t, "web") }, []string{"profile-missing"}, "profile web is not loaded"},
	{"a policy that is not loaded", func(m *machine) {
		m.write("etc/profiles/web", "profile web { file, network, }\n")
		m.apply()
	}, []string{"profile-outdated"}, "an earlier policy"},
	{"a profile that was replaced", func(m *machine) { m.kernel.Load(m.t, kerneltest.Blob("loose", "web")) }, []string{"profile-drifted"}, "web"},
	{"somebody else's profile", func(m *machine) {
		m.kernel.Remove(m.t, "web")
		m.kernel.Load(m.t, kerneltest.Blob("theirs", "web"))
	}, []string{"profile-foreign"}, "somebody else"},
	{"a hash that cannot be read", func(m *machine) {
		hash := m.loadedAt("web") + "/sha256"
		os.Remove(hash)
		os.Mkdir(hash, 0o755)
	}, []string{"profile-unknown"}, "not known"},
	{"no file for AppArmor's service", func(m *machine) { m.remove("apparmor.d/web.oci-apparmor") }, []string{"boot-file-missing"}, "profile web has no file"},
	{"a file for it that was edited", func(m *machine) {
		text, _ := os.ReadFile(m.path("apparmor.d/web.oci-apparmor"))
		m.write("apparmor.d/web.oci-apparmor", string(text)+"# loose\n")
	}, []string{"boot-file-changed"}, "profile web has a file for AppArmor's service that somebody has changed"},

	{"an engine that is not wired", func(m *machine) { m.states[0].Files, m.states[0].Recorded = nil, false }, []string{"engine-unwired"}, "containerd"},
	{"a configuration that cannot be read", func(m *machine) { m.states[0].Err = errors.New("config.toml:3: no \x1b[31m end") },
		[]string{"engine-unreadable"}, "config.toml:3"},
	{"a wiring that is lost", func(m *machine) {
		m.states[0].Files = nil
		m.states[0].Record = wire.Wiring{Edits: []wire.Edit{{Path: "/etc/containerd/config.toml", New: &wire.Entry{}}}}
	}, []string{"wiring-lost"}, "/etc/containerd/config.toml"},
	{"an engine that is gone with its wiring", func(m *machine) { m.states[1].Recorded = true }, []string{"wiring-lost"}, "there is no program dockerd"},
	{"an install that was killed", func(m *machine) {
		m.Engines = func(context.Context) ([]engines.State, error) { return m.states, errors.New("an install was killed") }
	}, []string{"wiring-interrupted"}, "was killed"},
	{"refused by its engine", faulty(host.Refuses), []string{"engine-refuses"}, "the fault"},
	{"not read by its engine", faulty(host.Ignored), []string{"wiring-ignored"}, "the fault"},
	{"a program that is gone", faulty(host.ProgramGone), []string{"wiring-program"}, "the fault"},
	{"annotations that are dropped", faulty(host.Dropped), []string{"annotations-dropped"}, "the fault"},
	{"a bad version", faulty(host.BadVersion), []string{"engine-version"}, "the fault"},
	{"no restart yet", faulty(host.NotTaken), []string{"engine-restart"}, "the fault"},
	{"a runtime of our name that is not ours", func(m *machine) {
		m.states[0].Files, m.states[0].Recorded = nil, true
		m.states[0].Add(host.Foreign, "another program")
	}, []string{"runtime-foreign"}, "another program"},
	{"a program of another version", func(m *machine) {
		m.states[0].Program, m.states[0].Version = "/usr/bin/containerd-shim-apparmor-v2", "0.9\x1b[31m"
	}, []string{"program-version"}, "containerd starts /usr/bin/containerd-shim-apparmor-v2 of version 0.9"},
	{"programs of this version", func(m *machine) { m.states[0].Version = version.String() }, nil, ""},
	{"an engine that does not answer", faulty(host.Down), []string{"engine-down"}, "the fault"},
	{"an engine that does not run", func(m *machine) { m.states[0].Down = true }, []string{"engine-down"}, "containerd is wired, and does not run"},
	{"a distribution that does not run", func(m *machine) {
		m.states[0] = engines.State{Name: "k0s", Engine: "containerd", Title: "k0s", Files: []string{"/x.toml"}, Recorded: true, Down: true, Start: "k0s start"}
	}, []string{"engine-down"}, "k0s is wired, and does not run\nRun k0s start, unless it is to be down, and see"},
	{"a distribution that does not run, whose service has different names", func(m *machine) {
		m.states[0] = engines.State{Name: "k3s", Engine: "containerd", Title: "K3s", Files: []string{"/x.tmpl"}, Recorded: true, Down: true}
	}, []string{"engine-down"}, "K3s is wired, and does not run\nSee the log of its unit, and start that, unless"},
	{"an engine that is neither wired nor runs", func(m *machine) {
		m.states[0].Files, m.states[0].Recorded, m.states[0].Down = nil, false, true
	}, []string{"engine-unwired"}, "containerd (which does not run)"},
	{"a file that two checks cannot read", func(m *machine) {
		m.hookAlone("[broken\n")
		m.states[0].Err = errors.New("/etc/containers/containers.conf.d/50.conf:3:8: toml: expected ']' to close table name")
	}, []string{"engine-unreadable"}, "50.conf:3:8"},
	{"a hook in the place of all engines", func(m *machine) {
		m.write("root/usr/share/containers/oci/hooks.d/x.json", `{"version": "1.0.0", "stages": ["precreate"], "hook": {"path": "/usr/bin/true"}}`)
	}, []string{"hooks-break-others"}, "x.json has the stage precreate"},
	{"a hook whose program is gone", func(m *machine) {
		m.write("root/etc/containers/oci/hooks.d/x.json", `{"stages": ["createRuntime"], "hook": {"path": "/usr/local/bin/oci-apparmor-hook"}}`)
	}, []string{"hook-program"}, "/usr/local/bin/oci-apparmor-hook, which is missing"},
	{"an engine by a hook alone", func(m *machine) { m.hookAlone("") }, []string{"exec-escapes"}, "/srv/hooks/oci-apparmor.json alone"},
	{"an engine by a hook and the wrapper", func(m *machine) {
		m.hookAlone("[engine.runtimes]\ncrun = [\"/usr/local/lib/oci-apparmor/podman/crun\"]\n")
	}, nil, ""},

	{"a confined container", func(m *machine) { m.start("one", 20) }, nil, ""},
	{"a process past the wrapper", func(m *machine) {
		m.start("one", 20)
		m.process(21, "unconfined", "one")
	}, []string{"container-differs"}, "process 21"},
	{"a container whose profile was removed", func(m *machine) {
		m.start("one", 20)
		m.kernel.Remove(m.t, "web")
		m.load()
	}, []string{"container-drifted"}, "container one"},
	{"a stale stack", func(m *machine) {
		m.stack()
		for _, text := range []string{"network", "mount"} {
			m.write("etc/profiles/web", "profile web { file, "+text+", }\n")
			m.apply()
			m.load()
		}
	}, []string{"container-stale"}, "start the container anew"},
	{"a stack of which nobody knows", func(m *machine) {
		m.stack()
		m.kernel.Load(m.t, kerneltest.Blob("loose", "web"))
		m.kernel.Load(m.t, kerneltest.Blob("profile web { file, }\n", "web"))
	}, []string{"container-unverified"}, "nobody knows how often"},
	{"containers past a wired engine", func(m *machine) {
		for i := range 5 {
			m.runtime("containerd/runc/k8s.io", fmt.Sprintf("past\x1b[3%dm", i), 30+i, "unconfined")
		}
	}, []string{"container-uncovered"}, `5 containers ("past\x1b[30m", `},
	{"a container of an engine that confines it", func(m *machine) { m.runtime("docker/runtime-runc/moby", "d1", 30, "docker-default (enforce)") },
		[]string{"container-by-engine"}, "the engine is not wired"},
	{"shims of before an upgrade", func(m *machine) {
		m.Earlier = func() (map[string]int, error) { return map[string]int{"v1.0": 1, "v1.1": 20}, nil }
	}, []string{"programs-earlier"}, "of version v1.1, which another one has replaced, 20 programs run"},
	{"a profile that takes no signals", func(m *machine) {
		m.Kernel.QueryAccess = func(query string) (string, error) {
			if strings.HasSuffix(query, "unconfined") {
				return "allow 0xffffffff\n", nil
			}
			return "allow 0x00000000\n", nil
		}
		m.write("root/usr/bin/crun", "")
		m.kernel.Load(m.t, kerneltest.Attached("x", "crun", "/usr/bin/crun"))
	}, []string{"signals-refused"}, "profile web refuses signals from programs under the label"},
	{"a policy that is recorded", func(m *machine) { m.recorded("web") }, []string{"policy-recorded"}, "profile learn finish web"},
	{"profiles of a recording that has ended", func(m *machine) {
		m.kernel.Load(m.t, kerneltest.Blob("x", recording.NameFor("web", "", "c1")))
		m.kernel.Load(m.t, kerneltest.Blob("x", recording.NameFor("web", "", "c2")))
	}, []string{"recording-left"}, "of policy web that has ended, 2 of the profiles"},
	{"a record that is broken", func(m *machine) { m.write("records/x.json", "{") }, []string{"containers-unknown"}, "x.json"},
}

// recorded begins a recording of a policy.
func (m *machine) recorded(policy string) {
	b, err := profile.Parse(kerneltest.Blob("x", recording.NameFor(policy, "", "")))
	if err == nil {
		m.State.Host.Recordings = recording.Dir(m.path("recordings"))
		var held *recording.Held
		held, err = m.State.Host.Recordings.Begin(policy, b)
		m.t.Cleanup(func() { _ = held.End() })
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// stack starts a container under a stack.
func (m *machine) stack() {
	m.write("etc/profiles/base", "profile base { file, }\n")
	m.write("etc/policy.yaml", strings.NewReplacer("{web: {file: profiles/web}}", "{web: {file: profiles/web}, base: {file: profiles/base}}",
		"{profile: web}", "{profile: web, floor: base}").Replace(policyFile))
	m.apply()
	m.load()
	m.start("one", 20)
	m.write("proc/20/attr/apparmor/current", "base//&web (enforce)\n")
}

// loadedAt returns the directory of a loaded profile.
func (m *machine) loadedAt(name string) string {
	path, _ := m.kernel.Path(name)
	return path
}

// hookAlone has Podman call our hook, and more in its configuration.
func (m *machine) hookAlone(more string) {
	for _, program := range []string{"usr/bin/podman", "usr/local/bin/oci-apparmor-hook"} {
		m.write("root/"+program, "#!/bin/false\n")
		os.Chmod(m.path("root/"+program), 0o755)
	}
	m.write("root/etc/containers/containers.conf.d/50.conf", "[engine]\nhooks_dir = [\"/srv/hooks\", {append=true}]\n"+more)
	m.write("root/srv/hooks/oci-apparmor.json", `{"stages": ["precreate"], "hook": {"path": "/usr/local/bin/oci-apparmor-hook"}}`)
}

// Every condition that is made on purpose is found, and nothing else is; on a healthy node there is nothing.
func TestConditions(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range conditions {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			c.change(m)
			r := Examine(context.Background(), m.Node)
			var ids []string
			said := ""
			for _, f := range r.Findings {
				ids = append(ids, f.ID)
				said += f.What + "\n" + f.Do + "\n"
				seen[f.ID] = true
				if strings.HasPrefix(f.What, "profile web ") && strings.Contains(f.Do, "NAME") {
					t.Errorf("it says NAME of what has a name: %q", f.Do)
				}
				if f.What == "" || f.Do == "" || f.Severity != check(f.ID).Severity {
					t.Errorf("%+v", f)
				}
			}
			slices.Sort(ids)
			if want := slices.Sorted(slices.Values(c.want)); !slices.Equal(slices.Compact(ids), want) {
				t.Errorf("found %q, want %q:\n%s", ids, want, said)
			}
			if !strings.Contains(said, c.says) {
				t.Errorf("it does not say %q:\n%s", c.says, said)
			}
			if len(r.Unseen) > 0 {
				t.Errorf("not seen: %q", r.Unseen)
			}
			wantSchema(t, r)
		})
	}
	for _, c := range Checks() {
		if c.find != nil && !seen[c.ID] && !partly() {
			t.Errorf("no condition makes %s", c.ID)
		}
	}
}

// partly reports whether only some of the subtests run.
func partly() bool {
	f := flag.Lookup("test.run")
	return f != nil && strings.Contains(f.Value.String(), "/")
}

// wantSchema fails unless a report is as the schema says.
func wantSchema(t *testing.T, r *Report) {
	t.Helper()
	data, err := json.Marshal(r.JSON())
	if err != nil {
		t.Fatal(err)
	}
	outputtest.Valid(t, Schema(), data)
}

// Identifiers are those of scripts: each is there once, and has its texts.
func TestChecksAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		if !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(c.ID) || seen[c.ID] || !slices.Contains(severities, c.Severity) ||
			!strings.HasSuffix(c.Looks, ".") || !strings.HasSuffix(c.Do, ".") {
			t.Errorf("%+v", c)
		}
		seen[c.ID] = true
	}
	for _, k := range host.Kinds {
		if !seen[string(k)] {
			t.Errorf("no check is %s", k)
		}
	}
}

// An install that is under way, which may take as long as a trial does, is no fault: what it has wired is not known yet.
func TestInstallThatIsUnderWay(t *testing.T) {
	m := newMachine(t)
	m.Node.Engines = nil
	b, err := wire.Open(t.Context(), m.Host.Tree)
	if err != nil {
		t.Fatal(err)
	}
	d := wire.NewDraft(m.Host.Tree)
	without := d.Copy()
	if err := errors.Join(d.WriteFile("/etc/one.conf", []byte("ours\n")),
		b.Try(wire.Trial{Engine: "one", Boot: "this"}, &wire.Options{Via: "shim"}, d, without)); err != nil {
		t.Fatal(err)
	}
	look := func() (ids, unseen []string) {
		r := Examine(t.Context(), m.Node)
		for _, f := range r.Findings {
			ids = append(ids, f.ID)
		}
		return ids, r.Unseen
	}
	const want = "what install has wired: an install or uninstall is under way: run this again when it has ended"
	if ids, unseen := look(); len(ids) > 0 || !slices.Equal(unseen, []string{want}) {
		t.Errorf("under way: %q, not seen: %q", ids, unseen)
	}
	b.Close() // as if it was killed
	if ids, unseen := look(); !slices.Equal(ids, []string{"wiring-interrupted"}) || len(unseen) > 0 {
		t.Errorf("killed: %q, not seen: %q", ids, unseen)
	}
}

func TestFixesByVersion(t *testing.T) {
	for _, c := range []struct {
		uname, build string
		want         fixes
	}{
		{"6.12.74+deb13+1-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.12.74-2 (2026-03-08)", fixed},
		{"6.12.74+deb13-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.12.74-1 (2026-02-27)", unfixed},
		{"6.12.117+deb12-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1~bpo12+1 (2026-11-02)", fixed},
		{"6.1.0-44-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.164-1 (2026-03-09)", fixed},
		{"6.1.0-43-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.162-1 (2026-02-08)", unfixed},
		{"7.2.12+deb14-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 7.2.12-1 (2026-11-01)", fixed},
		{"7.0.0-14-generic", "#14-Ubuntu SMP", fixed},
		{"6.12.113", "#1 Sun Nov 29 2026", fixed},
		{"6.12.80", "#1 Sun Mar 29 2026", unknown},
		{"6.12", "", unknown},
		{"6.8.0-31-generic", "#31-Ubuntu SMP", unknown},
		{"6.18.5-1-default", "#1 SMP", unknown},
		{"", "", unknown},
		{"6.12.99999999999999999999", "Debian 6.12.99999999999999999999-1", unknown},
	} {
		if got := fixesOf(c.uname, c.build); got != c.want {
			t.Errorf("%s, %s: %d, want %d", c.uname, c.build, got, c.want)
		}
	}
}

// An engine that was uninstalled and not restarted is on the screen as such, and one that does not answer is what could not be
// seen.
func TestEngineThatGoesOn(t *testing.T) {
	m := newMachine(t)
	m.states[0].Files, m.states[0].Recorded = nil, false
	m.states[0].Faults = []host.Fault{{Kind: host.NotTaken, What: "it goes on", Do: "Run this."}}
	m.states[1].Unseen = errors.New("no answer")
	r := Examine(t.Context(), m.Node)
	i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.ID == "engine-restart" })
	if i < 0 || r.Findings[i].Do != "Run this." || len(r.Facts.Engines) == 0 || r.Facts.Engines[0].Stands != "not wired any more, and goes on with ours" {
		t.Errorf("%+v, %+v", r.Findings, r.Facts.Engines)
	}
	if want := "whether " + m.states[1].Title + " has read its configuration: no answer"; !slices.Contains(r.Unseen, want) {
		t.Errorf("it has not seen %q, want %q", r.Unseen, want)
	}
}

// As a user the doctor says what it could not see, and takes nothing of that for wrong.
func TestAsUser(t *testing.T) {
	m := newMachine(t)
	m.Root, m.ready = false, kernel.NoRight
	m.Engines = func(context.Context) ([]engines.State, error) {
		return m.states, &os.PathError{Op: "open", Path: "/var/lib/oci-apparmor/wiring/record.json", Err: os.ErrPermission}
	}
	r := Examine(context.Background(), m.Node)
	if len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
	for _, want := range []string{"the policy in force", "hashes", "containers", "record.json"} {
		if !slices.ContainsFunc(r.Unseen, func(line string) bool {
			return strings.Contains(line, want) && strings.HasSuffix(line, "run this as root")
		}) {
			t.Errorf("%q does not have %q", r.Unseen, want)
		}
	}
	r.AddProbes(context.Background(), m.Node, probe.Options{})
	wantSchema(t, r)
}

// Fix does what is safe, and leaves what is somebody's to decide.
func TestFix(t *testing.T) {
	for _, c := range []struct {
		name        string
		change      func(*machine)
		fixed, left []string
	}{
		{"what is missing and drifted", func(m *machine) {
			m.kernel.Load(m.t, kerneltest.Blob("loose", "web"))
			m.remove("apparmor.d/web.oci-apparmor")
		}, []string{"profile-drifted", "boot-file-missing"}, nil},
		{"a profile that is gone", func(m *machine) { m.kernel.Remove(m.t, "web") }, []string{"profile-missing"}, nil},
		{"an edited file", func(m *machine) {
			text, _ := os.ReadFile(m.path("apparmor.d/web.oci-apparmor"))
			m.write("apparmor.d/web.oci-apparmor", string(text)+"# loose\n")
		}, []string{"boot-file-changed"}, nil},
		{"another policy on disk", func(m *machine) {
			m.write("etc/profiles/web", "profile web { file, network, }\n")
			m.remove("apparmor.d/web.oci-apparmor")
		}, nil, []string{"policy-pending", "boot-file-missing"}},
		{"somebody else's profile", func(m *machine) {
			m.kernel.Remove(m.t, "web")
			m.kernel.Load(m.t, kerneltest.Blob("theirs", "web"))
		}, nil, []string{"profile-foreign"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			c.change(m)
			generation := m.current()
			r, err := Fix(context.Background(), m.Node, Examine(context.Background(), m.Node))
			if err != nil {
				t.Fatal(err)
			}
			ids := func(all []Finding) (ids []string) {
				for _, f := range all {
					ids = append(ids, f.ID)
				}
				return ids
			}
			if fixed, left := ids(r.Fixed), ids(r.Findings); !slices.Equal(fixed, c.fixed) || !slices.Equal(left, c.left) {
				t.Errorf("fixed %q, left %q; want %q and %q", fixed, left, c.fixed, c.left)
			}
			if now := m.current(); now != generation {
				t.Errorf("generation %d is in force, and %d was", now, generation)
			}
			wantSchema(t, r)
		})
	}
}

func (m *machine) current() uint64 {
	m.t.Helper()
	g, err := store.Store{Dir: m.Store}.Current()
	if err != nil {
		m.t.Fatal(err)
	}
	return g.Number
}

// prober is an engine whose containers are made by a test.
type prober func(c *host.Throwaway) (*host.Started, func() error, error)

func (p prober) Probe(_ context.Context, _ *host.Host, c *host.Throwaway) (*host.Started, func() error, error) {
	return p(c)
}

// What a probe sees is told, and all of it is removed in any case. That real engines do it, TestContainerdDoctor shows.
func TestProbe(t *testing.T) {
	for _, c := range []struct {
		name     string
		decided  bool
		executed string // its label; empty for a failure
		remove   error
		start    error
		want     []string
	}{
		{"covered", true, "web (enforce)", nil, nil, nil},
		{"exec escapes", true, "unconfined", nil, nil, []string{"probe-exec"}},
		{"past us", false, "unconfined", nil, nil, []string{"probe-uncovered"}},
		{"no exec", true, "", nil, nil, []string{"probe-failed"}},
		{"no start", true, "", nil, errors.New("/usr/bin/engine run: exit status 1: \x1b[31mrefused"), []string{"probe-failed"}},
		{"something is left", true, "web (enforce)", errors.New("busy"), nil, []string{"probe-left"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.write("program", "#!/bin/false\n")
			removed, dir := 0, ""
			m.states[0].Prober = prober(func(a *host.Throwaway) (*host.Started, func() error, error) {
				dir = a.Dir
				if _, err := os.Stat(filepath.Join(a.Rootfs(), a.Args[0])); err != nil || a.Annotation["oci-apparmor/policy"] != "web" {
					t.Errorf("%+v, %v", a, err)
				}
				remove := func() error { removed++; return c.remove }
				if c.start != nil {
					return nil, remove, c.start
				}
				if c.decided {
					m.start(a.Name, 20)
				} else {
					m.runtime("runc", a.Name, 20, "unconfined")
				}
				return &host.Started{ID: a.Name, Exec: func(context.Context) error {
					if c.executed == "" {
						return errors.New("no")
					}
					m.process(21, c.executed, a.Name)
					return nil
				}}, remove, nil
			})
			r := new(Report)
			r.AddProbes(context.Background(), m.Node, probe.Options{Program: m.path("program"), Policy: "web"})
			var ids []string
			for _, f := range r.Findings {
				ids = append(ids, f.ID)
			}
			if !slices.Equal(ids, c.want) || removed != 1 {
				t.Errorf("%+v, removed %d times; want %q", r.Findings, removed, c.want)
			}
			if _, err := os.Stat(dir); dir == "" || err == nil {
				t.Errorf("%s is left", dir)
			}
			if c.start != nil && r.Findings[0].What != "containerd: a throw-away container does not start:  [31mrefused" {
				t.Errorf("%+v", r.Findings)
			}
			if c.want == nil && (len(r.Probes) != 1 || r.Probes[0] != (probe.Seen{Engine: "containerd", Policy: "web", Label: "web (enforce)", Executed: "web (enforce)"})) {
				t.Errorf("%+v", r.Probes)
			}
			r.Facts.Engines = []EngineFacts{}
			wantSchema(t, r)
		})
	}
}
