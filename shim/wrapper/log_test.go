package wrapper

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	const message = "oci-apparmor: create of container c1: it asks for \"x\"\nand more"
	const flat = "oci-apparmor: create of container c1: it asks for \"x\" and more\n"
	const text = `level=error msg="oci-apparmor: create of container c1: it asks for \"x\"\nand more"` + "\n"
	dir := t.TempDir()
	file := filepath.Join(dir, "log")
	for _, tt := range []struct {
		name    string
		dialect Dialect
		args    string
		level   string
		stderr  string // its end
		file    string // its end; "json" for a JSON line
	}{
		{"no log", Runc, "create c1", "error", text, ""},
		{"no log, JSON", Runc, "--log-format json create c1", "error", "json", ""},
		{"log", Runc, "--log " + file + " create c1", "error", flat, text},
		{"JSON log", Runc, "--log=" + file + " --log-format=json create c1", "error", flat, "json"},
		{"a warning is the log's only", Runc, "--log " + file + " --log-format json create c1", "warning", "", "json"},
		{"crun's file", Crun, "--log=file:" + file + " --log-f json create c1", "error", flat, "json"},
		{"crun's file without a type", Crun, "--log " + file + " create c1", "error", flat, text},
		{"crun's journal", Crun, "--log journald:x create c1", "error", text, ""},
		{"crun's syslog", Crun, "--log syslog: create c1", "error", text, ""},
		{"a log that cannot be written", Runc, "--log " + dir + "/no/log create c1", "warning", flat, ""},
		{"a line that is refused as a whole", Runc, "--log " + file + " create --new c1", "error", flat, text},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte("before\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			a, _ := ParseArgs(tt.dialect, split("x "+tt.args))
			var stderr bytes.Buffer
			a.log(tt.dialect).report(&stderr, tt.level, message)
			written, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			added, kept := strings.CutPrefix(string(written), "before\n")
			if !kept {
				t.Errorf("the log lost what it held: %q", written)
			}
			for what, got := range map[string][2]string{"stderr": {stderr.String(), tt.stderr}, "log": {added, tt.file}} {
				checkLine(t, what, got[0], got[1], tt.level, message)
			}
		})
	}
}

func checkLine(t *testing.T, what, got, want, level, message string) {
	t.Helper()
	if want != "json" {
		if !strings.HasSuffix(got, want) || want == "" && got != "" {
			t.Errorf("%s: got %q, want it to end in %q", what, got, want)
		}
		return
	}
	var line struct{ Level, Msg, Time string }
	if err := json.Unmarshal([]byte(got), &line); err != nil || strings.Count(got, "\n") != 1 {
		t.Fatalf("%s: %q is not one line of JSON: %v", what, got, err)
	}
	if _, err := time.Parse(time.RFC3339, line.Time); line.Level != level || line.Msg != message || err != nil {
		t.Errorf("%s: got %+v (%v)", what, line, err)
	}
}

func TestLogLineIsAsLogrusWritesIt(t *testing.T) {
	now := time.Date(2026, 11, 22, 7, 1, 2, 3, time.UTC)
	for l, want := range map[log]string{
		{}:           `time="2026-11-22T07:01:02Z" level=error msg="a \"b\""` + "\n",
		{json: true}: `{"level":"error","msg":"a \"b\"","time":"2026-11-22T07:01:02Z"}` + "\n",
	} {
		if got := string(l.line("error", `a "b"`, now)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestLogLineIsJSONWhateverItSays(t *testing.T) {
	for _, message := range []string{"\x00\n\"\\</a>&", "\xff", "\u2028"} {
		var line struct{ Msg string }
		got := log{json: true}.line("error", message, time.Now())
		if err := json.Unmarshal(got, &line); err != nil || line.Msg != strings.ToValidUTF8(message, "\ufffd") {
			t.Errorf("%q became %q (%v)", message, got, err)
		}
	}
}

func TestMessageNamesTheContainer(t *testing.T) {
	for id, want := range map[string]string{
		"c1":     "oci-apparmor: start of container c1: why",
		"a\nb":   `oci-apparmor: start of container "a\nb": why`,
		`a"b`:    `oci-apparmor: start of container "a\"b": why`,
		"\x1b[m": `oci-apparmor: start of container "\x1b[m": why`,
	} {
		a := Args{Command: "start", ID: id}
		if got := a.message("why"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
