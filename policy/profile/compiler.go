package profile

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

const (
	// MaxText is the greatest size of a profile text in bytes. The largest text that distributions ship has 30 KiB.
	MaxText = 1 << 20

	// MaxBlob is the greatest size of what a text compiles to in bytes: it may be many times the text's.
	MaxBlob = 64 << 20

	maxErrors = 1 << 20 // bytes of the parser's stderr
	timeLimit = 2 * time.Minute
)

// parserDirs are where apparmor_parser is looked for. PATH is not used: an engine runs hooks with a PATH of its choice.
var parserDirs = []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"}

// ErrNoParser is the error of NewCompiler if apparmor_parser is not installed.
var ErrNoParser = errors.New("apparmor_parser is not installed")

// BaseDir is the directory of AppArmor's own files: ABIs, tunables and abstractions.
const BaseDir = "/etc/apparmor.d"

// A Compiler compiles profile texts to blobs by apparmor_parser. Its methods may be called concurrently.
type Compiler struct {
	Parser string        // absolute path of apparmor_parser
	Base   string        // directory of AppArmor's own files, with the includes; empty stands for BaseDir
	Conf   string        // the parser's configuration, with the ABI of texts that name none; empty stands for ConfFile
	Limit  time.Duration // how long one run of the parser may take; 0 stands for two minutes

	features []byte
	layout   string // where not empty, the parser's memory is laid out at random, and as this variable says (see Outcomes)
}

// NewCompiler finds apparmor_parser and returns a compiler for kernels with these features. features has the form that
// ReadFeatures returns. The error is ErrNoParser if there is no parser.
func NewCompiler(features []byte) (*Compiler, error) {
	if len(bytes.TrimSpace(features)) == 0 {
		return nil, errors.New("no kernel features are given: apparmor_parser would silently compile profiles that " +
			"mediate neither mounts nor signals")
	}
	if err := whole(features); err != nil {
		return nil, err
	}
	// Parsers since 5.0 compress what they write where the kernel could take it so. Every kernel takes it uncompressed,
	// and only so can it be read here.
	f, err := withoutFeature(string(features), "compressed_load")
	if err != nil {
		return nil, err
	}
	parser, err := findParser(parserDirs, os.Geteuid() == 0)
	if err != nil {
		return nil, err
	}
	return &Compiler{Parser: parser, features: []byte(f)}, nil
}

// whole returns an error for features that are cut off: the parser would take them for those of an older kernel. It
// ignores a closing brace without an opening one, since AppArmor 3.0 ships such in abi/kernel-5.4-vanilla.
func whole(features []byte) error {
	if open := bytes.Count(features, []byte("{")) - bytes.Count(features, []byte("}")); open > 0 {
		return fmt.Errorf("kernel features: the text is cut off, so that %d braces stay open", open)
	}
	return nil
}

// findParser returns the path of the first apparmor_parser in dirs. If forRoot is true, root must own the program, and
// nobody else may be able to change it.
func findParser(dirs []string, forRoot bool) (string, error) {
	for _, dir := range dirs {
		path := filepath.Join(dir, "apparmor_parser")
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("find apparmor_parser: %w", err)
		}
		if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
			return "", fmt.Errorf("%s is no program: reinstall the package that it belongs to", path)
		}
		if forRoot {
			st := info.Sys().(*syscall.Stat_t)
			if err := safefile.Trusted(path, st.Uid, st.Mode); err != nil {
				return "", fmt.Errorf("root does not run %s, which others can change: %w", path, err)
			}
		}
		return path, nil
	}
	return "", fmt.Errorf("%w (looked in %s): install the package \"apparmor\", or \"apparmor-parser\" on SUSE",
		ErrNoParser, strings.Join(dirs, ", "))
}

// Version returns the version of apparmor_parser, such as "4.1.0".
func (c *Compiler) Version(ctx context.Context) (string, error) {
	stdout, _, err := c.run(ctx, nil, nil, "--version")
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", c.Parser, err)
	}
	line, _, _ := strings.Cut(string(stdout), "\n")
	_, version, found := strings.Cut(line, " version ")
	if !found || strings.ContainsFunc(version, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("ask %s for its version: it says %s", c.Parser, oneline.Quote(line))
	}
	return version, nil
}

// Compile compiles a profile text to a blob that defines the profile called name, and perhaps children of it, all in
// mode. source names the text in errors. The error is a *TextError.
//
// The flags in the text must ask for mode, or for no mode. If the text names no ABI, the parser uses the one that the
// node's own configuration names. The same text compiles to the same bytes as long as the parser, its configuration,
// the features and the included files are the same.
func (c *Compiler) Compile(ctx context.Context, name string, mode Mode, source string, text []byte) (Blob, error) {
	b, err := c.compile(ctx, name, mode, text)
	if err != nil {
		return Blob{}, c.textError(ctx, source, text, err)
	}
	return b, nil
}

func (c *Compiler) compile(ctx context.Context, name string, mode Mode, text []byte) (Blob, error) {
	if err := CheckName(name); err != nil {
		return Blob{}, err
	}
	written, err := c.written(ctx, text)
	if err != nil {
		return Blob{}, err
	}
	blob, err := written.WithMode(mode)
	if err != nil {
		return Blob{}, err
	}
	blob.Warnings = written.Warnings
	if own := mains(blob); len(own) == 1 && own[0] != name {
		return Blob{}, fmt.Errorf("the name after `profile` is %s, and must be the key %s (without a policy file: the name"+
			" of the file)", oneline.Quote(own[0]), oneline.Quote(name))
	}
	if err := blob.Check(name, mode); err != nil {
		return Blob{}, err
	}
	for _, p := range written.Profiles {
		if p.Mode != Enforce && p.Mode != mode {
			err := fmt.Errorf("the text puts profile %s into %s mode, the policy into %s: take \"%s\" out of the "+
				"profile's flags; the policy alone says the mode", oneline.Quote(p.Name), p.Mode, mode, p.Mode)
			if p.Mode == Unconfined {
				err = fmt.Errorf("profile %s is in unconfined mode, by its flag unconfined or default_allow: it confines nothing, "+
					"and not even its deny rules hold; take the flag out", oneline.Quote(p.Name))
			}
			return Blob{}, refusedError{err}
		}
	}
	return blob, nil
}

// mains returns the names of a blob's profiles without the children.
func mains(b Blob) []string {
	var names []string
	for _, p := range b.Profiles {
		if !strings.Contains(p.Name, "//") {
			names = append(names, p.Name)
		}
	}
	return names
}

// CompileText compiles a profile text as it is. The text must define one profile, of any name that CheckName accepts,
// and perhaps children of it. Each has the mode that the text says, which must not be unconfined. source and the error
// are as in Compile.
func (c *Compiler) CompileText(ctx context.Context, source string, text []byte) (Blob, error) {
	b, err := c.written(ctx, text)
	if err == nil {
		err = b.single()
	}
	if err != nil {
		return Blob{}, c.textError(ctx, source, text, err)
	}
	return b, nil
}

// single returns an error unless the blob is one profile, followed by its children, and none of them is unconfined.
func (b Blob) single() error {
	if own := mains(b); len(own) != 1 || b.Profiles[0].Name != own[0] {
		return fmt.Errorf("it defines %s: a file must define one profile, and perhaps children of it", b.list())
	}
	for _, p := range b.Profiles {
		if p.Mode > Kill {
			return refusedError{fmt.Errorf("profile %s is in %s mode, by its flag unconfined or default_allow, "+
				"which confines nothing: use enforce, complain or kill", oneline.Quote(p.Name), p.Mode)}
		}
	}
	return nil
}

// written compiles a text, and parses the blob.
func (c *Compiler) written(ctx context.Context, text []byte) (Blob, error) {
	if err := checkText(text); err != nil {
		return Blob{}, err
	}
	data, stderr, err := c.output(ctx, text)
	if err != nil {
		return Blob{}, err
	}
	b, err := Parse(data)
	b.Warnings = c.warnings(stderr)
	return b, err
}

func checkText(text []byte) error {
	if len(text) > MaxText {
		return fmt.Errorf("the text has %d bytes, %d are allowed", len(text), MaxText)
	}
	if err := CheckEncoding(text); err != nil {
		return err
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return fmt.Errorf("line %d of the text holds a NUL byte, which no profile has", 1+bytes.Count(text[:i], []byte("\n")))
	}
	return nil
}

// CheckEncoding returns an error for a text that begins with a byte order mark. Some editors write one and do not show
// it. apparmor_parser takes that of UTF-8 for a character of a rule, and cannot read UTF-16.
func CheckEncoding(text []byte) error {
	switch {
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		return errors.New("the text begins with a byte order mark (bytes ef bb bf), which editors do not show: save it as UTF-8 without " +
			"one, or run sed -i '1s/^\\xef\\xbb\\xbf//' on it")
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return errors.New("the text is UTF-16, by the byte order mark that it begins with: save it as UTF-8 without one")
	}
	return nil
}

// Preprocess returns a text with its includes replaced by the content of the files, each after a comment that names the
// file.
func (c *Compiler) Preprocess(ctx context.Context, text []byte) ([]byte, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	stdout, _, err := c.with(ctx, text, "--preprocess")
	return stdout, err
}

// output runs apparmor_parser on a text, and returns what it writes to stdout and stderr. It appends options to its
// own.
//
// The parser reads the text from stdin. It then uses neither its cache, whose keys are time stamps, nor the links in
// disable and force-complain.
func (c *Compiler) output(ctx context.Context, text []byte, options ...string) (stdout, stderr []byte, err error) {
	args := []string{"--skip-kernel-load", "--skip-cache", "--stdout"}
	for _, kind := range heard {
		args = append(args, "--warn="+kind)
	}
	stdout, stderr, err = c.with(ctx, text, append(args, options...)...)
	if err != nil {
		return nil, nil, err
	}
	// Both have been seen with exit status 0: the first where an error is found late, the second where the kernel's
	// features can't be read.
	for _, sign := range []string{"parser error", "Cache read/write disabled"} {
		if bytes.Contains(stderr, []byte(sign)) {
			return nil, nil, fmt.Errorf("apparmor_parser: %s", oneline.Output(fault(stderr)))
		}
	}
	return stdout, stderr, nil
}

// featuresPath is where apparmor_parser finds the kernel's features: the first of run's files.
const featuresPath = "/proc/self/fd/3"

// with runs apparmor_parser with the features and the directory of c, and with what of the node's configuration decides on
// a text's meaning. Of the configuration's options the last one counts, so those in args do where they are the same.
//
// There is one text, so that jobs only cost: with more than one the parser compiles in a child of its own.
func (c *Compiler) with(ctx context.Context, text []byte, args ...string) (stdout, stderr []byte, err error) {
	features, err := memfile("features", c.features)
	if err != nil {
		return nil, nil, err
	}
	defer features.Close()
	conf, err := c.conf()
	if err != nil {
		return nil, nil, err
	}
	defer conf.Close()
	args = append([]string{"--config-file", "/proc/self/fd/4", "--base", cmp.Or(c.Base, BaseDir),
		"--kernel-features", featuresPath, "--jobs=1"}, args...)
	return c.run(ctx, text, []*os.File{features, conf}, args...)
}

// memfile returns an unnamed file with this content.
func memfile(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(content); err != nil {
		f.Close()
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	return f, nil
}

// run runs apparmor_parser. The parser has nothing of our environment, and files as its descriptors from 3 on. It is in
// a process group of its own. run kills that group if the parser takes too long or writes too much.
func (c *Compiler) run(ctx context.Context, stdin []byte, files []*os.File, args ...string) (
	stdout, stderr []byte, err error,
) {
	limit := cmp.Or(c.Limit, timeLimit)
	ctx, cancelLimit := context.WithTimeoutCause(ctx, limit,
		fmt.Errorf("apparmor_parser was killed: it did not finish within %s; the machine is busy, or the text takes that long", limit))
	defer cancelLimit()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	out := &bounded{most: MaxBlob, stop: cancel}
	errs := &bounded{most: maxErrors, stop: cancel}
	cmd := exec.CommandContext(ctx, c.Parser, args...)
	cmd.Env = []string{"LC_ALL=C"}
	cmd.Dir = "/"
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for a child of it that left the group with our pipes open
	if c.layout != "" {
		cmd.Env = append(cmd.Env, c.layout)
		err = cmd.Start()
	} else {
		err = withoutRandomness(cmd.Start)
	}
	if err == nil {
		err = cmd.Wait()
	}
	if err == nil {
		return out.buf.Bytes(), errs.buf.Bytes(), nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	} else {
		err = fmt.Errorf("run %s: %w", c.Parser, err)
	}
	if said := oneline.Output(fault(errs.buf.Bytes())); said != "" {
		err = fmt.Errorf("%s (%w)", said, err)
	} else if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && len(stdin) > 0 {
		err = fmt.Errorf("%w: it says nothing more; try apparmor_parser -QK FILE", err)
	}
	return nil, nil, err
}

// parserError begins what the parser says of a text that does not compile (yyerror in parser/parser_misc.c).
const parserError = "AppArmor parser error"

// fault removes the warnings that the parser wrote before its error. For some texts, such as one with rules that
// contradict each other, the parser writes the error in another form than parserError. fault then removes only what
// looks like a warning.
func fault(stderr []byte) []byte {
	if at := bytes.Index(stderr, []byte(parserError)); at >= 0 {
		return stderr[at:]
	}
	var said []byte
	for line := range bytes.Lines(stderr) {
		if !bytes.HasPrefix(line, []byte("Warning from ")) {
			said = append(said, line...)
		}
	}
	if len(bytes.TrimSpace(said)) == 0 {
		return stderr
	}
	return said
}

// bounded is a buffer that takes so many bytes, and then stops whoever fills it.
type bounded struct {
	buf  bytes.Buffer // not embedded: its ReadFrom would take everything
	most int
	stop context.CancelCauseFunc
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(p) > b.most-b.buf.Len() {
		err := fmt.Errorf("apparmor_parser was killed: it wrote more than %d bytes", b.most)
		b.stop(err)
		return 0, err
	}
	return b.buf.Write(p)
}
