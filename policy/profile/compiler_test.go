package profile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// testFeatures are those of a kernel like 6.1.
func testFeatures(t testing.TB) []byte {
	t.Helper()
	features, err := os.ReadFile("profiletest/features")
	if err != nil {
		t.Fatal(err)
	}
	return features
}

// realCompiler returns a compiler with the machine's apparmor_parser and no files of AppArmor's own, or skips.
func realCompiler(t testing.TB) *Compiler {
	t.Helper()
	c, err := NewCompiler(testFeatures(t))
	if errors.Is(err, ErrNoParser) {
		t.Skipf("the parser's output matters here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Base = t.TempDir()
	c.Conf = filepath.Join(c.Base, "parser.conf") // which says nothing until a test writes it
	return c
}

// fakeCompiler returns a compiler whose parser is a shell script. It has a PATH of its own, as it is given none.
func fakeCompiler(t *testing.T, script string) *Compiler {
	t.Helper()
	path := filepath.Join(t.TempDir(), "apparmor_parser")
	script = "#!/bin/sh\nPATH=/usr/bin:/bin\n" + script + "\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	return &Compiler{Parser: path, Base: base, Conf: filepath.Join(base, "parser.conf"), features: testFeatures(t)}
}

// printing returns a script that prints a blob.
func printing(t *testing.T, blob string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, []byte(blob), 0o644); err != nil {
		t.Fatal(err)
	}
	return "cat >/dev/null; cat " + path
}

func TestCompile(t *testing.T) {
	family, err := os.ReadFile("testdata/family")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		mode Mode
		text string
		says []string
	}{
		{"a profile with children", Enforce, string(family), nil},
		{"in complain mode", Complain, string(family), nil},
		{"in kill mode", Kill, string(family), nil},
		{"says the mode itself", Complain, "profile family flags=(complain) { file, }", nil},
		{"children say the mode", Kill, "profile family { file, profile kid flags=(kill) { file, } }", nil},
		{"a wrong name", Enforce, "profile other { file, }",
			[]string{"testdata/family: the name after `profile` is \"other\", and must be the key \"family\""}},
		{"a second profile", Enforce, "profile family { file, } profile unprivileged_userns { file, }",
			[]string{"unprivileged_userns"}},
		{"nothing", Enforce, "# nothing\n", []string{"no profile"}},
		{"an attachment", Enforce, "profile family /usr/bin/nginx { file, }", []string{"attaches to programs"}},
		{"a namespace", Enforce, "profile :ns:family { file, }", []string{"policy namespace \"ns\""}},
		{"complain in the text under enforce", Enforce, "profile family flags=(complain) { file, }",
			[]string{"complain mode, the policy into enforce", "take \"complain\" out"}},
		{"a child that complains under enforce", Enforce, "profile family { file, profile kid flags=(complain) { file, } }",
			[]string{`"family//kid" into complain`}},
		{"a flag that confines nothing", Enforce, "profile family flags=(unconfined) { file, }", []string{"unconfined or default_allow", "confines nothing"}},
		{"complain in the text under kill", Kill, "profile family flags=(complain) { file, }", []string{"into kill"}},
		{"a syntax error", Enforce, "profile family {\n  file,\n  bogus foo,\n}\n",
			[]string{"testdata/family:3: syntax error, unexpected "}},
		{"a missing include", Enforce, "profile family {\n  include <nowhere>\n}\n",
			[]string{"testdata/family:2: Could not open 'nowhere'"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := realCompiler(t)
			b, err := c.Compile(t.Context(), "family", test.mode, "testdata/family", []byte(test.text))
			wantError(t, err, test.says...)
			if err == nil {
				wantError(t, b.Check("family", test.mode))
			}
		})
	}
}

func TestCompileIsReproducible(t *testing.T) {
	text, err := os.ReadFile("testdata/family")
	if err != nil {
		t.Fatal(err)
	}
	var first []byte
	for range 3 {
		b, err := realCompiler(t).Compile(t.Context(), "family", Enforce, "testdata/family", text)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b.Data
		}
		if !bytes.Equal(b.Data, first) {
			t.Fatal("the same text gave other bytes")
		}
	}
}

// A line that the parser may have counted in an included file is said to be one, and what did not compile can be told.
func TestTextError(t *testing.T) {
	c := fakeCompiler(t, "echo 'AppArmor parser error at line 1: bad' >&2; exit 1")
	_, err := c.Compile(t.Context(), "x", Enforce, "profiles/x", []byte("profile x {\n include <y>\n}\n"))
	wantError(t, err, "profiles/x:1: bad", "line 1 of a file that this one includes")
	var text *TextError
	if !errors.As(err, &text) || text.Source != "profiles/x" || text.Line != 1 {
		t.Errorf("error %#v, want line 1 of profiles/x", text)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Errorf("error %v does not wrap the parser's exit", err)
	}
}

// The mode that WithMode writes is the one that the parser would have written, byte for byte.
func TestWithModeIsTheParsers(t *testing.T) {
	c := realCompiler(t)
	compile := func(mode Mode) []byte {
		t.Helper()
		flag := mode.String()
		text := fmt.Sprintf("profile family flags=(attach_disconnected,%s) {\n file,\n mount,\n"+
			" profile kid flags=(%[1]s) {\n capability,\n }\n ^hat flags=(%[1]s) {\n /etc/hosts r,\n }\n}\n", flag)
		data, _, err := c.output(t.Context(), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	b, err := Parse(compile(Enforce))
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Profiles) != 3 {
		t.Fatalf("%d profiles, want 3", len(b.Profiles))
	}
	for _, mode := range []Mode{Complain, Kill} {
		patched, err := b.WithMode(mode)
		if err != nil {
			t.Fatal(err)
		}
		theirs := compile(mode)
		if !bytes.Equal(patched.Data, theirs) {
			t.Errorf("%s: the patched blob is not the parser's", mode)
		}
		if bytes.Equal(theirs, b.Data) {
			t.Errorf("%s: the parser wrote the blob of enforce mode", mode)
		}
	}
}

func TestCompileRefusesBeforeItRunsTheParser(t *testing.T) {
	c := &Compiler{Parser: "/nonexistent/apparmor_parser", features: testFeatures(t)}
	tests := []struct {
		name, profile, text, says string
		mode                      Mode
	}{
		{name: "a wrong name", profile: "u", text: "profile u { }", says: "no confinement"},
		{name: "a long text", profile: "x", text: strings.Repeat("#", MaxText+1), says: "1048577 bytes"},
		{name: "a NUL byte", profile: "x", text: "profile x {\n\x00\n}", says: "line 2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := c.Compile(t.Context(), test.profile, test.mode, "profiles/x", []byte(test.text))
			wantError(t, err, test.says, "profiles/x")
		})
	}
	_, err := c.Compile(t.Context(), "x", Enforce, "profiles/x", []byte("profile x { }"))
	wantError(t, err, "/nonexistent/apparmor_parser", "no such file")
}

// versioned is a script's beginning that prints a version where it is asked for one.
func versioned(version string) string {
	return `case "$*" in *--version*) echo "AppArmor parser version ` + version + `"; exit;; esac; `
}

func TestCompileWhenTheParserMisbehaves(t *testing.T) {
	good := minimal(version308, "x", "", 0)
	tests := []struct {
		name, script string
		says         []string
	}{
		{"it works", printing(t, good), nil},
		{"it does not read the text", strings.TrimPrefix(printing(t, good), "cat >/dev/null; "), nil},
		{"it warns", "echo 'Warning: x' >&2; " + printing(t, good), nil},
		{"it fails", "echo 'AppArmor parser error at line 3: bad' >&2; exit 1",
			[]string{"profiles/x:3: bad"}},
		{"it does not know a kind of rules", "echo 'AppArmor parser error at line 3: syntax error, x' >&2; exit 1",
			[]string{"profiles/x:3: apparmor_parser knows no rules of mqueue before version 4.0, and this kernel does not mediate message queues",
				"syntax error, x"}},
		{"it knows the kind of rules, and not what is said", versioned("4.0.1") + "echo 'AppArmor parser error at line 3: syntax error, x' >&2; exit 1",
			[]string{"profiles/x:3: syntax error, x"}},
		{"it does not know it, and its version", versioned("3.10~beta") + "echo 'AppArmor parser error at line 3: syntax error, x' >&2; exit 1",
			[]string{"profiles/x:3: apparmor_parser knows no rules of mqueue before version 4.0"}},
		{"it warns before it fails", "echo 'Warning from stdin (stdin line 1): w' >&2; echo 'x: rules conflict' >&2; exit 1",
			[]string{"profiles/x: x: rules conflict (run "}},
		{"it warns and fails in silence", "echo 'Warning from stdin (stdin line 1): w' >&2; exit 1", []string{"line 1): w (run "}},
		{"it fails in a file that is included",
			"echo 'AppArmor parser error for x in /etc/apparmor.d/abstractions/y at line 3: bad' >&2; exit 1",
			[]string{"profiles/x: AppArmor parser error for x in /etc/apparmor.d/abstractions/y at line 3: bad"}},
		{"it fails in silence", "exit 7", []string{"exit status 7: it says nothing more; try apparmor_parser -QK FILE"}},
		{"it fails and exits 0", "echo 'AppArmor parser error at line 3: bad' >&2; " + printing(t, good),
			[]string{"profiles/x:3: apparmor_parser: bad"}},
		{"it has no features and exits 0", "echo 'Cache read/write disabled: interface file missing.' >&2; " +
			printing(t, good), []string{"interface file missing"}},
		{"it compiles for no known kernel", printing(t, minimal(0x202005, "x", "", 0)), []string{"kernel ABI 5"}},
		{"it writes junk", "echo junk", []string{"not a compiled"}},
		{"it writes nothing", "exit 0", []string{"no profile"}},
		{"it writes unconfined mode", printing(t, minimal(version308, "x", "", 3)), []string{"unconfined mode"}},
		{"it writes without end", "exec cat /dev/zero", []string{"more than 67108864 bytes"}},
		{"it complains without end", "exec cat /dev/zero >&2", []string{"more than 1048576 bytes"}},
		{"it writes to the terminal", `printf '\033]0;x\007\r\nline 2: \200\n' >&2; exit 1`,
			[]string{"?]0;x??; line 2: ?"}},
		{"it dies", "kill -9 $$", []string{"signal: killed"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := fakeCompiler(t, test.script)
			c.Limit = 20 * time.Second
			text := "profile x {\n\n  audit deny mqueue,\n}" + strings.Repeat("\n", 200_000)
			_, err := c.Compile(t.Context(), "x", Enforce, "profiles/x", []byte(text))
			if test.says != nil {
				test.says = append(test.says, "profiles/x")
			}
			wantError(t, err, test.says...)
		})
	}
}

// What compiles and is in a mode that nobody may put in force is refused, by the flag that was written.
func TestModesThatAreRefused(t *testing.T) {
	for mode, says := range map[Mode]string{Unconfined: "by its flag unconfined or default_allow", 4: "has the flag prompt", Kill: `take "kill" out`} {
		c := fakeCompiler(t, printing(t, minimal(version308, "x", "", uint32(mode))))
		_, err := c.Compile(t.Context(), "x", Enforce, "profiles/x", []byte("profile x { }"))
		wantError(t, err, says, "profiles/x")
		if !errors.Is(err, ErrRefused) {
			t.Errorf("mode %d: %v is not called refused", mode, err)
		}
		if mode == Kill {
			continue
		}
		_, err = c.CompileText(t.Context(), "profiles/x", []byte("profile x { }"))
		wantError(t, err, says, "profiles/x")
		if !errors.Is(err, ErrRefused) {
			t.Errorf("mode %d by hand: %v is not called refused", mode, err)
		}
	}
}

// alive reports whether a process runs; one that is dead and not yet waited for does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := bytes.Cut(stat, []byte(") "))
	return len(state) > 0 && state[0] != 'Z' && state[0] != 'X'
}

func TestALateParserIsKilledWithItsChildren(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	script := "echo waiting >&2; sleep 300 & echo $! $$ >" + pids + ".part; mv " + pids + ".part " + pids + "; wait"
	wait := func(t *testing.T) []int {
		t.Helper()
		for range 500 {
			if text, err := os.ReadFile(pids); err == nil {
				var found []int
				for _, f := range strings.Fields(string(text)) {
					pid, err := strconv.Atoi(f)
					if err != nil {
						t.Fatal(err)
					}
					found = append(found, pid)
				}
				return found
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatal("the fake parser did not start")
		return nil
	}
	dead := func(t *testing.T) {
		t.Helper()
		for _, pid := range wait(t) {
			for i := 0; alive(pid); i++ {
				if i == 300 {
					t.Fatalf("process %d still runs", pid)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		os.Remove(pids)
	}
	t.Run("by the time limit", func(t *testing.T) {
		c := fakeCompiler(t, script)
		// On a busy machine a short limit can end before the fake parser has done what is to be seen of it.
		for c.Limit = 300 * time.Millisecond; ; c.Limit *= 2 {
			begin := time.Now()
			_, err := c.Compile(t.Context(), "x", Enforce, "profiles/x", []byte("profile x { }"))
			wantError(t, err, "killed", "within "+c.Limit.String(), "profiles/x")
			if took := time.Since(begin); took > c.Limit+10*time.Second {
				t.Errorf("it took %s", took)
			}
			if _, started := os.Stat(pids); started != nil && c.Limit < 20*time.Second {
				continue
			}
			wantError(t, err, "waiting")
			break
		}
		dead(t)
	})
	t.Run("by its caller", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			wait(t)
			cancel()
		}()
		_, err := fakeCompiler(t, script).Compile(ctx, "x", Enforce, "profiles/x", []byte("profile x { }"))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v is not context.Canceled", err)
		}
		dead(t)
	})
}

func TestTheParserGetsNothingOfOurEnvironment(t *testing.T) {
	t.Setenv("LD_PRELOAD_OF_OURS", "1")
	dir := t.TempDir()
	c := fakeCompiler(t, `[ "$1" = --config-file ] || { echo "args $*" >&2; exit 1; }
		tr '\0' '\n' </proc/$$/environ >`+dir+`/env; pwd >`+dir+`/pwd; echo "$*" >`+dir+`/args; ls /proc/$$/fd >`+dir+`/fds
		cat /proc/self/fd/3 >`+dir+`/features; cat /proc/self/fd/4 >`+dir+`/conf; cat >`+dir+`/text; exit 3`)
	if err := os.WriteFile(c.Conf, []byte("write-cache\npolicy-features=/x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := c.Compile(t.Context(), "x", Enforce, "profiles/x", []byte("profile x { }"))
	wantError(t, err, "exit status 3")
	want := map[string]string{
		"env":      "LC_ALL=C\n",
		"pwd":      "/\n",
		"text":     "profile x { }",
		"features": string(testFeatures(t)),
		"conf":     "policy-features=/x\n",
		"args": "--config-file /proc/self/fd/4 --base " + c.Base + " --kernel-features /proc/self/fd/3 --jobs=1 " +
			"--skip-kernel-load --skip-cache --stdout --warn=" + strings.Join(heard, " --warn=") + "\n",
	}
	for file, content := range want {
		got, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != content {
			t.Errorf("%s is %q, want %q", file, got, content)
		}
	}
}

func TestNewCompiler(t *testing.T) {
	_, err := NewCompiler([]byte(" \n"))
	wantError(t, err, "no kernel features")
	_, err = NewCompiler([]byte("policy {compressed_load {yes"))
	wantError(t, err, "2 braces stay open")
	_, err = NewCompiler([]byte("policy {set_load {yes\n}\n"))
	wantError(t, err, "1 braces stay open")
	c, err := NewCompiler([]byte("policy {compressed_load {yes\n}\nset_load {yes\n}\n}\n"))
	if errors.Is(err, ErrNoParser) {
		t.Skip(err)
	}
	wantError(t, err)
	if want := "policy {set_load {yes\n}\n}\n"; string(c.features) != want {
		t.Errorf("features %q, want %q", c.features, want)
	}
}

func TestFindParser(t *testing.T) {
	program := func(t *testing.T, mode os.FileMode) string {
		t.Helper()
		dir := t.TempDir()
		path := filepath.Join(dir, "apparmor_parser")
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	t.Run("the first that is there", func(t *testing.T) {
		first, second := program(t, 0o755), program(t, 0o755)
		got, err := findParser([]string{t.TempDir(), first, second}, false)
		wantError(t, err)
		if want := filepath.Join(first, "apparmor_parser"); got != want {
			t.Errorf("found %s, want %s", got, want)
		}
	})
	t.Run("PATH does not count", func(t *testing.T) {
		t.Setenv("PATH", program(t, 0o755))
		_, err := findParser([]string{t.TempDir()}, false)
		if !errors.Is(err, ErrNoParser) {
			t.Errorf("error %v is not ErrNoParser", err)
		}
		wantError(t, err, "install the package")
	})
	t.Run("not executable", func(t *testing.T) {
		_, err := findParser([]string{program(t, 0o644)}, false)
		wantError(t, err, "is no program")
	})
	t.Run("others could change it, for root", func(t *testing.T) {
		_, err := findParser([]string{program(t, 0o777)}, true)
		wantError(t, err, "others can change", "0777")
	})
	t.Run("somebody else's, for root", func(t *testing.T) {
		dir := program(t, 0o755)
		if os.Geteuid() == 0 {
			if err := os.Chown(filepath.Join(dir, "apparmor_parser"), 65534, -1); err != nil {
				t.Skipf("a file of another user is needed: %v", err)
			}
		}
		_, err := findParser([]string{dir}, true)
		wantError(t, err, "belongs to uid")
	})
}

func TestVersion(t *testing.T) {
	tests := []struct{ says, want, err string }{
		{"AppArmor parser version 3.0.8\nCopyright\n", "3.0.8", ""},
		{"AppArmor parser version 5.0.0~rc1\n", "5.0.0~rc1", ""},
		{"AppArmor parser\n", "", "it says \"AppArmor parser\""},
		{"x version \x1b[2J\n", "", "it says"},
		{"", "", "it says"},
	}
	for _, test := range tests {
		c := fakeCompiler(t, printing(t, test.says))
		got, err := c.Version(t.Context())
		wantError(t, err, test.err)
		if got != test.want {
			t.Errorf("version %q, want %q", got, test.want)
		}
	}
	if got, err := realCompiler(t).Version(t.Context()); err != nil || got == "" {
		t.Errorf("the machine's parser: %q, %v", got, err)
	}
}

func TestReadable(t *testing.T) {
	long := strings.Repeat("early\n", 2000) + "late"
	got := oneline.Output([]byte(long))
	if !strings.HasPrefix(got, "... ") || !strings.HasSuffix(got, "; late") || len(got) > 10<<10 {
		t.Errorf("%d bytes: %.20q ... %q", len(got), got, got[len(got)-20:])
	}
}

// A process that leaves the parser's group and keeps its output open does not keep us waiting.
func TestACompileEndsWithTheParser(t *testing.T) {
	if _, err := os.Stat("/usr/bin/setsid"); err != nil {
		t.Skipf("needs setsid: %v", err)
	}
	pid := filepath.Join(t.TempDir(), "pid")
	c := fakeCompiler(t, "setsid sh -c 'echo $$ >"+pid+"; exec sleep 300' & sleep 1; exit 0")
	begin := time.Now()
	_, err := c.Compile(t.Context(), "x", Enforce, "profiles/x", []byte("profile x { }"))
	if text, err := os.ReadFile(pid); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			syscall.Kill(n, syscall.SIGKILL)
		}
	}
	wantError(t, err, "profiles/x")
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}
