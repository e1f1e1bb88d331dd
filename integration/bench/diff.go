package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// diffs times a comparison of what two docker-default mean, beside the compilation of one of them by apparmor_parser: of
// the node's own with one that an engine of another node got, and of that with the one of 2015, which differs in much,
// and for which patterns take longer to be found than the differences themselves.
func diffs(bin, dir string) error {
	other, err := templates.Text("docker-default", "docker-default", templates.Target{Senders: []string{"engine"}})
	if err != nil {
		return err
	}
	own, err := templates.Text("docker-default", "docker-default", templates.Target{})
	if err != nil {
		return err
	}
	old, err := templates.FindVariant("docker-default", "2015")
	if err != nil {
		return err
	}
	parser := []string{"--config-file", "/dev/null", "--kernel-features", abi, "--skip-kernel-load", "--skip-cache"}
	path := func(name string) string { return filepath.Join(dir, "diff-"+name) }
	for name, text := range map[string][]byte{"own": own, "other": other, "old": old.Text} {
		if err := os.WriteFile(path(name), text, 0o600); err != nil {
			return err
		}
		if err := quiet(append(append([]string{"apparmor_parser"}, parser...), "--ofile", path(name)+".blob", path(name))...); err != nil {
			return err
		}
	}
	compile := func() error { return quiet(append(append([]string{"apparmor_parser"}, parser...), path("own"))...) }
	for _, with := range []struct {
		name, what string
		mark       float64
	}{{"other", "another node's", 1}, {"old", "the one of 2015", 0}} {
		diff := func() error {
			err := exec.Command(filepath.Join(bin, "oci-apparmor"), "profile", "diff", "--meaning", path("own.blob"),
				path(with.name+".blob")).Run()
			var e *exec.ExitError
			if errors.As(err, &e) && e.ExitCode() == 1 { // they differ
				err = nil
			}
			return err
		}
		times, err := measure(20, diff, compile)
		if err != nil {
			return err
		}
		line("diff --meaning of docker-default and "+with.what+" ÷ compiling it", float64(times[0].median())/float64(times[1].median()),
			with.mark, "", fmt.Sprintf("the program, of two compiled profiles, %s; apparmor_parser, of one text, %s", times[0], times[1]), "")
	}
	return nil
}
