package guest

import "testing"

// Only Kubernetes has modules that are published under another version than its own, and programs that tell theirs by variables.
func TestVersionsOfKubernetes(t *testing.T) {
	if got, want := staged("v1.34.2"), "v0.34.2"; got != want {
		t.Errorf("its modules have version %s, want %s", got, want)
	}
	const variables = "k8s.io/component-base/version."
	want := " -X " + variables + "gitVersion=v1.34.2 -X " + variables + "gitMajor=1 -X " + variables + "gitMinor=34"
	if got := (Tool{Module: Kubernetes.Module, Version: "v1.34.2"}).stamp(); got != want {
		t.Errorf("its linker's flags are %q, want %q", got, want)
	}
	if got := Containerd24.stamp(); got != "" {
		t.Errorf("another tool has flags %q", got)
	}
}
