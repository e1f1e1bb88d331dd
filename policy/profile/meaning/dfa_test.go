package meaning

import (
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

var table, encode = profiletest.Table, profiletest.DFA

// row is a table of n entries, all zero but those that are given.
func row(n int, set map[int]uint32) []uint32 {
	list := make([]uint32, n)
	for i, v := range set {
		list[i] = v
	}
	return list
}

// parts are the tables of a DFA of four states: 1 goes to 2 by "a"; 3 is 1 but for "b", by which it goes to 2.
func parts() [][]byte {
	const b1, b3 = 1, 300
	return [][]byte{
		table(tableAccept, 4, 0, 0, 7, 0),
		table(tableBase, 4, 0, b1, 0, b3|baseDiffEncode),
		table(tableDefault, 2, 0, 0, 0, 1),
		table(tableNext, 2, row(600, map[int]uint32{b1 + 'a': 2, b3 + 'b': 2})...),
		table(tableCheck, 2, row(600, map[int]uint32{b1 + 'a': 1, b3 + 'b': 3})...),
		table(tableAccept2, 4, 0, 0, 0, 0),
	}
}

func TestDifferences(t *testing.T) {
	d, err := readDFA(encode(flagDiffEncode, parts()...))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		from state
		text string
		want state
	}{{1, "a", 2}, {1, "b", 0}, {3, "a", 2}, {3, "b", 2}, {3, "c", 0}, {3, "", 3}, {0, "a", 0}, {2, "a", 0}, {1, "aa", 0}} {
		if got := d.walk(test.from, test.text); got != test.want {
			t.Errorf("%d by %q leads to %d, want %d", test.from, test.text, got, test.want)
		}
	}
	// The padding that aligns a table stands in front.
	if _, err := readDFA(append(make([]byte, 5), encode(flagDiffEncode, parts()...)...)); err != nil {
		t.Error(err)
	}
}

func TestHostileTables(t *testing.T) {
	with := func(i int, part []byte) []byte {
		p := parts()
		p[i] = part
		return encode(flagDiffEncode, p...)
	}
	chain := func(n int) []byte {
		def, base := make([]uint32, n), make([]uint32, n)
		for i := range def {
			if i > 1 {
				def[i], base[i] = uint32(i-1), baseDiffEncode
			}
		}
		return encode(flagDiffEncode, table(tableAccept, 4, make([]uint32, n)...), table(tableBase, 4, base...),
			table(tableDefault, 4, def...), table(tableNext, 4, make([]uint32, 256)...), table(tableCheck, 4, make([]uint32, 256)...))
	}
	for name, test := range map[string]struct {
		dfa  []byte
		says string // empty where it is sound
	}{
		"sound":                              {encode(flagDiffEncode, parts()...), ""},
		"empty":                              {nil, "no header"},
		"another magic":                      {make([]byte, 64), "no header"},
		"a header that is too long":          {slices.Concat(encode(0)[:4], []byte{0xff, 0xff, 0xff, 0xff}, encode(0)[8:]), "header"},
		"unknown flags":                      {encode(4, parts()...), "header"},
		"no tables":                          {encode(0), "lacks"},
		"a table twice":                      {encode(flagDiffEncode, append(parts(), parts()[0])...), "twice"},
		"a table of no entries":              {with(0, table(tableAccept, 4)), "entries"},
		"a table of an unknown number":       {with(0, table(9, 4, 1)), "part 9"},
		"entries of an unknown width":        {with(2, table(tableDefault, 1, 0, 0, 0, 1)), "bytes"},
		"a table that is cut off":            {with(5, table(tableAccept2, 4, 0, 0, 0, 0)[:24]), "too long"},
		"a table's header that is cut off":   {with(5, table(tableAccept2, 4, 0, 0, 0, 0)[:8]), "cut off"},
		"more entries than bytes":            {with(5, []byte{0, 7, 0, 4, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}), "too long"},
		"one state":                          {encode(0, table(tableAccept, 4, 0), table(tableBase, 4, 0), table(tableDefault, 2, 0), parts()[3], parts()[4]), "belong together"},
		"accept words for other states":      {with(0, table(tableAccept, 4, 0, 0, 7)), "belong together"},
		"a default that is not there":        {with(2, table(tableDefault, 2, 0, 0, 0, 4)), "not there"},
		"a next state that is not there":     {with(3, table(tableNext, 2, row(600, map[int]uint32{9: 4})...)), "not there"},
		"a checked state that is not there":  {with(4, table(tableCheck, 2, row(600, map[int]uint32{9: 4})...)), "not there"},
		"a row at the end":                   {with(1, table(tableBase, 4, 0, 345, 0, 0)), "row"},
		"the last row that fits":             {with(1, table(tableBase, 4, 0, 344, 0, 0)), ""},
		"a row beyond the end":               {with(1, table(tableBase, 4, 0, 1<<24-1, 0, 0)), "row"},
		"unknown flags of a state":           {with(1, table(tableBase, 4, 0, 1<<28, 0, 0)), "flags"},
		"differences without the header":     {encode(0, parts()...), "flags"},
		"a transition on nothing without it": {with(1, table(tableBase, 4, 0, 1|baseOOB, 0, 0)), "flags"},
		"a difference to itself":             {with(2, table(tableDefault, 2, 0, 0, 0, 3)), "difference to itself"},
		"two differences to each other": {encode(flagDiffEncode, parts()[0], table(tableBase, 4, 0, 0, baseDiffEncode, baseDiffEncode),
			table(tableDefault, 2, 0, 0, 3, 2), parts()[3], parts()[4]), "difference to itself"},
		"a cycle that a chain leads into": {encode(flagDiffEncode, parts()[0], table(tableBase, 4, 0, baseDiffEncode, baseDiffEncode, baseDiffEncode),
			table(tableDefault, 2, 0, 2, 3, 2), parts()[3], parts()[4]), "difference to itself"},
		"a long chain":           {chain(maxDiffChain + 2), ""},
		"a chain that is longer": {chain(maxDiffChain + 3), "difference of more than"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := readDFA(test.dfa)
			if test.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				for s := range d.base {
					d.walk(state(s), "ab\xff\x00")
				}
			} else if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %q", err, test.says)
			}
		})
	}
}
