package kernel_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

func TestParseLabel(t *testing.T) {
	for text, want := range map[string]kernel.Label{
		"unconfined\n":                            {Components: []string{"unconfined"}},
		"unconfined":                              {Components: []string{"unconfined"}},
		":lxd-c1:unconfined\n":                    {Components: []string{":lxd-c1:unconfined"}},
		"web (enforce)\n":                         {Components: []string{"web"}, Mode: "enforce"},
		"web (complain)":                          {Components: []string{"web"}, Mode: "complain"},
		"runc (unconfined)\n":                     {Components: []string{"runc"}, Mode: "unconfined"},
		"crun//&docker-default (mixed)\n":         {Components: []string{"crun", "docker-default"}, Mode: "mixed"},
		"a//&b//&c (enforce)\n":                   {Components: []string{"a", "b", "c"}, Mode: "enforce"},
		"web//kid (enforce)\n":                    {Components: []string{"web//kid"}, Mode: "enforce"},
		"my profile (x) (kill)\n":                 {Components: []string{"my profile (x)"}, Mode: "kill"},
		"web (enforce) (unconfined)\n":            {Components: []string{"web (enforce)"}, Mode: "unconfined"},
		"docker-default//&unconfined (enforce)\n": {Components: []string{"docker-default", "unconfined"}, Mode: "enforce"},
	} {
		got, err := kernel.ParseLabel(text)
		if err != nil || !slices.Equal(got.Components, want.Components) || got.Mode != want.Mode {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if s := got.String(); s != strings.TrimSuffix(text, "\n") {
			t.Errorf("%q prints as %q", text, s)
		}
	}
	for _, text := range []string{
		"", "\n", "web", "web\n", "web (loose)\n", " (enforce)", "a//& (enforce)", "//&a (enforce)", "a\x00b (enforce)",
		"a\nb (enforce)", "web (enforce) \n", "web(enforce)\n", "unconfined\n\n", "unconfinedx",
		"system_u:system_r:container_t:s0:c1,c2\x00", strings.Repeat("a", 1<<17) + " (enforce)",
	} {
		if got, err := kernel.ParseLabel(text); err == nil {
			t.Errorf("%.40q: %+v", text, got)
		} else if len(err.Error()) > 500 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
}

func TestCovers(t *testing.T) {
	for _, test := range []struct {
		label string
		names []string
		want  bool
	}{
		{"web (enforce)", []string{"web"}, true},
		{"crun//&web (mixed)", []string{"web"}, true},
		{"web//&unconfined (enforce)", []string{"web"}, true},
		{"a//&b (enforce)", []string{"b", "a"}, true},
		{"a//&b//&crun (mixed)", []string{"a", "b"}, true},
		{"a (enforce)", []string{"a", "b"}, false},
		{"a//b (enforce)", []string{"a"}, false},
		{"a//b (enforce)", []string{"b"}, false},
		{"webb (enforce)", []string{"web"}, false},
		{":ns:web (enforce)", []string{"web"}, false},
		{"web (x) (enforce)", []string{"web"}, false},
		{"unconfined", []string{"web"}, false},
		{"web (enforce)", nil, false},
	} {
		l, err := kernel.ParseLabel(test.label)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Covers(test.names...); got != test.want {
			t.Errorf("%s covers %q: %v", l, test.names, got)
		}
	}
	if (kernel.Label{}).Covers("") {
		t.Error("no label covers the empty name")
	}
}

func TestCurrent(t *testing.T) {
	proc := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(proc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("1/attr/apparmor/current", "web (enforce)\n")
	write("1/attr/current", "system_u:system_r:x:s0\n")
	write("2/attr/current", "old (complain)\n")
	write("3/attr/current", "system_u:system_r:x:s0\n")
	write("4/attr/apparmor/current", strings.Repeat("a", 1<<17)+" (enforce)\n")
	for pid, want := range map[int]string{1: "web (enforce)", 2: "old (complain)"} {
		if l, err := kernel.CurrentIn(proc, pid); err != nil || l.String() != want {
			t.Errorf("%d: %s, %v", pid, l, err)
		}
	}
	for _, pid := range []int{3, 4, 5} {
		if l, err := kernel.CurrentIn(proc, pid); err == nil {
			t.Errorf("%d: %s", pid, l)
		}
	}
}

func FuzzParseLabel(f *testing.F) {
	for _, s := range []string{
		"unconfined\n", "a//&b (mixed)\n", "my profile (x) (kill)\n", " (enforce)", "//&", ":ns:unconfined",
		"a\x00 (enforce)",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := kernel.ParseLabel(s)
		if err != nil {
			return
		}
		if !l.Covers(l.Components...) || len(l.Components) == 0 {
			t.Errorf("%q does not cover its own %q", s, l.Components)
		}
		again, err := kernel.ParseLabel(l.String())
		if err != nil || again.String() != l.String() || again.Mode != l.Mode {
			t.Errorf("%q prints as %q, which reads as %+v, %v", s, l, again, err)
		}
	})
}
