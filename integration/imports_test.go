package integration

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// Imports run one way, and what a container's start loads has no parser of policy files, no command-line framework and
// no compiler of protocols in it.
func TestImportsRunOneWay(t *testing.T) {
	const module = "github.com/oci-apparmor/oci-apparmor/"
	guesttest.Outside(t)
	deps := func(pkg string) []string {
		out, err := exec.Command("go", "list", "-deps", module+pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(out))
	}
	// What is below imports nothing of what is above: install and the shim stand on hook, and hook on policy.
	above := map[string][]string{
		"policy":  {"hook", "shim", "install", "integration"},
		"hook":    {"shim", "install", "integration"},
		"shim":    {"install", "integration"},
		"install": {"shim", "integration"},
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(strings.ReplaceAll(line, module, "./"))
		top := func(pkg string) string {
			if !strings.HasPrefix(pkg, "./") {
				return ""
			}
			dir, _, _ := strings.Cut(strings.TrimPrefix(pkg, "./"), "/")
			return dir
		}
		seen[top(words[0])] = true
		for _, d := range words[1:] {
			if slices.Contains(above[top(words[0])], top(d)) {
				t.Errorf("%s imports %s", words[0], d)
			}
		}
	}
	for dir := range above {
		if !seen[dir] {
			t.Errorf("found no package in %s", dir)
		}
	}
	for pkg, not := range map[string][]string{
		"policy/oneline":            {module + "policy", module + "policy/profile"},
		"policy/safefile":           {module + "policy", module + "policy/profile", "encoding/json"},
		"policy/profile":            {module + "policy", module + "policy/kernel", module + "policy/profile/lint"},
		"policy/profile/automaton":  {module},
		"policy/profile/syntax":     {module + "policy", module + "policy/profile", module + "policy/profile/meaning"},
		"policy":                    {module + "policy/kernel", module + "policy/store", module + "policy/policyfile"},
		"policy/kernel":             {module + "policy", module + "policy/engine", module + "policy/store"},
		"policy/store":              {module + "policy/kernel", module + "hook"},
		"hook":                      {module + "shim/wrapper", module + "shim/containerd", module + "policy/policyfile", module + "hook/notice/reader"},
		"hook/notice":               {module + "policy", "net", "os/exec", "encoding/json"},
		"shim/wrapper":              {module + "install/command", module + "policy/policyfile", module + "shim/containerd", module + "hook/notice/reader"},
		"shim/containerd":           {module + "install/command", module + "policy/policyfile"},
		"hook/oci-apparmor-hook":    {"go.yaml.in/yaml/v3", "github.com/spf13/cobra", "google.golang.org/protobuf/proto", "net/http", "text/template"},
		"shim/oci-apparmor-runtime": {"go.yaml.in/yaml/v3", "github.com/spf13/cobra", "google.golang.org/protobuf/proto", "net/http", "text/template"},
	} {
		for _, d := range deps(pkg) {
			if slices.Contains(not, d) {
				t.Errorf("%s imports %s", pkg, d)
			}
		}
	}
}

// Whatever a container's start loads is initialised before it does anything: no package of ours there compiles a regular
// expression for a variable, which took half a millisecond of each start.
func TestStartCompilesNoExpressions(t *testing.T) {
	guesttest.Outside(t)
	const module = "github.com/oci-apparmor/oci-apparmor/"
	out, err := exec.Command("go", "list", "-deps", "-f", `{{if .Module}}{{if .Module.Main}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}
{{end}}{{end}}{{end}}`, module+"hook/oci-apparmor-hook", module+"shim/oci-apparmor-runtime", module+"shim/containerd-shim-apparmor-v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := strings.Fields(string(out))
	if !slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, "/policy/profile/compiler.go") }) {
		t.Fatalf("policy/profile is not among %d files", len(files))
	}
	for _, path := range files {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if g, ok := decl.(*ast.GenDecl); !ok || g.Tok != token.VAR {
				continue
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if of, ok := call.Fun.(*ast.SelectorExpr); ok {
						if x, ok := of.X.(*ast.Ident); ok && x.Name == "regexp" {
							t.Errorf("%s:%d: a regular expression is compiled at each start: use sync.OnceValue",
								filepath.Base(path), set.Position(n.Pos()).Line)
						}
					}
				}
				_, inner := n.(*ast.FuncLit) // it is called later
				return !inner
			})
		}
	}
}

// No file is longer than 500 lines, and no main package of the product than 1,500, tests aside: what a main package
// does stands in a package that can be imported.
func TestSizes(t *testing.T) {
	guesttest.Outside(t)
	const file, mainPackage = 500, 1500
	mains := make(map[string]int)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines := bytes.Count(text, []byte("\n"))
		if lines > file {
			t.Errorf("%s has %d lines, and may have %d", path, lines, file)
		}
		if bytes.Contains(text, []byte("\npackage main\n")) && !strings.HasPrefix(path, "../integration/") {
			mains[filepath.Dir(path)] += lines
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, lines := range mains {
		if lines > mainPackage {
			t.Errorf("the main package in %s has %d lines, and may have %d", dir, lines, mainPackage)
		}
	}
	if len(mains) < 4 {
		t.Errorf("found the main packages %v", mains)
	}
}
