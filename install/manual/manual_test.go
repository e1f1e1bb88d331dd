package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oci-apparmor/oci-apparmor/install/command"
	"github.com/oci-apparmor/oci-apparmor/install/doctor"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
)

const root = "../.."

func generated(t *testing.T) (share string) {
	t.Helper()
	share = t.TempDir()
	if err := write(share); err != nil {
		t.Fatal(err)
	}
	return share
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// byHand returns the pages that are not generated.
func byHand(t *testing.T) []string {
	t.Helper()
	var pages []string
	for _, pattern := range []string{"hook/*/*.8", "shim/*/*.8", "policy/policyfile/*.5"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("no page is %s (%v)", pattern, err)
		}
		pages = append(pages, found...)
	}
	return pages
}

// Every command has a page, which has a line for each of its flags and for each command below it.
func TestPagesNameEveryCommandAndFlag(t *testing.T) {
	share := generated(t)
	pages := 0
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		pages++
		name := pageName(cmd)
		page := read(t, filepath.Join(share, "man/man8", name+".8"))
		lacks := func(line string) {
			if !strings.Contains(page, line) {
				t.Errorf("the page of %s has nothing that begins with %q", name, line)
			}
		}
		lacks("\n" + name + " - ")
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { lacks(`\fB--` + f.Name + `\fP`) })
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				lacks("\n\\fB" + pageName(c) + "\\fP(8)")
				check(c)
			}
		}
	}
	check(command.Commands())
	if there, _ := filepath.Glob(filepath.Join(share, "man/man8/*")); len(there) != pages || pages < 15 {
		t.Errorf("there are %d pages, and %d commands", len(there), pages)
	}
}

// Each finding of the doctor has its section, with its severity and what to do.
func TestDoctorPageHasEveryFinding(t *testing.T) {
	page := read(t, filepath.Join(generated(t), "man/man8/oci-apparmor-doctor.8"))
	_, text, found := strings.Cut(page, "\n.SH FINDINGS\n")
	if !found {
		t.Fatal("the page has no section FINDINGS")
	}
	text, _, _ = strings.Cut(text, "\n.SH ")
	sections := map[string]string{}
	for part := range strings.SplitSeq("\n"+text, "\n.SS ") {
		title, body, _ := strings.Cut(part, "\n")
		sections[title] = body
	}
	delete(sections, "")
	for _, c := range doctor.Checks() {
		body, ok := sections[c.ID]
		plain := strings.NewReplacer("\\", "", "\n", " ", "-", "", "fB", "", "fP", "").Replace(body)
		do := strings.NewReplacer("-", "").Replace(c.Do)
		if !ok || !strings.Contains(strings.ToLower(body), string(c.Severity)) || !strings.Contains(plain, do) {
			t.Errorf("the page has of %s: %q", c.ID, body)
		}
		delete(sections, c.ID)
	}
	for title := range sections {
		t.Errorf("the page has a section %q, and there is no such finding", title)
	}
}

// Neither groff nor mandoc finds a fault in a page.
func TestPagesAreWellFormed(t *testing.T) {
	linters := [][]string{}
	if _, err := exec.LookPath("groff"); err == nil {
		linters = append(linters, []string{"groff", "-t", "-man", "-Tutf8", "-ww", "-Z"})
	}
	if _, err := exec.LookPath("mandoc"); err == nil {
		linters = append(linters, []string{"mandoc", "-T", "lint", "-W", "error"})
	}
	if len(linters) == 0 {
		t.Skip("needs groff or mandoc")
	}
	pages, err := filepath.Glob(filepath.Join(generated(t), "man/man8/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, linter := range linters {
		cmd := exec.Command(linter[0], append(linter[1:], append(pages, byHand(t)...)...)...)
		var said strings.Builder
		cmd.Stderr = &said
		if linter[0] == "mandoc" {
			cmd.Stdout = &said
		}
		if err := cmd.Run(); err != nil || said.Len() > 0 {
			t.Errorf("%s: %v\n%s", linter[0], err, &said)
		}
	}
	for name, part := range map[string]string{"oci-apparmor": "COMMANDS", "oci-apparmor-policy-apply": "OPTIONS", "oci-apparmor-status": "CRITICAL"} {
		if !slices.ContainsFunc(pages, func(p string) bool { return filepath.Base(p) == name+".8" && strings.Contains(read(t, p), part) }) {
			t.Errorf("no page %s has %s", name, part)
		}
	}
}

// Every key of the policy file, and of its tests, has its entry in the page, in the section of what it is a key of.
func TestPagesOfFilesHaveEveryKey(t *testing.T) {
	for name, file := range map[string]struct {
		schema   []byte
		sections map[string]string // of the schema's definitions
		keys     int
	}{
		"policy": {policyfile.Schema(), map[string]string{"profile": "A profile", "policy": "A policy", "assignment": "A rule"}, 20},
		"tests": {policyfile.SuiteSchema(), map[string]string{"test": "A test", "container": "A container", "expect": "What is expected",
			"never": "A never", "except": "An exception", "floor": "A floor"}, 29},
	} {
		t.Run(name, func(t *testing.T) {
			var schema struct {
				Properties map[string]any
				Defs       map[string]struct{ Properties map[string]any } `json:"$defs"`
			}
			if err := json.Unmarshal(file.schema, &schema); err != nil {
				t.Fatal(err)
			}
			page := read(t, filepath.Join(root, "policy/policyfile/oci-apparmor-"+name+".yaml.5"))
			sections := make(map[string]string)
			for part := range strings.SplitSeq(page, "\n.S") {
				title, text, _ := strings.Cut(part, "\n")
				title, _, _ = strings.Cut(strings.Trim(title[2:], `"`), ":")
				sections[title] += "\n" + text
			}
			keys := 0
			check := func(section string, properties map[string]any) {
				if len(properties) == 0 {
					t.Errorf("the schema has no keys for %s", section)
				}
				for key := range properties {
					keys++
					if !strings.Contains(sections[section], "\n.TP\n.B "+key+"\n") {
						t.Errorf("the section %q has no entry %s", section, key)
					}
				}
				if n := strings.Count(sections[section], ".TP\n"); n != len(properties) {
					t.Errorf("the section %q has %d entries, and the schema %d keys", section, n, len(properties))
				}
			}
			check("KEYS", schema.Properties)
			for def, section := range file.sections {
				check(section, schema.Defs[def].Properties)
			}
			if keys < file.keys {
				t.Errorf("only %d keys were found", keys)
			}
		})
	}
}

// bash, zsh and fish read their completions, and bash offers what the program does.
func TestCompletionsAreRead(t *testing.T) {
	share := generated(t)
	bash := filepath.Join(share, "bash-completion/completions/oci-apparmor")
	shells := 0
	for shell, path := range map[string]string{
		"bash": bash, "zsh": filepath.Join(share, "zsh/site-functions/_oci-apparmor"),
		"fish": filepath.Join(share, "fish/vendor_completions.d/oci-apparmor.fish"),
	} {
		if _, err := exec.LookPath(shell); err != nil {
			read(t, path)
			continue
		}
		shells++
		if out, err := exec.Command(shell, "-n", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	if shells == 0 {
		t.Skip("needs a shell that completes")
	}
	if _, err := exec.LookPath("bash"); err != nil {
		return
	}
	// The program is one that offers what it was asked, so that this is about what the shell asks for.
	dir := t.TempDir()
	program := "#!/bin/sh\nprintf 'apply\\tof %s\\n:4\\n' \"$*\"\n"
	if err := os.WriteFile(filepath.Join(dir, "oci-apparmor"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	script := `source "$1"; PATH="$2:$PATH"; COMP_WORDS=(oci-apparmor policy ap); COMP_CWORD=2; COMP_LINE="oci-apparmor policy ap"; COMP_POINT=22
_get_comp_words_by_ref() { cur=ap; prev=policy; words=("${COMP_WORDS[@]}"); cword=2; }
__start_oci-apparmor; echo "${COMPREPLY[@]}"`
	out, err := exec.Command("bash", "-c", script, "bash", bash, dir).Output() // on stderr it says that no terminal asked
	if err != nil || !strings.HasPrefix(string(out), "apply") {
		t.Errorf("bash offers %q (%v), want apply", out, err)
	}
}

// make install puts pages and completions where programs look for them, and make uninstall leaves none of its files.
func TestMakeInstallAndUninstall(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("needs make")
	}
	dir := t.TempDir()
	copyTo := func(from, to string) {
		t.Helper()
		to = filepath.Join(dir, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, []byte(read(t, from)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	copyTo(filepath.Join(root, "Makefile"), "Makefile")
	for _, unit := range []string{"install/systemd/oci-apparmor.service", "install/systemd/oci-apparmor-agent.service"} {
		copyTo(filepath.Join(root, unit), unit)
	}
	copyTo(filepath.Join(root, "install/place.sh"), "install/place.sh")
	if err := os.Chmod(filepath.Join(dir, "install/place.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"oci-apparmor", "oci-apparmor-hook", "oci-apparmor-runtime", "containerd-shim-apparmor-v2"} {
		copyTo(filepath.Join(root, "Makefile"), "bin/"+p) // any file
	}
	if err := write(filepath.Join(dir, "bin/share")); err != nil { // and what make build adds
		t.Fatal(err)
	}
	for _, page := range byHand(t) {
		copyTo(page, "bin/share/man/man"+strings.TrimPrefix(filepath.Ext(page), ".")+"/"+filepath.Base(page))
	}
	run := func(target string) []string {
		t.Helper()
		cmd := exec.Command("make", "--silent", "--old-file=build", target, "DESTDIR="+filepath.Join(dir, "node"), "PREFIX=/usr")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "MAKEFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make %s: %v\n%s", target, err, out)
		}
		var files []string
		err := filepath.WalkDir(filepath.Join(dir, "node"), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				rel, _ := filepath.Rel(filepath.Join(dir, "node"), path)
				files = append(files, rel)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	files := run("install")
	for _, want := range []string{
		"usr/bin/oci-apparmor", "usr/lib/systemd/system/oci-apparmor.service", "usr/lib/systemd/system/oci-apparmor-agent.service",
		"usr/share/man/man8/oci-apparmor.8", "usr/share/man/man8/oci-apparmor-policy-apply.8", "usr/share/man/man8/oci-apparmor-runtime.8",
		"usr/share/man/man8/oci-apparmor-hook.8", "usr/share/man/man8/containerd-shim-apparmor-v2.8", "usr/share/man/man5/oci-apparmor-policy.yaml.5",
		"usr/share/bash-completion/completions/oci-apparmor", "usr/share/zsh/site-functions/_oci-apparmor",
		"usr/share/fish/vendor_completions.d/oci-apparmor.fish",
	} {
		if !slices.Contains(files, want) {
			t.Errorf("make install leaves %s out: there are %q", want, files)
		}
	}
	if files := run("uninstall"); len(files) > 0 {
		t.Errorf("make uninstall leaves %q", files)
	}

	// On a node whose program is gone, what engines call stays.
	record, wrapper := filepath.Join(dir, "record.json"), filepath.Join(dir, "bare/bin/oci-apparmor-runtime")
	for _, c := range []struct {
		engines string
		stays   bool
	}{{`{
  "x": {}
 }`, true}, {"{}", false}, {"", false}} {
		copyTo(filepath.Join(root, "Makefile"), "bare/bin/oci-apparmor-runtime")
		if os.Remove(record); c.engines != "" {
			if err := os.WriteFile(record, []byte("{\n \"engines\": "+c.engines+"\n}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("make", "--silent", "uninstall", "PREFIX="+filepath.Join(dir, "bare"), "RECORD="+record, "SYSTEMCTL=")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "MAKEFLAGS=")
		out, err := cmd.CombinedOutput()
		if _, gone := os.Stat(wrapper); (err != nil) != c.stays || (gone == nil) != c.stays || c.stays != strings.Contains(string(out), "run make install first") {
			t.Errorf("with the engines %q, make uninstall: %v, %v\n%s", c.engines, err, gone, out)
		}
	}
}
