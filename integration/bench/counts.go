package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/counts"
)

// countedStarts times starts through the wrapper that are counted beside such that are not, by one and the same program.
// runc runs by way of twin, as in wrapped.
func countedStarts(dir string) error {
	wrapper, twin := filepath.Join(dir, "runc-counted"), filepath.Join(dir, "runc-twin")
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	asked, plain := filepath.Join(dir, "counted-asked"), filepath.Join(dir, "counted-plain")
	for _, b := range []string{asked, plain} {
		if err := makeBundle(b, filepath.Join(dir, "runc-empty")); err != nil {
			return err
		}
	}
	config, err := os.ReadFile(filepath.Join(asked, "config.json"))
	if err != nil {
		return err
	}
	var n int
	start := func(counted, runtime, command string) func() (time.Duration, error) {
		env := append(os.Environ(), "BENCH_TWIN="+plain, "BENCH_RUNC="+runc, "BENCH_COUNTS="+counted, "OCI_APPARMOR_RUNTIME="+runtime)
		return func() (time.Duration, error) {
			if err := os.WriteFile(filepath.Join(asked, "config.json"), config, 0o644); err != nil {
				return 0, err
			}
			n++
			cmd := exec.Command(wrapper, command, "--bundle", asked, "counted"+strconv.Itoa(n))
			cmd.Env = env
			began := time.Now()
			out, err := cmd.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%v: %w: %s", cmd.Args, err, out)
			}
			return time.Since(began), err
		}
	}
	before := total()
	empty := filepath.Join(dir, "runc-empty")
	for _, what := range []struct {
		name, runtime, command string
		n                      int
		mark                   float64
	}{
		{"a start that is counted ÷ one that is not", twin, "run", 300, 1.01},
		{"a create that ends in an empty program, counted ÷ not", empty, "create", 600, 0},
	} {
		times, err := compare(what.n, start("yes", what.runtime, what.command), start("no", what.runtime, what.command))
		if err != nil {
			return err
		}
		ratios := make([]float64, what.n)
		for i := range ratios {
			ratios[i] = float64(times[0][i]) / float64(times[1][i])
		}
		slices.Sort(ratios)
		middle := float64(times[0].median()) / float64(times[1].median())
		line(what.name, middle, what.mark, "", fmt.Sprintf("%s ÷ %s, %d of each in turn; pairs' ratios have the median %.3f, the quartiles "+
			"%.3f and %.3f", times[0], times[1], what.n, ratios[what.n/2], ratios[what.n/4], ratios[what.n*3/4]),
			"the counters are mapped by one fault of a page, which is dear in a virtual machine without help of the processor")
		before += uint64(what.n + 1)
		if now := total(); now != before {
			return fmt.Errorf("%d decisions are counted, want %d", now, before)
		}
	}
	return os.RemoveAll(stateDir + "/containers")
}

// total returns how many decisions are counted.
func total() (n uint64) {
	all, _ := counts.New(counts.Path).Read()
	for _, c := range all.All {
		if c.Name == counts.Decisions.Name {
			n += c.N
		}
	}
	return n
}
