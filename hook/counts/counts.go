// Package counts counts what the programs on a node do: decisions, refusals, processes, loads.
//
// The counters are in one small file of fixed size in /run, which every program maps into its memory and adds to by atomic
// instructions of the processor. A program that is killed at any moment has counted or has not. There is nothing to
// rotate, to compact or to lock, however many programs count at once, and whether or not anybody ever reads. Records in a
// log would need all of that: who rotates a file cannot know whether somebody is about to append to it.
//
// Each counter has its name and its labels beside it as text. So programs of several versions count in one file, and read
// what they know of it. This package knows no metrics of anyone's: package install/metrics makes them of the counters.
package counts

import (
	"strconv"
	"sync"
)

// Path is the file of the node that we run on. The number is that of the file's layout: another one is another file.
const Path = "/run/oci-apparmor/counts.1"

// Other stands for a label's value that is not counted by itself.
const Other = "other"

// Table is a file of counters. It may be nil, and counts nothing then.
type Table struct {
	path string

	mu     sync.Mutex
	mapped *mapping // nil until it is needed
}

// New returns the table in the file of that path.
func New(path string) *Table { return &Table{path: path} }

// Count is a number to add to a counter.
type Count struct {
	family *Family
	values []string
	by     uint64
}

// Add adds to counters. It never waits for another program. It reports no error, because a container's start must not
// depend on being counted: if the file cannot be made, nothing is counted.
func (t *Table) Add(all ...Count) {
	if t == nil || len(all) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	m, err := t.mapping(true)
	if err != nil {
		return
	}
	m.guarded(func() {
		var buf [longestKey + 1]byte
		for _, c := range all {
			m.add(c, buf[:0])
		}
	})
}

// add adds one count. A value that finds no place among those of the policy file is counted as Other.
func (m *mapping) add(c Count, buf []byte) {
	if c.family.Open == "" {
		m.addTo(closed, c.key(buf, false), c.by)
		return
	}
	if !m.tryAdd(opened, c.key(buf, false), c.by) {
		m.addTo(closed, c.key(buf, true), c.by)
	}
}

// addTo is tryAdd for what must not be lost without a trace.
func (m *mapping) addTo(r region, key []byte, by uint64) {
	if !m.tryAdd(r, key, by) {
		m.lost().Add(by)
	}
}

// key appends the text of a counter: its name and its labels, "decisions engine=docker policy=web outcome=confined". If
// other is set, the label that is Open has the value Other.
func (c Count) key(b []byte, other bool) []byte {
	b = append(b, c.family.Name...)
	for i, label := range c.family.Labels {
		value := c.values[i]
		if other && label == c.family.Open || !isValue(value) {
			value = Other
		}
		b = append(append(append(append(b, ' '), label...), '='), value...)
	}
	return b
}

// isValue reports whether a string can stand in a key: it has the characters of policies' names, or is empty.
func isValue(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '+', c == '-':
		default:
			return false
		}
	}
	return true
}

// Family is the counters of one name, which differ in the values of their labels.
type Family struct {
	Name   string
	Help   string   // a sentence for people
	Labels []string // their names
	Open   string   // the label whose values come from the policy file; those of all others are in this code
}

// With returns one more for the counter with these values of the labels, in the order of Labels.
func (f *Family) With(values ...string) Count { return f.Plus(1, values...) }

// Plus is With for another number.
func (f *Family) Plus(n uint64, values ...string) Count {
	if len(values) != len(f.Labels) {
		panic("counts: " + f.Name + " has " + strconv.Itoa(len(f.Labels)) + " labels")
	}
	return Count{f, values, n}
}
