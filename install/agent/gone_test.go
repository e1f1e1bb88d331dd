package agent

import (
	"net/http"
	"os"
	"testing"
)

// Only an answer of the API server may say that the DaemonSet is gone.
func TestDaemonSetGone(t *testing.T) {
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
		gone bool
		ok   bool
	}{
		"there":       {200, `{"metadata":{"name":"d"}}`, false, true},
		"deleted":     {200, `{"metadata":{"name":"d","deletionTimestamp":"2026-11-30T10:00:00Z"}}`, true, true},
		"not found":   {404, `{"message":"not found"}`, true, true},
		"no right":    {403, `{"message":"forbidden"}`, true, true},
		"no account":  {401, `{"message":"Unauthorized"}`, true, true},
		"no answer":   {503, ``, false, false},
		"a web page":  {200, `<html>`, false, false},
		"a bad shape": {200, `{"metadata":{"deletionTimestamp":"soon"}}`, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/apis/apps/v1/namespaces/ns/daemonsets/d" || r.Method != http.MethodGet {
					t.Errorf("%s %s", r.Method, r.URL)
				}
				w.WriteHeader(c.code)
				_, _ = w.Write([]byte(c.body))
			})
			gone, err := k.DaemonSetGone(t.Context(), "ns", "d")
			if gone != c.gone || (err == nil) != c.ok {
				t.Errorf("%t, %v", gone, err)
			}
		})
	}
	s.Close()
	if gone, err := k.DaemonSetGone(t.Context(), "ns", "d"); gone || err == nil {
		t.Errorf("without a server: %t, %v", gone, err)
	}
}
