package kubernetes_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/oci-apparmor/oci-apparmor/install/command"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
)

// documents returns the YAML documents of a file.
func documents(t *testing.T, file string) (list []map[string]any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc map[string]any
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		list = append(list, doc)
	}
}

// at returns what is below keys of nested maps and lists.
func at(t *testing.T, from any, keys ...any) any {
	t.Helper()
	for _, key := range keys {
		switch k := key.(type) {
		case string:
			from = from.(map[string]any)[k]
		case int:
			from = from.([]any)[k]
		}
		if from == nil {
			t.Fatalf("nothing is below %v", keys)
		}
	}
	return from
}

// What the DaemonSet's containers run is a command of ours, with flags that it has. Each overlay names an engine of ours.
func TestArguments(t *testing.T) {
	ds := documents(t, "base/daemonset.yaml")[0]
	install := at(t, ds, "spec", "template", "spec", "initContainers", 0, "args").([]any)
	agent := at(t, ds, "spec", "template", "spec", "containers", 0, "args").([]any)
	overlays, err := filepath.Glob("overlays/*/kustomization.yaml")
	if err != nil || len(overlays) < 5 {
		t.Fatal(overlays, err)
	}
	lines := [][]any{install, agent}
	for _, overlay := range overlays {
		var patch []struct{ Op, Path, Value string }
		text := at(t, documents(t, overlay)[0], "patches", 0, "patch").(string)
		if err := yaml.Unmarshal([]byte(text), &patch); err != nil || len(patch) != 1 || patch[0].Path != "/spec/template/spec/initContainers/0/args/-" {
			t.Fatalf("%s: %+v, %v", overlay, patch, err)
		}
		lines = append(lines, append(install[:len(install):len(install)], patch[0].Value))
	}
	for _, line := range lines {
		var args []string
		for _, arg := range line {
			args = append(args, arg.(string))
		}
		root := command.Commands()
		cmd, rest, err := root.Find(args)
		if err != nil || cmd == root || !strings.HasPrefix(cmd.CommandPath(), "oci-apparmor kubernetes ") {
			t.Errorf("%q: %v, %v", args, cmd.CommandPath(), err)
			continue
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("%q: %v", args, err)
		}
		known, _ := cmd.ValidArgsFunction(cmd, nil, "")
		for _, engine := range cmd.Flags().Args() {
			if !contains(known, engine) {
				t.Errorf("%q: there is no engine %s", args, engine)
			}
		}
	}
}

func contains(list []cobra.Completion, word string) bool {
	for _, c := range list {
		if name, _, _ := strings.Cut(c, "\t"); name == word {
			return true
		}
	}
	return false
}

// The policies that come with the manifests are valid, and the same.
func TestPolicies(t *testing.T) {
	base, err := os.ReadFile("base/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	chart := at(t, documents(t, "chart/values.yaml")[0], "policy", "files", "policy.yaml").(string)
	var parsed []any
	for name, text := range map[string]string{"base": string(base), "chart": chart} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := policyfile.Read(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		out, err := yaml.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, string(out))
	}
	if parsed[0] != parsed[1] {
		t.Errorf("the base's policy and the chart's differ:\n%s\n%s", parsed[0], parsed[1])
	}
}
