package node

import "testing"

func TestLogsCapabilities(t *testing.T) {
	for release, want := range map[string]bool{"6.1.0-30-amd64": false, "6.12.1": false, "6.13.0": true, "7.0.10": true, "5.15.0-100-generic": false, "": false} {
		if (&Node{Uname: release}).LogsCapabilities() != want {
			t.Errorf("%s: want %v", release, want)
		}
	}
}
