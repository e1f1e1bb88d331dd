package store

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// EarlierOf returns, for each generation that Earlier returns, what the profile of this name was compiled to, the
// newest first. It leaves out generations without the profile.
func (s Store) EarlierOf(name string) (all [][]profile.Compiled) {
	for _, g := range s.Earlier() {
		if p, ok := g.Index.Profile(name); ok {
			all = append(all, p.Compiled)
		}
	}
	return all
}

// Earlier returns the generations on disk that are older than the one in force, the newest first. It leaves out those
// that cannot be read or trusted, since no decision depends on them.
func (s Store) Earlier() []*Generation {
	dir, err := s.openDir()
	if err != nil {
		return nil
	}
	defer unix.Close(dir)
	current, err := readLink(dir)
	if err != nil || checkDir(dir, "generations") != nil {
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(s.Dir, "generations"))
	if err != nil {
		return nil
	}
	var all []*Generation
	for _, e := range entries {
		number, err := strconv.ParseUint(e.Name(), 10, 64)
		if err != nil || number >= current || checkDir(dir, generationPath(number)) != nil {
			continue
		}
		index, err := readFile(dir, generationPath(number)+"/index", maxIndex)
		if err != nil {
			continue
		}
		if g, err := s.open(number, index); err == nil {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b *Generation) int { return int(int64(b.Number) - int64(a.Number)) })
	return all
}
