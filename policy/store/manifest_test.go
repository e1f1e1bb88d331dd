package store

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestManifestsKeepWhatIsSaid(t *testing.T) {
	want := Manifest{Version: "1", Profiles: []ManifestSource{
		{Name: "web", Source: "profiles/web", Text: "aa", Blob: "bb", Made: "cc", Said: []string{"one line", "two\tof\\ten \"them\"\n\\\t\\t\\\\t"}},
		{Name: "base", Source: "template docker-default", Template: "docker-default", Text: "dd", Blob: "ee", Said: []string{}},
		{Said: []string{}},
	}}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Manifest
	if err := json.Unmarshal(data, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s is read as\n%+v, %v; want\n%+v", data, got, err, want)
	}

	earlier := `{"version": "1", "profiles": [{"name": "web", "source": "profiles/web", "text": "aa", "blob": "bb", "made": "cc", "said": ["x"]}]}`
	if err := json.Unmarshal([]byte(earlier), &got); err != nil || got.Profiles[0].Made != "cc" || got.Profiles[0].Said[0] != "x" {
		t.Errorf("one of an earlier version is read as %+v, %v", got, err)
	}
	for _, bad := range []string{`{"profiles": ["web"]}`, `{"profiles": [1]}`, `{"profiles": [[]]}`, strings.Replace(string(data), "bb\\tcc", "bb", 1)[:40]} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s is read as %+v", bad, got)
		}
	}
}
