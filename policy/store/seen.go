package store

import (
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/seen"
)

// maxSeen is the greatest size of the file in bytes. Each of a thousand profiles takes 500.
const maxSeen = 16 << 20

// Seen returns the files that applies before this one have read, for an apply that begins with g. They are the blobs, and
// what the caller adds. It reads them once, and returns nil if g is nil. What cannot be read or trusted counts as none.
func (g *Generation) Seen() *seen.Files {
	if g == nil {
		return nil
	}
	g.seen.Do(func() {
		data, _ := readFile(unix.AT_FDCWD, filepath.Join(g.store.Dir, "seen"), maxSeen)
		g.seen.Files = seen.Parse(data)
	})
	return g.seen.Files
}

// remember writes which files the apply of c has read. If that fails, the next apply reads more than it needs to.
func (l *Lock) remember(c *Compilation) {
	if files := c.source.Seen(); files.Changed() {
		_ = l.writeUnsynced("seen", files.Bytes())
	}
}
