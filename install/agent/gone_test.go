package agent

import (
	"net/http"
	"os"
	"testing"
)

// Only an answer of the API server may say that the DaemonSet is gone, and one that says nothing about it is none.
func TestDaemonSet(t *testing.T) {
	s := newAPIServer(t)
	files, err := os.OpenRoot(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKube(s.URL, files)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		code int
		body string
		want Presence
		ok   bool
	}{
		"there":       {200, `{"metadata":{"name":"d"}}`, Present, true},
		"deleted":     {200, `{"metadata":{"name":"d","deletionTimestamp":"2026-11-30T10:00:00Z"}}`, Gone, true},
		"not found":   {404, `{"message":"not found"}`, Gone, true},
		"no right":    {403, `{"message":"forbidden"}`, Hidden, true},
		"no account":  {401, `{"message":"Unauthorized"}`, Hidden, true},
		"no answer":   {503, ``, Present, false},
		"a web page":  {200, `<html>`, Present, false},
		"a bad shape": {200, `{"metadata":{"deletionTimestamp":"soon"}}`, Present, false},
	} {
		t.Run(name, func(t *testing.T) {
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/apis/apps/v1/namespaces/ns/daemonsets/d" || r.Method != http.MethodGet {
					t.Errorf("%s %s", r.Method, r.URL)
				}
				w.WriteHeader(c.code)
				_, _ = w.Write([]byte(c.body))
			})
			if got, err := k.DaemonSet(t.Context(), "ns", "d"); got != c.want || (err == nil) != c.ok {
				t.Errorf("%d, %v", got, err)
			}
		})
	}
	s.Close()
	if got, err := k.DaemonSet(t.Context(), "ns", "d"); got != Present || err == nil {
		t.Errorf("without a server: %d, %v", got, err)
	}
}
