package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/agent"
)

// An agent copies each version of the ConfigMap, and none that is bad.
func TestPart(t *testing.T) {
	from, update := mount(t)
	update(map[string]string{"policy.yaml": "0"})
	m, to := mirrorOf(t, from), filepath.Join(t.TempDir(), "etc")
	a := agent.New(agent.Options{Dir: t.TempDir(), Log: func(line string) { t.Log(line) }})
	a.Add(mirrorPart{m, to}, agent.Pace{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	wait := func(want map[string]string) {
		t.Helper()
		var files map[string]string
		for late := time.Now().Add(20 * time.Second); time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
			var err error
			if files, err = readTree(os.DirFS(to), false); errors.Is(err, fs.ErrNotExist) {
				continue // it has just been replaced
			}
			delete(files, mirrorMark)
			if maps.Equal(files, want) {
				return
			}
		}
		t.Fatalf("%q, not %q", files, want)
	}
	wait(map[string]string{"policy.yaml": "0"})
	for n := range 20 {
		update(map[string]string{"policy.yaml": fmt.Sprint(n), "web": "p"})
	}
	wait(map[string]string{"policy.yaml": "19", "profiles/web": "p"})
	update(map[string]string{"other": "x"})
	for late := time.Now().Add(20 * time.Second); len(a.State().Parts) == 0 || a.State().Parts[0].Problem == ""; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("a ConfigMap without a policy is no problem: %+v", a.State())
		}
	}
	wait(map[string]string{"policy.yaml": "19", "profiles/web": "p"})
	update(map[string]string{"policy.yaml": "last"})
	wait(map[string]string{"policy.yaml": "last"})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
