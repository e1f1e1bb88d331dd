package tomlfile

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

const text = `# head
version = 2 # two
list = [
  "/a/*.toml", # first
  'b',
]
[x."a.b"] # the table
  # above
  key = "old" # stays
  multi = """
[not.a.table]
"""
  [x."a.b".runtimes.apparmor]
    type = "t"
    lines = [
      1,
    ]
    # inside

# mine
[x."a.b".runtimes.apparmor.options]
  A = true
# below
[y]
z = 1`

func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("/etc/f.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func want(t *testing.T, f *File, err error, want string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if got := string(f.Text); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEditsChangeNothingElse(t *testing.T) {
	table := []string{"x", "a.b"}
	f := parse(t, text)
	want(t, f, f.SetString(table, "key", `new "one"`), strings.Replace(text, `"old"`, `"new \"one\""`, 1))
	f = parse(t, text)
	want(t, f, f.SetString(table, "other", "v"), strings.Replace(text, "# the table\n", "# the table\n  other = \"v\"\n", 1))
	f = parse(t, text)
	want(t, f, f.SetString([]string{"n", "ew"}, "k", "v"), text+"\n\n[n.ew]\n  k = \"v\"\n")
	f = parse(t, "[a]")
	want(t, f, f.SetString([]string{"a"}, "k", "v"), "[a]\n  k = \"v\"")
	f = parse(t, text)
	want(t, f, f.Drop("x", "a.b", "key"), strings.Replace(text, "  key = \"old\" # stays\n", "", 1))
	want(t, f, f.Drop("x", "a.b", "key"), strings.Replace(text, "  key = \"old\" # stays\n", "", 1))
	f = parse(t, text)
	want(t, f, f.Drop("x", "a.b", "multi"), strings.Replace(text, "  multi = \"\"\"\n[not.a.table]\n\"\"\"\n", "", 1))
	f = parse(t, text)
	want(t, f, f.Replace(f.Strings("list"), func(s string) string { return "/new/" + s }),
		strings.NewReplacer(`"/a/*.toml"`, `"/new//a/*.toml"`, `'b'`, `"/new/b"`).Replace(text))
	f = parse(t, text)
	want(t, f, f.Cut([]string{"x", "a.b", "runtimes", "apparmor"}, "# mine"),
		strings.NewReplacer("  [x.\"a.b\".runtimes.apparmor]\n    type = \"t\"\n    lines = [\n      1,\n    ]\n", "",
			"\n# mine\n[x.\"a.b\".runtimes.apparmor.options]\n  A = true\n", "").Replace(text))
}

func TestWhatIsAppendedIsCutAgain(t *testing.T) {
	const mark, table = "# mine", "[x.\"a.b\".more]\n  k = 1\n"
	for _, text := range []string{"", "a = 1\n", "a = 1\n\n", text + "\n", "# only a comment\n"} {
		f := parse(t, text)
		if err := f.Append(mark + "\n" + table); err != nil {
			t.Fatal(err)
		}
		if err := f.Append("[theirs]\n"); err != nil {
			t.Fatal(err)
		}
		want(t, f, f.Cut([]string{"x", "a.b", "more"}, mark), text+"\n[theirs]\n")
	}
}

func TestErrorsNameTheLineAndColumn(t *testing.T) {
	for text, want := range map[string]string{
		"a = 1\nb = \"x\n":        "/etc/f.toml:2:7: ",
		"a = 1\na = 2\n":          "/etc/f.toml:2:1: ",
		"[t]\n[t\n":               "/etc/f.toml:2:3: ",
		"a = {b = 1}\n[a.c]\n":    "/etc/f.toml:2:2: ",
		"a = 1\n\n[a]\nb = 1\n":   "/etc/f.toml:",
		"\x00":                    "/etc/f.toml:1:1: ",
		"\ufeffversion = 2\nx = ": "/etc/f.toml:",
	} {
		if _, err := Parse("/etc/f.toml", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	f := parse(t, "a = {apparmor = {b = 1}}\nk = [1]\nlater.x = 1\n")
	if err := f.Cut([]string{"a", "apparmor"}, ""); err == nil || !strings.HasPrefix(err.Error(), "/etc/f.toml:1: a.apparmor") {
		t.Errorf("an inline table is cut: %v", err)
	}
	if err := f.SetString(nil, "k", "v"); err == nil || !strings.HasPrefix(err.Error(), "/etc/f.toml:2: ") {
		t.Errorf("an array becomes a string: %v", err)
	}
	if err := f.SetString([]string{"a", "apparmor"}, "b", "v"); err == nil {
		t.Error("a table is appended to an inline one")
	}
	if got := f.Line("later", "x"); got != 3 {
		t.Errorf("line %d, want 3", got)
	}
}

func TestValue(t *testing.T) {
	for want, v := range map[string]any{
		`"a\"\\\u0001"`: "a\"\\\x01", "true": true, "-3": int64(-3), `["a", [1]]`: []any{"a", []any{int64(1)}},
	} {
		if got, err := Value(v); err != nil || got != want {
			t.Errorf("%v is %s, %v, want %s", v, got, err, want)
		}
	}
	if _, err := Value(1.5); err == nil {
		t.Error("a float is written")
	}
	if got := Head([]string{"plugins", "io.x", "a-b_1"}); got != `[plugins."io.x".a-b_1]` {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(text, "x", "key")
	f.Add("a.b = 1\n[[c]]\nd = {e = [\"f\"]}", "a", "b")
	f.Fuzz(func(t *testing.T, text, table, key string) {
		parsed, err := Parse("f", []byte(text))
		if err != nil || !utf8.ValidString(table+key) {
			return
		}
		parsed.Line(table, key)
		if err := parsed.SetString([]string{table}, key, "v"); err == nil && parsed.Get(table, key) != any("v") {
			t.Errorf("%q: %s.%s is %v", parsed.Text, table, key, parsed.Get(table, key))
		}
		_ = parsed.Cut([]string{table}, "# mine")
		_ = parsed.Drop(table, key)
	})
}

// Of a file that is not all TOML only what the mask leaves is read, and all of it stays.
func TestMaskedKeepsTheRest(t *testing.T) {
	const text = "{{ if x }}\nnot = [toml\n{{ end }}\n[a] # ours\nb = 1\n[c]\nd = 2\n"
	mask := func(text []byte) []byte {
		all := bytes.Split(bytes.Clone(text), []byte("\n"))
		for i, line := range all {
			if bytes.Contains(line, []byte("{{")) || bytes.HasPrefix(line, []byte("not")) {
				all[i] = bytes.Repeat([]byte("#"), len(line))
			}
		}
		return bytes.Join(all, []byte("\n"))
	}
	f, err := ParseMasked("f", []byte(text), mask)
	if err != nil || f.Whole() || f.Get("a", "b") != int64(1) || f.Get("not") != nil || f.Line("c") != 6 {
		t.Fatalf("%v, %+v", err, f)
	}
	if err := errors.Join(f.Drop("a", "b"), f.DropEmpty("a"), f.DropEmpty("c"), f.DropEmpty("none"), f.SetString([]string{"c"}, "e", "x")); err != nil {
		t.Fatal(err)
	}
	if want := "{{ if x }}\nnot = [toml\n{{ end }}\n[c]\ne = \"x\"\nd = 2\n"; string(f.Text) != want {
		t.Errorf("got\n%s\nwant\n%s", f.Text, want)
	}
	if err := f.Append("[c]\n"); err == nil || string(f.Text) == text {
		t.Errorf("a table twice: %v", err)
	}
}
