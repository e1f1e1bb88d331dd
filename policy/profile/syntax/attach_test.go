package syntax

import (
	"slices"
	"testing"
)

func TestAttachments(t *testing.T) {
	all := Read(`abi <abi/4.0>,
include <tunables/global>
@{exec_path} = @{bin}/crun /opt/*/crun
profile podman /usr/bin/podman flags=(unconfined) {
  userns,
}
profile crun @{exec_path} { file, }
profile buildah "/usr/bin/buildah" (complain) { file, }
/usr/{bin,sbin}/runc {
  profile kid /usr/bin/kid { file, }
}
profile web flags=(attach_disconnected) { file, /usr/bin/ctr ix, }
profile two@{x} { file, }
`).Attachments()
	paths := []string{"/usr/bin/podman", "/usr/bin/crun", "/opt/a/crun", "/usr/sbin/runc", "/usr/bin/buildah", "/usr/bin/kid", "/usr/bin/ctr"}
	want := map[string][]string{
		"podman": {"/usr/bin/podman"}, "crun": {"/usr/bin/crun", "/opt/a/crun"}, "/usr/{bin,sbin}/runc": {"/usr/sbin/runc"},
		"buildah": {"/usr/bin/buildah"},
	}
	for name, matches := range all {
		var got []string
		for _, p := range paths {
			if matches(p) {
				got = append(got, p)
			}
		}
		if !slices.Equal(got, want[name]) {
			t.Errorf("profile %s takes hold of %q, want %q", name, got, want[name])
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("profile %s is not found", name)
	}
}
