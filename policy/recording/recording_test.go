package recording_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
)

func blob(t *testing.T, name string) profile.Blob {
	t.Helper()
	b, err := profile.Parse(kerneltest.Blob("recording", name))
	if err == nil {
		b, err = b.WithMode(profile.Complain)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestARecordingIsThereUntilItEnds(t *testing.T) {
	d := recording.Dir(filepath.Join(t.TempDir(), "recordings"))
	if _, recorded, err := d.Blob("web", "docker", "c1"); recorded || err != nil {
		t.Errorf("before: %v, %v", recorded, err)
	}
	held, err := d.Begin("web", blob(t, recording.NameFor("web", "", "")))
	if err != nil {
		t.Fatal(err)
	}
	b, recorded, err := d.Blob("web", "docker", "c1")
	if err != nil || !recorded || b.Profiles[0].Name != recording.NameFor("web", "docker", "c1") || !recording.IsFor("web", b.Profiles[0].Name) {
		t.Errorf("meanwhile: %v, %v, %v", b.Profiles, recorded, err)
	}
	if other, _, _ := d.Blob("web", "docker", "c2"); other.Profiles[0].Name == b.Profiles[0].Name {
		t.Error("two containers have one profile")
	}
	if _, recorded, _ := d.Blob("other", "docker", "c1"); recorded {
		t.Error("another policy is recorded")
	}
	if _, err := d.Begin("web", blob(t, recording.NameFor("web", "", ""))); err == nil {
		t.Error("it has begun twice")
	}
	if all, err := d.Policies(); err != nil || len(all) != 1 || all[0] != "web" {
		t.Errorf("policies that are recorded: %q, %v", all, err)
	}
	if err := held.End(); err != nil {
		t.Fatal(err)
	}
	if _, recorded, err := d.Blob("web", "docker", "c1"); recorded || err != nil {
		t.Errorf("after: %v, %v", recorded, err)
	}
	if all, err := d.Policies(); err != nil || len(all) != 0 {
		t.Errorf("policies that are recorded in the end: %q, %v", all, err)
	}
}

// Who recorded was killed.
func TestARecordingThatNobodyHoldsIsNone(t *testing.T) {
	d := recording.Dir(t.TempDir())
	if err := os.WriteFile(filepath.Join(string(d), "web"), blob(t, recording.NameFor("web", "", "")).Data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, recorded, err := d.Blob("web", "docker", "c1"); recorded || err != nil {
		t.Errorf("%v, %v", recorded, err)
	}
	held, err := d.Begin("web", blob(t, recording.NameFor("web", "", "")))
	if err != nil {
		t.Fatal("it cannot begin again:", err)
	}
	defer held.End()
	if _, recorded, err := d.Blob("web", "docker", "c1"); !recorded || err != nil {
		t.Errorf("begun again: %v, %v", recorded, err)
	}
}

// A start asks while the recording ends and begins again.
func TestTheEndOfARecordingIsNoErrorOfAStart(t *testing.T) {
	d := recording.Dir(t.TempDir())
	b := blob(t, recording.NameFor("web", "", ""))
	over := make(chan error, 1)
	go func() {
		var err error
		for range 200 {
			var held *recording.Held
			if held, err = d.Begin("web", b); err != nil {
				break
			}
			if err = held.End(); err != nil {
				break
			}
		}
		over <- err
	}()
	for {
		select {
		case err := <-over:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
		if _, _, err := d.Blob("web", "docker", "c1"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNamesAreThoseOfOnePolicy(t *testing.T) {
	name := recording.NameFor("web", "docker", "c1")
	for policy, is := range map[string]bool{"web": true, "we": false, "web.x": false, "": false, name: false} {
		if recording.IsFor(policy, name) != is {
			t.Errorf("IsFor(%q, %s) is not %v", policy, name, is)
		}
	}
	for _, other := range []string{"learn.web", "learn.web.", "learn.web.0123", name + "0", strings.ToUpper(name), "x" + name} {
		if recording.IsFor("web", other) {
			t.Errorf("%s is taken for one of policy web", other)
		}
	}
}

func TestOnlyAProfileForThePolicyBeginsARecording(t *testing.T) {
	d := recording.Dir(t.TempDir())
	if _, err := d.Begin("web", blob(t, "web")); err == nil {
		t.Error("a recording has begun whose containers would have the name of the policy's profile")
	}
	if _, recorded, err := d.Blob("../x", "", "c1"); recorded || err != nil {
		t.Errorf("%v, %v", recorded, err)
	}
}
