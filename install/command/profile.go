package command

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

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

func profileCommand(n *node) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "profile",
		Short: "Check, load, unload and show AppArmor profiles by hand",
		Args:  cobra.NoArgs,
		RunE:  action(func(cmd *cobra.Command, _ []string) error { return cmd.Help() }),
	}
	cmd.AddCommand(profileCheckCommand(n), loadCommand(n), unloadCommand(n), listCommand(n), profileShowCommand(n),
		diffCommand(n))
	return cmd
}

// textFile is a profile's text, and what became of it.
type textFile struct {
	path   string // as it was named
	target string // where it leads to, if it is a symbolic link
	text   []byte
	blob   profile.Blob
	err    error
}

// readTexts reads files, and compiles what could be read, unless c is nil: as many at a time as there are processors.
func (n *node) readTexts(ctx context.Context, c compiler, paths []string) []textFile {
	files := make([]textFile, len(paths))
	var workers sync.WaitGroup
	turn := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, path := range paths {
		files[i].path = path
		turn <- struct{}{}
		workers.Go(func() {
			defer func() { <-turn }()
			f := &files[i]
			if f.err = f.read(n.root); f.err == nil && c != nil {
				f.blob, f.err = c.CompileText(ctx, f.path, f.text)
			}
		})
	}
	workers.Wait()
	return files
}

// read reads a file, and refuses what is no text of a profile and, for root, what somebody else could have written.
func (f *textFile) read(root bool) error {
	if info, err := os.Lstat(f.path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		target, err := filepath.EvalSymlinks(f.path)
		if err != nil {
			return &failure{cannot, fmt.Errorf("%s is a symbolic link: %w", f.path, asRoot(err))}
		}
		f.target = target
	}
	file, err := os.OpenFile(f.path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return &failure{cannot, asRoot(err)}
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return &failure{cannot, err}
	}
	text := &profile.TextError{Source: f.path}
	switch {
	case info.IsDir():
		text.Msg = "it is a directory: name the files in it, as " + filepath.Join(f.path, "*")
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
	if f.text, err = io.ReadAll(io.LimitReader(file, profile.MaxText+1)); err != nil {
		return &failure{cannot, err}
	}
	return nil
}

// writtenByOthers says why a file cannot be believed by root: who could have written it, or have put it there.
func (f *textFile) writtenByOthers(info fs.FileInfo) string {
	path := f.path
	if f.target != "" {
		path = f.target
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

// name gives the profile that a compiled text defines.
func (f *textFile) name() string { return f.blob.Profiles[0].Name }

// defines says what a compiled text defines: "web (enforce), with its children hat, kid (complain)".
func (f *textFile) defines() string {
	main := f.blob.Profiles[0]
	s := main.Name + " (" + main.Mode.String() + ")"
	var children []string
	for _, c := range f.blob.Profiles[1:] {
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

// faultsOf joins what is wrong with files, and gives the exit code for it: badPolicy, unless none of them is the texts'.
func faultsOf(files []textFile) error {
	var errs []error
	code := cannot
	for _, f := range files {
		if f.err == nil {
			continue
		}
		errs = append(errs, unwrapped(f.err))
		var bad *profile.TextError
		if errors.As(f.err, &bad) {
			code = badPolicy
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &failure{code, errors.Join(errs...)}
}

// unwrapped takes the exit code off an error.
func unwrapped(err error) error {
	var f *failure
	if errors.As(err, &f) {
		return f.error
	}
	return err
}

// atLeastOne is for a command that takes one or more of something.
func atLeastOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New("name at least one " + what)
		}
		return nil
	}
}
