// Package profiles is for single profiles that an administrator handles by hand. It reads, compiles and judges texts.
// It loads profiles, and removes those that nothing uses. It shows a profile's text, who loaded it, and how two
// profiles differ.
package profiles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/enforced"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/lint"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/rootfs"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// A File is the text of a profile, and the result of compiling it.
type File struct {
	Path   string // the path as the caller named it
	Target string // the target if Path is a symbolic link, else empty
	Text   []byte
	Blob   profile.Blob // what Text compiles to
	Err    error        // why the file could not be read, or Text does not compile
}

// ReadFiles reads files, and compiles each by c, as many at a time as there are processors. If c is nil, it compiles
// none. An error is in File.Err.
func ReadFiles(ctx context.Context, n *node.Node, c node.Compiler, paths []string) []File {
	files := make([]File, len(paths))
	var workers sync.WaitGroup
	turn := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, path := range paths {
		files[i].Path = path
		turn <- struct{}{}
		workers.Go(func() {
			defer func() { <-turn }()
			f := &files[i]
			if f.Err = f.read(n.Root); f.Err == nil && c != nil {
				f.Blob, f.Err = c.CompileText(ctx, f.Path, f.Text)
			}
		})
	}
	workers.Wait()
	return files
}

// read reads a file, and refuses what is no text of a profile and, for root, what somebody else could have written.
func (f *File) read(root bool) error {
	if info, err := os.Lstat(f.Path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		target, err := filepath.EvalSymlinks(f.Path)
		if err != nil {
			return exit.With(exit.Cannot, fmt.Errorf("%s is a symbolic link: %w", f.Path, exit.AsRoot(err)))
		}
		f.Target = target
	}
	file, err := os.OpenFile(f.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(err))
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return exit.With(exit.Cannot, err)
	}
	text := &profile.TextError{Source: f.Path}
	switch {
	case info.IsDir():
		text.Msg = "it is a directory: name the files in it, as " + filepath.Join(f.Path, "*")
	case !info.Mode().IsRegular():
		text.Msg = "it is no regular file"
	case info.Size() > profile.MaxText:
		text.Msg = fmt.Sprintf("it has %d bytes, and a profile's text may have %d", info.Size(), profile.MaxText)
	case root:
		text.Msg = f.writtenByOthers(info)
	}
	if text.Msg != "" {
		return text
	}
	if f.Text, err = io.ReadAll(io.LimitReader(file, profile.MaxText+1)); err != nil {
		return exit.With(exit.Cannot, err)
	}
	return nil
}

// writtenByOthers says why a file cannot be believed by root: who could have written it, or have put it there.
func (f *File) writtenByOthers(info fs.FileInfo) string {
	path := f.Path
	if f.Target != "" {
		path = f.Target
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err.Error()
	}
	at := info.Sys().(*syscall.Stat_t)
	if err := safefile.TrustedOnTheWay(path, at.Uid, at.Mode); err != nil {
		return err.Error()
	}
	at = dir.Sys().(*syscall.Stat_t)
	if err := safefile.TrustedOnTheWay(filepath.Dir(path), at.Uid, at.Mode); err != nil {
		return "its directory: " + err.Error()
	}
	return ""
}

// Name returns the name of the profile. The text must be compiled.
func (f *File) Name() string { return f.Blob.Profiles[0].Name }

// Defines returns what the text defines, such as "web (enforce), with its children hat, kid (complain)". The text must
// be compiled.
func (f *File) Defines() string {
	main := f.Blob.Profiles[0]
	s := main.Name + " (" + main.Mode.String() + ")"
	var children []string
	for _, c := range f.Blob.Profiles[1:] {
		child := strings.TrimPrefix(c.Name, main.Name+"//")
		if c.Mode != main.Mode {
			child += " (" + c.Mode.String() + ")"
		}
		children = append(children, child)
	}
	switch len(children) {
	case 0:
		return s
	case 1:
		return s + ", with its child " + children[0]
	}
	slices.Sort(children)
	return s + ", with its children " + strings.Join(children, ", ")
}

// Faults joins the errors of files; it returns nil if there are none. The exit code is BadPolicy if one of them is
// about a text, else Cannot.
func Faults(files []File) error {
	var errs []error
	code := exit.Cannot
	for _, f := range files {
		if f.Err == nil {
			continue
		}
		_, err := exit.Split(f.Err)
		errs = append(errs, err)
		var bad *profile.TextError
		if errors.As(f.Err, &bad) {
			code = exit.BadPolicy
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return exit.With(code, errors.Join(errs...))
}

// Lint returns the warnings about a compiled text. If c is nil, the text need not be compiled, and Lint judges the text
// alone. senders, image and partial are as in package lint.
func (f *File) Lint(ctx context.Context, c node.Compiler, senders []string, image *rootfs.Tree) (warnings []lint.Warning, partial bool) {
	known := lint.Options{Senders: senders, Image: image}
	if c == nil {
		warnings, partial, _ = lint.Text(ctx, string(f.Text), known)
		return warnings, partial
	}
	reader := why.Reader{Compiler: c}
	var err error
	if known.Rules, err = reader.Read(ctx, f.Path, f.Text); err == nil {
		warnings, partial, err = lint.Text(ctx, string(f.Text), known)
	}
	if err != nil { // rather less is judged than nothing
		known.Rules = nil
		known.Compiled, _ = meaning.ReadFor(f.Blob.Data, c) // what the kernel would not take is another fault's affair
		warnings, _, _ = lint.Text(ctx, string(f.Text), known)
		partial = true
	}
	warnings = append(warnings, enforced.Check(ctx, c, f.Text, f.Blob, nil)...)
	slices.SortStableFunc(warnings, func(a, b lint.Warning) int {
		if by := strings.Compare(a.File, b.File); by != 0 {
			return by
		}
		return a.Line - b.Line
	})
	return warnings, partial
}
