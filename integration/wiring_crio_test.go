package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// From a CRI-O as its package sets it up to a confined pod and back, with pods running all the time.
func TestInstallCRIO(t *testing.T) {
	guesttest.Require(t)
	guesttest.NeedCRIO(t)
	setPolicy(t, podPolicy)
	c := guesttest.StartCRIO(t)
	run := wiring(t, guesttest.CRIOBin)
	const engines = "crio-default (enforce)"
	old := c.Pod(t, "")
	plain := startPodContainer(t, old, "plain")
	wantPodConfined(t, plain, podEngine, engines)
	wantExecSyncConfined(t, plain, podEngine, engines)
	hash := treeHash(t)
	for _, way := range []struct{ flag, handler, named string }{
		{"--default=false", "apparmor", ""}, {"--default", "", " (by default)"},
	} {
		t.Run(way.flag, func(t *testing.T) {
			t.Cleanup(func() { guesttest.Run(t, "oci-apparmor", "uninstall", "--yes") })
			wantDone(t, run("install", "--yes", way.flag, "cri-o"))
			wired := treeHash(t)
			wantDone(t, run("install", "--yes", "cri-o"))
			if treeHash(t) != wired {
				t.Error("a second install has changed something")
			}
			c.Restart(t)
			wantExecSyncConfined(t, plain, podEngine, engines) // of a pod that was there before
			pod := c.Pod(t, way.handler, guesttest.Annotated("oci-apparmor/policy", "web", "oci-apparmor/policy.worker", "work"))
			front := startPodContainer(t, pod, "front")
			wantPodConfined(t, front, podWeb, "web (enforce)")
			wantExecSyncConfined(t, front, podWeb, "web (enforce)")
			wantStreamConfined(t, front, podWeb, "web (enforce)")

			c.Restart(t)
			wantExecSyncConfined(t, front, podWeb, "web (enforce)")
			wantPodConfined(t, startPodContainer(t, pod, "worker"), podWork, "work (enforce)")

			for range 2 {
				o := run("uninstall", "--yes")
				wantDone(t, o)
				name := pod.Config.Metadata.Name
				if named := "k8s_" + name + "_default_uid-of-" + name + "_0" + way.named; !strings.Contains(o.Stdout, named) {
					t.Errorf("uninstall does not name the pod %s: %s", named, o.Stdout)
				}
				if strings.Contains(o.Stdout, "check") {
					t.Errorf("CRI-O's own check of what is left: %s", o.Stdout)
				}
				wantExecSyncConfined(t, front, podWeb, "web (enforce)")
			}
			c.Restart(t)
			after := c.Pod(t, "")
			wantPodConfined(t, startPodContainer(t, after, "plain"), podEngine, engines)
			after.Remove(t)
			if way.handler == "" { // CRI-O has no runtime of it any more, as uninstall says
				wantExecSyncConfined(t, front, podEngine, engines)
			} else {
				wantExecSyncConfined(t, front, podWeb, "web (enforce)")
			}
			pod.Remove(t)
			wantDone(t, run("uninstall", "--yes"))
			c.Restart(t)
			wantDone(t, run("uninstall", "--yes")) // of the link that CRI-O has called until then
			if treeHash(t) != hash {
				t.Error("uninstall has not given the same tree back when the pod is gone")
			}
			wantExecSyncConfined(t, plain, podEngine, engines)
		})
	}
	t.Run("by hand", func(t *testing.T) {
		t.Cleanup(func() { os.RemoveAll("/usr/local/lib/oci-apparmor/cri-o") })
		guesttest.MustRun(t, "sh", "-e", "-c", block(t, "shim/README.md#cri-o"))
		text := block(t, "shim/README.md#cri-o:2")
		file, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
		writeFile(t, file, text)
		c.Restart(t)
		pod := c.Pod(t, "apparmor", guesttest.Annotated("oci-apparmor/policy", "web"))
		front := startPodContainer(t, pod, "front")
		wantPodConfined(t, front, podWeb, "web (enforce)")
		wantExecSyncConfined(t, front, podWeb, "web (enforce)")
		pod.Remove(t)
		wantDone(t, run("uninstall", "--yes"))
		if exists(file) {
			t.Errorf("uninstall has left %s", file)
		}
	})
	if o := run("uninstall", "--yes"); o.Code != 0 || !strings.Contains(o.Stdout, "nothing of ours") {
		t.Errorf("at the end uninstall says %+v", o)
	}
	old.Remove(t)
}
