package integration

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Imports run one way, and what a container's start loads has no parser of policy files, no command-line framework and
// no compiler of protocols in it.
func TestImportsRunOneWay(t *testing.T) {
	const module = "github.com/oci-apparmor/oci-apparmor/"
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs go, which guests have not")
	}
	deps := func(pkg string) []string {
		out, err := exec.Command("go", "list", "-deps", module+pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(out))
	}
	for pkg, not := range map[string][]string{
		"policy/profile":            {module + "policy", module + "policy/kernel"},
		"policy":                    {module + "policy/kernel", module + "policy/store", module + "policy/policyfile"},
		"policy/kernel":             {module + "policy", module + "policy/store"},
		"policy/store":              {module + "policy/kernel", module + "hook"},
		"hook":                      {module + "shim", module + "policy/policyfile", module + "hook/notice/reader"},
		"hook/notice":               {module + "policy", "net", "os/exec", "encoding/json"},
		"shim":                      {module + "install/oci-apparmor", module + "policy/policyfile", module + "shim/containerd", module + "hook/notice/reader"},
		"shim/containerd":           {module + "install/oci-apparmor", module + "policy/policyfile"},
		"hook/oci-apparmor-hook":    {"go.yaml.in/yaml/v3", "github.com/spf13/cobra", "google.golang.org/protobuf/proto", "net/http"},
		"shim/oci-apparmor-runtime": {"go.yaml.in/yaml/v3", "github.com/spf13/cobra", "google.golang.org/protobuf/proto", "net/http"},
	} {
		for _, d := range deps(pkg) {
			if slices.Contains(not, d) {
				t.Errorf("%s imports %s", pkg, d)
			}
		}
	}
}
