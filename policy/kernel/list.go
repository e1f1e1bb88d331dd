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
	Namespace string // the policy namespace it is in, below this process's; empty for that one itself
	Name      string // whole, "main//child" for a child or hat
	Mode      string // "enforce", "complain", "kill", "unconfined" or "user"
}

// List gives all that the kernel holds, in the order of namespaces and names. To a process without root it gives this
// process's namespace only, and takes longer for it.
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

// parseProfiles reads lines of "NAME (MODE)", or ":NAMESPACE:NAME (MODE)" (seq_show_profile,
// security/apparmor/apparmorfs.c). Nothing in a name is escaped, so a line without a mode is the first of two.
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

// walk lists a directory of profiles, those of parent, by the files of each.
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

// Namespaces gives the names of the policy namespaces right below this process's.
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

// Details are what the kernel tells of one profile.
type Details struct {
	Listed
	Dir      string    // below policy/profiles, "web.17"; see Loaded.Dir
	Attach   string    // the programs that it takes hold of by their path; empty for none, <unknown> where not known
	Hash     string    // "sha256:HEX" or "sha1:HEX"; empty where the kernel keeps none
	Since    time.Time // when it was loaded, or replaced, last
	Children []string  // the names of its children and theirs, whole
}

// ErrNotLoaded is wrapped by errors about a profile that the kernel does not hold.
var ErrNotLoaded = errors.New("it is not loaded")

// Details looks at a profile of this namespace, "main" or "main//child". The name may be any.
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

// last gives the last component of a profile's name.
func last(name string) string { return name[strings.LastIndex("//"+name, childSeparator):] }

// Owned tells whether the profile of that name, if one is loaded, was loaded by us since the machine started, and never
// removed. Somebody else may have replaced its content.
func (k *Kernel) Owned(name string) (bool, error) {
	s, err := openState(k.State)
	if err != nil || s == nil {
		return false, err
	}
	defer s.close()
	if unix.Faccessat(s.fd, fileOf("owned.", name), unix.F_OK, 0) != nil {
		return false, nil
	}
	boot, err := k.boot()
	if err != nil {
		return false, err
	}
	dir, err := k.locate(k.profiles(), name, "")
	return err == nil && dir != "" && s.owned(name, boot, dir), err
}

// boot gives what verdicts and records of ownership hold for: this boot, and the policy namespace.
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

// readWhole reads a kernel file of any length, in the largest pieces that it gives.
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
