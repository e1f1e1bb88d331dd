package profile

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
)

// Inputs computes keys by which a caller recognizes, without a compilation, that a text compiles to the same as before.
// A key covers everything that decides the outcome: the text, every file that it can include or name as its ABI, the
// parser's program, its configuration, the kernel's features, and this program's version. The version decides how this
// program calls the parser, and what it refuses.
//
// A key covers the content of files. It may cover more files than the parser reads; if such a file changes, a text is
// compiled once more without need. So Inputs need not read a text exactly as the parser does. Inputs reads each file
// only once, so use a new one for each apply.
type Inputs struct {
	Parser string // sha256 of the parser's program, in hexadecimal

	program string   // the parser's path
	dirs    []string // where includes are looked for
	common  []byte

	mu    sync.Mutex
	files map[string]*input
	keys  map[string][]byte // what files make of a set of names, by these
}

// input is a file or directory that a text can include, or the fact that none exists at a path.
type input struct {
	state []byte   // what of it decides
	names []string // that it includes in turn
	err   error    // it cannot be told

	encoding error // of CheckEncoding
}

const (
	maxInput     = 8 << 20 // bytes of an included file
	maxInputs    = 10_000  // files that one text includes
	inputsScheme = "oci-apparmor inputs 2"
)

// Inputs returns a new Inputs for this compiler, from the parser and its configuration as they are now. It does not read the
// parser's program if before, which may be nil, has it, and adds it to before if not.
func (c *Compiler) Inputs(before *seen.Files) (*Inputs, error) {
	return c.inputs("/proc/self/exe", before)
}

// inputs is Inputs for a program at a path.
func (c *Compiler) inputs(program string, before *seen.Files) (*Inputs, error) {
	in := &Inputs{
		program: c.Parser,
		dirs:    []string{cmp.Or(c.Base, BaseDir)},
		files:   make(map[string]*input),
		keys:    make(map[string][]byte),
	}
	h := sha256.New()
	add(h, []byte(inputsScheme))
	var err error
	if in.Parser, err = hashProgram(c.Parser, before); err != nil {
		return nil, fmt.Errorf("read %s: %w", c.Parser, err)
	}
	add(h, []byte(c.Parser))
	add(h, []byte(in.Parser))
	self, err := identity(program)
	if err != nil {
		return nil, fmt.Errorf("look at this program: %w", err)
	}
	add(h, self)
	add(h, c.features)
	conf, err := os.ReadFile(cmp.Or(c.Conf, ConfFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	add(h, conf)
	// Whatever files the configuration names count, and of its directories those in which includes are looked for.
	for _, word := range strings.FieldsFunc(string(conf), func(r rune) bool { return strings.ContainsRune(" \t\r\n=,", r) }) {
		if !strings.HasPrefix(word, "/") {
			continue
		}
		if info, err := os.Stat(word); err == nil && info.IsDir() {
			in.dirs = append(in.dirs, word)
			continue
		}
		f := in.file(word)
		if f.err != nil {
			return nil, f.err
		}
		add(h, []byte(word))
		add(h, f.state)
	}
	in.common = h.Sum(nil)
	return in, nil
}

// add hashes the length of b and then b, so that two different sequences of calls never hash the same bytes.
func add(h hash.Hash, b []byte) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(b)))
	h.Write(n[:])
	h.Write(b)
}

// hashProgram returns the sha256 of a program, in hexadecimal. A link is followed, and what it leads to is read each time.
func hashProgram(path string, before *seen.Files) (string, error) {
	if hash, ok := before.Unchanged(seen.Program, path); ok {
		return hash, nil
	}
	now := time.Now()
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	hash := hex.EncodeToString(h.Sum(nil))
	before.Add(seen.Program, path, safefile.StampOf(&st), now, hash)
	return hash, nil
}

// identity returns a string that changes if another program replaces the one at path: no other has the same inode and
// the same time of its last change.
func identity(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Appendf(nil, "%d %d %d %d.%d %d.%d", st.Dev, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec), nil
}

// Key returns the key of a text that is compiled as the profile called name in mode. Equal keys mean equal outcomes.
// The error says why the text has no key; such a text may still compile.
func (in *Inputs) Key(name string, mode Mode, text Digest) ([sha256.Size]byte, error) {
	files, err := in.closure(text.Includes)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	h := sha256.New()
	add(h, in.common)
	add(h, []byte(name))
	add(h, []byte{byte(mode)})
	add(h, text.SHA256[:])
	add(h, files)
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// Files returns the paths that the keys depend on so far, in order: of the parser, of its configuration, and of files that
// texts may include. There need not be a file at each.
func (in *Inputs) Files() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Sorted(func(yield func(string) bool) {
		if !yield(in.program) {
			return
		}
		for path := range in.files {
			if !yield(path) {
				return
			}
		}
	})
}

// closure returns a hash of all files that names lead to, directly or through other files.
func (in *Inputs) closure(names []string) ([]byte, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	set := strings.Join(names, "\x00")
	if known := in.keys[set]; known != nil {
		return known, nil
	}
	seen := make(map[string]bool)
	var paths []string
	for todo := names; len(todo) > 0; todo = todo[1:] {
		for _, path := range in.places(todo[0]) {
			if seen[path] {
				continue
			}
			if len(seen) == maxInputs {
				return nil, fmt.Errorf("it includes more than %d files", maxInputs)
			}
			seen[path] = true
			paths = append(paths, path)
			f := in.file(path)
			if f.err != nil {
				return nil, f.err
			}
			todo = append(slices.Clip(todo), f.names...)
		}
	}
	slices.Sort(paths)
	h := sha256.New()
	for _, path := range paths {
		add(h, []byte(path))
		add(h, in.files[path].state)
	}
	in.keys[set] = h.Sum(nil)
	return in.keys[set], nil
}

// places returns the paths at which the file of an include may be. The parser looks for <NAME> in its directories, and
// for "NAME" in its working directory, which is the root directory.
func (in *Inputs) places(name string) []string {
	var paths []string
	for _, dir := range append([]string{"/"}, in.dirs...) {
		paths = append(paths, dir+"/"+name) // not cleaned: .. after a link leads elsewhere
	}
	return paths
}

// file reads what is at a path. The caller holds in.mu, or is the only one that has in.
func (in *Inputs) file(path string) *input {
	if f := in.files[path]; f != nil {
		return f
	}
	f := readInput(path)
	in.files[path] = f
	return f
}

func readInput(path string) *input {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return &input{state: []byte("none")}
	}
	if err != nil {
		return &input{err: err}
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return &input{err: err}
	case info.IsDir():
		entries, err := file.ReadDir(maxInputs + 1)
		if err != nil && !errors.Is(err, io.EOF) || len(entries) > maxInputs {
			return &input{err: fmt.Errorf("the directory %s cannot be read, or is too large: %w", path, err)}
		}
		f := &input{state: []byte("directory")}
		for _, e := range entries { // in the directory's order, which may be the parser's
			f.state = append(append(f.state, 0), e.Name()...)
			if !e.IsDir() {
				f.names = append(f.names, path+"/"+e.Name())
			}
		}
		return f
	case !info.Mode().IsRegular():
		return &input{err: fmt.Errorf("%s is neither file nor directory", path)}
	}
	text, err := io.ReadAll(io.LimitReader(file, maxInput+1))
	if err == nil && len(text) > maxInput {
		err = fmt.Errorf("%s has more than %d bytes", path, maxInput)
	}
	if err != nil {
		return &input{err: err}
	}
	sum := sha256.Sum256(text)
	f := &input{state: append([]byte("file"), sum[:]...)}
	f.names, f.err = syntax.MayInclude(text)
	f.encoding = CheckEncoding(text)
	return f
}

// includedEncoding returns the error of CheckEncoding for a file that a text includes, with the file's name. It returns nil
// if there is no such file, or if the files cannot be read.
func (c *Compiler) includedEncoding(text []byte) error {
	in, err := c.Inputs(nil)
	if err != nil {
		return nil
	}
	names, err := syntax.MayInclude(text)
	if err != nil {
		return nil
	}
	_, _ = in.closure(names) // what it has read counts
	for _, path := range slices.Sorted(maps.Keys(in.files)) {
		if err := in.files[path].encoding; err != nil {
			return fmt.Errorf("%s, which it includes: %w", oneline.Whole(strings.ReplaceAll(path, "//", "/")), err)
		}
	}
	return nil
}
