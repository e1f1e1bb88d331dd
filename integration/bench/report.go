package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// series is the times of one thing, measured in one run.
type series []time.Duration

func (s series) sorted() series { c := slices.Clone(s); slices.Sort(c); return c }

func (s series) median() time.Duration { return s.sorted()[len(s)/2] }

// String returns the median and, as the spread, the quartiles.
func (s series) String() string {
	c := s.sorted()
	return fmt.Sprintf("%s (%s to %s)", round(c[len(c)/2]), round(c[len(c)/4]), round(c[len(c)*3/4]))
}

func round(d time.Duration) time.Duration {
	switch {
	case d < 100*time.Microsecond:
		return d.Round(10 * time.Nanosecond)
	case d < 100*time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

// measure runs every function n times in turn, a b c a b c ..., so that a machine whose speed drifts slows them alike.
func measure(n int, functions ...func() error) ([]series, error) {
	times := make([]series, len(functions))
	for i := range n + 1 {
		for j, f := range functions {
			start := time.Now()
			if err := f(); err != nil {
				return nil, err
			}
			if i > 0 { // the first round warms caches up
				times[j] = append(times[j], time.Since(start))
			}
		}
	}
	return times, nil
}

// compare has every arm give its time n times, in rounds, in an order that chance gives each round.
func compare(n int, arms ...func() (time.Duration, error)) ([]series, error) {
	times := make([]series, len(arms))
	for i := range n + 1 {
		for _, j := range rand.Perm(len(arms)) {
			took, err := arms[j]()
			if err != nil {
				return nil, err
			}
			if i > 0 { // the first round warms caches up
				times[j] = append(times[j], took)
			}
		}
	}
	return times, nil
}

// amounts is what was measured of several things alike.
type amounts []int

func (s amounts) sorted() amounts { c := slices.Clone(s); slices.Sort(c); return c }

func (s amounts) median() int { return s.sorted()[len(s)/2] }

// String returns the median, and as the spread the quartiles.
func (s amounts) String() string {
	c := s.sorted()
	return fmt.Sprintf("%d (%d to %d)", c[len(c)/2], c[len(c)/4], c[len(c)*3/4])
}

// missed counts the figures that are over their marks.
var missed int

// line prints a figure, and its mark where it has one (0: to be reported only). why is the reason of a figure that is
// over its mark, as far as it is known.
func line(name string, value, mark float64, unit, detail, why string) {
	verdict := "report"
	if mark > 0 {
		verdict = fmt.Sprintf("at most %g%s: ok", mark, unit)
		if value > mark {
			verdict = fmt.Sprintf("at most %g%s: MISSED", mark, unit)
			missed++
		}
	}
	fmt.Printf("%-60s %8.3f%-3s %s\n    %s\n", name, value, unit, verdict, detail)
	if mark > 0 && value > mark && why != "" {
		fmt.Printf("    because %s\n", why)
	}
}

// ratio prints a/b by medians.
func ratio(name string, mark float64, a, b series, what, why string) {
	line(name, float64(a.median())/float64(b.median()), mark, "", fmt.Sprintf("%s; %s ÷ %s", what, a, b), why)
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
