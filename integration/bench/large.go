package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/suite"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// usage is what one run of a program took.
type usage struct {
	took time.Duration
	peak float64 // bytes of memory
}

// used runs a program and returns what it took. An exit code of 1 is an answer of profile diff and contains.
func used(args ...string) (usage, error) {
	var out bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	u := usage{took: time.Since(start)}
	if e := (*exec.ExitError)(nil); errors.As(err, &e) && e.ExitCode() == 1 && strings.HasSuffix(args[0], "oci-apparmor") {
		err = nil
	}
	if err != nil {
		return u, fmt.Errorf("%v: %w: %s", args, err, out.Bytes())
	}
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.peak = float64(r.Maxrss) * 1024
	}
	return u, nil
}

// larges measures questions about profiles of a text of 1 MB, and about tables of 100,000 states, beside apparmor_parser's
// work on such a text. No parser of the suites writes the tables for this kernel: theirs end at 65,535 states.
func larges(bin, dir string) error {
	parser := []string{"apparmor_parser", "--config-file", "/dev/null", "--kernel-features", abi, "--skip-kernel-load", "--skip-cache"}
	path := func(name string) string { return filepath.Join(dir, "large-"+name) }
	var compile usage
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(path(name), megabyte(name == "b"), 0o600); err != nil {
			return err
		}
		var err error
		if compile, err = used(append(append([]string{}, parser...), "--ofile", path(name)+".blob", path(name))...); err != nil {
			return err
		}
	}
	const states = 100_000
	blob := profiletest.Large(states, 1)
	for name, data := range map[string][]byte{"tables": blob, "others": profiletest.Large(states, 2)} {
		if err := os.WriteFile(path(name)+".blob", data, 0o600); err != nil {
			return err
		}
	}
	for _, of := range []struct{ what, a, b string }{{"texts of 1 MB", "a", "b"}, {"tables of 100,000 states", "tables", "others"}} {
		for _, verb := range [][]string{{"diff", "--meaning"}, {"contains"}} {
			args := append([]string{filepath.Join(bin, "oci-apparmor"), "profile"}, verb...)
			u, err := used(append(args, path(of.a)+".blob", path(of.b)+".blob")...)
			if err != nil {
				return err
			}
			what := fmt.Sprintf("%s of two %s", strings.Join(verb, " "), of.what)
			line(what+" ÷ compiling a text of 1 MB", float64(u.took)/float64(compile.took), 1, "", fmt.Sprintf("%s ÷ %s", round(u.took),
				round(compile.took)), "")
			line(what+", peak of memory ÷ the parser's", u.peak/compile.peak, 1, "", fmt.Sprintf("%.0f MiB ÷ %.0f MiB", u.peak/(1<<20),
				compile.peak/(1<<20)), "")
		}
	}
	return neverOfTables(blob)
}

// megabyte returns a text of 1 MB. A changed one differs in a few of its rules.
func megabyte(changed bool) []byte {
	random := rand.New(rand.NewPCG(1, 1))
	var text bytes.Buffer
	text.WriteString("abi <abi/3.0>,\nprofile large {\n")
	for i := 0; text.Len() < 1_000_000; i++ {
		perms := []string{"r", "rw", "mr", "rk", "r"}[i%5]
		if changed && i%1000 == 7 {
			perms = "rwk"
		}
		fmt.Fprintf(&text, "  /srv/applications/tenants/releases/current/share/components/assets/localized/strings/%08x %s,\n", random.Uint32(), perms)
	}
	text.WriteString("}\n")
	return text.Bytes()
}

// neverOfTables measures a never about a profile that is a large table.
func neverOfTables(blob []byte) error {
	const name = "large"
	p := suite.Policy{
		Config: &policy.Config{Profiles: []policy.Profile{{Name: name, Source: name}}, Policies: []policy.Policy{{Name: name, Profile: name}},
			Assignments: []policy.Assignment{{File: "policy.yaml", Line: 1, Policy: name}}},
		Source: func(file string) string { return file },
		Blob:   func(string) ([]byte, error) { return blob, nil },
	}
	s, err := policyfile.ParseSuite("tests.yaml", []byte("never: [{allow: [w /proc/sysrq-trigger, w /etc/**, \"x /**\"]}]\n"), p.Config)
	if err != nil {
		return err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	start := time.Now()
	grown, err := peakOf(func() error { _, err := suite.Execute(context.Background(), p, s, nil); return err })
	if err != nil {
		return err
	}
	line("never about a table of 100,000 states, peak of the heap ÷ the blob", grown/float64(len(blob)), 10, "",
		fmt.Sprintf("%.0f MiB ÷ %.0f MiB, in %s", grown/(1<<20), float64(len(blob))/(1<<20), round(time.Since(start))), "")
	return nil
}
