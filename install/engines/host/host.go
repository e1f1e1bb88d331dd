// Package host is a node whose engines are wired: its files, and the engines' own programs, which are run to check a
// change. It knows no engine.
package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// checkTime is how long a program may take that checks a configuration. Podman's takes some seconds on a slow node.
const checkTime = time.Minute

// dirs are where engines' programs are, in the order of a PATH.
var dirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/snap/bin"}

// Host is a node: the machine that this process runs on, or an image below a directory.
type Host struct {
	Tree wire.Tree
	Bin  string // the directory of our programs, as a path of the tree

	// Run runs a program of the tree by its path, with variables beside those that every program gets, and returns what it
	// prints. Another root than "/" is where it is run in.
	Run func(ctx context.Context, env []string, program string, args ...string) ([]byte, error)

	// Systemctl runs systemctl, and ReadProc reads a file of a process's directory in /proc. Tests have others.
	Systemctl func(ctx context.Context, args ...string) ([]byte, error)
	ReadProc  func(pid int, file string) ([]byte, error)
}

// New returns the host below a root. bin is the directory of our programs.
func New(root, bin string) *Host {
	h := &Host{Tree: wire.Tree{Root: path.Clean(root)}, Bin: bin}
	h.Run, h.Systemctl, h.ReadProc = h.run, h.systemctl, readProc
	return h
}

// Live reports whether the host is the machine that this process runs on, and no image.
func (h *Host) Live() bool { return h.Tree.Root == "/" }

// HasDir reports whether there is a directory.
func (h *Host) HasDir(p string) bool {
	info, err := os.Stat(h.Tree.Real(p))
	return err == nil && info.IsDir()
}

// ErrNoProgram says that a program is not there, or cannot be run in an image.
var ErrNoProgram = errors.New("it is not there, or cannot be run here")

// Program returns the path of an engine's program; an empty one where there is none. On a live host that is the one of a
// process that runs, and else the first in the caller's PATH that only root could have written.
func (h *Host) Program(d *wire.Draft, name string) string {
	for _, p := range h.Processes(name) {
		if p.Program != "" {
			return p.Program
		}
	}
	return h.InPath(d, name)
}

// InPath returns the path of the first program of a name: on a live host in the caller's PATH, where that of a program that
// others than root could have written does not count, because it is run as root. It is empty where there is none.
func (h *Host) InPath(d *wire.Draft, name string) string {
	search := dirs
	if h.Live() {
		search = append(filepath.SplitList(os.Getenv("PATH")), dirs...)
	}
	for _, dir := range search {
		p := path.Join(dir, name)
		if !path.IsAbs(p) || d.Runnable(p) != nil {
			continue
		}
		if h.Live() {
			if _, err := safefile.TrustedPath(p); err != nil {
				continue
			}
		}
		return p
	}
	return ""
}

var versionNumber = regexp.MustCompile(`\bv?(\d+)\.(\d+)(?:\.(\d+))?`)

// VersionOf has a program print its version, and returns that.
func (h *Host) VersionOf(ctx context.Context, program string) ([]int, error) {
	said, err := h.Run(ctx, nil, program, "--version")
	if err != nil {
		return nil, err
	}
	version, err := Version(string(said))
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", program, err)
	}
	return version, nil
}

// Version returns the first version in what a program prints, as two or three numbers.
func Version(said string) ([]int, error) {
	m := versionNumber.FindStringSubmatch(said)
	if m == nil {
		return nil, fmt.Errorf("no version is printed: %s", strings.TrimSpace(said))
	}
	var version []int
	for _, digits := range m[1:] {
		if digits == "" {
			continue
		}
		v, err := strconv.Atoi(digits)
		if err != nil {
			return nil, err
		}
		version = append(version, v)
	}
	return version, nil
}

// Lib is the directory of the links through which engines call our wrapper, a directory of the engine's name below it.
func (h *Host) Lib() string { return path.Join(path.Dir(h.Bin), "lib", "oci-apparmor") }

// Ours returns the path of a program of ours. The error says what to do if it is missing, or if others than root could write
// it on a live host, where the engine would run it as root.
func (h *Host) Ours(d *wire.Draft, name string) (string, error) {
	p := path.Join(h.Bin, name)
	if err := d.Runnable(p); err != nil {
		return "", fmt.Errorf("%s cannot be run, and an engine must not be pointed at it: run make install first: %w", h.Tree.Real(p), err)
	}
	if h.Live() {
		if _, err := safefile.TrustedPath(p); err != nil {
			return "", fmt.Errorf("an engine runs %s as root, and must not be pointed at it: run make install first, and then the "+
				"oci-apparmor that this has installed: %w", p, err)
		}
	}
	return p, nil
}

// IsWrapper reports whether a runtime's path is that of our wrapper, of whichever version and wherever it is, or of a link of
// ours to it.
func IsWrapper(binary string) bool {
	return path.Base(binary) == engine.Wrapper || engine.IsLink(binary)
}

// StandsFor returns the name of the runtime that an engine calls by a path or a name, and whether our wrapper can stand for
// it: by a link of that name it finds a runc or crun in the system's directories.
func StandsFor(binary string) (name string, ok bool) {
	dir, name := path.Split(binary)
	ok = (name == "runc" || name == "crun") && (dir == "" || slices.Contains(engine.RuntimeDirs, path.Clean(dir)))
	return name, ok
}

// Before returns the link through which our wrapper is to stand before the runtime that an engine calls by a path, and drafts
// it. The name is that of a directory of the engine's links. It is an error if our wrapper would call another program.
func (h *Host) Before(d *wire.Draft, name, binary string) (link string, err error) {
	ours, err := h.Ours(d, engine.Wrapper)
	if err != nil {
		return "", err
	}
	dir, base := path.Split(binary)
	link = path.Join(h.Lib(), name, base)
	dirs := engine.RuntimeDirsFor(link)
	if base != "runc" && base != "crun" || dir != "" && !slices.Contains(dirs, path.Clean(dir)) {
		return "", fmt.Errorf("%w is %s", ErrStandsForNone, binary)
	}
	self, err := d.Resolve(ours)
	if err != nil {
		return "", err
	}
	for _, dir := range dirs { // as the wrapper looks for it
		first := path.Join(dir, base)
		a, err := d.Resolve(first)
		if err != nil {
			return "", err
		}
		if d.Runnable(first) != nil || a == self {
			continue
		}
		if b, err := d.Resolve(binary); path.IsAbs(binary) && (err != nil || a != b) {
			return "", fmt.Errorf("%w is %s, while our wrapper would call %s", ErrStandsForNone, binary, first)
		}
		return link, d.Link(link, ours)
	}
	return "", fmt.Errorf("%w is %s, and there is no program of that name", ErrStandsForNone, binary)
}

// ErrStandsForNone says that our wrapper cannot stand before a runtime.
var ErrStandsForNone = errors.New("our wrapper stands only before a runc or crun in the system's directories, and the runtime that " +
	"is the default now")

func (h *Host) run(ctx context.Context, env []string, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTime, fmt.Errorf("not ended after %v", checkTime))
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append([]string{"PATH=" + strings.Join(dirs, ":"), "HOME=/root", "LC_ALL=C"}, env...)
	cmd.Dir = "/"
	if !h.Live() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: h.Tree.Root}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.Bytes(), nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		err = fmt.Errorf("%w: %w", ErrNoProgram, err)
	}
	said := strings.TrimSpace(stderr.String())
	if said == "" {
		said = strings.TrimSpace(stdout.String())
	}
	if len(said) > maxSaid {
		said = "..." + said[len(said)-maxSaid:]
	}
	if said != "" {
		return nil, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, said)
	}
	return nil, fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
}

// maxSaid bounds what an error has of a program's output, in bytes: its end says what went wrong.
const maxSaid = 2000

// Candidate writes files into a directory of its own below the tree, for an engine's own check to read, and returns that
// as a path of the tree. files returns them for a directory, by the paths that they are to have below it. remove removes
// it.
func (h *Host) Candidate(files func(dir string) (map[string][]byte, error)) (dir string, remove func(), err error) {
	tmp, err := wire.NewDraft(h.Tree).Resolve("/tmp") // which may be a link, in an image one out of it
	if err != nil {
		return "", nil, err
	}
	real, err := os.MkdirTemp(h.Tree.Real(tmp), "oci-apparmor-check-") // mode 0700: what is in it may be secret
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(real) }
	dir = path.Join(tmp, path.Base(real))
	all, err := files(dir)
	if err != nil {
		remove()
		return "", nil, err
	}
	for p, data := range all {
		at := path.Join(real, p)
		err := os.MkdirAll(path.Dir(at), 0o700)
		if err == nil {
			err = os.WriteFile(at, data, 0o600)
		}
		if err != nil {
			remove()
			return "", nil, err
		}
	}
	return dir, remove, nil
}

// Former is what was found of ours that no record has: wired by hand, or by an older oci-apparmor.
type Former struct {
	Files   []string // that had it
	Default bool     // ours was the default
	Own     string   // what our runtime had, as the engine writes it
}

// Need is what containers need of a wiring that is to be taken out.
type Need struct {
	Containers []string // by their names or ids
	Why        string   // of them, as the end of a sentence
	Unknown    []string // why there may be more: what could not be read
}

// Any reports whether there are any, or may be.
func (n *Need) Any() bool { return len(n.Containers)+len(n.Unknown) > 0 }

// List returns the names in a directory; none where it is missing. Where it cannot be read, there may be more containers.
func (n *Need) List(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.Unknown = append(n.Unknown, err.Error())
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// Outcome is what there is to say of an engine's wiring.
type Outcome struct {
	Via   string   // the way that was taken
	Notes []string // sentences
	Then  string   // the command by which the engine takes it over

	Reload bool // which has the engine read its files again, and does not restart it
}
