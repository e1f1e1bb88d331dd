package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Status is how the kernel's profile of a name compares with ours.
type Status uint8

const (
	Missing Status = iota // no profile of that name is loaded
	Drifted               // its content or that of a child differs, or it has a child that ours does not have
	Matches               // it and its children have our content
)

// Found is the result of a check.
type Found struct {
	Status Status
	Dir    string // the main profile's directory below policy/profiles, unless Missing

	// If Drifted: the first profile that differs, "main" or "main//child", and the hashes as "sha256:HEX" or "sha1:HEX".
	// Have is "none" if the kernel has no such child or keeps no hash of it. Want is empty for a child that ours does not
	// have.
	Part, Have, Want string
}

// LeftChild returns the name of a child that only the kernel's profile has, if that is the only difference. Else it returns
// an empty string.
func (f Found) LeftChild() string {
	if f.foreignChild() {
		return f.Part
	}
	return ""
}

// foreignChild reports whether a child that only the kernel's profile has is the only difference. To replace a profile does
// not remove such a child (__replace_profile, security/apparmor/policy.c). A process can enter it, if it is a hat, without
// a rule that allows it (aa_change_hat, security/apparmor/domain.c).
func (f Found) foreignChild() bool { return f.Status == Drifted && f.Want == "" }

// Check compares the kernel's hashes with those of p. It writes nothing and needs no privilege.
//
// The kernel must have no child that p does not have, except those that complain mode makes ("main//null-...").
func (k *Kernel) Check(p Profile) (Found, error) { return k.CheckIn("", p) }

// CheckIn is Check for a profile whose directory is probably dir, see Loaded.Dir. If it is, CheckIn does not search.
func (k *Kernel) CheckIn(dir string, p Profile) (Found, error) {
	if err := p.check(); err != nil {
		return Found{}, err
	}
	found, err := k.check(&p, dir)
	if err != nil {
		return Found{}, k.explain(err)
	}
	return found, nil
}

// check compares the kernel's profile with p. It tries the directory hint before it searches.
func (k *Kernel) check(p *Profile, hint string) (Found, error) {
	dir, err := k.locate(k.profiles(), p.Name, hint)
	if err != nil || dir == "" {
		return Found{}, err
	}
	for i := range p.Compiled {
		c := &p.Compiled[i]
		path := k.profiles() + "/" + dir
		if i > 0 {
			if path, err = k.child(path, c.Name[len(p.Name)+len(childSeparator):]); err != nil {
				return Found{}, err
			}
		}
		have, want := "none", "sha256:"+hex.EncodeToString(c.SHA256[:])
		if path != "" {
			if have, want, err = hashes(path, c); err != nil {
				return Found{}, err
			}
		}
		if have == "none" && i == 0 {
			if is, err := hasName(path, p.Name); !is || err != nil {
				return Found{}, err // removed meanwhile
			}
		}
		if have != want {
			return Found{Status: Drifted, Dir: dir, Part: c.Name, Have: have, Want: want}, nil
		}
		other, err := k.foreignChild(path, c, p)
		if err != nil {
			return Found{}, err
		}
		if other != "" {
			return Found{Status: Drifted, Dir: dir, Part: other, Have: "there"}, nil
		}
	}
	return Found{Status: Matches, Dir: dir}, nil
}

// foreignChild returns the name of a child of c that p does not have, or "". path is the directory of c.
func (k *Kernel) foreignChild(path string, c *profile.Compiled, p *Profile) (name string, err error) {
	err = list(path+"/profiles", func(dir string) (more bool, err error) {
		var buf [4096]byte
		text, err := readOnce(path+"/profiles/"+dir+"/name", 0, buf[:])
		if err == unix.ENOENT {
			return true, nil // removed meanwhile
		}
		if err != nil {
			return false, &os.PathError{Op: "read", Path: path + "/profiles/" + dir + "/name", Err: err}
		}
		child := strings.TrimSuffix(string(text), "\n")
		if c.Mode == profile.Complain && strings.HasPrefix(child, "null-") {
			return true, nil
		}
		full := c.Name + childSeparator + child
		if slices.ContainsFunc(p.Compiled, func(o profile.Compiled) bool { return o.Name == full }) {
			return true, nil
		}
		name = full
		return false, nil
	})
	if errors.Is(err, fs.ErrNotExist) { // the directory comes with the first child
		err = nil
	}
	return name, err
}

// childSeparator stands between the name of a profile and the name of its child or hat.
const childSeparator = "//"

// child returns the directory of a profile's descendant, or "" if the kernel has none. components is the descendant's name
// without the profile's. The descendant's directory and name file have only its last component.
func (k *Kernel) child(path, components string) (string, error) {
	for component := range strings.SplitSeq(components, childSeparator) {
		path += "/profiles"
		dir, err := k.locate(path, component, "")
		if errors.Is(err, fs.ErrNotExist) { // the directory comes with the first child
			return "", nil
		}
		if err != nil || dir == "" {
			return "", err
		}
		path += "/" + dir
	}
	return path, nil
}

// hashes returns the kernel's hash of the profile in a directory, and the hash of c by the same function.
func hashes(path string, c *profile.Compiled) (have, want string, err error) {
	var buf [2*sha256.Size + 8]byte
	text, err := readOnce(path+"/sha256", 0, buf[:])
	function, sum := "sha256:", c.SHA256[:]
	if err == unix.ENOENT { // before 6.8
		text, err = readOnce(path+"/sha1", 0, buf[:])
		function, sum = "sha1:", c.SHA1[:]
	}
	switch {
	case err == unix.ENOENT:
		return "none", "sha256:" + hex.EncodeToString(c.SHA256[:]), nil
	case err != nil:
		return "", "", &os.PathError{Op: "read hash below", Path: path, Err: err}
	}
	want = function + hex.EncodeToString(sum)
	digits := strings.TrimSuffix(string(text), "\n")
	if _, err := hex.DecodeString(digits); err != nil || len(digits) != 2*len(sum) {
		return "malformed", want, nil
	}
	return function + digits, want, nil
}

// locate returns the name of a profile's directory in the directory profiles, or "" if there is none. name is the profile's
// name or its last component. locate tries hint before it searches.
func (k *Kernel) locate(profiles, name, hint string) (string, error) {
	mangled := mangle(name)
	if isDirOf(hint, mangled) {
		if is, err := hasName(profiles+"/"+hint, name); is || err != nil {
			return hint, err
		}
	}
	var found string
	err := list(profiles, func(dir string) (more bool, err error) {
		if !isDirOf(dir, mangled) {
			return true, nil
		}
		is, err := hasName(profiles+"/"+dir, name)
		if is {
			found = dir
		}
		return !is, err
	})
	return found, err
}

// list calls each with the entries of a directory, in no order, until each returns false. It does not sort them or read
// more than it needs, because there may be thousands.
func list(path string, each func(name string) (more bool, err error)) error {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY, 0) // os.Open would make a poller for it
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	for {
		names, err := f.Readdirnames(512)
		for _, name := range names {
			if more, err := each(name); !more || err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// hasName reports whether a directory is that of the profile name. Its name file must say exactly that, because profiles of
// different names may have similar directories.
func hasName(path, name string) (bool, error) {
	var stack [512]byte
	buf := stack[:]
	if len(name)+2 > len(buf) {
		buf = make([]byte, len(name)+2)
	}
	text, err := readOnce(path+"/name", 0, buf)
	switch {
	case err == unix.ENOENT || err == unix.ENOTDIR:
		return false, nil // removed meanwhile
	case err != nil:
		return false, &os.PathError{Op: "read", Path: path + "/name", Err: err}
	}
	return len(text) == len(name)+1 && string(text[:len(name)]) == name && text[len(name)] == '\n', nil
}

// isDirOf reports whether dir is a mangled name, a dot and digits. That is how the kernel names a profile's directory
// (__aafs_profile_mkdir, security/apparmor/apparmorfs.c). Such a string cannot lead to another directory.
func isDirOf(dir, mangled string) bool {
	digits, ok := strings.CutPrefix(dir, mangled)
	if !ok || len(digits) < 2 || digits[0] != '.' {
		return false
	}
	for _, c := range []byte(digits[1:]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// mangle is the kernel's mangle_name (security/apparmor/apparmorfs.c) for ASCII. It drops leading slashes and dots, makes
// dots of slashes and underscores of blanks, and keeps letters, digits, dots, underscores and dashes of the rest.
func mangle(name string) string {
	plain := name != "" && name[0] != '.'
	for i := 0; i < len(name) && plain; i++ {
		plain = stays(name[i])
	}
	if plain {
		return name
	}
	mangled := make([]byte, 0, len(name))
	for _, c := range []byte(strings.TrimLeft(name, "/.")) {
		switch {
		case c == '/':
			mangled = append(mangled, '.')
		case c == ' ' || '\t' <= c && c <= '\r':
			mangled = append(mangled, '_')
		case stays(c):
			mangled = append(mangled, c)
		}
	}
	return string(mangled)
}

func stays(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// check returns an error if p does not describe one profile and its children. Then the caller made a mistake, or somebody
// wrote to the store.
func (p *Profile) check() error {
	if err := profile.CheckName(p.Name); err != nil {
		return err
	}
	if len(p.Compiled) == 0 || p.Compiled[0].Name != p.Name {
		return fmt.Errorf("profile %q: nothing compiled stands for it: run `oci-apparmor policy apply`", p.Name)
	}
	for _, c := range p.Compiled[1:] {
		below, ok := strings.CutPrefix(c.Name, p.Name+childSeparator)
		if !ok || below == "" || len(c.Name) > maxHierarchy {
			return fmt.Errorf("profile %q: %q is compiled with it and is no child of it: run `oci-apparmor policy apply`",
				p.Name, c.Name)
		}
	}
	return nil
}

// maxHierarchy is the longest name of a child, with all components, in bytes.
const maxHierarchy = 4096
