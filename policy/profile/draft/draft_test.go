package draft

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/compare"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/lint"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

var usual = engine.Named("docker").Capabilities

// web is a container as Docker would run nginx.
func web() *Container {
	return &Container{From: "a test", Image: "nginx:1", Args: []string{"nginx", "-g", "daemon off;"}, Root: true, User: "0",
		Bounding: usual, Ports: []Port{{80, "tcp"}},
		Mounts: []Mount{{At: "/proc", Type: "proc", Source: "proc", Writable: true}, {At: "/dev", Type: "tmpfs", Writable: true},
			{At: "/dev/shm", Type: "tmpfs", Writable: true}, {At: "/sys", Type: "sysfs"}, {At: "/sys/fs/cgroup", Type: "cgroup"},
			{At: "/etc/hosts", Type: "bind", Source: "/var/lib/docker/containers/1/hosts", Writable: true},
			{At: "/var/www/html", Type: "bind", Source: "/srv/html"}},
		Masked: []string{"/proc/kcore", "/proc/keys", "/sys/firmware"},
	}
}

// bench is what tests decide about drafts with.
type bench struct {
	t testing.TB
	c *profile.Compiler
	Target
}

func newBench(t testing.TB) *bench {
	c := profiletest.Compiler(t, profiletest.Features())
	c.Base = t.TempDir()
	for name, text := range map[string]string{"abi/3.0": string(profiletest.Features()), "tunables/global": "@{PROC}=/proc/\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(c.Base, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.Base, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &bench{t, c, Target{templates.Target{Base: c.Base, Senders: []string{"podman"}}, engine.Sockets(), []string{"/var/lib/docker"}}}
}

// draft makes the draft web of a container, and what it compiles to.
func (b *bench) draft(c *Container) (*Draft, *meaning.Profile) {
	b.t.Helper()
	d, err := Text(c, "web", b.Target)
	if err != nil {
		b.t.Fatal(err)
	}
	return d, b.compiled(d.Text)
}

func (b *bench) compiled(text []byte) *meaning.Profile {
	b.t.Helper()
	blob, err := b.c.CompileText(b.t.Context(), "draft", text)
	if err != nil {
		b.t.Fatalf("%v in\n%s", err, text)
	}
	all, err := meaning.ReadFor(blob.Data, b.c)
	if err != nil || len(all) != 1 {
		b.t.Fatalf("%d profiles: %v", len(all), err)
	}
	return all[0]
}

// allows reports whether a profile allows any access of a line.
func (b *bench) allows(p *meaning.Profile, line string) bool {
	b.t.Helper()
	pattern, err := access.Parse(line)
	if err != nil {
		b.t.Fatalf("%s: %v", line, err)
	}
	_, found, err := pattern.Allowed(meaning.Stack{p})
	if err != nil {
		b.t.Fatalf("%s: %v", line, err)
	}
	return found
}

// wantSound checks what holds of every draft.
func (b *bench) wantSound(c *Container) (*Draft, *meaning.Profile) {
	b.t.Helper()
	d, p := b.draft(c)
	for _, line := range d.Never {
		if b.allows(p, line) {
			b.t.Errorf("it allows %s:\n%s", line, d.Text)
		}
	}
	default_, err := templates.Text("docker-default", "web", b.Target.Target)
	if err != nil {
		b.t.Fatal(err)
	}
	outer := b.compiled(default_)
	beyond, within, err := compare.Within(compare.Side{Stack: meaning.Stack{p}}, compare.Side{Stack: meaning.Stack{outer}})
	if err != nil || !within {
		b.t.Errorf("it allows what docker-default does not: %v, %v, in\n%s", beyond, err, d.Text)
	}
	return d, p
}

// containers are those that a draft is made of in tests, by what is particular about them.
func containers() map[string]*Container {
	all := map[string]*Container{"nginx of Docker": web(), "nothing is said": {From: "a test", Root: true}}
	with := func(name string, edit func(c *Container)) {
		c := web()
		edit(c)
		all[name] = c
	}
	with("read-only, without root", func(c *Container) {
		c.ReadOnlyRoot, c.Root, c.NoNewPrivileges = true, false, true
		c.Mounts = append(c.Mounts, Mount{At: "/tmp", Type: "tmpfs", Writable: true})
	})
	with("the engine's socket", func(c *Container) {
		c.Mounts = append(c.Mounts, Mount{At: "/x/d.sock", Type: "bind", Source: "/var/run/docker.sock", Writable: true})
	})
	with("the whole node", func(c *Container) {
		c.Mounts = append(c.Mounts, Mount{At: "/host", Type: "bind", Source: "/", Writable: true},
			Mount{At: "/hostrun", Type: "bind", Source: "/run", Writable: true},
			Mount{At: "/hostproc", Type: "bind", Source: "/proc", Writable: true},
			Mount{At: "/proc2", Type: "proc", Source: "proc", Writable: true},
			Mount{At: "/usr", Type: "bind", Source: "/usr", Writable: true})
	})
	with("privileged", func(c *Container) {
		c.Bounding = nil
		for _, name := range kernelname.Capabilities {
			c.Bounding = append(c.Bounding, "CAP_"+strings.ToUpper(name))
		}
		c.Masked = nil
		c.Devices = []Device{{"/dev/sda", true}, {"/dev/null", true}, {"/dev/kvm", false}}
	})
	with("no network", func(c *Container) { c.Ports, c.NoNetwork = nil, true })
	with("an entry point of a shell", func(c *Container) { c.Args = []string{"/docker-entrypoint.sh", "nginx"} })
	return all
}

func TestDrafts(t *testing.T) {
	b := newBench(t)
	for name, c := range containers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &bench{t, b.c, b.Target}
			d, _ := b.wantSound(c)
			for _, w := range b.lint(t.Context(), d.Text) {
				t.Errorf("profile check warns: %d: %s [%s]", w.Line, w.Message, w.Check)
			}
		})
	}
}

func (b *bench) lint(ctx context.Context, text []byte) []lint.Warning {
	b.t.Helper()
	reader := why.Reader{Compiler: b.c}
	rules, err := reader.Read(ctx, "draft", text)
	if err != nil {
		b.t.Fatal(err)
	}
	warnings, partial, err := lint.Text(ctx, string(text), lint.Options{Senders: b.Senders, Rules: rules})
	if err != nil || partial {
		b.t.Fatal(partial, err)
	}
	return warnings
}

// What a draft allows of the accesses of nginx, and of those who have taken it over.
func TestDraftOfNginx(t *testing.T) {
	b := newBench(t)
	d, p := b.draft(web())
	for line, want := range map[string]bool{
		"rm /usr/sbin/nginx": true, "r /etc/nginx/nginx.conf": true, "rm /usr/lib/x86_64-linux-gnu/libc.so.6": true,
		"w /run/nginx.pid": true, "w /var/log/nginx/access.log": true, "w /dev/shm/x": true, "rw /dev/null": true,
		"capability net_bind_service": true, "network inet stream bind": true, "signal send peer=web": true, "ptrace read peer=web": true,
		"x /usr/sbin/nginx": true, "x /usr/bin/dash": false, "x /tmp/new": false, "w /usr/sbin/nginx": false, "w /etc/nginx/nginx.conf": false,
		"w /etc/hosts": false, "w /var/www/html/index.html": false, "r /etc/shadow": false, "r /proc/keys": false, "ptrace trace": false,
		"network inet raw": false, "capability sys_module": false, "mount": false, "w /run/docker.sock": false,
	} {
		if b.allows(p, line) != want {
			t.Errorf("%s: allowed is %v in\n%s", line, !want, d.Text)
		}
	}
	if len(d.Notes) != 1 {
		t.Errorf("notes: %q", d.Notes)
	}
}

// A description makes rules of what it mounts, and of nothing that it does not.
func TestMounts(t *testing.T) {
	for name, test := range map[string]struct {
		mount           Mount
		allowed, denied []string
		note            string
	}{
		"a volume":                      {Mount{"/data", "/srv/x", "bind", true}, []string{"w /data/x", "w /data"}, []string{"w /dat", "x /data/x", "m /data/x"}, ""},
		"a read-only volume":            {Mount{"/data", "/srv/x", "bind", false}, []string{"r /data/x"}, []string{"w /data/x"}, ""},
		"read-only below what is not":   {Mount{"/run/secrets", "/srv/x", "bind", false}, []string{"r /run/secrets/x", "w /run/x"}, []string{"w /run/secrets/x"}, ""},
		"a tmpfs":                       {Mount{"/scratch", "tmpfs", "tmpfs", true}, []string{"w /scratch/x"}, []string{"x /scratch/x"}, ""},
		"a pattern's characters":        {Mount{"/a*{b,c}[d]^e@{PROC}\\f\"g h", "/srv", "bind", true}, nil, []string{"w /ax"}, ""},
		"the node's /etc":               {Mount{"/data", "/etc", "bind", true}, []string{"r /data/x"}, []string{"w /data/x", "r /data/shadow"}, "may only be read"},
		"an engine's data":              {Mount{"/data", "/var/lib/docker/", "bind", true}, []string{"r /data/x"}, []string{"w /data/x"}, "may only be read"},
		"a volume in an engine's data":  {Mount{"/data", "/var/lib/docker/volumes/x/_data", "bind", true}, []string{"w /data/x"}, nil, ""},
		"from an unknown place":         {Mount{"/data", "", "bind", true}, []string{"w /data/x"}, nil, ""},
		"an engine's directory":         {Mount{"/data", "/run/crio", "bind", true}, []string{"r /data/x"}, []string{"w /data/x", "r /data/crio.sock"}, "may only be read"},
		"a directory with a socket":     {Mount{"/data", "/run", "bind", false}, []string{"r /data/x"}, []string{"r /data/docker.sock"}, ""},
		"a socket":                      {Mount{"/s", "/run/docker.sock", "bind", true}, nil, []string{"r /s", "w /s"}, "owns the node"},
		"a part of the kernel's":        {Mount{"/k", "/proc/sys/kernel", "bind", true}, []string{"r /k/x"}, []string{"w /k/core_pattern"}, "may only be read"},
		"proc in another place":         {Mount{"/p", "proc", "proc", true}, []string{"r /p/x"}, []string{"w /p/sysrq-trigger", "r /p/kcore", "w /p/sys/x"}, ""},
		"over the kernel's own":         {Mount{"/proc/sys", "/srv", "bind", true}, nil, []string{"w /proc/sys/kernel/core_pattern"}, ""},
		"a path that goes up and about": {Mount{"//data/../other/./", "/srv", "bind", true}, []string{"w /other/x"}, []string{"w /data/x"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := web()
			c.Mounts = append(c.Mounts, test.mount)
			d, p := b.draft(c)
			for _, line := range test.allowed {
				if !b.allows(p, line) {
					t.Errorf("%s is not allowed in\n%s", line, d.Text)
				}
			}
			for _, line := range test.denied {
				if b.allows(p, line) {
					t.Errorf("%s is allowed in\n%s", line, d.Text)
				}
			}
			if said := slices.ContainsFunc(d.Notes, func(n string) bool { return strings.Contains(n, test.note) }); !said && test.note != "" {
				t.Errorf("no note says %q: %q", test.note, d.Notes)
			}
		})
	}
}

// Whatever a path is, its rule is about it and nothing else.
func TestPathsStandForThemselves(t *testing.T) {
	b := newBench(t)
	slash := func(name string) bool { return strings.Contains(name, "/") }
	names := slices.DeleteFunc(profiletest.Hostile(), slash)
	c := &Container{From: "a test", Root: true}
	for _, name := range names {
		c.Mounts = append(c.Mounts, Mount{"/m/" + name, "/srv", "bind", true})
		c.Devices = append(c.Devices, Device{"/dev/" + name, true})
		c.Masked = append(c.Masked, "/var/lib/"+name)
	}
	_, p := b.draft(c)
	write := func(path string) bool {
		return p.Decide(meaning.FileAccess{Path: path, Want: meaning.MayWrite}).Allowed
	}
	for _, name := range names {
		for _, path := range []string{"/m/" + name, "/m/" + name + "/x", "/dev/" + name} {
			if !write(path) {
				t.Errorf("%q may not be written", path)
			}
		}
		if write("/var/lib/" + name) {
			t.Errorf("%q is hidden and may be written", "/var/lib/"+name)
		}
		for _, near := range profiletest.Neighbours(name) {
			if near == "" || slash(near) || slices.Contains(names, near) {
				continue
			}
			for _, path := range []string{"/m/" + near, "/m/" + near + "/x", "/dev/" + near} {
				if write(path) {
					t.Errorf("%q may be written as well as %q", path, name)
				}
			}
			if !write("/var/lib/" + near) {
				t.Errorf("%q is hidden as well as %q", "/var/lib/"+near, name)
			}
		}
	}
}

// So it is with programs, whether they are looked for in the image or not.
func TestProgramsStandForThemselves(t *testing.T) {
	b := newBench(t)
	for _, seen := range []bool{false, true} {
		w := &writer{Container: &Container{}}
		names := slices.DeleteFunc(profiletest.Hostile(), func(name string) bool { return strings.Contains(name, "/") })
		w.text.WriteString("profile web {\n")
		for _, name := range names {
			w.Args = []string{"/srv/" + name}
			if seen {
				w.Files = tree{files: map[string]string{w.Args[0]: static()}}
			}
			w.program()
		}
		w.text.WriteString("}\n")
		p := b.compiled(w.text.Bytes())
		for _, name := range names {
			if !p.Decide(meaning.ExecAccess{Path: "/srv/" + name}).Allowed {
				t.Errorf("%q may not be executed", name)
			}
			for _, near := range profiletest.Neighbours(name) {
				if !slices.Contains(names, near) && p.Decide(meaning.ExecAccess{Path: "/srv/" + near}).Allowed {
					t.Errorf("%q may be executed as well as %q", near, name)
				}
			}
		}
	}
}

func TestDraftRefuses(t *testing.T) {
	for name, edit := range map[string]func(c *Container){
		"a byte that got lost":       func(c *Container) { c.Mounts = []Mount{{At: "/\uFFFD"}} },
		"a device with a NUL":        func(c *Container) { c.Devices = []Device{{Path: "/dev/\x00"}} },
		"a masked path with a NUL":   func(c *Container) { c.Masked = []string{"/proc/\x00"} },
		"a capability that is not":   func(c *Container) { c.Bounding = []string{"CAP_ALL,\n  mount"} },
		"another that is not either": func(c *Container) { c.Ambient = []string{""} },
	} {
		c := web()
		edit(c)
		if d, err := Text(c, "web", Target{}); err == nil {
			t.Errorf("%s: no error, and the text is\n%s", name, d.Text)
		}
	}
	for _, name := range []string{"", "u", "x y", "x//&unconfined", "/bin/sh"} {
		if _, err := Text(web(), name, Target{}); err == nil {
			t.Errorf("name %q: no error", name)
		}
	}
	if _, err := Text(web(), "web", Target{Target: templates.Target{Senders: []string{"**"}}}); err == nil {
		t.Error("a label that matches others: no error")
	}
}

// What a description says of itself stays in a comment.
func TestHostileWordsStayInComments(t *testing.T) {
	b := newBench(t)
	c := web()
	evil := "x\n}\nprofile other {\n  capability,\x1b[2J \u2028"
	c.From, c.Image, c.User, c.Args = evil, evil, evil, []string{evil, evil}
	c.Args[0] = "nginx"
	d, _ := b.wantSound(c)
	if strings.Contains(string(d.Text), "\n}\nprofile") || strings.Contains(string(d.Text), "\x1b") {
		t.Errorf("%s", d.Text)
	}
	c.Args = []string{evil}
	b.wantSound(c)
}

// tree are files of an image: links by their targets, and the beginnings of files.
type tree struct {
	links map[string]string
	files map[string]string
}

func (f tree) Real(name string) (string, bool) {
	for range 8 {
		to, is := f.links[name]
		if !is {
			break
		}
		name = to
	}
	_, ok := f.files[name]
	return name, ok || name == "/"
}

func (f tree) Start(name string, buf []byte) (int, error) {
	text, ok := f.files[name]
	if !ok {
		return 0, os.ErrNotExist
	}
	return copy(buf, text), nil
}

const dynamic = "\x7fELF\x02\x01"

// static is the beginning of a program without an interpreter.
func static() string {
	start := make([]byte, 64+56)
	copy(start, dynamic)
	start[32], start[54], start[56], start[64] = 64, 56, 1, 1
	return string(start)
}

// The rules for programs follow links, interpreters, and programs that only start another one.
func TestPrograms(t *testing.T) {
	files := tree{
		links: map[string]string{"/bin/sh": "/usr/bin/dash", "/usr/bin/python3": "/usr/bin/python3.13", "/sbin/tini": "/usr/bin/tini", "/evil": "/e\nvil",
			"/usr/bin/server": "/opt/server/server"},
		files: map[string]string{"/usr/bin/dash": dynamic, "/usr/bin/python3.13": dynamic, "/usr/bin/tini": dynamic, "/usr/sbin/nginx": dynamic,
			"/usr/bin/env": dynamic, "/start.sh": "#!/bin/sh -e\n", "/app/main.py": "#!/usr/bin/env python3\n", "/go": static(), "/e\nvil": "",
			"/opt/server/server": static(), "/loop": "#!/loop\n", "/usr/bin/gosu": static(), "/cut": static()[:80], "/usr/bin/setpriv": static()},
	}
	for command, want := range map[string]string{
		"nginx":                "/usr/sbin/nginx + libraries",
		"/go -x":               "/go",
		"server":               "/opt/server/server",
		"/start.sh nginx":      "/start.sh /usr/bin/dash any + libraries",
		"/bin/sh -c nginx":     "/usr/bin/dash any + libraries",
		"/app/main.py":         "/app/main.py /usr/bin/env /usr/bin/python3.13 + libraries",
		"main.py":              "/{,usr/,usr/local/}{,s}bin/main.py + libraries",
		"./main.py":            "/app/main.py /usr/bin/env /usr/bin/python3.13 + libraries",
		"tini -- /go":          "/usr/bin/tini /go + libraries",
		"/sbin/tini -g -- /go": "/usr/bin/tini /go + libraries",
		"gosu web nginx":       "/usr/bin/gosu /usr/sbin/nginx + libraries",
		"setpriv --reuid=web --init-groups --regid web nginx": "/usr/bin/setpriv /usr/sbin/nginx + libraries",
		"setpriv --nnp --reuid":                               "/usr/bin/setpriv",
		"tini -p KILL -- /go":                                 "/usr/bin/tini /go + libraries",
		"/evil":                                               `/e\012vil + libraries`,
		"/loop":                                               "/loop any + libraries",
		"/cut":                                                "/cut + libraries",
		"":                                                    "any + libraries",
		"tini tini tini tini tini sh":                         "/usr/bin/tini /{,usr/,usr/local/}{,s}bin/sh any + libraries",
	} {
		w := &writer{Container: &Container{Args: strings.Fields(command), Dir: "/app", Files: files, Path: []string{"/usr/sbin", "/usr/bin"}}}
		w.program()
		var got []string
		for line := range strings.Lines(w.text.String()) {
			rule, perms, _ := strings.Cut(strings.TrimSpace(line), " mrix,")
			if perms == "\n" || strings.HasSuffix(line, " mrix,\n") {
				got = append(got, strings.Replace(rule, anyProgram, "any", 1))
			}
		}
		is := strings.Join(got, " ")
		if strings.Contains(w.text.String(), "lib{") {
			is += " + libraries"
		}
		if strings.TrimSpace(is) != want {
			t.Errorf("%q: %s, want %s", command, is, want)
		}
	}
}

func ExampleText() {
	d, err := Text(&Container{From: "a test", Args: []string{"/server"}, ReadOnlyRoot: true, NoNewPrivileges: true, User: "1000",
		Mounts: []Mount{{At: "/data", Type: "bind", Source: "/srv/data", Writable: true}}}, "server", Target{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for line := range strings.Lines(string(d.Text)) {
		if strings.Contains(line, "/data") || strings.Contains(line, "/server") {
			fmt.Print(line)
		}
	}
	// Output:
	// #   runs     /server
	//   /server mrix,
	//   /data{,/**} rwkl,
}
