package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/suite"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// suites times the tests of a policy beside compiling its profiles, and what none may do beside reading all of them.
func suites(dir string) error {
	text, err := os.ReadFile(nginx)
	if err != nil {
		return err
	}
	features, err := os.ReadFile(abi)
	if err != nil {
		return err
	}
	by, err := profile.NewCompiler(features)
	if err != nil {
		return err
	}
	const few, many = 100, 500
	var c policy.Config
	for i := range many {
		name := fmt.Sprintf("bench-%d", i)
		c.Profiles = append(c.Profiles, policy.Profile{Name: name, Source: "profiles/" + name, Text: []byte(called(string(text), name))})
		c.Policies = append(c.Policies, policy.Policy{Name: name, Profile: name})
		c.Assignments = append(c.Assignments, policy.Assignment{File: "policy.yaml", Line: i + 1, Namespace: []string{name}, Policy: name})
	}
	c.Assignments = append(c.Assignments, policy.Assignment{File: "policy.yaml", Line: many + 1, Policy: "bench-0"})
	big, err := hugeText(c.Profiles[many-1].Name)
	if err != nil {
		return err
	}
	c.Profiles[many-1].Text = big

	part := policy.Config{Profiles: c.Profiles[:few], Policies: c.Policies[:few], Assignments: c.Assignments[:few]}
	start := time.Now()
	if _, err := store.Compile(context.Background(), &part, by, nil, nil); err != nil {
		return err
	}
	compiling := series{time.Since(start)}
	compiled, err := store.Compile(context.Background(), &c, by, nil, nil)
	if err != nil {
		return err
	}
	p, largest, err := onDisk(filepath.Join(dir, "suite"), compiled)
	if err != nil {
		return err
	}
	if err := assertions(p, few, compiling); err != nil {
		return err
	}
	return nevers(p, largest)
}

// hugeText returns a profile of many rules, whose blob is far larger than those of others.
func hugeText(name string) ([]byte, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "abi <abi/3.0>,\nprofile %s {\n  signal,\n", name)
	for i := range 4000 {
		fmt.Fprintf(&text, "  /srv/tenant-%d/%x/data.[0-9] rw,\n", i, i*i)
	}
	text.WriteString("}\n")
	return []byte(text.String()), nil
}

// onDisk writes the blobs of a policy to files, from which they are read whenever they are needed.
func onDisk(dir string, compiled *store.Compilation) (p suite.Policy, largest int, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return p, 0, err
	}
	for i, one := range compiled.Policy.Profiles {
		blob, err := compiled.Blob(i)
		if err != nil {
			return p, 0, err
		}
		largest = max(largest, len(blob.Data))
		if err := os.WriteFile(filepath.Join(dir, one.Name), blob.Data, 0o644); err != nil {
			return p, 0, err
		}
	}
	config := *compiled.Policy
	for i := range config.Profiles {
		config.Profiles[i].Text = nil
	}
	return suite.Policy{Config: &config, Source: func(file string) string { return file },
		Blob: func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }}, largest, nil
}

// assertions times a test of fifty assertions for each of the first profiles.
func assertions(p suite.Policy, n int, compiling series) error {
	var text strings.Builder
	text.WriteString("tests:\n")
	for i := range n {
		fmt.Fprintf(&text, "- container: {engine: containerd, namespace: bench-%d}\n  expect: {policy: bench-%[1]d, label: bench-%[1]d}\n  allow:\n", i)
		for j := range 25 {
			fmt.Fprintf(&text, "  - r /usr/lib/nginx/modules/%d.so\n", j)
		}
		text.WriteString("  deny:\n")
		for j := range 25 {
			fmt.Fprintf(&text, "  - w /etc/%d.conf\n", j)
		}
	}
	s, err := policyfile.ParseSuite("tests.yaml", []byte(text.String()), p.Config)
	if err != nil {
		return err
	}
	times, err := measure(5, func() error { return pass(p, s) })
	if err != nil {
		return err
	}
	ratio("policy test, 50 assertions of each profile ÷ compiling these", 1, times[0], compiling, fmt.Sprintf("%d profiles", n), "")
	return nil
}

func pass(p suite.Policy, s *policyfile.Suite) error {
	report, err := suite.Execute(context.Background(), p, s, nil)
	if err == nil && !report.Passed() {
		err = fmt.Errorf("a test fails: %+v", report.Results[0].Failed[0])
	}
	return err
}

// nevers times what no container may do.
func nevers(p suite.Policy, largest int) error {
	s, err := policyfile.ParseSuite("tests.yaml", []byte("never: [{allow: [w /proc/sysrq-trigger, w /etc/**, mount, capability sys_module]}]\n"),
		p.Config)
	if err != nil {
		return err
	}
	walk := func() error {
		const nothing = 1 << 25 // no rule allows that of files, so each is looked through to its end
		for _, one := range p.Config.Profiles {
			data, err := p.Blob(one.Name)
			if err != nil {
				return err
			}
			all, err := meaning.Read(data)
			if err != nil {
				return err
			}
			if _, found, err := (meaning.Stack{all[0]}).Find(meaning.File, nothing, false, "**"); found || err != nil {
				return fmt.Errorf("%s allows what nothing asks for: %w", one.Name, err)
			}
		}
		return nil
	}
	times, err := measure(5, func() error { return pass(p, s) }, walk)
	if err != nil {
		return err
	}
	ratio("never, 4 accesses ÷ reading all blobs and walking each once", 2, times[0], times[1],
		fmt.Sprintf("%d profiles; all paths of each are walked, and nothing else", len(p.Config.Profiles)), "")

	defer debug.SetGCPercent(debug.SetGCPercent(20))
	grown, err := peakOf(func() error { return pass(p, s) })
	if err != nil {
		return err
	}
	line("never, peak of the heap ÷ the largest blob", grown/float64(largest), 10, "",
		fmt.Sprintf("%.0f KiB ÷ %d KiB, beside what the policy has", grown/1024, largest/1024), "")
	return nil
}

// peakOf returns by how many bytes the objects of the heap grow while f runs, at most.
func peakOf(f func() error) (float64, error) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	now := func() float64 { metrics.Read(sample); return float64(sample[0].Value.Uint64()) }
	runtime.GC()
	before, peak := now(), 0.0
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(200 * time.Microsecond):
				peak = max(peak, now())
			}
		}
	}()
	err := f()
	close(done)
	<-stopped
	return max(peak-before, 0), err
}
