package node

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// Without AppArmor, what is said of --features names no command, since many have that flag.
func TestCompilerWithoutAppArmor(t *testing.T) {
	n := &Node{ParserConf: filepath.Join(t.TempDir(), "parser.conf"), Kernel: &kernel.Kernel{FS: t.TempDir()}}
	_, _, err := n.NewCompiler(t.Context(), "")
	if err == nil || !strings.HasSuffix(err.Error(), "with --features") {
		t.Errorf("got %v", err)
	}
}
