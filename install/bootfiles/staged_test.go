package bootfiles

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/apparmord"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// asIs compiles every text to one blob.
type asIs struct{ blob []byte }

func (c asIs) Compile(context.Context, string, profile.Mode, string, []byte) (profile.Blob, error) {
	return profile.Parse(c.blob)
}

// stage stages the file of a policy's profile web on a node with a made-up kernel.
func stage(t *testing.T, k kerneltest.Machine, service apparmord.Dir, blob []byte, onDrift profile.Drift) (*Staged, error) {
	t.Helper()
	w, err := New(&node.Node{Root: true, Service: service, Kernel: k.Kernel(), Warn: func(s string) { t.Log(s) }}, nil)
	if err != nil || w == nil {
		t.Fatal(w, err)
	}
	p := &policy.Config{Profiles: []policy.Profile{{Name: "web", Source: "profiles/web", Text: []byte("profile web { }"), OnDrift: onDrift}}}
	compiled, err := store.Compile(t.Context(), p, asIs{blob}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.Stage(t.Context(), compiled, map[string]Text{"web": {Text: []byte("profile web { }\n")}})
}

// A policy's profile is not put in force without a file for AppArmor's service: not beside somebody else's of that name, whatever
// its content is.
func TestStageBesideAForeignProfile(t *testing.T) {
	for _, loaded := range []string{"content", "other"} {
		k, service := kerneltest.New(t), apparmord.Dir(t.TempDir())
		k.Load(t, kerneltest.Blob(loaded, "web"))
		ours := kerneltest.Blob("content", "web")
		if _, err := stage(t, k, service, ours, profile.ReplaceOwn); err == nil || !strings.Contains(err.Error(), "somebody else has loaded a profile web") ||
			!strings.Contains(err.Error(), "profile unload --foreign web") {
			t.Errorf("%s: %v", loaded, err)
		}
		s, err := stage(t, k, service, ours, profile.ReplaceAny)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(service.Path("web")); err != nil {
			t.Error(err)
		}
	}
}

// A file that cannot be put in its place is an error of the commit, and written by the next one.
func TestCommitThatFails(t *testing.T) {
	k, service := kerneltest.New(t), apparmord.Dir(t.TempDir())
	blob := kerneltest.Blob("content", "web")
	s, err := stage(t, k, service, blob, profile.ReplaceOwn)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(service.Path("web"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(); err == nil || !strings.Contains(err.Error(), service.Path("web")) {
		t.Errorf("%v", err)
	}
	s.Drop()
	if err := os.Remove(service.Path("web")); err != nil {
		t.Fatal(err)
	}
	if s, err = stage(t, k, service, blob, profile.ReplaceOwn); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(); err != nil {
		t.Error(err)
	}
	if list, err := service.Files(); len(list) != 1 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
}
