package profile

import (
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

func TestCheckName(t *testing.T) {
	accepted := []string{"a", "Z", "0", "docker-default", "web_2.0+b1", "unconfined2", "unconfinedx", "un-confined", "U",
		"x" + strings.Repeat("-", MaxName-1)}
	for _, name := range accepted {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	refused := []struct{ name, says string }{
		{"", "empty"},
		{"/usr/bin/nginx", "begins with a slash"},
		{":", "must begin with"},
		{"::docker-default", "must begin with"},
		{":ns:x", "must begin with"},
		{"&x", "must begin with"},
		{" x", "must begin with"},
		{".x", "must begin with"},
		{"-x", "must begin with"},
		{"^hat", "must begin with"},
		{"x ", `holds " "`},
		{"x\n", `holds "\n"`},
		{"x\x00", `holds "\x00"`},
		{"x (enforce)", `holds " "`},
		{"x//y", `holds "/"`},
		{"x//&unconfined", `holds "/"`},
		{"x:y", `holds ":"`},
		{"x*", `holds "*"`},
		{"x\"", "holds"},
		{"x@{y}", `holds "@"`},
		{"caf\u00e9", "holds \"\u00e9\""},
		{"\u00e9", "begins with \"\u00e9\""},
		{"\xff\xfe", "must begin with"},
		{strings.Repeat("x", MaxName+1), "201 bytes"},
		{strings.Repeat("\x1b", 300), "300 bytes"},
	}
	for _, r := range refused {
		t.Run(oneline.Quote(r.name), func(t *testing.T) { wantError(t, CheckName(r.name), r.says) })
	}
}

func TestNoBeginningOfUnconfinedIsAName(t *testing.T) {
	for i := 1; i <= len("unconfined"); i++ {
		wantError(t, CheckName("unconfined"[:i]), "takes for no confinement")
	}
}

func TestErrorsCutLongNames(t *testing.T) {
	if err := CheckName(strings.Repeat("x", 1<<20)); err == nil || len(err.Error()) > 300 {
		t.Errorf("error of %d bytes for a name of 1 MiB", len(err.Error()))
	}
}

func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"", "u", "web", "a//b", ":x", "\xff", strings.Repeat("x", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		if name == "" || len(name) > MaxName || strings.HasPrefix("unconfined", name) {
			t.Fatalf("accepted %q", name)
		}
		if rest := strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-"); rest != "" {
			t.Fatalf("accepted %q", name)
		}
	})
}
