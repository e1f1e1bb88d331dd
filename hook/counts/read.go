package counts

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Total is a counter as it is now.
type Total struct {
	Name   string // a family's, or that of a histogram's Buckets or Sum; a later version may have others
	Labels map[string]string
	N      uint64
}

// File is which file has counters. Another one counts from nothing. The zero one is none.
type File struct{ Device, Inode uint64 }

// Totals are all counters since the machine was booted, or since somebody removed the file.
type Totals struct {
	File File
	All  []Total
	Lost uint64 // counts for which there was no room, and those of counters that cannot be read
}

// Read returns all counters. A file that is missing has none. Counters go on while they are read, and no number is read in
// part.
func (t *Table) Read() (Totals, error) {
	if t == nil {
		return Totals{}, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	m, err := t.mapping(false)
	if errors.Is(err, fs.ErrNotExist) {
		return Totals{}, nil
	}
	var all Totals
	if err == nil {
		all, err = m.read()
		all.File = File{m.st.Dev, m.st.Ino}
	}
	if err != nil {
		return Totals{}, fmt.Errorf("reading the counters in %s: %w", t.path, err)
	}
	return all, nil
}

func (m *mapping) read() (all Totals, err error) {
	type slot struct{ hash, number uint64 }
	var found [slots]slot
	if !m.guarded(func() {
		all.Lost = m.lost().Load()
		for i := 1; i < slots; i++ {
			found[i] = slot{m.hash(i).Load(), m.number(i).Load()}
		}
	}) {
		return Totals{}, ErrForeign
	}
	// The keys are read after the numbers: what was counted by then has its key.
	keys := make([]byte, slots*keySize)
	if _, err := safefile.IgnoringEINTR(func() (int, error) { return unix.Pread(m.fd, keys, tableSize) }); err != nil {
		return Totals{}, err
	}
	for i, s := range found {
		if s.number == 0 {
			continue
		}
		key, _, _ := bytes.Cut(keys[i*keySize:(i+1)*keySize], []byte{0})
		total, ok := parseKey(string(key))
		if !ok || hashOf(key) != s.hash&^mark {
			all.Lost += s.number // something else than this package has written here
			continue
		}
		total.N = s.number
		all.All = append(all.All, total)
	}
	return all, nil
}

// parseKey reads what Count.key writes.
func parseKey(key string) (t Total, ok bool) {
	name, rest, more := strings.Cut(key, " ")
	t = Total{Name: name, Labels: make(map[string]string)}
	for more {
		var field string
		field, rest, more = strings.Cut(rest, " ")
		label, value, ok := strings.Cut(field, "=")
		if !ok || label == "" || !isValue(label) || !isValue(value) {
			return Total{}, false
		}
		t.Labels[label] = value
	}
	return t, name != "" && isValue(name)
}
