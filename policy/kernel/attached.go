package kernel

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Attached is a loaded profile that attaches to programs by their path: an unconfined process that executes one gets its
// label.
type Attached struct {
	Name     string
	Programs []string // of the paths that the caller asked about, in the same order
}

// Attached returns the profiles of this namespace that attach to a program at one of the paths, in no order. A path may
// have no file.
//
// For some parsers, the kernel does not print a profile's pattern (the file attach says <unknown>). So Attached reads the
// patterns from the bytes that the kernel keeps of each load. If it keeps none (export_binary is N), a profile counts if
// its name is the path or the name of a program.
func (k *Kernel) Attached(paths []string) ([]Attached, error) {
	var all []Attached
	loads := map[string][]meaning.Attachment{} // by the directory that keeps the bytes
	err := list(k.profiles(), func(dir string) (more bool, err error) {
		path := k.profiles() + "/" + dir
		name, err := attaching(path)
		if name == "" || err != nil {
			return err == nil, err
		}
		matches := byName(name)
		if revision, err := rawRevision(path); err == nil {
			attachments, ok := loads[revision]
			if !ok {
				attachments = k.attachments(revision)
				loads[revision] = attachments
			}
			for i := range attachments {
				if attachments[i].Profile == name {
					matches = attachments[i].Matches
				}
			}
		}
		var programs []string
		for _, p := range paths {
			if matches(p) {
				programs = append(programs, p)
			}
		}
		if programs != nil {
			all = append(all, Attached{name, programs})
		}
		return true, nil
	})
	if err != nil {
		return nil, k.explain(err)
	}
	return all, nil
}

// attaching returns the name of the profile in a directory if the profile attaches to programs, else "". For a profile that
// attaches to none, the kernel shows its own name as the pattern (seq_profile_attach_show, security/apparmor/apparmorfs.c).
func attaching(path string) (name string, err error) {
	name, err = readWord(path + "/name")
	attach, err2 := readWord(path + "/attach")
	switch err := errors.Join(err, err2); {
	case errors.Is(err, unix.ENOENT): // removed meanwhile
		return "", nil
	case err != nil:
		return "", &os.PathError{Op: "read", Path: path + "/name and attach", Err: err}
	case attach == name && !strings.HasPrefix(name, "/"):
		return "", nil
	}
	return name, nil
}

// byName returns what a profile matches of which only the name is known.
func byName(name string) func(path string) bool {
	if strings.HasPrefix(name, "/") {
		return func(path string) bool { return path == name }
	}
	return func(path string) bool { return strings.HasSuffix(path, "/"+name) }
}

// attachments returns the patterns of all profiles of a load, or nil if they are not known.
func (k *Kernel) attachments(revision string) []meaning.Attachment {
	blob, err := k.raw(revision)
	if err != nil {
		return nil
	}
	found, err := meaning.Attachments(blob)
	if err != nil {
		return nil
	}
	return found
}
