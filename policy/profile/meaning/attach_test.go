package meaning_test

import (
	"slices"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// Which programs a profile takes hold of is read from what the parser makes of its text.
func TestAttachments(t *testing.T) {
	all, err := Attachments(profiletest.Several(t, `
@{bin} = /{,usr/}{,s}bin
@{exec_path} = @{bin}/crun /opt/*/crun
profile podman /usr/bin/podman flags=(unconfined) { file, }
profile crun @{exec_path} { file, }
/usr/bin/conmon { file, }
/usr/{bin,sbin}/runc { file, }
profile web { file, profile kid /usr/bin/kid { file, } }
profile everything /** { file, }
`))
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{
		"/usr/bin/podman", "/usr/bin/podman2", "/usr/bin/podma", "/bin/podman", "/bin/crun", "/usr/sbin/crun", "/opt/x/crun",
		"/opt/x/y/crun", "/usr/bin/conmon", "/usr/sbin/conmon", "/usr/bin/runc", "/usr/sbin/runc", "/usr/bin/kid", "",
	}
	want := map[string][]string{
		"podman":               {"/usr/bin/podman"},
		"crun":                 {"/bin/crun", "/usr/sbin/crun", "/opt/x/crun"},
		"/usr/bin/conmon":      {"/usr/bin/conmon"},
		"/usr/{bin,sbin}/runc": {"/usr/bin/runc", "/usr/sbin/runc"},
		"everything":           paths[:len(paths)-1],
	}
	for _, a := range all {
		var got []string
		for _, p := range paths {
			if a.Matches(p) {
				got = append(got, p)
			}
		}
		if !slices.Equal(got, want[a.Profile]) {
			t.Errorf("profile %s takes hold of %q, want %q", a.Profile, got, want[a.Profile])
		}
		delete(want, a.Profile)
	}
	for name := range want {
		t.Errorf("profile %s is not found", name)
	}
}

// A program that goes on under a child that attaches goes on under no hat, and under no child that is reached by its name.
func TestAttaching(t *testing.T) {
	all, err := Read(profiletest.Several(t, `profile web {
  /bin/* cx,
  profile kid /usr/bin/kid { file, }
  profile /usr/bin/path { file, }
  profile named { file, }
  ^hat { file, }
}
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, child := range all[0].Attaching() {
		got = append(got, child.Name)
	}
	slices.Sort(got)
	if want := []string{"web///usr/bin/path", "web//kid"}; !slices.Equal(got, want) {
		t.Errorf("programs go on under %q, want %q", got, want)
	}
}

// Blobs come from the kernel, which has them from whoever may load: broken ones give errors, or nothing, and no panic.
func FuzzAttachments(f *testing.F) {
	f.Add(profiletest.Several(f, "profile podman /usr/bin/podman* { file, }\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := Attachments(data)
		if err != nil {
			return
		}
		for _, a := range all {
			a.Matches("/usr/bin/podman")
		}
	})
}
