// Package policyfile reads a node's configuration: policy.yaml and policy.d/*.yaml of a configuration directory, and the
// profiles beside them. It returns a policy.Config that is checked and not yet compiled, or all faults at once, each with
// its file, line and column. schema.json says the same for editors, as far as a schema can.
//
// The keys of a file:
//
//	version: 1
//	profiles:
//	  NAME: {file: PATH | template: TEMPLATE, onDrift: replace | refuse}
//	policies:
//	  NAME: {profile: PROFILE | keep, mode: enforce | complain | kill, enforceAfter: TIME, floor: PROFILE}
//	assign:
//	  - {engine: ENGINE or list, namespace, pod, container, image: PATTERN or list, label: {LABEL: PATTERN or list},
//	     sandbox, privileged: BOOL,
//	     policy: POLICY, request: POLICY or list, acceptChoice: PROFILE or list, floor: PROFILE, onRefused: deny | assigned}
//
// The profiles and policies of all files are one set. The rules of all files are one list, and the first rule that matches
// counts. The rules of policy.d come first, in the order of the files' names. Those of policy.yaml come last, because it
// has the rule for everyone else. A PATH is relative to the configuration directory.
//
// Three names need no definition: the profile docker-default, which is generated from the template of that name; the
// policy baseline, which uses it; and the policy keep, which leaves the engine's choice as it is. A file may define the
// first two anew.
//
// A PROFILE of the key acceptChoice need not be defined, because it may be loaded by hand.
//
// A profile has one mode in all policies that use it: enforce, unless these say otherwise. A floor is always in mode
// enforce.
//
// A TIME of the key enforceAfter is numbers with their units d, h, m and s, the largest unit first: 24h, 1d12h. It is for a
// policy in mode complain, and the same in all policies that use its profile.
package policyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
)

// Dir is the configuration directory of a node.
const Dir = "/etc/oci-apparmor"

// The largest policy file and the largest text of a profile, in bytes. Ten thousand rules need about one MiB.
const (
	maxFile = 4 << 20
	maxText = 1 << 20
)

// The names in a configuration directory.
const (
	mainFile = "policy.yaml"
	dropIns  = "policy.d"
	profiles = "profiles"
)

// A Reader reads policies.
type Reader struct {
	// Seen, unless nil, has the texts that an earlier apply has read. One whose file is unchanged since is not read, and is
	// Unread in its profile. Those that are read are added. Whoever applies what was read calls CheckAccess: Seen is for files
	// that nobody but root can write.
	Seen *seen.Files

	// Before is a configuration that was read at an earlier time, or nil. It has no texts. If Seen has all policy files, and
	// says that they are unchanged since a configuration was read that equals Before, they are not read again.
	Before *policy.Config
}

// Read is Reader.Read that reads all texts.
func Read(dir string) (*policy.Config, error) { return Reader{}.Read(dir) }

// ReadFile is Reader.ReadFile that reads all texts.
func ReadFile(path string) (*policy.Config, error) { return Reader{}.ReadFile(path) }

// Read reads the policy of a configuration directory. Profiles and policies are in the order of their names, assignments in
// the order in which they are tried. A profile from a file has its Text. A profile from a template has the template's name.
//
// If there is neither policy.yaml nor a file in policy.d, every file in profiles is a policy of its own name, for which any
// container may ask. Everything else keeps what its engine chose.
//
// The error is an Errors if the fault is in a file.
func (r Reader) Read(dir string) (*policy.Config, error) {
	names, err := policyFiles(dir)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return r.readProfilesOnly(dir)
	}
	return r.read(dir, names...)
}

// ReadFile reads one policy file by itself, whatever it is called, as if it were the policy.yaml of its directory and
// there were no policy.d. A file of a policy.d is an error: judged by itself it would be another policy.
func (r Reader) ReadFile(path string) (*policy.Config, error) {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if filepath.Base(dir) == dropIns {
		return nil, fmt.Errorf("%s is only a part of a policy, and counts together with %s and the other files of %s: name the "+
			"directory of them all, --config %s", path, mainFile, dropIns, filepath.Dir(dir))
	}
	return r.read(filepath.Dir(path), filepath.Base(path))
}

// read reads the policy files with these names in a configuration directory.
func (r Reader) read(dir string, names ...string) (*policy.Config, error) {
	if p, ok := r.unchanged(dir, names); ok {
		return p, nil
	}
	now := time.Now()
	var files []file
	for _, name := range names {
		files = append(files, readFile(dir, name))
	}
	root, err := openRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.close()
	p, err := parse(files, func(p *policy.Profile, path string) error { return r.text(p, root, path) })
	if err == nil {
		r.remember(files, now, p)
	}
	return p, err
}

// file is one policy file.
type file struct {
	name string // within the configuration directory, for reasons: "policy.d/web.yaml"
	path string // for errors
	text []byte
	err  error // why there is no text

	stamp safefile.Stamp // that it had before it was read
}

// readFile reads a file of a configuration directory.
func readFile(dir, name string) file {
	f := file{name: name, path: filepath.Join(dir, name)}
	f.text, f.stamp, f.err = readRegular(maxFile, func() (*os.File, error) { return open(f.path) })
	return f
}

// parse reads policy files, in the order in which their rules are tried. text sets the text of a profile that has it in the
// file at path. Several goroutines call it at the same time.
func parse(files []file, text func(p *policy.Profile, path string) error) (*policy.Config, error) {
	var all document
	var errs Errors
	for _, f := range files {
		p := parser{file: f, errs: &errs, doc: &all}
		p.parse(`"version: 1"`, p.top)
	}
	result := all.check(&errs, text)
	if len(errs) > 0 {
		order := make(map[string]int)
		for i, f := range files {
			order[f.path] = i
		}
		errs.sort(order)
		return nil, errs
	}
	return result, nil
}

// policyFiles returns the policy files of a configuration directory, in the order in which their rules are tried.
func policyFiles(dir string) ([]string, error) { return yamlFiles(dir, mainFile, dropIns) }

// yamlFiles returns the names, within dir, of the YAML files in its directory more, and then of the file called main.
func yamlFiles(dir, main, more string) ([]string, error) {
	var names []string
	entries, err := os.ReadDir(filepath.Join(dir, more))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var errs Errors
	for _, entry := range entries {
		name := filepath.Join(more, entry.Name())
		switch filepath.Ext(name) {
		case ".yaml":
			if !strings.HasPrefix(entry.Name(), ".") {
				names = append(names, name)
			}
		case ".yml":
			errs = append(errs, misnamed(filepath.Join(dir, name)))
		}
	}
	for _, name := range []string{main, strings.TrimSuffix(main, ".yaml") + ".yml"} {
		switch _, err := os.Lstat(filepath.Join(dir, name)); {
		case err == nil && name == main:
			names = append(names, name)
		case err == nil:
			errs = append(errs, misnamed(filepath.Join(dir, name)))
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return names, nil
}

// misnamed returns the error for a file that nobody would read because of its name.
func misnamed(path string) *Error {
	right := strings.TrimSuffix(path, ".yml") + ".yaml"
	return &Error{File: path, Msg: "is not read because of its name: call it " + filepath.Base(right)}
}

// readProfilesOnly makes a policy of each file in profiles.
func (r Reader) readProfilesOnly(dir string) (*policy.Config, error) {
	entries, err := os.ReadDir(filepath.Join(dir, profiles))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	root, err := openRoot(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		defer root.close()
	}
	everyone := policy.Assignment{File: profiles, Policy: policy.Keep}
	result := &policy.Config{Policies: []policy.Policy{{Name: policy.Keep, Profile: policy.Keep}}}
	var errs Errors
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || strings.HasPrefix(name, ".") {
			continue
		}
		source := filepath.Join(profiles, name)
		err := profile.CheckName(name)
		if err == nil && name == policy.Keep {
			err = errors.New("a profile cannot be called keep, which stands for the engine's choice; choose another name")
		}
		one := policy.Profile{Name: name, Source: source}
		if err == nil {
			err = r.text(&one, root, source)
		}
		if err != nil {
			errs = append(errs, &Error{File: filepath.Join(dir, source), Msg: err.Error(), Err: err})
			continue
		}
		result.Profiles = append(result.Profiles, one)
		result.Policies = append(result.Policies, policy.Policy{Name: name, Profile: name})
		everyone.Request = append(everyone.Request, name)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	if len(result.Profiles) == 0 {
		what := "holds no policy"
		if root == nil {
			what = "is not there"
		}
		return nil, fmt.Errorf("%s %s: create %s, for example with these lines,\n\n%s\nor put AppArmor "+
			"profiles into %s, each in a file of its name", dir, what, filepath.Join(dir, mainFile), example,
			filepath.Join(dir, profiles))
	}
	slices.SortFunc(result.Policies, func(a, b policy.Policy) int { return strings.Compare(a.Name, b.Name) })
	result.Assignments = []policy.Assignment{everyone}
	return result, nil
}

// example is a small policy that is worth having: every container is confined like one of Docker's. The profile has
// a name of its own, since Docker loads docker-default itself.
const example = `version: 1
profiles: {node-baseline: {template: docker-default}}
policies: {base: {profile: node-baseline}}
assign:
  - policy: base
`

// missing returns the error for a file that does not exist, with advice.
func missing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(path, "“”„‘’«»") {
		return fmt.Errorf("%s: %w: it has typographic quotes, which YAML takes for letters: write \" or no quotes", path, syscall.ENOENT)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w: create it, or correct the path", path, syscall.ENOENT)
	}
	return err
}

// flags open a file for reading. Opening a FIFO does not wait for a writer.
const flags = os.O_RDONLY | syscall.O_NONBLOCK

func open(path string) (*os.File, error) { return os.OpenFile(path, flags, 0) }

// readRegular reads a regular file of at most limit bytes, and returns the stamp that it had before.
func readRegular(limit int64, open func() (*os.File, error)) ([]byte, safefile.Stamp, error) {
	var stamp safefile.Stamp
	f, err := open()
	if err != nil {
		return nil, stamp, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, stamp, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, stamp, fmt.Errorf("%s is not a regular file", f.Name())
	}
	b := bytes.NewBuffer(make([]byte, 0, min(st.Size, limit)+bytes.MinRead))
	if _, err := b.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, stamp, err
	}
	if int64(b.Len()) > limit {
		return nil, stamp, fmt.Errorf("%s has more than %d MiB, which is the limit", f.Name(), limit>>20)
	}
	return b.Bytes(), safefile.StampOf(&st), nil
}

// sortedKeys returns the keys of a map in their order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
