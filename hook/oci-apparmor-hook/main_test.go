package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// A wrong command line is no refusal: nothing was decided. The log is for what was.
func TestWrongCommandLineIsNoRefusal(t *testing.T) {
	dir := t.TempDir()
	kmsg := filepath.Join(dir, "kmsg")
	if err := os.WriteFile(kmsg, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   string
		code   int
		said   string
		logged bool
	}{
		{"", 2, "no stage given", false},
		{"createRutime", 2, "stage \"createRutime\" is none of", false},
		{"createRuntime --engine dokcer", 2, "--engine \"dokcer\": it is one of", false},
		{"createRuntime --loud", 2, "-loud", false},
		{"prepare now", 2, "takes no argument \"now\"", false},
		{"prepare --bundle " + dir, 1, "config.json", true},
		{"--version", 0, "", false},
	} {
		var said bytes.Buffer
		if err := os.Truncate(kmsg, 0); err != nil {
			t.Fatal(err)
		}
		c := call{stderr: &said, host: &hook.Host{Store: store.Store{Dir: filepath.Join(dir, "store")}, Log: notice.Log{Kernel: kmsg}}}
		if code := c.call(strings.Fields(test.args)); code != test.code || !strings.Contains(said.String(), test.said) {
			t.Errorf("%s: exit code %d, %s", test.args, code, &said)
		}
		log, err := os.ReadFile(kmsg)
		if err != nil {
			t.Fatal(err)
		}
		if logged := len(log) > 0; logged != test.logged {
			t.Errorf("%s: the log has %q", test.args, log)
		}
	}
}
