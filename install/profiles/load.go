package profiles

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/bootfiles"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/handloaded"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/lint"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// A Set is files that are read and compiled. Load loads all of them or none, unless the kernel refuses one.
type Set struct {
	Files []File

	node     *node.Node
	compiler node.Compiler
	senders  []string // labels of engines' programs, which a profile should know
}

// Loaded is what Load did with one profile.
type Loaded struct {
	Name    string
	Done    kernel.Done
	Warning string
}

// Prepare reads and compiles files. If one of them has a fault, it returns an error that names all faults.
func Prepare(ctx context.Context, n *node.Node, paths []string) (*Set, error) {
	c, _, err := n.NewCompiler(ctx, "")
	if err != nil {
		return nil, err
	}
	bootfiles.Claim(ctx, n)
	s := &Set{Files: ReadFiles(ctx, n, c, paths), node: n, compiler: c}
	if err := Faults(s.Files); err != nil {
		return nil, nothingLoaded(err)
	}
	return s, nil
}

// Lint returns the warnings about a file of the set.
func (s *Set) Lint(ctx context.Context, f *File) []lint.Warning {
	if s.senders == nil {
		s.senders = append([]string{}, s.node.SendersFor("")...)
	}
	warnings, _ := f.Lint(ctx, s.compiler, s.senders, nil)
	return warnings
}

// Check returns an error if the files define other profiles than names, unless names is empty. It also returns an error
// if Load may not load one of the profiles. If replace is true, Load may replace profiles that somebody else has
// loaded, and profiles of the policy.
func (s *Set) Check(ctx context.Context, names []string, replace bool) error {
	if err := asked(s.Files, names); err != nil {
		return nothingLoaded(exit.With(exit.BadPolicy, err))
	}
	var refusals []error
	for i := range s.Files {
		if err := mayLoad(ctx, s.node, s.Files[i].wanted(replace), replace); err != nil {
			refusals = append(refusals, err)
		}
	}
	if len(refusals) > 0 {
		return nothingLoaded(exit.With(exit.Cannot, errors.Join(refusals...)))
	}
	return nil
}

// Load loads the files, and writes them for AppArmor's service. Check must have accepted them. Load calls report for
// each profile as soon as it is loaded.
func (s *Set) Load(ctx context.Context, replace bool, report func(Loaded)) error {
	commits, drop, err := s.keepTexts(ctx)
	defer drop()
	if err != nil {
		return nothingLoaded(err)
	}
	var left []error // what stands beside profiles that were loaded
	for i := range s.Files {
		f := &s.Files[i]
		one := Loaded{Name: f.Name(), Done: kernel.Verified}
		loaded, err := s.node.Kernel.Ensure(ctx, []kernel.Profile{f.wanted(replace)})
		var child *kernel.LeftChildError
		switch {
		case errors.As(err, &child):
			one.Done = child.Done
			left = append(left, fmt.Errorf("profile %s is loaded; but %s is left of what was loaded before, and a process can enter "+
				"it by change_hat: when nothing runs under it, run oci-apparmor profile unload %[2]s", one.Name, oneline.Whole(child.Child)))
		case err != nil:
			return partlyLoaded(s.Files[:i], one.Name, errors.Join(append(left, loadRefused(one.Name, err))...))
		default:
			one.Done, one.Warning = loaded[0].Done, loaded[0].Warning
		}
		if one.Done == kernel.Replaced {
			if stale := s.node.State.Host.StaleAfter(nil, one.Name); stale != "" {
				s.node.Warn(stale)
			}
		}
		if err := commits[i](); err != nil {
			err = fmt.Errorf("profile %s is loaded, and its text cannot be kept: %w", one.Name, err)
			return partlyLoaded(s.Files[:i+1], one.Name, errors.Join(append(left, err)...))
		}
		bootfiles.WriteByHand(ctx, s.node, s.compiler, policy.Profile{
			Name: one.Name, Source: absolute(f.Path), Text: f.Text, Compiled: f.Blob.Profiles,
		}, f.Blob)
		report(one)
	}
	if len(left) > 0 {
		return exit.With(exit.Cannot, errors.Join(left...))
	}
	return nil
}

// keepTexts writes the texts beside their places. The commits put them there, each in the place of a file's; drop removes
// what is left.
func (s *Set) keepTexts(ctx context.Context) (commits []func() error, drop func(), err error) {
	var drops []func()
	drop = func() {
		for _, d := range drops {
			d()
		}
	}
	parser, err := s.compiler.Version(ctx)
	if err != nil {
		return nil, drop, err
	}
	for _, f := range s.Files {
		t := handloaded.New(f.Text, f.Blob)
		t.Source, t.Loaded, t.By, t.Parser = absolute(f.Path), time.Now().UTC().Round(time.Second), whoami(), parser
		commit, d, err := s.node.Texts().Write(t)
		if err != nil {
			return nil, drop, exit.With(exit.Cannot, fmt.Errorf("the text of profile %s cannot be kept: %w", t.Name, err))
		}
		commits, drops = append(commits, commit), append(drops, d)
	}
	return commits, drop, nil
}

// asked refuses files that define something else than they were asked for: one name twice, or not just these names.
func asked(files []File, names []string) error {
	var errs []error
	by := map[string]string{}
	for i := range files {
		f := &files[i]
		if other, twice := by[f.Name()]; twice {
			errs = append(errs, fmt.Errorf("%s and %s both define profile %s: only one of them can be loaded", other, f.Path, f.Name()))
		}
		by[f.Name()] = f.Path
		if len(names) > 0 && !slices.Contains(names, f.Name()) {
			errs = append(errs, fmt.Errorf("%s defines profile %s, which is not asked for by --name", f.Path, f.Name()))
		}
	}
	for _, name := range names {
		if by[name] == "" {
			errs = append(errs, fmt.Errorf("no file defines profile %s, which --name asks for", oneline.Whole(name)))
		}
	}
	return errors.Join(errs...)
}

// wanted returns what the kernel must hold for a file.
func (f *File) wanted(replace bool) kernel.Profile {
	p := kernel.Profile{
		Name:     f.Name(),
		Compiled: f.Blob.Profiles,
		Blob:     func() ([]byte, error) { return f.Blob.Data, nil },
	}
	if replace {
		p.OnDrift = profile.ReplaceAny
	}
	return p
}

// mayLoad says why a profile would not be loaded, before any is.
func mayLoad(ctx context.Context, n *node.Node, p kernel.Profile, replace bool) error {
	if !replace {
		g, err := store.Store{Dir: n.Store}.Current()
		if err != nil && !errors.Is(err, store.ErrNone) {
			return exit.AsRoot(err)
		}
		if err == nil {
			q, ok := g.Index.Profile(p.Name)
			if ok && !slices.Equal(q.Compiled, p.Compiled) {
				return fmt.Errorf("profile %s is one of the policy in force, with other content, and the next start of a container "+
					"that needs it would put that back: change its text in the policy and run oci-apparmor policy apply, or give "+
					"--replace", p.Name)
			}
		}
	}
	if !n.Root {
		return nil
	}
	p.Blob = func() ([]byte, error) { return nil, node.ErrAsked }
	_, err := n.Kernel.Ensure(ctx, []kernel.Profile{p})
	var left *kernel.LeftChildError // to load it is not wrong, and not all
	if err == nil || errors.Is(err, node.ErrAsked) || errors.As(err, &left) {
		return nil
	}
	return loadRefused(p.Name, err)
}

// loadRefused puts what Ensure says of drift into the words of this command, which has no policy file.
func loadRefused(name string, err error) error {
	if !errors.Is(err, kernel.ErrDrift) {
		return err
	}
	return fmt.Errorf("profile %s is loaded with other content, and not by oci-apparmor: give --replace to put this one in its "+
		"place, which holds for everything that runs under it", name)
}

// nothingLoaded adds to a failure that it changed nothing.
func nothingLoaded(err error) error {
	return partlyLoaded(nil, "", err)
}

// partlyLoaded adds to a failure what was loaded.
func partlyLoaded(loaded []File, name string, err error) error {
	code, err := exit.Split(err)
	if name != "" && !strings.Contains(err.Error(), name) {
		err = fmt.Errorf("profile %s: %w", name, err)
	}
	meaning := errors.New("nothing was loaded")
	if len(loaded) > 0 {
		var names []string
		for i := range loaded {
			names = append(names, loaded[i].Name())
		}
		meaning = fmt.Errorf("loaded: %s", strings.Join(names, ", "))
	}
	return exit.With(code, errors.Join(err, meaning))
}

// whoami returns the user that this runs as, and who became it by sudo.
func whoami() string {
	name := fmt.Sprint("uid ", os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if by := os.Getenv("SUDO_USER"); by != "" {
		name += " (" + by + ")"
	}
	return oneline.Whole(name)
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
