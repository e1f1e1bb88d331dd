package integration

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// ownTexts are our templates, Docker's pages, and those that are written for this test, each with a profile of a name
// that no engine has.
func ownTexts(t *testing.T, parser string) (texts []profileText) {
	t.Helper()
	add := func(name, text string) { texts = append(texts, profileText{name, text}) }
	for _, name := range templates.Names() {
		made, err := templates.Text(name, "m-"+name, templates.Target{})
		if err != nil {
			t.Fatal(err)
		}
		add("m-"+name, string(made))
	}
	for _, v := range templates.Variants() {
		add("m-"+v.Template+"-"+v.Name, strings.Replace(string(v.Text), "profile docker-default", "profile m-"+v.Name, 1))
	}
	for _, name := range []string{"docker-nginx", "docker-nginx-today"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		add("m-"+name, strings.Replace(string(text), "profile docker-nginx", "profile m-"+name, 1))
	}
	for _, m := range meant {
		if m.since > parser {
			t.Logf("%s needs parser %s, this is %s", m.name, m.since, parser)
			continue
		}
		add(m.name, m.text)
	}
	return texts
}

func randomTexts(n int, parser string) (texts []profileText) {
	for i := range n {
		name := fmt.Sprintf("m-random%02d", i)
		g := generator{rand.New(rand.NewPCG(11, uint64(i)))}
		texts = append(texts, profileText{name, g.profile(name, parser)})
	}
	return texts
}

// shippedTexts are the profiles that AppArmor's packages have, as far as they confine, and one for each abstraction.
func shippedTexts(t *testing.T) (texts []profileText) {
	t.Helper()
	for _, pattern := range []string{"/etc/apparmor.d/*", "/usr/share/apparmor/extra-profiles/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil || !bytes.Contains(text, []byte("profile ")) && !bytes.Contains(text, []byte("{")) ||
				bytes.Contains(text, []byte("unconfined)")) || bytes.Contains(text, []byte("oci-apparmor")) ||
				filepath.Base(f) == "README" {
				continue // a directory, a text of links, one that does not confine, or one that another test has left
			}
			texts = append(texts, profileText{filepath.Base(f), string(text)})
		}
	}
	abstractions, err := filepath.Glob("/etc/apparmor.d/abstractions/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range abstractions {
		name := filepath.Base(f)
		if info, err := os.Stat(f); err != nil || !info.Mode().IsRegular() {
			continue
		}
		texts = append(texts, profileText{"abstraction " + name, fmt.Sprintf(
			"include <tunables/global>\nprofile m-%s {\n  include <abstractions/%s>\n}\n", name, name)})
	}
	if len(texts) < 20 {
		t.Errorf("only %d texts are shipped", len(texts))
	}
	return texts
}

// compiledTables is a directory of blobs with tables of permissions, and of the texts that they were compiled from. In
// guests, too, it is there from the directory of this test.
const compiledTables = "../policy/profile/meaning/testdata"

// takesTables reports whether the kernel takes tables of permissions of versions 2 and 3.
func takesTables(t *testing.T) bool {
	t.Helper()
	version, err := os.ReadFile(securityfs + "/features/policy/permstable32_version")
	return err == nil && strings.TrimSpace(string(version)) >= "0x000003"
}

// tableTexts are the files of compiledTables, but for the version of tables that a parser writes for kernels which no
// guest has. The text is the blob's path.
func tableTexts(t *testing.T) (texts []profileText) {
	t.Helper()
	files, err := filepath.Glob(compiledTables + "/*.permissions[^2]")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v", compiledTables, err)
	}
	for _, f := range files {
		texts = append(texts, profileText{filepath.Base(f), f})
	}
	return texts
}

// compiledHere compiles a text as the machine's parser is configured to. A text may hold several profiles.
func compiledHere(t *testing.T, text string) []byte {
	t.Helper()
	cmd := exec.Command("apparmor_parser", "--skip-kernel-load", "--skip-cache", "--stdout")
	cmd.Stdin = strings.NewReader(text)
	o := guesttest.RunCommand(t, cmd)
	if o.Code != 0 {
		if strings.Contains(o.Stderr, "conflicting x modifiers") {
			t.Skipf("the parser refuses random rules that contradict each other: %s", o.Stderr)
		}
		t.Fatalf("apparmor_parser: exit code %d\n%s\n%s", o.Code, o.Stderr, text)
	}
	return []byte(o.Stdout)
}

// preprocessed returns a text with what it includes.
func preprocessed(t *testing.T, text string) string {
	t.Helper()
	cmd := exec.Command("apparmor_parser", "--preprocess")
	cmd.Stdin = strings.NewReader(text)
	return guesttest.RunCommand(t, cmd).Stdout
}

// labelOf returns the label of a stack as the kernel prints it.
func labelOf(stack meaning.Stack) string {
	var names []string
	for _, p := range stack {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return strings.Join(names, "//&")
}

// A policyNS is a policy namespace. The profiles in it attach to no program of the guest.
type policyNS struct{ name, dir string }

func policyNamespace(t *testing.T) policyNS {
	t.Helper()
	ns := policyNS{"m", securityfs + "/policy/namespaces/m"}
	if err := os.Mkdir(ns.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(ns.dir); err != nil {
			t.Error(err)
		}
	})
	return ns
}

// load loads compiled profiles into the namespace.
func (ns policyNS) load(t *testing.T, data []byte) {
	t.Helper()
	loadInto(t, ns.dir+"/.replace", data)
}
