// Package kerneltest is a kernel with AppArmor for tests: a directory of files that changes with every load as securityfs
// does. All of it is on disk, so several processes can use one.
package kerneltest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/internal/rawblob"
)

// Machine is such a kernel, in the directory Dir.
type Machine struct{ Dir string }

// New returns a machine without any profile, for one test.
func New(tb testing.TB) Machine {
	tb.Helper()
	m := Machine{Dir: tb.TempDir()}
	for _, dir := range []string{"fs/features", "fs/policy/profiles", "fs/policy/raw_data", "module", "paths", "sums"} {
		if err := os.MkdirAll(filepath.Join(m.Dir, dir), 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"fs/policy/revision": "0\n", "fs/profiles": "", "fs/.replace": "",
		"fs/.ns_stacked": "no\n", "fs/.ns_level": "0\n", "fs/.ns_name": "root\n",
		"module/enabled": "Y\n", "module/lock_policy": "N\n", "module/hash_policy": "Y\n", "module/mode": "enforce\n",
		"boot_id": "2f1e6a0c-93c5-4c1d-8f33-0a4b6c1d2e3f\n", "counter": "0",
	} {
		m.Write(tb, name, text)
	}
	return m
}

// Kernel returns access to it as to the real kernel.
func (m Machine) Kernel() *kernel.Kernel {
	return &kernel.Kernel{
		FS:           m.path("fs"),
		Module:       m.path("module"),
		State:        m.path("state"),
		BootID:       m.path("boot_id"),
		WriteReplace: m.Replace,
		WriteRemove:  m.RemoveProfile,
	}
}

// Write changes one of its files: "fs/policy/revision", "module/enabled", "boot_id", ...
func (m Machine) Write(tb testing.TB, name, text string) {
	tb.Helper()
	if err := os.WriteFile(m.path(name), []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
}

// Load loads a blob as somebody else on the machine does.
func (m Machine) Load(tb testing.TB, blob []byte) {
	tb.Helper()
	if err := m.replace(blob); err != nil {
		tb.Fatal(err)
	}
}

// Remove removes a profile with its children.
func (m Machine) Remove(tb testing.TB, name string) {
	tb.Helper()
	if err := m.RemoveProfile(name); err != nil {
		tb.Fatalf("remove profile %q: %v", name, err)
	}
}

// lock keeps other loads and removals of this machine out until it is released, as the kernel's lock of a namespace does.
func (m Machine) lock() (release func(), err error) {
	f, err := os.Open(m.Dir)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err == nil {
			return func() { _ = f.Close() }, nil
		}
		if err != unix.EINTR {
			return nil, errors.Join(err, f.Close())
		}
	}
}

// RemoveProfile does what one write to .remove does.
func (m Machine) RemoveProfile(name string) error {
	release, err := m.lock()
	if err != nil {
		return err
	}
	defer release()
	path, ok := m.Path(name)
	if !ok {
		return unix.ENOENT
	}
	paths, err := os.ReadDir(m.path("paths"))
	if err != nil {
		return err
	}
	for _, entry := range paths {
		if of, err := url.PathUnescape(entry.Name()); err == nil && (of == name || strings.HasPrefix(of, name+"//")) {
			os.Remove(m.path("paths/" + entry.Name()))
		}
	}
	return errors.Join(os.RemoveAll(path), m.unlist(name), m.bump())
}

// unlist removes a profile and its children from the file profiles.
func (m Machine) unlist(name string) error {
	text, err := os.ReadFile(m.path("fs/profiles"))
	if err != nil {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, name+" (") && !strings.HasPrefix(line, name+"//") {
			b.WriteString(line)
		}
	}
	return os.WriteFile(m.path("fs/profiles"), []byte(b.String()), 0o644)
}

// Poison makes a load fail as a name of 253 bytes does: after that, the machine takes no new bytes.
func (m Machine) Poison(tb testing.TB) {
	tb.Helper()
	if err := m.replace(Blob("poison", strings.Repeat("p", 253))); !errors.Is(err, unix.ENAMETOOLONG) {
		tb.Fatalf("the load that was to poison the machine: %v", err)
	}
}

// Path returns the directory of a loaded profile, "main" or "main//child".
func (m Machine) Path(name string) (string, bool) {
	path, err := os.ReadFile(m.index(name))
	return string(path), err == nil
}

// Writes returns how often Replace was called.
func (m Machine) Writes(tb testing.TB) int {
	tb.Helper()
	log, err := os.ReadFile(m.path("writes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		tb.Fatal(err)
	}
	return len(log)
}

// Replace does what one write to .replace does.
func (m Machine) Replace(blob []byte) error {
	release, err := m.lock()
	if err != nil {
		return err
	}
	defer release()
	return errors.Join(m.append("writes", "w"), m.replace(blob))
}

func (m Machine) append(name, text string) error {
	f, err := os.OpenFile(m.path(name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// replace does what aa_replace_profiles does (security/apparmor/policy.c), as far as it can be seen.
func (m Machine) replace(blob []byte) error {
	profiles, err := rawblob.Walk(blob)
	if err != nil {
		return unix.EPROTO
	}
	sum := sha256.Sum256(blob)
	known := m.path("sums/" + hex.EncodeToString(sum[:]))
	raw, err := os.ReadFile(known)
	if err != nil {
		if raw, err = os.ReadFile(m.path("fs/policy/revision")); err != nil {
			return err
		}
		raw = []byte(strings.TrimSpace(string(raw)))
		dir := m.path("fs/policy/raw_data/" + string(raw))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return unix.EEXIST
		}
		if err := errors.Join(os.WriteFile(dir+"/raw_data", blob, 0o644), os.WriteFile(dir+"/revision", []byte("0\n"), 0o644)); err != nil {
			return err
		}
		for _, p := range profiles {
			for component := range strings.SplitSeq(p.Name, "//") {
				if len(component) > 252 {
					return unix.ENAMETOOLONG
				}
			}
		}
		err = errors.Join(os.WriteFile(dir+"/sha256", []byte(hex.EncodeToString(sum[:])+"\n"), 0o644), os.WriteFile(known, raw, 0o644))
		if err != nil {
			return err
		}
	}
	for _, p := range profiles {
		if err := m.put(p, string(raw)); err != nil {
			return err
		}
	}
	if err := m.bump(); err != nil {
		return err
	}
	revision, err := os.ReadFile(m.path("fs/policy/revision"))
	return errors.Join(err, os.WriteFile(m.path("fs/policy/raw_data/"+string(raw)+"/revision"), revision, 0o644))
}

// put makes a profile the current one of its name.
func (m Machine) put(p rawblob.Profile, raw string) error {
	path, loaded := m.Path(p.Name)
	last := p.Name
	if !loaded {
		parent := m.path("fs/policy")
		if at := strings.LastIndex(p.Name, "//"); at >= 0 {
			var ok bool
			if parent, ok = m.Path(p.Name[:at]); !ok {
				return unix.ENOENT
			}
			last = p.Name[at+2:]
		}
		n, err := m.count()
		if err != nil {
			return err
		}
		path = filepath.Join(parent, "profiles", mangle(last)+"."+strconv.Itoa(n))
		attach := last
		if head, _, _ := bytes.Cut(p.Body, []byte("flags\x00")); bytes.Contains(head, []byte("aadfa\x00")) {
			attach = "<unknown>"
		}
		err = errors.Join(os.MkdirAll(path, 0o755), os.WriteFile(path+"/name", []byte(last+"\n"), 0o644),
			os.WriteFile(path+"/mode", []byte("enforce\n"), 0o644), os.WriteFile(path+"/attach", []byte(attach+"\n"), 0o644),
			os.WriteFile(m.index(p.Name), []byte(path), 0o644), m.append("fs/profiles", p.Name+" (enforce)\n"))
		if err != nil {
			return err
		}
	}
	link := strings.Repeat("../../", 1+strings.Count(p.Name, "//")) + "raw_data/" + raw + "/raw_data"
	if old, err := os.Readlink(path + "/raw_data"); err == nil && old == link {
		return nil // "same as current profile, skipping"
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	os.Remove(path + "/raw_data")
	sum := sha256.Sum256(append(binary.LittleEndian.AppendUint32(nil, p.Version), p.Body...))
	err = errors.Join(os.Symlink(link, path+"/raw_data"),
		os.WriteFile(path+"/sha256", []byte(hex.EncodeToString(sum[:])+"\n"), 0o644))
	// Of loads and replacements that follow each other so fast the clock of a file system shows one.
	now := time.Now()
	if last := info.ModTime(); loaded && !now.After(last) {
		now = last.Add(time.Microsecond)
	}
	return errors.Join(err, os.Chtimes(path, time.Time{}, now))
}

// mangle is the kernel's rule, for the names of tests.
func mangle(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '/':
			return '.'
		case r == ' ':
			return '_'
		case r < 0x80 && (strings.ContainsRune("._-", r) || '0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z'):
			return r
		}
		return -1
	}, strings.TrimLeft(name, "/."))
}

// count returns the number for the next directory.
func (m Machine) count() (int, error) { return m.add("counter", "") }

func (m Machine) bump() error {
	_, err := m.add("fs/policy/revision", "\n")
	return err
}

func (m Machine) add(name, end string) (int, error) {
	text, err := os.ReadFile(m.path(name))
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(string(text), end))
	if err != nil {
		return 0, err
	}
	// Renamed into place, since others read it at any moment, and the kernel's is never half written.
	temp := m.path("next")
	return n + 1, errors.Join(os.WriteFile(temp, []byte(strconv.Itoa(n+1)+end), 0o644), os.Rename(temp, m.path(name)))
}

// index returns the file that has the path of a profile's directory. It makes thousands of loads fast.
func (m Machine) index(name string) string { return m.path("paths/" + url.PathEscape(name)) }

func (m Machine) path(name string) string { return filepath.Join(m.Dir, name) }

// Blob returns the smallest compiled profiles that profile.Parse takes: a main profile, and perhaps children "main//child".
// content is any text that makes them differ from others of the same names.
func Blob(content string, names ...string) []byte {
	var b []byte
	for _, name := range names {
		b = appendProfile(b, name, "", content)
	}
	return b
}

// Attached returns a compiled profile that is not ours: it is attached to the program of a path.
func Attached(content, name, path string) []byte { return appendProfile(nil, name, path, content) }

func appendProfile(b []byte, name, attach, content string) []byte {
	str := func(code byte, s string) {
		b = append(b, code)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(s)+1))
		b = append(append(b, s...), 0)
	}
	number := func(n uint32) { b = binary.LittleEndian.AppendUint32(append(b, 2), n) }
	const named, text, blob, open, end = 4, 5, 6, 7, 8

	str(named, "version")
	number(0x202007)
	str(named, "profile")
	b = append(b, open)
	str(text, name)
	if attach != "" {
		str(named, "aadfa")
		table := automaton(attach)
		b = binary.LittleEndian.AppendUint32(append(b, 6), uint32(len(table)))
		b = append(b, table...)
	}
	str(named, "flags")
	b = append(b, open)
	number(0)
	number(0) // enforce
	number(0)
	b = append(b, end)
	str(named, "path_flags")
	number(0x10004) // attach_disconnected, mediate_deleted
	for range 4 {   // capabilities
		number(0)
	}
	str(named, "policydb")
	b = append(b, open)
	str(named, "aadfa")
	table := allowing()
	b = append(binary.LittleEndian.AppendUint32(append(b, blob), uint32(len(table))), table...)
	b = append(b, end)
	str(named, "data")
	b = append(b, open)
	str(text, "content")
	b = binary.LittleEndian.AppendUint32(append(b, blob), uint32(len(content)))
	b = append(b, content...)
	b = append(b, end)
	return append(b, end)
}

// allowing returns a table of rules that mediates all classes and allows everything: each input in state 1 leads to state
// 2, which allows and is never left. The layout is that of package meaning.
func allowing() []byte {
	const states, rows = 3, 256
	b := []byte{0x1b, 0x5e, 0x78, 0x3d, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0}
	table := func(id, width byte, entries int, last ...uint32) {
		b = append(b, 0, id, 0, width, 0, 0, 0, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(entries))
		b = append(b, make([]byte, int(width)*(entries-len(last)))...)
		for _, v := range last {
			if width == 2 {
				b = binary.BigEndian.AppendUint16(b, uint16(v))
			} else {
				b = binary.BigEndian.AppendUint32(b, v)
			}
		}
		b = append(b, make([]byte, -len(b)&7)...)
	}
	table(1, 4, states, 0x1fffff) // accept
	table(7, 4, states)           // accept2
	table(2, 4, states)           // base
	table(4, 2, states, 2, 2)     // default
	table(8, 2, rows)             // next
	table(3, 2, rows)             // check: no transition but the defaults
	return b
}

// automaton returns the table of states that accepts one path. Its layout is that of apparmor_parser and the kernel (struct
// table_header, security/apparmor/include/match.h), but less dense: state i+1 is the state after i characters.
func automaton(path string) []byte {
	states := len(path) + 2
	accept, base, def := make([]uint32, states), make([]uint32, states), make([]uint32, states)
	next, check := make([]uint32, 256*states), make([]uint32, 256*states)
	accept[states-1] = 1
	for i := range states {
		base[i] = uint32(256 * i)
		if i > 0 && i <= len(path) {
			at := 256*i + int(path[i-1])
			next[at], check[at] = uint32(i+1), uint32(i)
		}
	}
	big := binary.BigEndian
	b := big.AppendUint32(nil, 0x1B5E783D)
	b = append(big.AppendUint32(b, 24), make([]byte, 16)...)
	for _, t := range []struct {
		id     uint16
		values []uint32
	}{{1, accept}, {2, base}, {4, def}, {8, next}, {3, check}} {
		b = big.AppendUint16(big.AppendUint16(b, t.id), 4)
		b = big.AppendUint32(big.AppendUint32(b, 0), uint32(len(t.values)))
		for _, v := range t.values {
			b = big.AppendUint32(b, v)
		}
		b = append(b, make([]byte, -len(b)&7)...)
	}
	return b
}
