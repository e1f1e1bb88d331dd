package kubernetes

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What Install makes is known before it is made, and what was there before stays.
func TestRecord(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "opt/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	n := &Node{Prefix: "/opt", Out: new(bytes.Buffer), root: root}
	r, err := n.claim()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.write(&r, "/opt/lib/oci-apparmor/programs", "/opt/bin"); err != nil {
		t.Fatal(err)
	}
	again, err := n.claim()
	if err != nil || strings.Join(again.Directories, " ") != "/opt/bin /opt/lib/oci-apparmor /opt/lib/oci-apparmor/programs" {
		t.Errorf("%+v, %v", again, err)
	}
	if err := n.write(&again, "/opt/bin"); err != nil || len(again.Directories) != 3 {
		t.Errorf("a second time: %+v, %v", again, err)
	}
	n.removeEmpty(again)
	left, _ := filepath.Glob(filepath.Join(root, "opt/*"))
	if len(left) != 1 || left[0] != filepath.Join(root, "opt/lib") {
		t.Errorf("left: %q", left)
	}
}

func TestClaimRefuses(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"programs of a package":  {"usr/bin/oci-apparmor", "", "which no DaemonSet has put there"},
		"another prefix":         {"var/lib/oci-apparmor/kubernetes.json", `{"prefix":"/opt"}`, "below /opt, and --prefix is /usr/local"},
		"a record that is cut":   {"var/lib/oci-apparmor/kubernetes.json", `{"prefix":`, "kubernetes.json: unexpected end"},
		"a record of elsewhere":  {"var/lib/oci-apparmor/kubernetes.json", `{"prefix":"x"}`, "kubernetes.json: it names a path that is not absolute"},
		"directories of no path": {"var/lib/oci-apparmor/kubernetes.json", `{"prefix":"/x","directories":["y"]}`, "not absolute"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			at := filepath.Join(root, c.file)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(at, []byte(c.text), 0o755); err != nil {
				t.Fatal(err)
			}
			n := &Node{Prefix: "/usr/local", Out: new(bytes.Buffer), root: root}
			if _, err := n.claim(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if c.text == "" {
				return
			}
			if strings.Contains(c.want, "--prefix") {
				return // Leave takes the record's
			}
			if err := n.Leave(context.Background()); err == nil {
				t.Error("Leave went on")
			}
		})
	}
}
