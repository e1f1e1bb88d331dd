package profile

import (
	"bytes"
	"fmt"
	"testing"
)

func TestRenamedIsTheParsers(t *testing.T) {
	c := realCompiler(t)
	compile := func(name string) []byte {
		t.Helper()
		data, _, err := c.output(t.Context(), fmt.Appendf(nil, "profile %[1]s flags=(complain,attach_disconnected) {\n audit /** px -> %[1]s,\n"+
			" /elsewhere px -> another,\n mount,\n}\n", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, names := range [][2]string{{"learn.web.000000", "learn.web.0a1b2c"}, {"a", "b"}, {"abcdefg", "gfedcba"}} {
		b, err := Parse(compile(names[0]))
		if err != nil {
			t.Fatal(err)
		}
		renamed, err := b.Renamed(names[1])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(renamed.Data, compile(names[1])) {
			t.Errorf("%s as %s is not what the parser writes", names[0], names[1])
		}
		if err := renamed.Check(names[1], Complain); err != nil || b.Check(names[0], Complain) != nil {
			t.Errorf("%v, or the blob has changed that was renamed", err)
		}
	}
}

func TestOnlyASingleProfileCanBeRenamed(t *testing.T) {
	b, err := Parse([]byte(minimal(kernelABI, "web", "", 0)))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"we", "webs", "unc", "", "a:b", "a b"} {
		if _, err := b.Renamed(name); err == nil {
			t.Errorf("it was renamed to %q", name)
		}
	}
	two, err := Parse([]byte(minimal(kernelABI, "web", "", 0) + minimal(kernelABI, "sub", "", 0)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.Renamed("bew"); err == nil {
		t.Error("one of two was renamed")
	}
}
