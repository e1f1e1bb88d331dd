// Package tighten finds the rules of a profile's text that a workload does without, by taking rules away and running it. It
// knows neither the kernel nor what a rule means: whoever calls it runs the workload.
package tighten

import (
	"context"
	"errors"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// An Outcome is how the workload went under a text.
type Outcome struct {
	Works bool
	Why   string // if it does not: what went wrong, in a line
}

// A Tried is one rule that the result has, and why.
type Tried struct {
	syntax.Rule
	Why    string // what went wrong without it
	Needed bool   // the workload failed without it; else Why says why it was not tried
}

// A Result is a text without the rules that the workload does without.
type Result struct {
	Text    string
	Kept    []Tried // the rules that allow something, in the order of the text
	Dropped []syntax.Rule
	Runs    int // of the workload
}

// ErrFails is wrapped by the error if the workload fails under the whole text.
var ErrFails = errors.New("the workload fails under the whole profile")

// Drop takes away the rules of a text, several at once as long as the workload works without them, and else fewer, until for
// each rule that is left the workload has failed without it alone.
//
// It takes away no rule that denies: such a rule makes no workload work, and without it more would be allowed. keep returns
// why another rule must stay, and an empty string for one that may go. run runs the workload under a text.
//
// A workload that fails now and then keeps rules that it does not need. One that works now and then, although a rule that it
// needs is gone, is found by a run under the result, which must work.
func Drop(ctx context.Context, text string, keep func(syntax.Rule) string, run func(ctx context.Context, text string) (Outcome, error)) (*Result, error) {
	d := &dropping{ctx: ctx, read: syntax.Read(text), run: run, why: make(map[int]string)}
	if !d.read.Whole {
		return nil, errors.New("the text is not whole")
	}
	out, err := d.without(nil)
	if err != nil {
		return nil, err
	}
	if !out.Works {
		return nil, fmt.Errorf("%w: %s", ErrFails, out.Why)
	}
	var may []int
	kept := make(map[int]string)
	for _, b := range d.read.Blocks {
		for _, r := range b.Rules {
			if r.Deny {
				continue
			}
			i := len(d.rules)
			d.rules = append(d.rules, r)
			why := keep(r)
			if why == "" && !r.Removable() {
				why = "it stands in braces with others"
			}
			if why != "" {
				kept[i] = why
				continue
			}
			may = append(may, i)
		}
	}
	if err := d.drop(may, ""); err != nil {
		return nil, err
	}
	gone := make(map[int]bool)
	result := &Result{}
	for _, i := range d.gone {
		gone[i] = true
	}
	for i, r := range d.rules {
		if gone[i] {
			result.Dropped = append(result.Dropped, r)
			continue
		}
		t := Tried{Rule: r, Why: kept[i]}
		if why, tried := d.why[i]; tried {
			t.Why, t.Needed = why, true
		}
		result.Kept = append(result.Kept, t)
	}
	result.Text = d.text(nil)
	if out, err = d.without(nil); err == nil && !out.Works {
		err = fmt.Errorf("the workload does not do the same each time: it fails now with the rules that it worked with before: %s", out.Why)
	}
	result.Runs = d.runs
	return result, err
}

// dropping is a text while rules are taken away.
type dropping struct {
	ctx   context.Context
	read  *syntax.Text
	rules []syntax.Rule // that deny nothing
	gone  []int         // of them, those without which the workload works
	why   map[int]string
	run   func(ctx context.Context, text string) (Outcome, error)
	runs  int
}

// text returns the text without what is gone and some more.
func (d *dropping) text(more []int) string {
	var rules []syntax.Rule
	for _, list := range [][]int{d.gone, more} {
		for _, i := range list {
			rules = append(rules, d.rules[i])
		}
	}
	return d.read.Remove(rules)
}

// without runs the workload under the text without what is gone and some more.
func (d *dropping) without(more []int) (Outcome, error) {
	if err := context.Cause(d.ctx); err != nil {
		return Outcome{}, err
	}
	d.runs++
	return d.run(d.ctx, d.text(more))
}

// drop takes away those of some rules that the workload does without. failed says what went wrong without all of them, where
// that is known.
func (d *dropping) drop(some []int, failed string) error {
	if len(some) == 0 {
		return nil
	}
	if failed == "" {
		out, err := d.without(some)
		switch {
		case err != nil:
			return err
		case out.Works:
			d.gone = append(d.gone, some...)
			return nil
		}
		if failed = out.Why; failed == "" {
			failed = "it failed"
		}
	}
	if len(some) == 1 {
		d.why[some[0]] = failed
		return nil
	}
	half := len(some) / 2
	before := len(d.gone)
	if err := d.drop(some[:half], ""); err != nil {
		return err
	}
	if len(d.gone)-before == half { // then it is the other half without which it failed
		return d.drop(some[half:], failed)
	}
	return d.drop(some[half:], "")
}
