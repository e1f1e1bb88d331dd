package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// ErrNoBefore is the error of Lock.Before where the generation in force is the first that is kept.
var ErrNoBefore = errors.New("there is no generation before the one in force")

// Before returns the generation that was in force before the one that is. The error is ErrNoBefore where there is none.
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

// Again returns what an earlier generation has, to be put in force by Commit as a generation of its own. Every blob of it is
// there, whole, or it is an error.
func (l *Lock) Again(g *Generation) (*Compilation, error) {
	p, err := g.Index.Config()
	if err != nil {
		return nil, err
	}
	m, err := g.Manifest()
	if err != nil {
		return nil, err
	}
	c := &Compilation{Policy: p, Reused: len(p.Profiles), from: make([]ManifestSource, len(p.Profiles))}
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

// SaveTexts saves the texts of profiles for AppArmor's service, by profile, in the generation that has these profiles. They
// are the texts that the next generation lacks or changes, and a rollback needs them. SaveTexts first removes what an
// earlier call saved there: the apply of that call was cut off, or changed nothing.
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

// SavedText returns a text that SaveTexts has saved. The error wraps fs.ErrNotExist if there is none.
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
