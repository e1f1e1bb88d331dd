// Package apparmord keeps profiles where AppArmor's own tools look for them: each in a file in /etc/apparmor.d.
// AppArmor's service loads them from there at boot, and again when it is reloaded. aa-remove-unknown removes every
// profile that no file there defines, and so unconfines the processes under it; it leaves these profiles alone.
//
// The package reads and writes the files. Their texts come from profile.Compiler.Standalone. The caller decides which
// profiles have a file.
package apparmord

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/handloaded"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Dir is the path of the directory, /etc/apparmor.d outside of tests. This package never creates it: if it is missing,
// the machine has no AppArmor service.
type Dir string

// A File is one profile in the directory.
type File struct {
	Name     string // name of the profile
	By       By
	Source   string             // where the text came from, to show to a person
	Compiled []profile.Compiled // what Text compiles to: the profile, then its children
	Text     []byte

	// Edited reports whether somebody changed the text after this package wrote it. Compiled then belongs to the
	// earlier text.
	Edited bool

	// Stamp is the stamp that the file had when it was opened, at the time Read. Write and Stage do not use them.
	Stamp safefile.Stamp
	Read  time.Time
}

// As returns a hash of what a file that has not been edited is: who wrote it, for which profile, and what that compiles to.
func As(by By, name string, compiled []profile.Compiled) string {
	b := strconv.AppendQuote(strconv.AppendQuote(nil, string(by)), name)
	for _, c := range compiled {
		b = append(strconv.AppendQuote(b, c.Name), byte(c.Mode))
		b = append(append(b, c.SHA1[:]...), c.SHA256[:]...)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// By is the command that wrote a file.
type By string

const (
	Policy By = "policy apply"
	Hand   By = "profile load"
)

// suffix is the end of the files' names. apparmor_parser ignores files in a directory that end in ".orig", ".dpkg-old"
// and the like, and a profile's name may end so.
const suffix = ".oci-apparmor"

// Path returns the path of the file of a profile.
func (d Dir) Path(name string) string { return filepath.Join(string(d), name+suffix) }

// Exists reports whether the directory exists.
func (d Dir) Exists() bool {
	info, err := os.Stat(string(d))
	return err == nil && info.IsDir()
}

// header is the line of a file that this package reads.
type header struct {
	Profile  string                `json:"profile"`
	By       By                    `json:"by"`
	Source   string                `json:"source"`
	Compiled []handloaded.Compiled `json:"compiled"`
	Text     string                `json:"text"` // sha256 of what stands after the header
}

const headerMark = "# oci-apparmor: "

func (f *File) bytes() ([]byte, error) {
	sum := sha256.Sum256(f.Text)
	h, err := json.Marshal(header{f.Name, f.By, f.Source, handloaded.New(nil, profile.Blob{Profiles: f.Compiled}).Compiled,
		hex.EncodeToString(sum[:])})
	if err != nil {
		return nil, err
	}
	remover := "the next policy apply after the profile has left the policy"
	if f.By == Hand {
		remover = "profile unload"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Written by oci-apparmor %s; do not edit: %s removes it.\n", f.By, remover)
	fmt.Fprintf(&b, "# With it AppArmor's service loads the profile at boot, and aa-remove-unknown leaves it in the kernel.\n")
	fmt.Fprintf(&b, "%s%s\n", headerMark, h)
	b.Write(f.Text)
	return b.Bytes(), nil
}

// parse reads a file in the form that bytes returns.
func parse(name string, data []byte) (File, error) {
	notOurs := errors.New("it was not written by oci-apparmor")
	at := bytes.Index(data, []byte("\n"+headerMark))
	if at < 0 {
		return File{}, notOurs
	}
	line, text, _ := bytes.Cut(data[at+1+len(headerMark):], []byte("\n"))
	var h header
	if json.Unmarshal(line, &h) != nil || h.Profile != name || h.By != Policy && h.By != Hand {
		return File{}, notOurs
	}
	compiled, err := (&handloaded.Text{Name: h.Profile, Compiled: h.Compiled}).Profiles()
	if err != nil {
		return File{}, err
	}
	sum := sha256.Sum256(text)
	return File{Name: h.Profile, By: h.By, Source: h.Source, Compiled: compiled, Text: text,
		Edited: h.Text != hex.EncodeToString(sum[:])}, nil
}

// Files returns the files in the directory that oci-apparmor wrote, sorted by their names.
func (d Dir) Files() ([]File, error) {
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	return d.Read(names)
}

// Names returns the profiles of which the directory has a file with the name of one of ours, sorted. Whether oci-apparmor
// wrote a file, Read finds out.
func (d Dir) Names() ([]string, error) {
	names, err := filepath.Glob(filepath.Join(string(d), "*"+suffix))
	for i, path := range names {
		names[i] = strings.TrimSuffix(filepath.Base(path), suffix)
	}
	return names, err
}

// Read returns the files of the profiles called names, in their order. It leaves out files that oci-apparmor did not write.
func (d Dir) Read(names []string) ([]File, error) {
	files := make([]File, len(names))
	errs := make([]error, len(names))
	var readers sync.WaitGroup
	turn := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, name := range names {
		turn <- struct{}{}
		readers.Go(func() {
			defer func() { <-turn }()
			files[i], errs[i] = read(d.Path(name))
		})
	}
	readers.Wait()
	ours := files[:0]
	for i, err := range errs {
		if err == nil {
			ours = append(ours, files[i])
		} else if !errors.Is(err, ErrForeign) {
			return nil, err
		}
	}
	return ours, nil
}

// ErrForeign is the error for a file that has the name of one of ours and that oci-apparmor did not write.
var ErrForeign = errors.New("it was not written by oci-apparmor, and stays as it is")

func read(path string) (File, error) {
	foreign := fmt.Errorf("%s: %w", path, ErrForeign)
	now := time.Now()
	data, stamp, err := safefile.ReadWhole(safefile.Cwd, path, func(st *unix.Stat_t) error {
		if st.Size > 4*profile.MaxText {
			return foreign
		}
		return nil
	})
	var known *fs.PathError
	if errors.As(err, &known) && known.Err != unix.ELOOP && known.Err != unix.ENXIO { // not a link, and not a socket
		return File{}, err
	}
	if err != nil {
		return File{}, foreign
	}
	f, err := parse(strings.TrimSuffix(filepath.Base(path), suffix), data)
	if err != nil {
		return File{}, foreign
	}
	f.Stamp, f.Read = stamp, now
	return f, nil
}

// Write puts a file in place in one step, and replaces an earlier file of the profile. The error wraps ErrForeign if
// the present file is not ours.
func (d Dir) Write(f File) error {
	staged, err := d.Stage(f)
	if err != nil {
		return err
	}
	defer staged.Drop()
	if err := staged.Commit(); err != nil {
		return err
	}
	return d.Sync()
}

// Stage writes a file under a temporary name in the directory, so that errors such as a full disk occur before anything
// depends on the file. Commit of the result then puts it in place. Drop removes it unless Commit has put it in place.
// The error wraps ErrForeign if the present file is not ours.
func (d Dir) Stage(f File) (*safefile.Staged, error) {
	if err := profile.CheckName(f.Name); err != nil { // it becomes a path
		return nil, err
	}
	path := d.Path(f.Name)
	if _, err := read(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	data, err := f.bytes()
	if err != nil {
		return nil, err
	}
	return safefile.Stage(path, data, safefile.Options{Mode: 0o644, Sync: true}) // the parser passes over what begins with a dot
}

// Remove removes the file of a profile. It leaves a file that is not ours, and returns nil if there is no file of ours.
func (d Dir) Remove(name string) error {
	path := d.Path(name)
	if _, err := read(path); errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrForeign) {
		return nil
	} else if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return d.Sync()
}

// Sync writes the directory's entries to the disk (fsync), so that the next boot finds them.
func (d Dir) Sync() error { return safefile.SyncDir(string(d)) }

// skipped reports whether the parser ignores a file in the directory: by its name (_aa_is_blacklisted in
// libraries/libapparmor/src/private.c), or because an administrator has disabled it (test_for_dir_mode in
// parser/parser_main.c).
func (d Dir) skipped(name string) bool {
	if strings.HasPrefix(name, ".") || name == "README" {
		return true
	}
	for _, end := range []string{".dpkg-new", ".dpkg-old", ".dpkg-dist", ".dpkg-bak", ".dpkg-remove", ".pacsave", ".pacnew",
		".rpmnew", ".rpmsave", ".orig", ".rej", "~"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	_, err := os.Stat(filepath.Join(string(d), "disable", name))
	return err == nil
}

// Others returns the paths of the files that are not ours, by the names of the profiles that they define, without
// children. If two files define the same profile, the kernel has the one that was loaded last. ours reports whether
// Files returned a file for a profile.
func (d Dir) Others(ours func(name string) bool) (map[string]string, error) {
	others := map[string]string{}
	err := d.each(ours, func(path string, text []byte) {
		for _, name := range syntax.Read(string(text)).Profiles() {
			others[name] = path
		}
	})
	if err != nil {
		return nil, err
	}
	return others, nil
}

// Attachments returns the profiles in the directory that attach to programs by their path. The key is the profile's
// name; the value reports whether the profile attaches to the program at a path.
// Attachments considers only files that contain one of words. It does not read the files of profiles for which unread returns
// true: they must attach to none.
func (d Dir) Attachments(words []string, unread func(name string) bool) (map[string]func(path string) bool, error) {
	all := map[string]func(string) bool{}
	err := d.each(unread, func(_ string, text []byte) {
		if slices.ContainsFunc(words, func(w string) bool { return bytes.Contains(text, []byte(w)) }) {
			maps.Copy(all, syntax.Read(string(text)).Attachments())
		}
	})
	return all, err
}

// each calls f for each file that the parser reads as a profile, except the files of profiles for which ours returns
// true.
func (d Dir) each(ours func(name string) bool, f func(path string, text []byte)) error {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && ours(name) {
			continue
		}
		path := filepath.Join(string(d), e.Name())
		info, err := os.Stat(path) // through a link, as the parser reads it
		if err != nil || !info.Mode().IsRegular() || info.Size() > 4*profile.MaxText || d.skipped(e.Name()) {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f(path, data)
	}
	return nil
}
