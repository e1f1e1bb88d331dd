package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

const nginx = "integration/testdata/docker-nginx-today"

// applies times oci-apparmor policy apply beside apparmor_parser. Both get the same texts, which include AppArmor's own
// abstractions, and neither loads anything: what the parser does with a warm cache is to see that no file is newer.
// Apply also finds out what has changed, checks who may write to the policy's files, and proves what it has kept and what
// AppArmor's service is told.
func applies(bin, dir string) error {
	if err := privateCopy(profile.BaseDir); err != nil {
		return err
	}
	features, err := os.ReadFile(abi)
	if err != nil {
		return err
	}
	if err := layOut(securityfs+"/apparmor/features", string(features)); err != nil {
		return err
	}
	text, err := os.ReadFile(nginx)
	if err != nil {
		return err
	}
	apply := func() error { return quiet(filepath.Join(bin, "oci-apparmor"), "policy", "apply", "--quiet") }
	parser := []string{"apparmor_parser", "--config-file", "/dev/null", "--kernel-features", abi, "--skip-kernel-load"}

	// Nothing has changed.
	files, err := manyTexts(100, string(text))
	if err != nil {
		return err
	}
	cached := append(append(append([]string{}, parser...), "--write-cache", "--cache-loc", filepath.Join(dir, "cache"),
		"--replace"), files...)
	for _, warm := range []func() error{apply, func() error { return quiet(cached...) }} {
		if err := warm(); err != nil {
			return err
		}
	}
	kept, err := filepath.Glob(filepath.Join(dir, "cache/*/bench-*"))
	if err != nil || len(kept) != len(files) {
		return fmt.Errorf("the parser has %d of %d profiles in its cache: %w", len(kept), len(files), err)
	}
	times, err := measure(20, apply, func() error { return quiet(cached...) })
	if err != nil {
		return err
	}
	ratio("policy apply, nothing changed ÷ apparmor_parser, warm cache", 1, times[0], times[1],
		fmt.Sprintf("%d profiles; the parser in one process, and without loading", len(files)), "")

	// One of many has.
	if files, err = manyTexts(500, string(text)); err != nil {
		return err
	}
	if err := apply(); err != nil {
		return err
	}
	changed, n := files[250], 0
	before, after, ok := strings.Cut(called(string(text), filepath.Base(changed)), "\n}\n")
	if !ok {
		return fmt.Errorf("%s does not end in the profile's brace", nginx)
	}
	change := func() error {
		n++
		return os.WriteFile(changed, fmt.Appendf(nil, "%s\n  deny /nowhere/%d w,\n}\n%s", before, n, after), 0o644)
	}
	compile := func() error {
		return quiet(append(append([]string{}, parser...), "--skip-cache", "--ofile", filepath.Join(dir, "blob"), changed)...)
	}
	what := fmt.Sprintf("%d profiles; the parser without its cache and without loading", len(files))
	// Apply compiles the profile twice, side by side. What else a busy machine runs leaves it one processor for both, or less,
	// and the parser by itself as much: that is another figure.
	if times, err = measure(20, change, apply, compile); err != nil {
		return err
	}
	ratio("the same on this machine as it is", 0, times[1], times[2], what+"; "+load(), "")
	if err := aheadOfOthers(); err != nil {
		fmt.Printf("not ahead of all others, because %v\n", err)
	}
	if times, err = measure(20, change, apply, compile); err != nil {
		return err
	}
	ratio("policy apply, one of many profiles changed ÷ compiling that one", 2, times[1], times[2],
		what+"; both ahead of all that the machine runs besides",
		"it is compiled twice, side by side, as it is and as AppArmor's service will read it; and of the policy file, all other "+
			"texts, what these were compiled to, and the service's files it is seen that they have not changed, and a new "+
			"generation is written")
	return nil
}

// aheadOfOthers has what this thread starts run ahead of the processes of the machine that are not in real time, as on one that
// runs nothing else (sched(7), SCHED_RR).
func aheadOfOthers() error {
	return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0)
}

// load says how busy this machine is: the average of the last minute, in which a part is measured.
func load() string {
	data, _ := os.ReadFile("/proc/loadavg")
	average, _, _ := strings.Cut(string(data), " ")
	return fmt.Sprintf("load %s on %d processors", average, runtime.NumCPU())
}

// called returns the text of a profile under a name.
func called(text, name string) string { return strings.ReplaceAll(text, "docker-nginx", name) }

// manyTexts makes a policy of n profiles, and gives their files.
func manyTexts(n int, text string) (files []string, err error) {
	if err := os.MkdirAll(etc+"/profiles", 0o755); err != nil {
		return nil, err
	}
	var profiles, policies, names strings.Builder
	for i := range n {
		name := "bench-" + strconv.Itoa(i)
		path := etc + "/profiles/" + name
		files = append(files, path)
		if err := os.WriteFile(path, []byte(called(text, name)), 0o644); err != nil {
			return nil, err
		}
		fmt.Fprintf(&profiles, "  %s: {file: profiles/%[1]s}\n", name)
		fmt.Fprintf(&policies, "  %s: {profile: %[1]s}\n", name)
		fmt.Fprintf(&names, "%s, ", name)
	}
	policy := fmt.Sprintf("version: 1\nprofiles:\n%spolicies:\n%sassign:\n  - policy: bench-0\n    request: [%s]\n", &profiles,
		&policies, strings.TrimSuffix(names.String(), ", "))
	return files, os.WriteFile(etc+"/policy.yaml", []byte(policy), 0o644)
}

// privateCopy puts a copy of a directory in its place, in the mount namespace that privateDirs has made.
func privateCopy(path string) error {
	temp, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := quiet("cp", "-a", path+"/.", temp); err != nil {
		return err
	}
	if err := syscall.Mount("bench", path, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting on %s: %w", path, err)
	}
	return quiet("cp", "-a", temp+"/.", path)
}

// layOut writes features in the text form, "NAME {VALUE or more of these}", as the directories and files of a kernel.
func layOut(dir, text string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		name, rest, ok := strings.Cut(text, "{")
		if !ok {
			return nil
		}
		end, depth := 0, 1
		for ; end < len(rest) && depth > 0; end++ {
			switch rest[end] {
			case '{':
				depth++
			case '}':
				depth--
			}
		}
		value := rest[:max(end-1, 0)]
		path := filepath.Join(dir, strings.TrimSpace(name))
		var err error
		if strings.Contains(value, "{") {
			err = layOut(path, value)
		} else {
			err = os.WriteFile(path, []byte(value), 0o644)
		}
		if err != nil {
			return err
		}
		text = rest[end:]
	}
	return nil
}
