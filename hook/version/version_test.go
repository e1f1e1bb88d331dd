package version

import (
	"strings"
	"testing"
)

func TestAnswer(t *testing.T) {
	for line, want := range map[string]string{
		"runc --oci-apparmor-version":        "oci-apparmor-runtime " + String() + "\n",
		"runc --version":                     "",
		"runc --oci-apparmor-version list":   "",
		"runc delete --oci-apparmor-version": "",
		"runc":                               "",
		"":                                   "",
	} {
		var out strings.Builder
		if answered := Answer(&out, "oci-apparmor-runtime", strings.Fields(line)); out.String() != want || answered != (want != "") {
			t.Errorf("%q: %v, %q", line, answered, out.String())
		}
	}
}
