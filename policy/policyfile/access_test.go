package policyfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckAccess(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(dir string) error
		faulty []string // below the directory
	}{
		{"nothing is wrong", func(string) error { return nil }, nil},
		{"the directory", func(dir string) error { return os.Chmod(dir, 0o777) }, []string{"."}},
		{"policy.yaml", func(dir string) error { return os.Chmod(dir+"/policy.yaml", 0o664) }, []string{"policy.yaml"}},
		{"policy.d and what is in it", func(dir string) error {
			if err := os.Chmod(dir+"/policy.d/a.yaml", 0o646); err != nil {
				return err
			}
			return os.Chmod(dir+"/policy.d", 0o775)
		}, []string{"policy.d", "policy.d/a.yaml"}},
		{"profiles", func(dir string) error { return os.Chmod(dir+"/profiles", 0o777) }, []string{"profiles"}},
		{"a directory in profiles", func(dir string) error { return os.Chmod(dir+"/profiles/deep", 0o777) },
			[]string{"profiles/deep"}},
		{"a sticky directory", func(dir string) error { return os.Chmod(dir+"/profiles", 0o777|os.ModeSticky) }, nil},
		{"a profile", func(dir string) error { return os.Chmod(dir+"/profiles/deep/web", 0o666) },
			[]string{"profiles/deep/web"}},
		{"behind a link", func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/open", 0o700), os.Chmod(dir+"/open", 0o777),
				os.Rename(dir+"/profiles/deep/web", dir+"/open/web"),
				os.Symlink("../../open/web", dir+"/profiles/deep/web"))
		}, []string{"open"}},
		{"somebody else's", func(dir string) error { return os.Chown(dir+"/policy.yaml", 65533, -1) },
			[]string{"policy.yaml"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range []string{"policy.d", "profiles", "profiles/deep"} {
				if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for name, text := range map[string]string{
				"policy.yaml":       "version: 1\nprofiles: {web: {file: profiles/deep/web}, gen: {template: docker-default}}\n",
				"policy.d/a.yaml":   "version: 1\n",
				"profiles/deep/web": "profile web {}\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := test.change(dir); err != nil {
				t.Skipf("only root can: %v", err)
			}
			p, err := Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			err = CheckAccess(dir, p)
			errs, _ := err.(Errors)
			if len(errs) != len(test.faulty) || (err != nil) != (len(errs) > 0) {
				t.Fatalf("error %v, want one for each of %q", err, test.faulty)
			}
			for i, name := range test.faulty {
				path := filepath.Join(dir, name)
				msg := errs[i].Error()
				if !strings.HasPrefix(msg, path+": ") ||
					!strings.HasSuffix(msg, "chmod go-w "+path) && !strings.HasSuffix(msg, "chown root "+path) {
					t.Errorf("error %q, want one for %s that says what to do", msg, path)
				}
			}
		})
	}
}
