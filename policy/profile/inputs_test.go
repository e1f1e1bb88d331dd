package profile

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/seen"
)

// inputs is a directory of files that a text is compiled from.
type inputs struct {
	t   *testing.T
	dir string
}

func newInputs(t *testing.T) inputs {
	in := inputs{t, t.TempDir()}
	in.write("parser", "a program")
	in.write("conf", "policy-features="+in.dir+"/pinned\nInclude "+in.dir+"/more\n")
	in.write("pinned", "caps {mask {chown}}\n")
	in.write("base/abi/3.0", "caps {mask {chown}}\n")
	in.write("base/tunables/global", "include <tunables/home>\ninclude <tunables/late.d>\n")
	in.write("base/tunables/home", "@{HOME}=/home\n")
	in.write("base/tunables/late.d/site", "@{SITE}=/srv\n")
	in.write("base/abstractions/base", "#include <abstractions/deep>\n")
	in.write("base/abstractions/deep", "/a r,\n")
	in.write("base/bare", "/b r,\n")
	in.write("base/glued", "/c r,\n")
	in.write("base/below", "/d r,\n")
	in.write("elsewhere/one", "include \"./elsewhere/two\"\n")
	in.write("more/there", "/e r,\n")
	return in
}

func (in inputs) write(name, text string) {
	in.t.Helper()
	path := filepath.Join(in.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		in.t.Fatal(err)
	}
}

func (in inputs) compiler() *Compiler {
	return &Compiler{Parser: in.dir + "/parser", Base: in.dir + "/base", Conf: in.dir + "/conf", features: []byte("features")}
}

func (in inputs) text() string {
	return "abi <abi/3.0>,\ninclude <tunables/global>\nprofile web {\n  #include <abstractions/base>\n  include bare\n" +
		"  #include<glued>\n  include\t\n\n  <below>\n  include if exists <local/web>\n  include <there>\n" +
		"  include \"" + in.dir + "/elsewhere/one\"\n  # include <no/comment> of @{X} and {y}, see include files\n  /usr/include/** r,\n}\n"
}

// keyOf returns a text's key. The error says why it has none.
func keyOf(in *Inputs, name string, mode Mode, text string) ([32]byte, error) {
	d, err := DigestOf([]byte(text))
	if err != nil {
		return [32]byte{}, err
	}
	return in.Key(name, mode, d)
}

func (in inputs) key(c *Compiler, name string, mode Mode, text string) [32]byte {
	in.t.Helper()
	now, err := c.Inputs(nil)
	if err != nil {
		in.t.Fatal(err)
	}
	key, err := keyOf(now, name, mode, text)
	if err != nil {
		in.t.Fatal(err)
	}
	return key
}

// What a compilation depends on makes another key, and nothing else does.
func TestKeysAreOfAllThatIsCompiled(t *testing.T) {
	for what, change := range map[string]func(in inputs){
		"an included file":                     func(in inputs) { in.write("base/abstractions/base", "/x r,\n") },
		"a file that an included one includes": func(in inputs) { in.write("base/abstractions/deep", "/x r,\n") },
		"a file of an included directory":      func(in inputs) { in.write("base/tunables/late.d/site", "@{SITE}=/x\n") },
		"another file there":                   func(in inputs) { in.write("base/tunables/late.d/b", "@{B}=/x\n") },
		"one that was not there yet":           func(in inputs) { in.write("base/local/web", "/x r,\n") },
		"a name without quotes":                func(in inputs) { in.write("base/bare", "/x r,\n") },
		"a name that is glued on":              func(in inputs) { in.write("base/glued", "/x r,\n") },
		"a name in another line":               func(in inputs) { in.write("base/below", "/x r,\n") },
		"a file elsewhere":                     func(in inputs) { in.write("elsewhere/one", "/x r,\n") },
		"a directory of the configuration":     func(in inputs) { in.write("more/there", "/x r,\n") },
		"a file ahead of that one":             func(in inputs) { in.write("base/there", "/x r,\n") },
		"the ABI":                              func(in inputs) { in.write("base/abi/3.0", "caps {mask {kill}}\n") },
		"the configuration":                    func(in inputs) { in.write("conf", "policy-features="+in.dir+"/pinned\nOptimize=no-minimize\n") },
		"the ABI of texts without one":         func(in inputs) { in.write("pinned", "caps {mask {kill}}\n") },
		"the parser":                           func(in inputs) { in.write("parser", "b program") },
		"a file that becomes a directory": func(in inputs) {
			if err := errors.Join(os.Remove(in.dir+"/base/bare"), os.Mkdir(in.dir+"/base/bare", 0o755)); err != nil {
				in.t.Fatal(err)
			}
		},
	} {
		in := newInputs(t)
		c := in.compiler()
		before := in.key(c, "web", Enforce, in.text())
		if in.key(c, "web", Enforce, in.text()) != before {
			t.Errorf("%s: two keys, and nothing changed", what)
		}
		in.write("base/abstractions/another", "/x r,\n")
		if in.key(c, "web", Enforce, in.text()) != before {
			t.Errorf("%s: a file that is not included makes another key", what)
		}
		change(in)
		if in.key(c, "web", Enforce, in.text()) == before {
			t.Errorf("%s: the key stays", what)
		}
	}
	in := newInputs(t)
	c := in.compiler()
	keys := [][32]byte{
		in.key(c, "web", Enforce, in.text()), in.key(c, "web2", Enforce, in.text()), in.key(c, "web", Kill, in.text()),
		in.key(c, "web", Enforce, in.text()+"\n"),
	}
	c.features = []byte("other features")
	keys = append(keys, in.key(c, "web", Enforce, in.text()))
	for i := range keys {
		if slices.Contains(keys[:i], keys[i]) {
			t.Errorf("key %d is one before", i)
		}
	}
}

// What an earlier version of this program has compiled and judged has another key, though nothing but the program changed.
func TestKeysAreOfThisProgram(t *testing.T) {
	in := newInputs(t)
	key := func() [32]byte {
		t.Helper()
		now, err := in.compiler().inputs(in.dir+"/program", nil)
		if err != nil {
			t.Fatal(err)
		}
		key, err := keyOf(now, "web", Enforce, in.text())
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	in.write("program", "version 1")
	before := key()
	if key() != before {
		t.Error("two keys, and nothing changed")
	}
	in.write("upgrade", "version 2")
	if err := os.Rename(in.dir+"/upgrade", in.dir+"/program"); err != nil {
		t.Fatal(err)
	}
	if key() == before {
		t.Error("the key stays with another program")
	}
}

// What cannot be known without the parser has no key.
func TestTextsWithoutKey(t *testing.T) {
	in := newInputs(t)
	now, err := in.compiler().Inputs(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop", in.dir+"/base/loop"); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"@{X}=a\ninclude <@{X}/b>\n", "include \"a\\x41\"\n", "include <loop>\n", "include \"/dev/null\"\n", "include if exists <a*>\n",
	} {
		if _, err := keyOf(now, "web", Enforce, text); err == nil {
			t.Errorf("%q has one", text)
		}
	}
}

// The files that the parser says to have included are among those that a key is made of.
func TestKeysHoldWhatTheParserIncludes(t *testing.T) {
	c := realCompiler(t)
	c.Base = ""
	texts, err := filepath.Glob(BaseDir + "/abstractions/*")
	if err != nil {
		t.Fatal(err)
	}
	text := "#include <tunables/global>\nprofile web {\n"
	for _, path := range texts {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			text += "include <abstractions/" + filepath.Base(path) + ">\n"
		}
	}
	text += "}\n"
	whole, err := c.Preprocess(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	in, err := c.Inputs(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyOf(in, "web", Enforce, text); err != nil {
		t.Fatal(err)
	}
	included := regexp.MustCompile(`(?m)^##included [<"]([^>"]+)[>"]$`).FindAllSubmatch(whole, -1)
	if len(included) < len(texts)/2 {
		t.Errorf("the parser has included %d files of %d", len(included), len(texts))
	}
	for _, m := range included {
		path := string(m[1])
		if !strings.HasPrefix(path, "/") {
			path = BaseDir + "/" + path
		}
		_, err := os.Stat(path) // one that does not exist is said to be included, too, if it may be missing
		if f := in.files[path]; f == nil || (string(f.state) == "none") != errors.Is(err, os.ErrNotExist) {
			t.Errorf("the parser has included %s", path)
		}
	}
}

// The parser's program is read once, and again where it may be another.
func TestTheParserIsReadWhereItMayHaveChanged(t *testing.T) {
	in := newInputs(t)
	before := seen.Parse(nil)
	parser := func() string {
		t.Helper()
		now, err := in.compiler().Inputs(before)
		if err != nil {
			t.Fatal(err)
		}
		before = seen.Parse(before.Bytes())
		return now.Parser
	}
	remembered := func() bool { _, ok := before.Unchanged(seen.Program, in.dir+"/parser"); return ok }
	for try := 1; ; try++ {
		written := time.Now()
		in.write("parser", "a program")
		first := parser()
		known := remembered()
		if time.Since(written) > 15*time.Millisecond && try < 100 { // a file is settled after 20
			continue
		}
		if known || parser() != first {
			t.Error("one that has just been written is remembered, or is another each time")
		}
		break
	}
	time.Sleep(30 * time.Millisecond)
	one := parser()
	if !remembered() || parser() != one || !remembered() {
		t.Error("it is not remembered")
	}
	in.write("parser", "A program") // of the same size
	if other := parser(); other == one {
		t.Error("another one is taken for it")
	}
	in.write("elsewhere/parser", "a program")
	if err := errors.Join(os.Remove(in.dir+"/parser"), os.Symlink("elsewhere/parser", in.dir+"/parser")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Millisecond)
	linked := parser()
	in.write("elsewhere/parser", "b program")
	if parser() == linked || remembered() {
		t.Error("what a link leads to is remembered")
	}
}
