package meaning

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
)

// The tables of a DFA (security/apparmor/include/match.h; parser/libapparmor_re/flex-tables.h). All numbers are big
// endian. The numbers of the tables are as they stand in a blob, one more than the kernel's.
const (
	dfaMagic = 0x1B5E783D

	flagDiffEncode = 1 // of the header: states may be encoded as differences
	flagOOB        = 2 // of the header: states may have a transition on no byte

	tableAccept  = 1
	tableBase    = 2
	tableCheck   = 3
	tableDefault = 4
	tableEquiv   = 5
	tableAccept2 = 7
	tableNext    = 8
	tables       = 9

	baseIndex      = 1<<24 - 1
	baseDiffEncode = 1 << 31 // of a state: what is not found here is looked for in the default state, on the same byte
	baseOOB        = 1 << 29

	// classes is how many bytes a state's row can be looked up with; each row must lie in the tables with all of them.
	classes = 256
)

// maxDiffChain bounds how many states one byte may pass through. The parser's differences lead to a state of a lower
// depth each time, and are a few states long; the kernel has no bound but the number of states.
const maxDiffChain = 1 << 12

// state is a state of a DFA. 0 is the one that matches nothing and is never left.
type state uint32

// dfaStart is where a match begins, unless a blob says otherwise.
const dfaStart state = 1

// dfa is an automaton whose tables were checked, so that no walk leaves them: each state in them exists, each row is
// whole, and chains of differences end.
type dfa struct {
	accept, accept2 []uint32 // accept2 may be nil
	base, def       []uint32
	next, check     []uint32
	equiv           []byte // nil where bytes are looked up as they are

	sameBytes func() *[256]uint32 // alike, found out once
	prunings  prunings
}

// readDFA reads an automaton as aa_dfa_unpack does, and checks it as verify_dfa does.
func readDFA(blob []byte) (*dfa, error) {
	// The parser puts padding first, so that what follows is aligned to 8 bytes.
	b := blob[len(blob)%8:]
	const header = 16
	if len(b) < header || binary.BigEndian.Uint32(b) != dfaMagic {
		return nil, errors.New("a table of rules has no header")
	}
	size := binary.BigEndian.Uint32(b[4:])
	flags := binary.BigEndian.Uint16(b[12:])
	if size < header || uint64(size) > uint64(len(b)) || flags&^(flagDiffEncode|flagOOB) != 0 {
		return nil, errors.New("a table of rules has a header that is not known")
	}
	b = b[size:]
	var (
		d    dfa
		seen [tables]bool
		err  error
	)
	for len(b) > 0 {
		if b, err = d.table(b, &seen); err != nil {
			return nil, err
		}
	}
	for _, id := range []int{tableAccept, tableBase, tableCheck, tableDefault, tableNext} {
		if !seen[id] {
			return nil, fmt.Errorf("a table of rules lacks its part %d", id)
		}
	}
	if err := d.verify(flags); err != nil {
		return nil, err
	}
	d.sameBytes = sync.OnceValue(d.findAlike)
	return &d, nil
}

// alike returns the classes of bytes that lead to the same state from every state. The caller must not change them.
func (d *dfa) alike() *[256]uint32 { return d.sameBytes() }

func (d *dfa) findAlike() *[256]uint32 {
	var all [256]uint32
	if d.equiv != nil {
		for b := range all {
			all[b] = uint32(d.equiv[b])
		}
		return &all
	}
	// Bytes whose steps have the same sum, with random weights, are probably alike, and then are looked at one by one.
	var sums [256]uint64
	for s := range d.base {
		weight := rand.Uint64()
		for b := range sums {
			sums[b] += weight * uint64(d.step(state(s), byte(b)))
		}
	}
	first := make(map[uint64]byte)
	for b, sum := range sums {
		if _, ok := first[sum]; !ok {
			first[sum] = byte(b)
		}
		all[b] = uint32(first[sum])
	}
	for s := range d.base {
		for b := range all {
			if d.step(state(s), byte(b)) != d.step(state(s), byte(all[b])) {
				all[b] = uint32(b)
			}
		}
	}
	return &all
}

// table reads the first table of b and returns what follows it.
func (d *dfa) table(b []byte, seen *[tables]bool) ([]byte, error) {
	const header = 12
	if len(b) < header {
		return nil, errors.New("a table of rules is cut off")
	}
	id, width := int(binary.BigEndian.Uint16(b)), int(binary.BigEndian.Uint16(b[2:]))
	count := int64(binary.BigEndian.Uint32(b[8:]))
	size := (header + count*int64(width) + 7) &^ 7
	if id >= tables || seen[id] || count == 0 || size > int64(len(b)) {
		return nil, fmt.Errorf("a table of rules has a part %d of %d entries that is not known, there twice, or too long", id,
			count)
	}
	seen[id] = true
	content := b[header : header+count*int64(width)]
	fits := false
	switch id {
	case tableAccept:
		d.accept, fits = numbers(content, width), width == 4
	case tableAccept2:
		d.accept2, fits = numbers(content, width), width == 4
	case tableBase:
		d.base, fits = numbers(content, width), width == 4
	case tableDefault:
		d.def, fits = numbers(content, width), width == 2 || width == 4
	case tableNext:
		d.next, fits = numbers(content, width), width == 2 || width == 4
	case tableCheck:
		d.check, fits = numbers(content, width), width == 2 || width == 4
	case tableEquiv:
		d.equiv, fits = content, width == 1 && count == classes
	}
	if !fits {
		return nil, fmt.Errorf("a table of rules has a part %d with entries of %d bytes", id, width)
	}
	return b[size:], nil
}

// numbers returns the entries of a table, and nil where width is none that a table of numbers has.
func numbers(content []byte, width int) []uint32 {
	if width != 2 && width != 4 {
		return nil
	}
	list := make([]uint32, len(content)/width)
	for i := range list {
		if width == 2 {
			list[i] = uint32(binary.BigEndian.Uint16(content[2*i:]))
		} else {
			list[i] = binary.BigEndian.Uint32(content[4*i:])
		}
	}
	return list
}

// verify checks that no walk leaves the tables.
func (d *dfa) verify(flags uint16) error {
	states, rows := len(d.base), len(d.next)
	if states < 2 || len(d.def) != states || len(d.accept) != states || len(d.check) != rows ||
		d.accept2 != nil && len(d.accept2) != states {
		return errors.New("a table of rules has parts that do not belong together")
	}
	for i, base := range d.base {
		switch {
		case int64(d.def[i]) >= int64(states):
			return fmt.Errorf("state %d of a table of rules leads to one that is not there", i)
		case base&^(baseIndex|baseDiffEncode|baseOOB) != 0,
			base&baseDiffEncode != 0 && flags&flagDiffEncode == 0,
			base&baseOOB != 0 && (flags&flagOOB == 0 || base&baseIndex < 1):
			return fmt.Errorf("state %d of a table of rules has flags that are not known", i)
		case int(base&baseIndex)+classes > rows:
			return fmt.Errorf("state %d of a table of rules has a row that is not in the table", i)
		}
	}
	for i := range d.next {
		if int64(d.next[i]) >= int64(states) || int64(d.check[i]) >= int64(states) {
			return fmt.Errorf("transition %d of a table of rules leads to a state that is not there", i)
		}
	}
	if err := d.verifyChains(); err != nil {
		return err
	}
	for b := range classes {
		if d.step(0, byte(b)) != 0 {
			return errors.New("a table of rules goes on behind the state that matches nothing")
		}
	}
	return nil
}

// verifyChains checks that each chain of states that are encoded as differences ends.
func (d *dfa) verifyChains() error {
	const unknown, open = 0, -1
	length := make([]int32, len(d.base)) // of the chain that begins at a state
	var path []uint32
	for i := range d.base {
		path = path[:0]
		s := uint32(i)
		for d.base[s]&baseDiffEncode != 0 && length[s] == unknown {
			length[s] = open
			path = append(path, s)
			s = d.def[s]
		}
		if length[s] == open {
			return fmt.Errorf("state %d of a table of rules is the difference to itself", s)
		}
		n := length[s]
		for j := len(path) - 1; j >= 0; j-- {
			if n++; n > maxDiffChain {
				return fmt.Errorf("state %d of a table of rules is a difference of more than %d states", path[j], maxDiffChain)
			}
			length[path[j]] = n
		}
	}
	return nil
}

// step returns the state after one byte (match_char in the kernel's match.c).
func (d *dfa) step(s state, c byte) state {
	if d.equiv != nil {
		c = d.equiv[c]
	}
	for {
		base := d.base[s]
		if at := base&baseIndex + uint32(c); d.check[at] == uint32(s) {
			return state(d.next[at])
		}
		s = state(d.def[s])
		if base&baseDiffEncode == 0 {
			return s
		}
	}
}

// walk returns the state after all bytes (aa_dfa_match_len). It is step for each of them, in one loop.
func (d *dfa) walk(s state, text string) state {
	if s == 0 {
		return 0
	}
	equiv, states, rows := d.equiv, d.base, d.check
	next := d.next[:len(rows)]
	def := d.def[:len(states)]
	for i := range len(text) {
		c := text[i]
		if equiv != nil {
			c = equiv[c]
		}
		for {
			base := states[s]
			at := base&baseIndex + uint32(c)
			if rows[at] == uint32(s) {
				s = state(next[at])
				break
			}
			s = state(def[s])
			if base&baseDiffEncode == 0 {
				break
			}
		}
	}
	return s
}
