package hook

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestWithProfileChangesNothingElse(t *testing.T) {
	for name, tc := range map[string]struct{ in, out string }{
		"a profile is replaced": {
			`{"ociVersion":"1.0.2","process":{"args":["a"],"apparmorProfile":"old","cwd":"/"}}`,
			`{"ociVersion":"1.0.2","process":{"args":["a"],"apparmorProfile":"new","cwd":"/"}}`,
		},
		"a profile is put in": {
			`{"process":{"args":["a"]}}`,
			`{"process":{"apparmorProfile":"new","args":["a"]}}`,
		},
		"into an empty process": {
			"{\"process\": {\n}}",
			"{\"process\": {\"apparmorProfile\":\"new\"\n}}",
		},
		"null is replaced": {
			`{"process":{"apparmorProfile": null }}`,
			`{"process":{"apparmorProfile": "new" }}`,
		},
		"unknown fields, numbers, order and layout stay": {
			"{\n\t\"z\": 12345678901234567890.10e-3,\n\t\"process\" :\n\t{ \"oomScoreAdj\": -0, \"new\\u0041\": [1, {}], \"apparmorProfile\" : \"a\\u002fb\" },\n\t\"a\": \"\\u00e9\\ud83d\\ude00\"\n}\n",
			"{\n\t\"z\": 12345678901234567890.10e-3,\n\t\"process\" :\n\t{ \"oomScoreAdj\": -0, \"new\\u0041\": [1, {}], \"apparmorProfile\" : \"new\" },\n\t\"a\": \"\\u00e9\\ud83d\\ude00\"\n}\n",
		},
		"a profile elsewhere is not the process's": {
			`{"annotations":{"apparmorProfile":"x"},"hooks":{"process":{"apparmorProfile":"y"}},"process":{"env":["apparmorProfile={"],"{":"}"}}`,
			`{"annotations":{"apparmorProfile":"x"},"hooks":{"process":{"apparmorProfile":"y"}},"process":{"apparmorProfile":"new","env":["apparmorProfile={"],"{":"}"}}`,
		},
		"a NUL in a value, and what looks like one, stay": {
			`{"process":{"apparmorProfile":"a","env":["A=\u0000"],"x":"\\u0000"},"\\u0000":1}`,
			`{"process":{"apparmorProfile":"new","env":["A=\u0000"],"x":"\\u0000"},"\\u0000":1}`,
		},
		"strings that are not UTF-8 stay": {
			"{\"process\":{\"apparmorProfile\":\"a\"},\"x\":\"\xff\xfe\"}",
			"{\"process\":{\"apparmorProfile\":\"new\"},\"x\":\"\xff\xfe\"}",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := parseSpec([]byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			out, err := d.withProfile("new")
			if err != nil {
				t.Fatal(err)
			}
			if string(out) != tc.out {
				t.Errorf("got  %s\nwant %s", out, tc.out)
			}
		})
	}
}

func TestAmbiguousSpecsAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ in, err string }{
		"profile twice":             {`{"process":{"apparmorProfile":"a","apparmorProfile":"b"}}`, "twice"},
		"profile in other case":     {`{"process":{"apparmorProfile":"a","ApparmorProfile":"b"}}`, "spelling"},
		"only in other case":        {`{"process":{"AppArmorProfile":"b"}}`, "spelling"},
		"folding beyond ASCII":      {`{"proceſs":{"apparmorProfile":"b"},"process":{}}`, "spelling"},
		"escaped key in other case": {`{"process":{"\u0041pparmorProfile":"b"}}`, "spelling"},
		"process twice":             {"{\"process\":{},\n\"process\":{}}", "line 2: \"/process\" is there twice"},
		"process in other case":     {`{"process":{},"Process":{"apparmorProfile":"u"}}`, "spelling"},
		"annotation twice":          {`{"process":{},"annotations":{"k":"a","k":"b"}}`, "twice"},
		"annotations in other case": {`{"process":{},"Annotations":{"k":"a"}}`, "spelling"},
		"duplicate deep below":      {`{"process":{},"linux":{"x":{"y":[{"z":1,"z":2}]}}}`, "twice"},
		"NUL in a key":              {`{"process":{"apparmorProfile\u0000x":"unconfined","apparmorProfile":"x"}}`, "NUL"},
		"NUL in the process key":    {`{"process\u0000x":{"apparmorProfile":"unconfined"},"process":{}}`, "NUL"},
		"NUL in a key deep below":   {`{"process":{},"linux":{"a":[{"b":{"c\u0000":1}}]}}`, "NUL"},
		"masks in other case":       {`{"process":{},"linux":{"MaskedPaths":["/p"]}}`, "spelling"},
		"second document":           {`{"process":{}}{"process":{"apparmorProfile":"u"}}`, "after its end"},
		"no process":                {`{"ociVersion":"1.0.2"}`, "no process"},
		"process is null":           {`{"process":null}`, "not an object"},
		"process is a list":         {`{"process":[]}`, "not an object"},
		"profile is a number":       {`{"process":{"apparmorProfile":1}}`, "not a string"},
		"annotation is an object":   {`{"process":{},"annotations":{"k":{}}}`, "not a string"},
		"cut off":                   {"{\"process\":\n{\"a\":", "line 2: unexpected E"},
		"empty":                     {``, "unexpected E"},
		"not JSON":                  {"{\n\n'process'}", "line 3"},
		"a list":                    {`[]`, "object must"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseSpec([]byte(tc.in))
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got error %v, want one with %q", err, tc.err)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("error is not one line: %q", err)
			}
		})
	}
}

func TestSetProcessProfile(t *testing.T) {
	for in, want := range map[string]string{
		`{"args":["sh"],"apparmorProfile":"other"}`: `{"args":["sh"],"apparmorProfile":"web"}`,
		`{"args":["sh"]}`:         `{"apparmorProfile":"web","args":["sh"]}`,
		`{"apparmorProfile":""} `: `{"apparmorProfile":"web"} `,
	} {
		got, err := SetProcessProfile([]byte(in), "web")
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", in, got, err, want)
		}
	}
}

func TestSpecFileKeepsModeAndOwner(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	if err := os.WriteFile(path, []byte(`{"process":{}}`), 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 12, 34); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := os.Stat(path)
	spec, err := readSpec(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.setProfile("web"); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	a, b := after.Sys().(*syscall.Stat_t), before.Sys().(*syscall.Stat_t)
	if after.Mode() != before.Mode() || a.Uid != b.Uid || a.Gid != b.Gid {
		t.Errorf("mode and owner are %v %d:%d, were %v %d:%d", after.Mode(), a.Uid, a.Gid, before.Mode(), b.Uid, b.Gid)
	}
	if a.Ino == b.Ino {
		t.Error("the file was written in place: a crash could leave half of it")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}

	// Naming the label already, it is left alone.
	spec, err = readSpec(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.setProfile("web"); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.Stat(path); again.Sys().(*syscall.Stat_t).Ino != a.Ino {
		t.Error("a file that needed no change was written")
	}
}

func TestSpecThatCannotBeReplacedStaysWhole(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root writes into a read-only directory; a directory in the way of the rename stops it too.
		t.Log("as root: the bundle is removed under the edit instead")
	}
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"process":{}}`), 0o600)
	spec, err := readSpec(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	os.RemoveAll(dir)
	if err := spec.setProfile("web"); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("got %v, want an error that names config.json", err)
	}
}

func TestReadSpecDoesNotHangOnAFIFO(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "config.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readSpec(filepath.Join(dir, "config.json")); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}

// FuzzSpec holds our reading of a spec against encoding/json's, which is runc's: whatever we accept, runc must see
// with the same profile and annotations, before our edit and after it, and the edit must change nothing else.
func FuzzSpec(f *testing.F) {
	f.Add([]byte(`{"ociVersion":"1.3.0","process":{"args":["a"],"apparmorProfile":"x"},"annotations":{"k":"v"},"linux":{"maskedPaths":["/p"]}}`))
	f.Add([]byte(`{"process\u0000x":{"apparmorProfile":"u"},"process":{"apparmorProfile\u0000":"u"}}`))
	f.Add([]byte(`{"process":{"Apparmorprofile":"y"}}`))
	f.Add([]byte(`{"process":{"user":{"uid":0},"capabilities":{"bounding":["CAP_SYS_ADMIN"]}},"annotations":null}`))
	f.Add([]byte(`{"proce\u017fs":{"apparmorProfile":"y"},"process":{"env":["\ud800"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseSpec(data)
		if err != nil {
			return
		}
		var before, after specs.Spec
		if json.Unmarshal(data, &before) != nil {
			return // runc refuses it
		}
		if before.Process == nil || before.Process.ApparmorProfile != d.choice {
			t.Fatalf("we see profile %q, runc another: %+v", d.choice, before.Process)
		}
		for k, v := range before.Annotations {
			if d.annotations[k] != v {
				t.Fatalf("annotation %q: we see %q, runc %q", k, d.annotations[k], v)
			}
		}
		edited, err := d.withProfile("web//&x")
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(edited, &after); err != nil {
			t.Fatalf("the edit broke it: %v\n%s", err, edited)
		}
		if after.Process.ApparmorProfile != "web//&x" {
			t.Fatalf("after the edit runc sees %q", after.Process.ApparmorProfile)
		}
		after.Process.ApparmorProfile = before.Process.ApparmorProfile
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("the edit changed more than the profile:\n%s\n%s", data, edited)
		}
	})
}
