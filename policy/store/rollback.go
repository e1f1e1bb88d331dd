package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// ErrNoBefore is the error of Lock.Before if no older generation than the one in force is on disk.
var ErrNoBefore = errors.New("there is no generation before the one in force")

// Before returns the generation on disk with the highest number below that of the one in force. It returns ErrNoBefore
// if there is none.
func (l *Lock) Before() (*Generation, error) {
	current, err := readLink(l.dir)
	if err != nil {
		return nil, err
	}
	numbers, err := l.numbers()
	if err != nil {
		return nil, err
	}
	at := slices.Index(numbers, current)
	if at < 1 {
		return nil, ErrNoBefore
	}
	number := numbers[at-1]
	if err := checkDir(l.dir, generationPath(number)); err != nil {
		return nil, err
	}
	index, err := readFile(l.dir, generationPath(number)+"/index", maxIndex)
	if err != nil {
		return nil, err
	}
	return l.store.open(number, index)
}

// Again returns the policy and the blobs of an earlier generation, for Commit to put them in force as a new generation.
// It returns an error if one of the blobs is missing or damaged.
func (l *Lock) Again(g *Generation) (*Compilation, error) {
	p, err := g.Index.Config()
	if err != nil {
		return nil, err
	}
	m, err := g.Manifest()
	if err != nil {
		return nil, err
	}
	p.RequireTests = slices.Contains(m.Requires, requiresTests)
	m.times(p)
	c := &Compilation{Policy: p, Reused: len(p.Profiles), from: make([]ManifestSource, len(p.Profiles)),
		index: sync.OnceValues(p.Encode)}
	for i, pr := range p.Profiles {
		data, err := g.Blob(pr)
		if err != nil {
			return nil, err
		}
		c.blobs = append(c.blobs, profile.Blob{Data: data, Profiles: pr.Compiled})
		c.reused = append(c.reused, true)
		at := slices.IndexFunc(m.Profiles, func(s ManifestSource) bool { return s.Name == pr.Name })
		if at < 0 {
			return nil, fmt.Errorf("generations/%d/manifest.json says nothing of profile %s", g.Number, pr.Name)
		}
		c.from[i] = m.Profiles[at]
	}
	return c, nil
}

// SaveTexts saves texts for AppArmor's service, by the name of their profile, in the generation that has these
// profiles. The next generation lacks or changes these texts, and a rollback needs them. SaveTexts first removes what
// an earlier call saved there: the apply of that call was interrupted, or changed nothing.
func (l *Lock) SaveTexts(g *Generation, texts map[string][]byte) error {
	dir := generationPath(g.Number) + "/texts"
	if _, err := os.Lstat(l.path(dir)); err == nil {
		if err := l.remove(dir); err != nil {
			return err
		}
	}
	if len(texts) == 0 {
		return nil
	}
	if err := os.Mkdir(l.path(dir), 0o700); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if err := profile.CheckName(name); err != nil { // it becomes a path
			return err
		}
		if err := l.writeFile(dir+"/"+name, texts[name]); err != nil {
			return err
		}
	}
	return errors.Join(l.sync(dir), l.sync(generationPath(g.Number)))
}

// SavedText returns the text of a profile that SaveTexts has saved in g. The error wraps fs.ErrNotExist if there is
// none.
func (l *Lock) SavedText(g *Generation, name string) ([]byte, error) {
	if err := profile.CheckName(name); err != nil {
		return nil, err
	}
	dir := generationPath(g.Number) + "/texts"
	if err := checkDir(l.dir, dir); err != nil {
		return nil, err
	}
	return readFile(unix.AT_FDCWD, filepath.Join(l.store.Dir, dir, name), 4*profile.MaxText)
}
