package templates

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/profiles/apparmor"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

func TestTemplateRefuses(t *testing.T) {
	tests := []struct {
		name, template, profile string
		node                    Target
		says                    string
	}{
		{"an unknown template", "docker-defautl", "x", Target{}, "docker-default"},
		{"a hostile name", "docker-default", "x\" {}\nprofile y", Target{}, `holds "\""`},
		{"a beginning of unconfined", "docker-default", "u", Target{}, "no confinement"},
		{"a daemon label with a quote", "docker-default", "x", Target{Senders: []string{"podman", `x",` + "\n  ptrace,"}}, "label of an engine's program"},
		{"a daemon label that matches others", "docker-default", "x", Target{Senders: []string{"**"}}, `holds "*"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Text(test.template, test.profile, test.node)
			wantError(t, err, test.says)
		})
	}
}

func TestEveryTemplateCompiles(t *testing.T) {
	kernel := profiletest.Features()
	for _, template := range Names() {
		for name, node := range map[string]Target{
			"as distributions set it up": {},
			"bare":                       {Base: t.TempDir()},
			"with confined engines":      {Base: t.TempDir(), Senders: []string{":ns:/usr/bin/dockerd//&snap.docker.dockerd", "podman", "runc"}},
		} {
			t.Run(template+" on a node "+name, func(t *testing.T) {
				text, err := Text(template, "web_1.0+x", node)
				wantError(t, err)
				again, err := Text(template, "web_1.0+x", node)
				wantError(t, err)
				if !bytes.Equal(text, again) {
					t.Error("the same arguments gave another text")
				}
				c, err := profile.NewCompiler(kernel)
				if err != nil {
					t.Skip(err)
				}
				c.Base = node.Base
				b, err := c.Compile(t.Context(), "web_1.0+x", profile.Enforce, "template "+template, text)
				wantError(t, err)
				if len(b.Profiles) != 1 {
					t.Errorf("%d profiles", len(b.Profiles))
				}
			})
		}
	}
}

func TestDockerDefaultUsesWhatTheNodeHas(t *testing.T) {
	bare, err := Text("docker-default", "web", Target{Base: t.TempDir()})
	wantError(t, err)
	full, err := Text("docker-default", "web", Target{
		Base:    tree(t, map[string]string{"abi/3.0": "x", "tunables/global": "x", "abstractions/base": "x"}),
		Senders: []string{"podman", "dockerd"},
	})
	wantError(t, err)
	tests := []struct {
		rule       string
		bare, full bool
	}{
		{"abi <abi/3.0>,", false, true},
		{"include <tunables/global>", false, true},
		{"include <abstractions/base>", false, true},
		{"@{PROC}=/proc/", true, false},
		{"signal (receive) peer=unconfined,", true, true},
		{"signal (receive) peer=dockerd,", false, true},
		{"signal (receive) peer=podman,", false, true},
	}
	for _, test := range tests {
		if got := slices.Contains(rules(string(bare)), test.rule); got != test.bare {
			t.Errorf("bare node: %q there: %v", test.rule, got)
		}
		if got := slices.Contains(rules(string(full)), test.rule); got != test.full {
			t.Errorf("full node: %q there: %v", test.rule, got)
		}
	}
}

// rules returns the rules of a profile text, one each, in a form that differs only where the rules do.
func rules(text string) []string {
	var found []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#include ") {
			line = line[1:]
		}
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(strings.ReplaceAll(line, `"`, "")); line != "" {
			found = append(found, line)
		}
	}
	return found
}

// mobyText returns the text that moby's package would load for the profile name.
func mobyText(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	seen := filepath.Join(dir, "text")
	// v0.1.0 gives a file, later versions stdin.
	script := "#!/bin/sh\nPATH=/usr/bin:/bin\nfor last; do :; done\n" +
		"case $last in -*) cat;; *) cat \"$last\";; esac >" + seen + "\n"
	if err := os.WriteFile(filepath.Join(dir, "apparmor_parser"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv("TMPDIR", dir)
	if err := apparmor.InstallDefault(name); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sinceV010 is what moby changed in its template after the last released version of the package, v0.1.0 (July
// 2025), up to August 2026. It goes when the package is released again: TestDockerDefaultIsMobys fails then, because
// a rule of old is not there.
var sinceV010 = []struct{ old, now, why string }{
	{"network,", "network,\n  deny network alg,", "the kernel's crypto sockets (copy.fail, May 2026)"},
	{
		"deny @{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}/** w,",
		"deny @{PROC}/{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}/** w,",
		"the classes matched a slash (February 2026)",
	},
	{
		"ptrace (trace,read,tracedby,readby) peer=docker-default,",
		"ptrace (trace,tracedby,read,readby) peer=docker-default,",
		"the order alone (February 2026)",
	},
}

// ours is what our template has on top.
func ours(name string) []string {
	var extra []string
	for _, rule := range []string{"signal (send,receive) ", "ptrace (trace,tracedby,read,readby) "} {
		for _, peer := range []string{name + "//&**", "**//&" + name, "**//&" + name + "//&**"} {
			extra = append(extra, rule+"peer="+peer+",")
		}
	}
	return extra
}

// asOfToday returns moby's text of v0.1.0 with what was changed since.
func asOfToday(t *testing.T, text string) string {
	t.Helper()
	for _, c := range sinceV010 {
		line := "\n  " + c.old
		if strings.Count(text, line) != 1 {
			t.Fatalf("moby's template has no rule %q any more: does it have %q now (%s)? Then take it off the list",
				c.old, c.now, c.why)
		}
		text = strings.Replace(text, line, "\n  "+c.now, 1)
	}
	// April 2026: an ABI where the node has it.
	if (Target{}).has("abi/3.0") {
		if strings.Contains(text, "abi <") {
			t.Fatal("moby's template names an ABI now: take that off the list")
		}
		text = "abi <abi/3.0>,\n" + text
	}
	return text
}

// mobyDaemon returns the label that moby's text has for the engine's daemon: behind that for crun.
func mobyDaemon(t *testing.T, text string) string {
	t.Helper()
	all := rules(text)
	i := slices.Index(all, "signal (receive) peer=crun,")
	if i < 0 || i+1 == len(all) {
		t.Fatalf("no rule for crun and then one for the daemon in %q", all)
	}
	return strings.TrimSuffix(strings.TrimPrefix(all[i+1], "signal (receive) peer="), ",")
}

func TestDockerDefaultIsMobys(t *testing.T) {
	if _, err := exec.LookPath("/bin/sh"); err != nil {
		t.Skipf("moby's text is taken by a shell script: %v", err)
	}
	const name = "docker-default"
	theirs := asOfToday(t, mobyText(t, name))
	text, err := Text("docker-default", name, Target{Senders: []string{mobyDaemon(t, theirs)}})
	wantError(t, err)

	// Our text without what it has on top; each of these lines must be there.
	var without []string
	extra := ours(name)
	for line := range strings.Lines(string(text)) {
		if r := rules(line); len(r) == 1 && slices.Contains(extra, r[0]) {
			extra = slices.DeleteFunc(extra, func(e string) bool { return e == r[0] })
			continue
		}
		without = append(without, line)
	}
	if len(extra) > 0 {
		t.Errorf("rules on top that are not there: %q", extra)
	}
	rest := strings.Join(without, "")

	t.Run("rule by rule", func(t *testing.T) {
		got, want := rules(rest), rules(theirs)
		slices.Sort(got)
		slices.Sort(want)
		want = slices.Compact(want) // a daemon that is unconfined is there twice
		for _, r := range got {
			if !slices.Contains(want, r) {
				t.Errorf("ours alone has %q", r)
			}
		}
		for _, r := range want {
			if !slices.Contains(got, r) {
				t.Errorf("moby's alone has %q", r)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("ours\n%q\nmoby's\n%q", got, want)
		}
	})
	t.Run("byte by byte when compiled", func(t *testing.T) {
		c, err := profile.NewCompiler(profiletest.Features())
		if err != nil {
			t.Skip(err)
		}
		compile := func(source, text string) []byte {
			t.Helper()
			b, err := c.Compile(t.Context(), name, profile.Enforce, source, []byte(text))
			wantError(t, err)
			return b.Data
		}
		a, b := compile("ours without the rules on top", rest), compile("moby's", theirs)
		if !bytes.Equal(a, b) {
			t.Errorf("%d and %d bytes, and they differ", len(a), len(b))
		}
		if bytes.Equal(a, compile("ours", string(text))) {
			t.Error("the rules on top change nothing")
		}
	})
}

// The labels of senders make the same text in any order and number, and none where the template has them anyway.
func TestSendersAreASet(t *testing.T) {
	text := func(senders ...string) string {
		text, err := Text("docker-default", "web", Target{Base: t.TempDir(), Senders: senders})
		wantError(t, err)
		return string(text)
	}
	if text("podman", "buildah", "podman", "crun") != text("unconfined", "buildah", "podman") {
		t.Error("another order gives another text")
	}
	if text("runc", "unconfined") != text() {
		t.Error("what every node has gives another text")
	}
	if n := strings.Count(text("podman"), "signal (receive) peer="); n != len(Stoppers())+1 {
		t.Errorf("%d rules for who may signal", n)
	}
}

// wantError wants an error that says something, or none where that is empty.
func wantError(t *testing.T, err error, says ...string) {
	t.Helper()
	if len(says) == 0 {
		if err != nil {
			t.Fatalf("unexpected error: %v", err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), says[0]) {
		t.Errorf("error %v, want one that says %q", err, says[0])
	}
}

// tree makes a directory of files.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
