package output

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// What a workload chose stays in its string, in each form.
func TestJSONIsASCII(t *testing.T) {
	want := map[string]string{"a:b,c": "<é\u009b\u202e\U0001f600\x7f\x1b[31m\"\\, :\xff>"}
	forms := map[string]func() ([]byte, error){
		"compact": func() ([]byte, error) { return Encode(want, Compact) },
		"spaced":  func() ([]byte, error) { return Encode(want, Spaced) },
		"indented": func() ([]byte, error) {
			var b bytes.Buffer
			err := JSON(&b, want)
			return b.Bytes(), err
		},
	}
	for form, encode := range forms {
		data, err := encode()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsFunc(data, func(r rune) bool { return r < ' ' && r != '\n' || r > '~' }) {
			t.Errorf("%s: %q is not printable ASCII", form, data)
		}
		var got map[string]string
		if err := json.Unmarshal(data, &got); err != nil || got["a:b,c"] != strings.ToValidUTF8(want["a:b,c"], "\ufffd") {
			t.Errorf("%s: %s is %q (%v)", form, data, got, err)
		}
	}
	for form, want := range map[Form]string{Compact: `{"a":[1,2]}`, Spaced: `{"a": [1, 2]}`, Indented: "{\n  \"a\": [\n    1,\n    2\n  ]\n}"} {
		if data, err := Encode(map[string][]int{"a": {1, 2}}, form); err != nil || string(data) != want+"\n" {
			t.Errorf("%s, %v, want %s", data, err, want)
		}
	}
}
