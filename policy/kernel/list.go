package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Listed is a profile that the kernel holds.
type Listed struct {
	Namespace string // the profile's policy namespace, below this process's; empty if it is this process's
	Name      string // the whole name, "main//child" for a child or hat
	Mode      string // "enforce", "complain", "kill", "unconfined" or "user"
}

// List returns all profiles that the kernel holds, in the order of namespaces and names. For a process without root, it
// returns only those of this process's namespace, and takes longer.
func (k *Kernel) List() ([]Listed, error) {
	path := k.FS + "/profiles"
	text, err := readWhole(path)
	if errors.Is(err, fs.ErrPermission) {
		var all []Listed
		if err = k.walk(k.profiles(), "", &all); err == nil {
			slices.SortFunc(all, compareListed)
			return all, nil
		}
	}
	if err != nil {
		return nil, k.explain(err)
	}
	all, err := parseProfiles(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	slices.SortFunc(all, compareListed)
	return all, nil
}

func compareListed(a, b Listed) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// parseProfiles parses lines of "NAME (MODE)", or ":NAMESPACE:NAME (MODE)" (seq_show_profile,
// security/apparmor/apparmorfs.c). The kernel escapes nothing in a name, so a line without a mode goes on in the next line.
func parseProfiles(text string) ([]Listed, error) {
	all := make([]Listed, 0, strings.Count(text, "\n"))
	from := 0
	for at := 0; at < len(text); at++ {
		if text[at] != '\n' {
			continue
		}
		line := text[from:at]
		open := strings.LastIndex(line, " (")
		if open < 0 || line[len(line)-1] != ')' || !slices.Contains(modes, line[open+2:len(line)-1]) {
			continue
		}
		l := Listed{Name: line[:open], Mode: line[open+2 : len(line)-1]}
		if l.Name != "" && l.Name[0] == ':' {
			if namespace, name, ok := strings.Cut(l.Name[1:], ":"); ok {
				l.Namespace, l.Name = namespace, strings.TrimPrefix(name, childSeparator)
			}
		}
		all = append(all, l)
		from = at + 1
	}
	if from != len(text) {
		return nil, fmt.Errorf("%s is no line of a profile", oneline.Quote(text[from:]))
	}
	return all, nil
}

// walk appends the profiles in a directory and their children to all. parent is the name of their parent and a separator,
// or empty.
func (k *Kernel) walk(profiles, parent string, all *[]Listed) error {
	err := list(profiles, func(dir string) (more bool, err error) {
		path := profiles + "/" + dir
		name, err1 := readWhole(path + "/name")
		mode, err2 := readWhole(path + "/mode")
		if errors.Is(err1, fs.ErrNotExist) || errors.Is(err2, fs.ErrNotExist) {
			return true, nil // removed meanwhile
		}
		if err := errors.Join(err1, err2); err != nil {
			return false, err
		}
		l := Listed{Name: parent + strings.TrimSuffix(string(name), "\n"), Mode: strings.TrimSuffix(string(mode), "\n")}
		*all = append(*all, l)
		return true, k.walk(path+"/profiles", l.Name+childSeparator, all)
	})
	if parent != "" && errors.Is(err, fs.ErrNotExist) { // the directory comes with the first child
		return nil
	}
	return err
}

// Namespaces returns the names of the policy namespaces directly below this process's, sorted.
func (k *Kernel) Namespaces() ([]string, error) {
	var names []string
	err := list(k.FS+"/policy/namespaces", func(name string) (bool, error) {
		names = append(names, name)
		return true, nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	slices.Sort(names)
	return names, err
}

// Details is what the kernel shows of one profile.
type Details struct {
	Listed
	Dir      string    // below policy/profiles, "web.17"; see Loaded.Dir
	Attach   string    // pattern of the programs that it attaches to; empty for none, <unknown> if not known
	Hash     string    // "sha256:HEX" or "sha1:HEX"; empty if the kernel keeps none
	Since    time.Time // when it was loaded or last replaced
	Children []string  // the whole names of its children and of their children
}

// ErrNotLoaded is wrapped by errors about a profile that the kernel does not hold.
var ErrNotLoaded = errors.New("it is not loaded")

// Details returns what the kernel shows of a profile of this namespace, "main" or "main//child". The name may be any
// string. The error wraps ErrNotLoaded if there is no such profile.
func (k *Kernel) Details(name string) (Details, error) {
	d := Details{Listed: Listed{Name: name}}
	main, below, nested := strings.Cut(name, childSeparator)
	dir, err := k.locate(k.profiles(), main, "")
	path := k.profiles() + "/" + dir
	if err == nil && dir != "" && nested {
		if path, err = k.child(path, below); path == "" {
			dir = ""
		}
	}
	if err != nil {
		return d, k.explain(err)
	}
	if dir == "" {
		return d, fmt.Errorf("profile %s: %w", oneline.Quote(name), ErrNotLoaded)
	}
	d.Dir = strings.TrimPrefix(path, k.profiles()+"/")
	if d.Mode, err = readWord(path + "/mode"); err == unix.ENOENT { // removed meanwhile
		return d, fmt.Errorf("profile %s: %w", oneline.Quote(name), ErrNotLoaded)
	} else if err != nil {
		return d, &os.PathError{Op: "read", Path: path + "/mode", Err: err}
	}
	// The profile's own name stands there for none, and <unknown> for one that the parser did not write down
	// (seq_profile_attach_show, security/apparmor/apparmorfs.c).
	if attach, err := readWord(path + "/attach"); err == nil && (attach != last(name) || attach[0] == '/') {
		d.Attach = attach
	}
	for _, function := range []string{"sha256", "sha1"} {
		if digits, err := readWord(path + "/" + function); err == nil {
			d.Hash = function + ":" + digits
			break
		}
	}
	if info, err := os.Stat(path); err == nil {
		d.Since = info.ModTime()
	}
	var children []Listed
	if err := k.walk(path+"/profiles", name+childSeparator, &children); err != nil {
		return d, err
	}
	for _, c := range children {
		d.Children = append(d.Children, c.Name)
	}
	slices.Sort(d.Children)
	return d, nil
}

// last returns the last component of a profile's name.
func last(name string) string { return name[strings.LastIndex("//"+name, childSeparator):] }

// Owned reports whether we loaded the profile of that name since the boot, and nobody removed it since. Somebody else may
// have replaced its content.
func (k *Kernel) Owned(name string) (bool, error) {
	s, err := openState(k.State)
	if err != nil || s == nil {
		return false, err
	}
	defer s.close()
	dir := s.ownedIn(name)
	if dir == "" {
		return false, nil
	}
	boot, err := k.boot()
	if err != nil {
		return false, err
	}
	found, err := k.locate(k.profiles(), name, dir)
	return err == nil && found != "" && s.owned(name, boot, found), err
}

// boot returns this boot and the policy namespace. Verdicts and records of ownership count only for these.
func (k *Kernel) boot() (string, error) {
	var buf [64]byte
	id, err := k.bootID(buf[:])
	if err != nil {
		return "", fmt.Errorf("which boot this is: %w", err)
	}
	namespace, err := k.namespace()
	if err != nil {
		return "", k.explain(err)
	}
	return string(id) + " " + namespace, nil
}

// readWhole reads a kernel file of any length, in the largest pieces that the kernel returns.
func readWhole(path string) ([]byte, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	all := make([]byte, 0, 4096)
	for {
		if len(all) == cap(all) {
			all = slices.Grow(all, max(len(all), 4096))
		}
		n, err := unix.Read(fd, all[len(all):cap(all)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return all, nil
		default:
			all = all[:len(all)+n]
		}
	}
}
