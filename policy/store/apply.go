package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// maxGenerations is how many generations stay on disk: the one in force, and two before it. A container start that read
// the link or the index before an apply switched generations still reads a blob of an earlier one.
const maxGenerations = 3

// Apply compiles p as Compile does, from the generation in force, and then puts the outcome in force as Commit does.
func (l *Lock) Apply(ctx context.Context, p *policy.Config, c Compiler, m Manifest, report func(Progress)) (
	g *Generation, changed bool, err error) {
	from, _ := l.store.Current() // one that cannot be read has nothing to keep
	compiled, err := Compile(ctx, p, c, from, report)
	if err != nil {
		return nil, false, err
	}
	return l.Commit(compiled, m)
}

// Commit puts a compiled policy in force. One rename, after everything is written, switches to the new generation. On
// an error the generation that was in force stays in force.
//
// If the outcome equals the generation in force, byte for byte, Commit keeps that generation, writes only its manifest,
// and returns it with changed as false. The caller fills in m, but Commit sets Applied, Confirmed, Profiles,
// Requires and EnforceAfter itself.
func (l *Lock) Commit(c *Compilation, m Manifest) (g *Generation, changed bool, err error) {
	index, err := c.index()
	if err != nil {
		return nil, false, fmt.Errorf("writing the policy: %w", err)
	}
	now := time.Now().UTC().Round(0) // without the monotonic reading, which a file does not keep
	m.Applied, m.Confirmed, m.Profiles, m.Requires, m.EnforceAfter = now, now, sources(c), nil, nil
	for _, pr := range c.Policy.Profiles {
		if pr.EnforceAfter > 0 {
			if m.EnforceAfter == nil {
				m.EnforceAfter = make(map[string]time.Duration)
			}
			m.EnforceAfter[pr.Name] = pr.EnforceAfter
		}
	}
	if c.Policy.RequireTests {
		m.Requires = []string{requiresTests}
	}

	if err := l.clean(); err != nil {
		return nil, false, fmt.Errorf("cleaning up the store after an apply that was cut off: %w", err)
	}
	defer func() {
		if err != nil {
			// Free the space, above all on a full disk. The next apply removes whatever is left.
			_ = l.clean()
		}
	}()
	if err := l.writeBlobs(c); err != nil {
		return nil, false, fmt.Errorf("writing compiled profiles: %w", err)
	}
	l.remember(c)
	number, old, err := l.store.readCurrent()
	if err == nil && string(old) == string(index) {
		g, err := l.store.open(number, index)
		if err != nil {
			return nil, false, err
		}
		// The parser or the kernel may be others than when g was made, and g's manifest is to name the new ones.
		read := g.readManifest
		if c.source != nil && c.source.Number == number {
			read = c.source.Manifest // it has been read
		}
		if before, err := read(); err == nil {
			m.Applied = before.Applied
		}
		if err := l.writeManifest(generationPath(number), m); err != nil {
			return nil, false, err
		}
		return g, false, nil
	}
	// A current generation that cannot be read is replaced: that is how an administrator repairs it.
	number, err = l.nextNumber()
	if err != nil {
		return nil, false, err
	}
	g, err = l.store.open(number, index)
	if err != nil {
		return nil, false, err
	}
	if err := l.writeGeneration(number, index, m); err != nil {
		return nil, false, fmt.Errorf("writing generation %d: %w", number, err)
	}
	if err := l.switchTo(number); err != nil {
		return nil, false, fmt.Errorf("switching to generation %d: %w", number, err)
	}
	// The policy is in force. The next apply that changes something tries again to remove what is left.
	_ = l.prune(number)
	return g, true, nil
}

func sources(c *Compilation) []ManifestSource {
	if c.from != nil {
		return c.from
	}
	list := make([]ManifestSource, len(c.Policy.Profiles))
	for i, pr := range c.Policy.Profiles {
		list[i] = ManifestSource{
			Name:     pr.Name,
			Source:   pr.Source,
			Template: pr.Template,
			Text:     textHash(&pr),
			Blob:     hex.EncodeToString(pr.Blob[:]),
			Made:     madeOf(c.keys[i], pr.Blob),
			Said:     c.said[i],
		}
	}
	return list
}

// textHash returns the sha256 of a profile's text, in hexadecimal.
func textHash(p *policy.Profile) string {
	sum := sha256.Sum256(p.Text)
	if p.Unread != nil {
		sum = p.Unread.SHA256
	}
	return hex.EncodeToString(sum[:])
}

func (l *Lock) path(name string) string { return filepath.Join(l.store.Dir, name) }

// writeBlobs writes the blobs that are not there yet, or are damaged.
func (l *Lock) writeBlobs(c *Compilation) error {
	wrote := false
	for i, pr := range c.Policy.Profiles {
		if c.reused[i] {
			continue // it has been read
		}
		if _, err := l.store.readBlob(pr.Blob); err == nil {
			continue
		}
		if err := l.writeFile(blobPath(pr.Blob), c.blobs[i].Data); err != nil {
			return err
		}
		wrote = true
	}
	if !wrote {
		return nil
	}
	return l.sync("blobs")
}

// writeGeneration makes generations/N with all that is in it.
func (l *Lock) writeGeneration(number uint64, index []byte, m Manifest) error {
	final := generationPath(number)
	unfinished := "generations/." + strconv.FormatUint(number, 10)
	if err := l.step("make directory"); err != nil {
		return err
	}
	if err := os.Mkdir(l.path(unfinished), 0o700); err != nil {
		return err
	}
	if err := l.writeFile(unfinished+"/index", index); err != nil {
		return err
	}
	if err := l.writeManifest(unfinished, m); err != nil {
		return err
	}
	if err := l.sync(unfinished); err != nil {
		return err
	}
	if err := l.rename(unfinished, final); err != nil {
		return err
	}
	return l.sync("generations")
}

func (l *Lock) writeManifest(generation string, m Manifest) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return l.writeFile(generation+"/manifest.json", append(data, '\n'))
}

// switchTo puts a generation in force.
func (l *Lock) switchTo(number uint64) error {
	if err := l.step("link"); err != nil {
		return err
	}
	if err := os.Symlink(generationPath(number), l.path(".current")); err != nil {
		return err
	}
	if err := l.rename(".current", "current"); err != nil {
		return err
	}
	return l.sync(".")
}

// writeFile writes a file to the disk, and puts it in place.
func (l *Lock) writeFile(name string, data []byte) error {
	return safefile.Replace(name, data, safefile.Options{Dir: l.dir, Sync: true, Step: l.step})
}

// writeUnsynced is writeFile for a file that may be damaged after a crash of the machine.
func (l *Lock) writeUnsynced(name string, data []byte) error {
	return safefile.Replace(name, data, safefile.Options{Dir: l.dir, Step: l.step})
}

func (l *Lock) rename(from, to string) error {
	if err := l.step("rename to " + to); err != nil {
		return err
	}
	return os.Rename(l.path(from), l.path(to))
}

// sync writes a directory's entries to the disk (fsync).
func (l *Lock) sync(dir string) error {
	if err := l.step("sync " + dir); err != nil {
		return err
	}
	return safefile.SyncDir(l.path(dir))
}

// clean removes what an interrupted apply has left: files and directories whose names begin with a dot, and generations
// that were finished but never put in force.
func (l *Lock) clean() error {
	current, err := readLink(l.dir) // 0 where there is none yet
	known := err == nil || errors.Is(err, ErrNone)
	generations, err := l.numbers()
	if err != nil {
		return err
	}
	for _, n := range generations {
		if known && n > current {
			if err := l.remove(generationPath(n)); err != nil {
				return err
			}
		}
	}
	dirs := []string{".", "generations", "blobs"}
	if known && current > 0 {
		dirs = append(dirs, generationPath(current))
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(l.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				if err := l.remove(filepath.Join(dir, e.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// prune removes generations that are too old, and then the blobs that no other generation uses.
func (l *Lock) prune(current uint64) error {
	generations, err := l.numbers()
	if err != nil {
		return err
	}
	old := max(len(generations)-maxGenerations, 0)
	used := make(map[[sha256.Size]byte]bool) // generations share most blobs
	for _, n := range generations[old:] {
		index, err := readFile(l.dir, generationPath(n)+"/index", maxIndex)
		if err != nil {
			return err
		}
		g, err := l.store.open(n, index)
		if err != nil {
			return err
		}
		blobs, err := g.Index.Blobs()
		if err != nil {
			return err
		}
		for _, sum := range blobs {
			used[sum] = true
		}
	}
	for _, n := range generations[:old] {
		if err := l.remove(generationPath(n)); err != nil {
			return err
		}
	}
	names := make(map[string]bool, len(used))
	for sum := range used {
		names[filepath.Base(blobPath(sum))] = true
	}
	blobs, err := os.ReadDir(l.path("blobs"))
	if err != nil {
		return err
	}
	for _, b := range blobs {
		if !names[b.Name()] {
			if err := l.remove("blobs/" + b.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Lock) remove(name string) error {
	if err := l.step("remove " + name); err != nil {
		return err
	}
	return os.RemoveAll(l.path(name))
}

// numbers returns the numbers of the generations on disk, the oldest first.
func (l *Lock) numbers() ([]uint64, error) {
	entries, err := os.ReadDir(l.path("generations"))
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		n, err := strconv.ParseUint(e.Name(), 10, 64)
		if err == nil && generationPath(n) == "generations/"+e.Name() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func (l *Lock) nextNumber() (uint64, error) {
	numbers, err := l.numbers()
	if err != nil || len(numbers) == 0 {
		return 1, err
	}
	return numbers[len(numbers)-1] + 1, nil
}
