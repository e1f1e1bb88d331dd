package command

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/hook/notice/reader"
	"github.com/oci-apparmor/oci-apparmor/install/service"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// configDir is where the policy file is.
const configDir = "/etc/oci-apparmor"

// node is what the commands read and write: this machine, or one that a test has made up.
type node struct {
	stdout, stderr io.Writer
	live           bool // stderr is a terminal, on which a line can be written over
	root           bool // this process may do what a container's start does

	config   string      // default of --config
	store    string      // default of --store
	service  service.Dir // where AppArmor's service looks for profiles
	parser   string      // the configuration of apparmor_parser
	kernel   *kernel.Kernel
	programs string // below which engines' programs are; empty for /
	uname    string // the running kernel's release, as uname -r prints it

	compiler func(features []byte) (compiler, error)
	label    func(pid int) (kernel.Label, error)
	detect   func() kernel.Readiness

	log     notice.Log  // where what is refused and warned of goes
	notices interface { // and is read from
		Read(ctx context.Context, q reader.Query, each func(notice.Notice) error, warn func(string)) error
	}

	state  *status.Node  // where status looks
	screen func() screen // what stdout goes to
	pause  time.Duration // of status --watch, between two looks
}

// compiler is the part of *profile.Compiler that the commands use.
type compiler interface {
	store.Compiler
	Version(context.Context) (string, error)
	CompileText(ctx context.Context, source string, text []byte) (profile.Blob, error)
	Preprocess(ctx context.Context, text []byte) ([]byte, error)
	Standalone(ctx context.Context, text []byte, mode profile.Mode, want func() (profile.Blob, error)) ([]byte, error)
	AsLoaded(ctx context.Context, text []byte) (profile.Blob, error)
	Supports(feature string) bool
	ABIs(feature string) []string
	Included(preprocessed []byte) []profile.Text
	Theirs(path string) bool
	Outcomes(ctx context.Context, text []byte, is func(profile.Blob) bool) (found bool, all []profile.Blob, err error)
	Inputs() (*profile.Inputs, error)
}

func thisNode() *node {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails only for a bad address
	_, err := unix.IoctlGetTermios(unix.Stderr, unix.TCGETS)
	k := kernel.New()
	return &node{
		stdout:   os.Stdout,
		stderr:   os.Stderr,
		live:     err == nil,
		root:     os.Geteuid() == 0,
		config:   configDir,
		store:    store.Dir,
		service:  profile.BaseDir,
		parser:   profile.ConfFile,
		kernel:   k,
		uname:    unix.ByteSliceToString(u.Release[:]),
		compiler: func(features []byte) (compiler, error) { return profile.NewCompiler(features) },
		label:    kernel.Current,
		detect:   k.Detect,
		log:      notice.NodeLog(),
		notices:  reader.NodeReader(),
		state:    status.NewNode(),
		screen:   stdoutScreen,
		pause:    2 * time.Second,
	}
}

// current gives the generation in force.
func (n *node) current(dir string) (*store.Generation, error) {
	g, err := store.Store{Dir: dir}.Current()
	if err != nil {
		return nil, &failure{cannot, asRoot(err)}
	}
	return g, nil
}

// asRoot adds to an error for want of rights what gives them.
func asRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return fmt.Errorf("%w: run this as root", err)
	}
	return err
}

// newCompiler gives a compiler for the kernel whose features are in the file, or where file is empty for that of this node:
// the running one, unless apparmor_parser is configured to compile for another. features is their text.
func (n *node) newCompiler(ctx context.Context, file string) (c compiler, features []byte, err error) {
	if file == "" {
		conf, err := profile.ReadConf(n.parser)
		if err != nil {
			return nil, nil, &failure{cannot, asRoot(err)}
		}
		file = conf.KernelFeatures
	}
	if file != "" {
		return n.compilerFor(ctx, file)
	}
	if features, err = profile.ReadFeatures(n.kernel.Features()); err != nil {
		return nil, nil, &failure{cannot, fmt.Errorf("%w; to compile for another machine, name a file of its kernel's "+
			"features, such as /etc/apparmor.d/abi/3.0, with --features of policy check, policy apply or profile check", err)}
	}
	if c, err = n.compiler(features); err != nil {
		return nil, nil, &failure{cannot, err}
	}
	return c, features, nil
}

// compilerFor gives a compiler for the kernel whose features are in the file. It compiles an empty profile with it:
// the parser takes any text for features, and then compiles for a kernel of ten years ago.
func (n *node) compilerFor(ctx context.Context, file string) (c compiler, features []byte, err error) {
	if features, err = os.ReadFile(file); err != nil {
		return nil, nil, &failure{cannot, asRoot(err)}
	}
	c, err = n.compiler(features)
	if errors.Is(err, profile.ErrNoParser) {
		return nil, nil, &failure{cannot, err}
	}
	if err == nil {
		_, err = c.Compile(ctx, "empty", profile.Enforce, "an empty profile", []byte("profile empty {\n}\n"))
	}
	if err != nil {
		return nil, nil, &failure{cannot, fmt.Errorf("%s is no features file of a kernel that apparmor_parser can "+
			"compile for, such as /etc/apparmor.d/abi/3.0 is: %w", file, err)}
	}
	return c, features, nil
}

// locatedCompiler names a profile's text in errors as the policy file's faults name files.
type locatedCompiler struct {
	compiler
	sources map[string]string // by the profiles' names
	files   map[string]bool   // which of them are not generated
	said    *findings         // what there is to say of those that compile

	inputs *profile.Inputs // what profiles are compiled from; nil where all are to be compiled
	alone  *aloneTexts     // where texts for AppArmor's service are put; nil where there are none
}

// aloneText is the text of a profile for AppArmor's service, or why there is none.
type aloneText struct {
	text []byte
	err  error
}

type aloneTexts struct {
	sync.Mutex
	of map[string]aloneText // by profile
}

// Key tells profiles that compile to the same from others. Whatever Compile goes by must be in it.
func (c locatedCompiler) Key(p *policy.Profile) (key [sha256.Size]byte, ok bool) {
	if c.inputs == nil {
		return key, false
	}
	key, err := c.inputs.Key(p.Name, p.Mode, p.Text)
	if err == nil { // one of a file is also judged, in words that name the file
		key = sha256.Sum256(fmt.Appendf(key[:], "%t %s", c.files[p.Name], c.sources[p.Name]))
	}
	return key, err == nil
}

// Said gives what there is to say of a profile that compiles.
func (c locatedCompiler) Said(name string) []string { return c.said.get(name) }

// Kept takes what was said of a profile that is not compiled again.
func (c locatedCompiler) Kept(name string, said []string) { c.said.put(name, said) }

// Compile is the compiler's, and refuses what must not be put in force. Where a text for AppArmor's
// service is wanted, that is made meanwhile.
func (c locatedCompiler) Compile(ctx context.Context, name string, mode profile.Mode, _ string, text []byte) (
	blob profile.Blob, err error) {
	if c.alone != nil {
		var making sync.WaitGroup
		compiled := make(chan struct{})
		var t aloneText
		making.Go(func() {
			t.text, t.err = c.Standalone(ctx, text, mode, func() (profile.Blob, error) {
				<-compiled
				return blob, err
			})
		})
		defer func() {
			close(compiled)
			making.Wait()
			c.alone.Lock()
			defer c.alone.Unlock()
			c.alone.of[name] = t
		}()
	}
	return c.compile(ctx, name, mode, text)
}

// located gives a compiler for the profiles of p, whose files are below dir.
func located(c compiler, dir string, p *policy.Policy) locatedCompiler {
	sources := make(map[string]string, len(p.Profiles))
	files := make(map[string]bool, len(p.Profiles))
	for _, pr := range p.Profiles {
		files[pr.Name] = pr.Template == ""
		switch {
		case pr.Template != "":
			sources[pr.Name] = "profile " + pr.Name + " of " + pr.Source
		case filepath.IsAbs(pr.Source):
			sources[pr.Name] = pr.Source
		default:
			sources[pr.Name] = filepath.Join(dir, pr.Source)
		}
	}
	return locatedCompiler{compiler: c, sources: sources, files: files, said: new(findings)}
}

// compile compiles, and refuses a profile of a file that denies what would not be denied.
func (c locatedCompiler) compile(ctx context.Context, name string, mode profile.Mode, text []byte) (profile.Blob, error) {
	source := c.sources[name]
	blob, err := c.compiler.Compile(ctx, name, mode, source, text)
	if err != nil || !c.files[name] {
		return blob, err
	}
	warnings := judge(ctx, c.compiler, text, blob, nil)
	c.said.add(name, source, warnings)
	if mode == profile.Complain {
		return blob, nil
	}
	if err := faultsIn(source, warnings); err != nil {
		return profile.Blob{}, err
	}
	return blob, nil
}

// Locate names the source of a profile's text, for errors of the store.
func (c locatedCompiler) Locate(p *policy.Profile) string { return c.sources[p.Name] }

// generate fills in the texts of profiles that come from a template, as they are for this node.
func generate(p *policy.Policy, node profile.Node) error {
	for i := range p.Profiles {
		pr := &p.Profiles[i]
		if pr.Template == "" {
			continue
		}
		text, err := profile.Template(pr.Template, pr.Name, node)
		if err != nil {
			return fmt.Errorf("profile %s: %w", pr.Name, err)
		}
		pr.Text = text
	}
	return nil
}
