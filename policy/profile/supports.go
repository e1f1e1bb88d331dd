package profile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// RuleKind describes the rules that begin with one word.
type RuleKind struct {
	Feature string // apparmor_parser compiles them only if kernel and ABI have it (set_supported_features, parser_main.c)
	What    string // the subject of the rules, for a message
	Kernels string // which kernels have the feature, for a message
	Parser  string // the first version of apparmor_parser that knows them; empty if 3.0 does
}

// RuleKinds are the kinds of rules that not every kernel enforces. The key is the word that such a rule begins with.
// Every kernel enforces rules about files, capabilities and limits, so these are not in it.
var RuleKinds = map[string]RuleKind{
	"userns":     {"namespaces/mask/userns_create", "user namespaces", "Linux 6.7 and later", "4.0"},
	"io_uring":   {"io_uring", "io_uring", "Linux 6.7 and later", "4.0"},
	"mqueue":     {"ipc/posix_mqueue", "message queues", "Ubuntu's", "4.0"},
	"dbus":       {"dbus", "D-Bus", "Ubuntu's, and Linux 7.2", ""},
	"signal":     {"signal", "signals", "Linux 4.14 and later", ""},
	"ptrace":     {"ptrace", "ptrace", "Linux 4.14 and later", ""},
	"mount":      mounting,
	"remount":    mounting,
	"umount":     mounting,
	"unmount":    mounting,
	"pivot_root": mounting,
	"network":    {"network_v8", "networks", "Linux 4.17 and later", ""},
	"unix":       {UnixFeature, "addresses of unix sockets", "Ubuntu's, and Linux 6.17 and later", ""},
}

var mounting = RuleKind{"mount", "mounts", "Linux 4.14 and later", ""}

// NewMountFeature is a feature of kernels that mediate the newer mount calls as they mediate mount(2). Of the kernels
// that were tried, Linux 6.12 and 7.2 have the feature and mediate these calls. Linux 6.1 does neither.
const NewMountFeature = "mount/move_mount"

// The features by which addresses of sockets are mediated; without them rules are about families and types only.
const (
	UnixFeature = "network/af_unix"
	UnixV9      = "network_v9/af_unix" // Linux 6.17 and later; apparmor_parser compiles for it since 5.0
	InetFeature = "network_v8/af_inet"
)

// hasFeature reports whether features in text form have one: "namespaces/mask/userns_create" is there where the entry
// mask of the entry namespaces holds the word userns_create, or has an entry of that name.
func hasFeature(features, path string) bool {
	var entries []string // that are open, by their names
	word, last := 0, ""
	for i := range len(features) + 1 {
		c := byte(' ')
		if i < len(features) {
			c = features[i]
		}
		if !strings.ContainsRune(" \t\n{}", rune(c)) {
			continue
		}
		if word < i {
			last = features[word:i]
			if strings.Join(append(slices.Clip(entries), last), "/") == path {
				return true
			}
		}
		word = i + 1
		switch c {
		case '{':
			entries = append(entries, last)
		case '}':
			entries = entries[:max(len(entries)-1, 0)]
		}
	}
	return false
}

// Supports reports whether the kernel that c compiles for has a feature, such as "network/af_unix".
func (c *Compiler) Supports(feature string) bool { return hasFeature(string(c.features), feature) }

// ABIs returns the names of those ABIs of this node that have a feature, such as "abi/4.0". If a text names one of
// them, rules that need the feature are enforced on a kernel that has it, too.
func (c *Compiler) ABIs(feature string) []string {
	dir := filepath.Join(cmp.Or(c.Base, BaseDir), "abi")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		text, err := readRegular(filepath.Join(dir, e.Name()), maxFeatures)
		if err == nil && hasFeature(string(text), feature) {
			names = append(names, "abi/"+e.Name())
		}
	}
	return names
}

// Included returns the files that Preprocess has put into a text, in their order. It finds them by the comments in
// which the parser names them ("##included <NAME>", parser/parser_lex.l), and leaves out files that cannot be read.
func (c *Compiler) Included(preprocessed []byte) []Text {
	var all []Text
	add := func(path string) {
		if slices.ContainsFunc(all, func(t Text) bool { return t.Path == path }) || len(all) == maxIncludes {
			return
		}
		if text, err := readRegular(path, MaxText); err == nil {
			all = append(all, Text{path, string(text)})
		}
	}
	for line := range strings.Lines(string(preprocessed)) {
		name, found := strings.CutPrefix(strings.TrimSpace(line), "##included ")
		if !found || len(name) < 2 {
			continue
		}
		path := name[1 : len(name)-1]
		if !filepath.IsAbs(path) {
			path = filepath.Join(cmp.Or(c.Base, BaseDir), path)
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			add(path)
		}
		for _, e := range entries {
			add(filepath.Join(path, e.Name()))
		}
	}
	return all
}

// maxIncludes is how many files Included returns at most. Profiles of a desktop include about a hundred.
const maxIncludes = 1000

// Text is the path and the content of a file that a profile's text includes.
type Text struct{ Path, Text string }

// Theirs reports whether a file is in the directories of AppArmor's own abstractions and tunables, which are written
// for many kernels. Files in directories named *.d among them belong to the administrator. An administrator may also
// have put a file of his own beside AppArmor's; its path does not show that, but see Shipped.
func (c *Compiler) Theirs(path string) bool {
	dirs := strings.Split(filepath.Dir(c.name(path)), "/")
	return (dirs[0] == "abstractions" || dirs[0] == "tunables") &&
		!slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasSuffix(dir, ".d") })
}

// shippedDenials are those rules of AppArmor's own abstractions and tunables that deny or log what not every kernel
// mediates, by their files: all of versions 3.0.0 to 5.0.2 (profiles/apparmor.d), one at most in a file.
var shippedDenials = map[string]string{
	"abstractions/exo-open":           "deny dbus send bus=session path=/org/gtk/vfs/mounttracker", // in 3.0.0 to 3.0.5
	"abstractions/ubuntu-unity7-base": "deny dbus bus=session path=/com/canonical/[Uu]nity/[Dd]ebug**",
}

// Shipped returns the rule in a file of AppArmor's own that denies something and that not every kernel enforces. The
// rule has single blanks. Shipped returns "" for a file without such a rule.
func (c *Compiler) Shipped(path string) string { return shippedDenials[c.name(path)] }

// name returns the name by which texts include a file, such as "abstractions/base". It is empty for a file outside of
// Base.
func (c *Compiler) name(path string) string {
	name, err := filepath.Rel(cmp.Or(c.Base, BaseDir), path)
	if err != nil || strings.HasPrefix(name, "../") {
		return ""
	}
	return name
}

// readRegular reads a regular file of at most most bytes.
func readRegular(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Mode().Type() != 0 {
		err = fs.ErrInvalid
	}
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = errors.Join(fs.ErrInvalid, fmt.Errorf("%s has more than %d bytes", path, most))
	}
	return text, err
}
