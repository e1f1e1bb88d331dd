package status

import (
	"encoding/json"
	"strings"
	"testing"
)

// The annotations are found wherever they stand, and nothing else is taken for them.
func TestAnnotations(t *testing.T) {
	for spec, want := range map[string]string{
		`{"annotations":{"a":"b"}}`: `{"a":"b"}`,
		`{"process":{"annotations":{"x":"y"},"args":["annotations",":","{"]},"hostname":"annotations","annotations" :` + "\n\t" + `{"a":"}\\\"{"},"linux":{`: `{"a":"}\\\"{"}`,
		`{"mounts":[{"options":["\"annotations\":{"]}],"annotations":{}}`:                                                                                    `{}`,
		`{"annotations":null,"linux":{"annotations":{"x":"y"}}}`:                                                                                             "",
		`{"linux":{"annotations":{"x":"y"}}}`:                                                                                                                "",
		`{"annotations":{"a":"b`:                                                                                                                             "",
		`{"annotations"`:                                                                                                                                     "",
		"":                                                                                                                                                   "",
		`]]]{"annotations":{}}`:                                                                                                                              "",
	} {
		got := strings.TrimSpace(string(annotations([]byte(spec))))
		if got != want || want != "" && !json.Valid([]byte(got)) {
			t.Errorf("%s: %q, want %q", spec, got, want)
		}
	}
}

// A spec of any length is read as far as it must be.
func TestReadAnnotations(t *testing.T) {
	m := newMachine(t)
	for _, before := range []int{0, 16 << 10, 100 << 10} {
		m.write("config.json", `{"process":{"env":["`+strings.Repeat("x", before)+`"]},"annotations":{"a":"b"},"linux":{}}`)
		if got := string(readAnnotations(m.dir + "/config.json")); got != `{"process":{},"annotations":{"a":"b"}}` {
			t.Errorf("behind %d bytes: %q", before, got)
		}
	}
	for _, none := range []string{m.dir, m.dir + "/missing"} {
		if got := readAnnotations(none); got != nil {
			t.Errorf("%s: %q", none, got)
		}
	}
}
