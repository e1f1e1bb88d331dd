package guest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeProgram puts a shell script of that name first into PATH, and gives its path.
func fakeProgram(t *testing.T, name, script string) string {
	dir := t.TempDir()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return file
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestHostQEMUTellsItsVersion(t *testing.T) {
	for _, test := range []struct {
		script, version string
		major           int
		wrong           string
	}{
		{"echo 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)'; echo Copyright", "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", 7, ""},
		{"echo 'QEMU emulator version 10.0.13'", "10.0.13", 10, ""},
		{"echo something else", "", 0, "names no version"},
		{"echo no library; exit 127", "", 0, "no library"},
	} {
		fakeProgram(t, qemuProgram, test.script)
		q, err := hostQEMU(t.Context())
		if test.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%s: %v, want it to say %q", test.script, err, test.wrong)
			}
			continue
		}
		if err != nil || q.version != test.version || q.major() != test.major {
			t.Errorf("%s: %+v, %v", test.script, q, err)
		}
	}
}

func TestTheFasterQEMUIsTaken(t *testing.T) {
	old, own, trixies := &qemu{version: "7.2.22"}, &qemu{version: "10.0.0"}, &qemu{version: "10.0.13"}
	none, unreachable := errors.New("not installed"), errors.New("mirror unreachable")
	for name, test := range map[string]struct {
		host, suite *qemu
		want        *qemu
		said        string // part of the message, or of the error where nothing is wanted
	}{
		"an old one is replaced":                       {old, trixies, trixies, ""},
		"a new one is kept":                            {own, nil, own, ""},
		"none is no matter":                            {nil, trixies, trixies, ""},
		"an old one has to do where there is no other": {old, nil, old, "7.2.22, in about twice the time, as trixie's can't be had: mirror unreachable"},
		"none at all":                                  {nil, nil, nil, "not installed\nmirror unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			give := func(q *qemu, err error) func() (*qemu, error) {
				return func() (*qemu, error) {
					if q == nil {
						return nil, err
					}
					return q, nil
				}
			}
			var said strings.Builder
			got, err := fasterQEMU(&said, give(test.host, none), give(test.suite, unreachable))
			if err != nil {
				said.WriteString(err.Error())
			}
			if got != test.want || (err != nil) != (test.want == nil) || (said.String() == "") != (test.said == "") || !strings.Contains(said.String(), test.said) {
				t.Errorf("%+v, %v, said %q", got, err, said.String())
			}
		})
	}
}
