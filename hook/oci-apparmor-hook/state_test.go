package main

import (
	"strings"
	"testing"
)

func TestReadState(t *testing.T) {
	for in, want := range map[string]string{
		`{"ociVersion":"1.0.2","id":"c1","status":"creating","pid":7,"bundle":"/b"}`: "",
		``:                          "for a runtime to call",
		`{"id":"c1"}`:               "names no bundle",
		`{"id":"c1","bundle":"b"}`:  "names no bundle",
		`not json`:                  "state on standard input",
		`{"id":7,"bundle":"/b"}`:    "state on standard input",
		`{"id":"c1","bundle":"/b"`:  "state on standard input",
		`{"id":"c1","bundle":"/b"}`: "",
	} {
		s, err := readState(strings.NewReader(in))
		switch {
		case want == "" && (err != nil || s.ID != "c1" || s.Bundle != "/b"):
			t.Errorf("%s: got %+v, %v", in, s, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want an error with %q", in, err, want)
		}
	}
}
