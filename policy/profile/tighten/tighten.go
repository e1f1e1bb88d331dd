// Package tighten finds the rules of a profile's text that a workload does without, by taking rules away and running it. It
// knows neither the kernel nor what a rule means: whoever calls it runs the workload.
package tighten

import (
	"cmp"
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
	Needed bool   // the workload failed without it; else Why says why it stays
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

// A Plan says how rules are tried.
type Plan struct {
	// Keep returns why the text must have a rule whatever the workload does, and an empty string for a rule that may go. Nil
	// keeps none.
	Keep func(syntax.Rule) string

	// Used reports whether the workload is known to have used what a rule allows. Rules that it has not used are taken away
	// at once, and each other one by itself, which takes half of the runs. Where it is wrong, that takes more runs, and the
	// result is the same. Nil knows nothing.
	Used func(syntax.Rule) bool

	// Run runs the workload under a text.
	Run func(ctx context.Context, text string) (Outcome, error)
}

// Drop takes away the rules of a text, several at once as long as the workload works without them, and else fewer, until for
// each rule that is left the workload has failed without it alone. Rules that must stay are tried in the end, each by itself.
//
// It takes away no rule that denies: such a rule makes no workload work, and without it more would be allowed.
//
// A workload that fails now and then keeps rules that it does not need. One that works now and then, although a rule that it
// needs is gone, is found by a run under the result, which must work.
func Drop(ctx context.Context, text string, plan Plan) (*Result, error) {
	d := &dropping{ctx: ctx, read: syntax.Read(text), run: plan.Run, why: make(map[int]string)}
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
	kept, err := d.dropAll(plan)
	if err != nil {
		return nil, err
	}
	gone := make(map[int]bool)
	for _, i := range d.gone {
		gone[i] = true
	}
	result := &Result{Text: d.text(nil)}
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
	err = d.worksStill()
	result.Runs = d.runs
	return result, err
}

// dropAll tries all rules, and returns why some must stay whatever comes of it.
func (d *dropping) dropAll(plan Plan) (kept map[int]string, err error) {
	var idle, used, stay []int
	kept = make(map[int]string)
	for _, b := range d.read.Blocks {
		for _, r := range b.Rules {
			if r.Deny {
				continue
			}
			i := len(d.rules)
			d.rules = append(d.rules, r)
			if plan.Keep != nil {
				kept[i] = plan.Keep(r)
			}
			switch {
			case !r.Removable():
				kept[i] = cmp.Or(kept[i], "it stands in braces with others")
			case kept[i] != "":
				stay = append(stay, i)
			case plan.Used != nil && plan.Used(r):
				used = append(used, i)
			default:
				idle = append(idle, i)
			}
		}
	}
	if err := d.drop(idle, ""); err != nil {
		return nil, err
	}
	for _, i := range used {
		if err := d.drop([]int{i}, ""); err != nil {
			return nil, err
		}
	}
	for _, i := range stay {
		out, err := d.without([]int{i})
		if err != nil {
			return nil, err
		}
		if out.Works {
			continue
		}
		d.why[i] = cmp.Or(out.Why, "it failed")
		// What failed may be the end of the workload, which is in the way of the next one then.
		if err := d.worksStill(); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// worksStill runs the workload under the text without what is gone, under which it has worked.
func (d *dropping) worksStill() error {
	out, err := d.without(nil)
	if err == nil && !out.Works {
		err = fmt.Errorf("the workload does not do the same each time: it fails now with the rules that it worked with before: %s", out.Why)
	}
	return err
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
		failed = cmp.Or(out.Why, "it failed")
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
