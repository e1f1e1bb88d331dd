package integration

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
)

// notRun are the blocks of the documents that no test runs, each with the reason. The keys are those of block.
var notRun = map[string]string{
	"README.md#kubernetes":                                                "two lines of the pod in shim/README.md",
	"install/kubernetes/README.md#apply:2":                                "TestKubernetesChart renders the chart, with such values",
	"install/kubernetes/README.md#apply:3":                                "two lines of the pod in shim/README.md",
	"install/kubernetes/README.md#delete":                                 "TestSystemdKubernetesDaemonSet does this, with waiting in between",
	"install/kubernetes/README.md#which-policies-a-namespace-may-ask-for": "it takes a cluster",
	"shim/README.md#the-wrapper-under-containerds-own-shim":               "the tests of pods have such a link in another directory",
	"shim/README.md#the-wrapper-under-containerds-own-shim:2":             "the tests of pods write these keys into a configuration of their own",
	"install/README.md#when-a-container-does-not-start":                   "a line as TestRefusalsAreOneLine and others see it, from another container",
	"install/README.md#when-a-container-does-not-start:2":                 "a line as TestLog sees it, from another container",
	"policy/policyfile/README.md#enforced-once-it-was-quiet":              "a unit whose command the tests of policy watch run themselves",
	".github/CONTRIBUTING.md#building-and-testing":                        "builds, and runs all tests",
}

// documentsIn finds the project's documents below a directory, and returns their paths relative to it.
func documentsIn(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (rel == "bin" || strings.HasPrefix(entry.Name(), ".") && rel != "." && rel != ".github"):
			return fs.SkipDir
		case !entry.IsDir() && path.Ext(name) == ".md":
			found = append(found, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A document is a page in the Markdown that the project uses: headings with #, and blocks between lines of ```.
type document struct {
	anchors map[string]string // the headings' text, by what a link calls them
	blocks  map[string]fenced // by ANCHOR of the heading above, and :N for the Nth of several
	order   []string          // the keys of blocks
	prose   string            // without blocks and without code
}

type fenced struct{ language, text string }

// code is code in a line of prose.
var code = regexp.MustCompile("`[^`\n]+`")

func parseDocument(text string) document {
	d := document{anchors: map[string]string{}, blocks: map[string]fenced{}}
	var prose, inside strings.Builder
	var anchor, language string
	fence := false
	count := map[string]int{}
	for line := range strings.Lines(text) {
		mark, opens := strings.CutPrefix(line, "```")
		switch {
		case opens && !fence:
			fence, language = true, strings.TrimSpace(mark)
			inside.Reset()
		case opens:
			fence = false
			count[anchor]++
			key := anchor
			if n := count[anchor]; n > 1 {
				key = fmt.Sprintf("%s:%d", anchor, n)
			}
			d.blocks[key] = fenced{language, inside.String()}
			d.order = append(d.order, key)
		case fence:
			inside.WriteString(line)
		case strings.HasPrefix(line, "#"):
			heading := strings.TrimSpace(strings.TrimLeft(line, "#"))
			anchor = anchorOf(heading)
			for n := 1; d.anchors[anchor] != ""; n++ {
				anchor = fmt.Sprintf("%s-%d", anchorOf(heading), n)
			}
			d.anchors[anchor] = heading
		default:
			prose.WriteString(line)
		}
	}
	d.prose = code.ReplaceAllString(prose.String(), "``")
	return d
}

// anchorOf returns what a link calls a heading: GitHub takes the letters and digits in lower case, and a hyphen for a space.
func anchorOf(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// block returns a block of a document. The key is the document's path in the repository and the heading above the block
// as a link calls it: "shim/README.md#docker", with ":2" for the second block under the heading. A test that calls it
// runs the block, or compares it with what is so: TestBlocksOfDocuments takes every call for that.
func block(t *testing.T, key string) string {
	t.Helper()
	name, anchor, _ := strings.Cut(key, "#")
	b, ok := parseDocument(read(t, filepath.Join("..", name))).blocks[anchor]
	if !ok {
		t.Fatalf("%s has no such block", key)
	}
	return b.text
}

// commands returns a block of shell commands without the lines that begin with one of without, which a guest cannot run.
func commands(text string, without ...string) string {
	var script strings.Builder
	for line := range strings.Lines(text) {
		if !slices.ContainsFunc(without, func(w string) bool { return strings.HasPrefix(line, w) }) {
			script.WriteString(line)
		}
	}
	return script.String()
}

// Every block of a document is run by a test, or stands in notRun with a reason. A block of the language text is a
// picture, and has no command in it.
func TestBlocksOfDocuments(t *testing.T) {
	guesttest.Outside(t)
	run, left := blocksInTests(t), maps.Clone(notRun)
	for _, name := range documentsIn(t, "..") {
		d := parseDocument(read(t, filepath.Join("..", name)))
		for _, anchor := range d.order {
			key := name + "#" + anchor
			b := d.blocks[anchor]
			shows := regexp.MustCompile(`(?m)^\s*\$ `).MatchString(b.text)
			switch {
			case b.language == "text" && !shows:
			case run[key] == "" && left[key] == "":
				t.Errorf("no test runs the block %s, and notRun has no reason for it", key)
			case run[key] != "" && left[key] != "":
				t.Errorf("%s runs the block %s, and notRun says that none does", run[key], key)
			}
			delete(run, key)
			delete(left, key)
		}
	}
	for key := range left {
		t.Errorf("notRun has %s, and there is no such block", key)
	}
	for key, test := range run {
		t.Errorf("%s runs the block %s, and there is no such block", test, key)
	}
}

// blocksInTests returns the keys with which this package's tests call block, and the function that does.
func blocksInTests(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, name := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) != 2 {
					return true
				}
				called, ok := call.Fun.(*ast.Ident)
				literal, is := call.Args[1].(*ast.BasicLit)
				if ok && called.Name == "block" {
					if !is {
						t.Errorf("%s calls block with a key that is not written there", f.Name.Name)
						return true
					}
					key, err := strconv.Unquote(literal.Value)
					if err != nil {
						t.Error(err)
					}
					keys[key] = f.Name.Name
				}
				return true
			})
		}
	}
	return keys
}

// link is a link in prose, and where it leads to.
var link = regexp.MustCompile(`\[[^]]*\]\(([^)\s]+)\)`)

// Links in documents lead to files and headings that are there.
func TestLinksOfDocuments(t *testing.T) {
	guesttest.Outside(t)
	links := 0
	for _, name := range documentsIn(t, "..") {
		for _, found := range link.FindAllStringSubmatch(parseDocument(read(t, filepath.Join("..", name))).prose, -1) {
			to := found[1]
			if strings.HasPrefix(to, "https://") {
				continue
			}
			links++
			if err := leads(t, name, to); err != nil {
				t.Errorf("%s has a link to %s: %v", name, to, err)
			}
		}
	}
	if links < 20 {
		t.Errorf("only %d links were found", links)
	}
	for to, bad := range map[string]bool{"README.md": false, "nosuch": true, "#install": false, "#nosuch": true, "shim/README.md#nosuch": true, "../x": true} {
		if err := leads(t, "README.md", to); (err != nil) != bad {
			t.Errorf("a link of README.md to %s: %v", to, err)
		}
	}
}

// leads says what is wrong with a link in a document.
func leads(t *testing.T, from, to string) error {
	file, anchor, anchored := strings.Cut(to, "#")
	target := from
	if file != "" {
		target = path.Join(path.Dir(from), file)
	}
	if !filepath.IsLocal(target) {
		return fmt.Errorf("%s is outside of the repository", target)
	}
	if _, err := os.Stat(filepath.Join("..", target)); err != nil {
		return err
	}
	if anchored {
		if _, ok := parseDocument(read(t, filepath.Join("..", target))).anchors[anchor]; !ok {
			return fmt.Errorf("%s has no heading #%s", target, anchor)
		}
	}
	return nil
}

// The README fits on a few screens: what it has no room for stands beside the code.
func TestReadmeIsShort(t *testing.T) {
	guesttest.Outside(t)
	const most = 220
	if n := strings.Count(read(t, "../README.md"), "\n"); n > most {
		t.Errorf("README.md has %d lines, and may have %d", n, most)
	}
}

// The policy files in the documents are read without a fault, together.
func TestPolicyFilesOfDocuments(t *testing.T) {
	guesttest.Outside(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"policy.yaml": block(t, "policy/policyfile/README.md#the-policy-file"), "policy.d/search.yaml": block(t, "policy/policyfile/README.md#the-policy-file:2"),
		"profiles/docker-nginx": "profile docker-nginx { }\n", "profiles/search": "profile search { }\n",
	} {
		writeFile(t, filepath.Join(dir, name), text)
	}
	p, err := policyfile.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Assignments) != 4 || p.Assignments[0].Policy != "search" {
		t.Errorf("its rules are %+v, want four, those of policy.d first", p.Assignments)
	}
}

// The README shows lines of the demo in the order in which the whole of it has them, which TestMakeDemo compares with
// what it prints.
func TestReadmeShowsLinesOfTheDemo(t *testing.T) {
	guesttest.Outside(t)
	rest := block(t, "integration/README.md#the-demo")
	for line := range strings.Lines(block(t, "README.md#oci-apparmor")) {
		_, after, found := strings.Cut(rest, "\n"+line)
		if !found {
			t.Fatalf("the demo does not have this line, or has it before the ones above it: %q", line)
		}
		rest = "\n" + after
	}
}

// The architecture's table has every package, and no other. Packages that only one other may import go without, and so
// do main ones.
func TestArchitectureHasEveryPackage(t *testing.T) {
	guesttest.Outside(t)
	_, table, _ := strings.Cut(read(t, "../hook/README.md"), "\n## Packages\n")
	table, _, _ = strings.Cut(table, "\n## ")
	named := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\|").FindAllStringSubmatch(table, -1) {
		named[row[1]] = true
	}
	seen := map[string]bool{}
	for _, top := range []string{"hook", "shim", "policy", "install"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(name string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return err
			}
			if entry.Name() == "internal" || entry.Name() == "testdata" || strings.HasSuffix(entry.Name(), "test") {
				return fs.SkipDir
			}
			rel := filepath.ToSlash(strings.TrimPrefix(name, "../"))
			sources, err := filepath.Glob(filepath.Join(name, "*.go"))
			if err != nil {
				return err
			}
			for _, source := range sources {
				if strings.HasSuffix(source, "_test.go") {
					continue
				}
				parsed, err := parser.ParseFile(token.NewFileSet(), source, nil, parser.PackageClauseOnly)
				if err != nil {
					return err
				}
				if parsed.Name.Name != "main" && !named[rel] && !seen[rel] {
					t.Errorf("the table of packages in hook/README.md lacks %s", rel)
				}
				seen[rel] = true
			}
			delete(named, rel)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range named {
		t.Errorf("the table of packages in hook/README.md has %s, which there is not", name)
	}
}
