package crio

import (
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
)

// CRI-O goes on with what its files say if it has our runtime as they do, and the default.
func TestCRIOHasWhatFilesSay(t *testing.T) {
	const (
		table    = "[crio.runtime.runtimes.apparmor]\nruntime_path = \"/usr/local/lib/oci-apparmor/cri-o/crun\"\n"
		isOurs   = "[crio.runtime]\ndefault_runtime = \"apparmor\"\n"
		isTheirs = "[crio.runtime]\ndefault_runtime = \"crun\"\n"
		crun     = "[crio.runtime.runtimes.crun]\nruntime_path = \"/usr/bin/crun\"\n"
	)
	for _, tt := range []struct {
		name, files, says, flag string
		older                   string // part of why it does not; empty where it does
	}{
		{name: "none of ours", says: isTheirs + crun},
		{name: "ours", files: table, says: isTheirs + crun + table},
		{name: "ours, with more than the file says", files: table, says: isTheirs + crun + table + "monitor_cgroup = \"pod\"\n"},
		{name: "ours as the default", files: isOurs + table, says: isOurs + crun + table},
		{name: "written, and not read", files: table, says: isTheirs + crun, older: "runs without our runtime apparmor"},
		{name: "taken out, and still there", says: isTheirs + crun + table, older: "goes on with our runtime apparmor, which"},
		{name: "another program of ours", files: strings.Replace(table, "crun", "runc", 1), says: isTheirs + crun + table, older: "another one than in its files"},
		{name: "the default is written, and not read", files: isOurs + table, says: isTheirs + crun + table, older: "default runtime is crun, and in its files it is ours"},
		{name: "the default is taken out, and still there", files: table, says: isOurs + crun + table, older: "as its default, which it is not"},
		{name: "a flag makes ours the default", files: table, says: isOurs + crun + table, flag: "apparmor"},
		{name: "a flag makes theirs the default", files: isOurs + table, says: isTheirs + crun + table, flag: "crun"},
	} {
		file, err := tomlfile.Parse(dropIn, []byte(tt.files))
		if err != nil {
			t.Fatal(err)
		}
		c, err := parseDump([]byte(tt.says))
		if err != nil {
			t.Fatal(err)
		}
		got := (&status{config: *c}).taken([]*tomlfile.File{file}, tt.flag)
		if (got.Older == "") != (tt.older == "") || !strings.Contains(got.Older, tt.older) || got.Ours != strings.Contains(tt.says, "oci-apparmor") {
			t.Errorf("%s: %+v, want %q", tt.name, got, tt.older)
		}
	}
}
