package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// installs times oci-apparmor install --dry-run on a guest that has engines and none of them wired, beside the engines' own
// checks that it runs. What these take by themselves is the sum of the times of the programs that the same plan runs.
func installs(bin string) error {
	program := filepath.Join(bin, "oci-apparmor")
	var checked time.Duration
	var programs []string
	h := host.New("/", bin)
	run := h.Run
	h.Run = func(ctx context.Context, env []string, program string, args ...string) ([]byte, error) {
		begun := time.Now()
		defer func() { checked += time.Since(begun) }()
		programs = append(programs, filepath.Base(program))
		return run(ctx, env, program, args...)
	}
	const pairs = 10
	var ours, theirs series
	for i := range pairs + 1 {
		begun := time.Now()
		if err := quiet(program, "install", "--dry-run"); err != nil {
			return err
		}
		took := time.Since(begun)
		checked, programs = 0, nil
		b, err := wire.Look(h.Tree)
		if err != nil {
			return err
		}
		plans, err := engines.Install(context.Background(), b, h, nil, engines.Choice{})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(plans, func(p *engines.Plan) bool { return len(p.Edits) > 0 }) {
			return errors.New("no engine is to be wired, so that there is nothing to measure")
		}
		if i > 0 { // the first round warms caches up
			ours, theirs = append(ours, took), append(theirs, checked)
		}
	}
	ratio("install --dry-run ÷ the engines' own checks that it runs", 1.5, ours, theirs,
		fmt.Sprintf("%d calls of %v", len(programs), slices.Compact(slices.Sorted(slices.Values(programs)))), "")
	return nil
}
