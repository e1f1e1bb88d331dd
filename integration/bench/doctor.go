package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// doctors times oci-apparmor doctor beside aa-status and the engines' own checks that the doctor runs, with the guest's engines
// wired and many profiles loaded.
func doctors(bin string) error {
	if err := manyProfiles(500); err != nil {
		return err
	}
	program := filepath.Join(bin, "oci-apparmor")
	for _, args := range [][]string{{"policy", "load", "--quiet"}, {"install", "--yes"}} {
		if err := quiet(append([]string{program}, args...)...); err != nil {
			return err
		}
	}
	defer quiet(program, "uninstall", "--yes")
	var checks [][]string
	if exists("/etc/containerd/config.toml") {
		checks = append(checks, []string{"containerd", "--version"}, []string{"containerd", "--config", "/etc/containerd/config.toml", "config", "dump"})
	}
	if exists("/etc/docker/daemon.json") {
		checks = append(checks, []string{"dockerd", "--version"}, []string{"dockerd", "--validate", "--config-file", "/etc/docker/daemon.json"})
	}
	if exists("/etc/containers/containers.conf.d/oci-apparmor.conf") { // with a state of its own, as install and the doctor have it
		args := []string{"podman", "--storage-driver", "vfs"}
		for _, dir := range []string{"root", "runroot", "tmpdir"} {
			args = append(args, "--"+dir, work+"/podman/"+dir)
		}
		checks = append(checks, []string{"podman", "--version"}, append(args, "info", "--format", "json"))
	}
	if len(checks) == 0 {
		return errors.New("no engine is wired, so that there is nothing to compare with")
	}
	theirs := func() error {
		for _, args := range append([][]string{{"aa-status", "--json"}}, checks...) {
			if err := quiet(args...); err != nil {
				return err
			}
		}
		return nil
	}
	examine := func() error {
		out, err := exec.Command(program, "doctor").CombinedOutput()
		var ended *exec.ExitError
		if errors.As(err, &ended) && (ended.ExitCode() == 1 || ended.ExitCode() == 4) {
			err = nil // another part's containers may be a finding
		}
		if err != nil {
			return fmt.Errorf("doctor: %w: %s", err, out)
		}
		if !strings.Contains(string(out), "wired by the ") || strings.Contains(string(out), "NOT SEEN") {
			return fmt.Errorf("doctor has not seen all: %s", out)
		}
		return nil
	}
	times, err := measure(10, theirs, examine)
	if err != nil {
		return err
	}
	ratio("doctor ÷ aa-status and the engines' own checks that it runs", 2, times[1], times[0],
		fmt.Sprintf("%d profiles, %d programs of engines", loaded(), len(checks)), "")
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
