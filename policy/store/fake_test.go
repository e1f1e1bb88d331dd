package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// parser stands in for apparmor_parser: what comes out depends on its version and the text. Text "bad" does not
// compile.
type parser struct {
	version string
	calls   atomic.Int32
}

func (c *parser) Compile(ctx context.Context, name string, mode profile.Mode, source string, text []byte) (profile.Blob,
	error) {
	c.calls.Add(1)
	if string(text) == "bad" {
		return profile.Blob{}, fmt.Errorf("profile %s (%s) does not compile", name, source)
	}
	data := kerneltest.Blob(fmt.Sprintf("%s %s %s %s;", c.version, name, mode, text), name)
	return profile.Blob{
		Data:     data,
		Profiles: []profile.Compiled{{Name: name, Mode: mode, SHA256: sha256.Sum256(data)}},
	}, nil
}

// twoProfiles is a policy whose profiles have the given text.
func twoProfiles(text string) *policy.Config {
	return &policy.Config{
		Profiles: []policy.Profile{
			{Name: "base", Source: "profiles/base", Text: []byte("always the same")},
			{Name: "web", Mode: profile.Complain, Source: "profiles/web", Text: []byte(text)},
		},
		Policies:    []policy.Policy{{Name: "web", Profile: "web", Floor: "base"}},
		Assignments: []policy.Assignment{{File: "policy.yaml", Line: 9, Policy: "web"}},
	}
}

func newStore(t testing.TB) Store {
	t.Helper()
	return Store{Dir: filepath.Join(t.TempDir(), "store")}
}

func apply(t testing.TB, s Store, text string) *Generation {
	t.Helper()
	g, _, err := s.Apply(t.Context(), twoProfiles(text), &parser{version: "1"}, Manifest{}, nil)
	if err != nil {
		t.Fatalf("apply %q: %v", text, err)
	}
	return g
}

// inForce returns the text of the policy in force, having read every blob of it, or "" where none was ever applied.
func inForce(s Store) (string, error) {
	g, err := s.Current()
	if errors.Is(err, ErrNone) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	d, err := g.Index.Decide(policy.Facts{})
	if err != nil {
		return "", err
	}
	if d.Label != "base//&web" {
		return "", fmt.Errorf("label %q", d.Label)
	}
	var text string
	for _, p := range d.Profiles {
		data, err := g.Blob(p)
		if err != nil {
			return "", err
		}
		if p.Name == "web" {
			_, rest, _ := strings.Cut(string(data), " web complain ")
			var ok bool
			if text, _, ok = strings.Cut(rest, ";"); !ok {
				return "", fmt.Errorf("blob %q", data)
			}
		}
	}
	if _, err := g.Manifest(); err != nil {
		return "", err
	}
	return text, nil
}

func checkInForce(t testing.TB, s Store, want string) {
	t.Helper()
	if got, err := inForce(s); err != nil || got != want {
		t.Errorf("in force is %q, %v; want %q", got, err, want)
	}
}

// differences returns the paths that are not the same in two trees.
func differences(got, want map[string]string) (list []string) {
	for name := range got {
		if _, ok := want[name]; !ok {
			list = append(list, name+" is there")
		}
	}
	for name, content := range want {
		if have, ok := got[name]; !ok {
			list = append(list, name+" is missing")
		} else if have != content {
			list = append(list, name+" has other content")
		}
	}
	slices.Sort(list)
	return list
}

// tree lists everything below the store, for comparing.
func tree(t testing.TB, s Store) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(s.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(s.Dir, path)
		switch {
		case d.IsDir():
			files[name] = "directory"
		case d.Type() == os.ModeSymlink:
			files[name], err = os.Readlink(path)
		default:
			var data []byte
			data, err = os.ReadFile(path)
			files[name] = string(data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
