package integration

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/agent"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// A ConfigMap is changed a hundred times in a minute, most of its versions have a fault, and agents are killed meanwhile. At each moment a
// good version is in force, whole, in the store and in the kernel, and containers that start are confined by one. The Node never names
// another one, or an earlier one than before. In the end it has the digest of the last good one, and says why that after it is refused.
// It has an event of a container that is refused.
func TestKubernetesConfigMap(t *testing.T) {
	const changes, node = 100, "lone"
	k := guesttest.Kubernetes(t)
	guesttest.RemoveProfilesAtEnd(t)
	guesttest.MustRun(t, "sh", "-c", "rm -rf /etc/oci-apparmor /var/lib/oci-apparmor /run/oci-apparmor /etc/apparmor.d/*.oci-apparmor")
	k.Namespace(t, "oci-apparmor", "")
	manifests := []string{"--namespace=oci-apparmor", "--filename=" + filepath.Join(manifestsDir, "base/rbac.yaml"),
		"--filename=" + filepath.Join(manifestsDir, "base/admission-nodes.yaml")}
	k.MustKubectl(t, append([]string{"apply"}, manifests...)...)
	t.Cleanup(func() { k.MustKubectl(t, append([]string{"delete", "--wait=false"}, manifests...)...) })
	k.Apply(t, "apiVersion: v1\nkind: Node\nmetadata: {name: "+node+"}\n")
	t.Cleanup(func() { k.MustKubectl(t, "delete", "node", node) })
	annotation := func(key string) string {
		t.Helper()
		var n struct {
			Metadata struct{ Annotations map[string]string }
		}
		k.Get(t, "/api/v1/nodes/"+node, &n)
		return n.Metadata.Annotations[key]
	}

	const lastGood, lastBad, next = changes - 1, changes, changes + 1
	w := watchVersions(t, changes, len(configFaults))
	m := &configMap{dir: filepath.Join(t.TempDir(), "policy")}
	put := func(n int) error { return m.put(w.files(n)) }
	if err := put(0); err != nil {
		t.Fatal(err)
	}
	account := k.Account(t, "oci-apparmor", "oci-apparmor", node)
	spawn := func() *runningAgent {
		t.Helper()
		return spawnAs(t, "kubernetes", "agent", "--configmap="+m.dir, "--node="+node, "--api-server="+k.Server(), "--service-account="+account)
	}
	a := spawn()
	t.Cleanup(func() { _ = a.Process.Kill() }) // where begun has not been reached
	waitLong(t, "the Node to have the first version's digest", func() bool { return annotation(agent.PolicyAnnotation) != "" })
	rt := armsOf(t, "runc")
	wantConfined(t, guesttest.NewBundle(t).Start(t, rt.wrapped), tries{"write /etc/x": denied, "write /mnt/v0": denied, "write /mnt/v1": "ok"}, "web")

	defer w.begin()()
	began, changed := time.Now(), make(chan error, 1)
	go func() {
		tick := time.NewTicker(time.Minute / changes)
		defer tick.Stop()
		for n := 1; n < lastGood; n++ {
			if err := put(n); err != nil {
				changed <- err
				return
			}
			<-tick.C
		}
		changed <- put(lastGood)
	}()
	starts, killed := 0, 0
	var told []string // the digests that the Node has shown, one after the other
	look := func() {
		t.Helper()
		if now := annotation(agent.PolicyAnnotation); len(told) == 0 || told[len(told)-1] != now {
			told = append(told, now)
		}
	}
	for changing := true; changing; {
		select {
		case err := <-changed:
			if err != nil {
				t.Fatal(err)
			}
			changing = false
		default:
		}
		c := guesttest.NewBundle(t).Start(t, rt.wrapped)
		wantConfined(t, c, tries{"write /etc/x": denied, "write /tmp/x": "ok"}, "web")
		look()
		// Half of the time agents are killed, wherever they are, and others go on.
		if starts++; time.Since(began) < 30*time.Second {
			if err := a.Process.Kill(); err != nil {
				t.Fatalf("%v\n%s", err, a.log.String())
			}
			_ = a.Wait()
			a = spawn()
			killed++
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Millisecond)
			look()
		}
	}
	for ; killed < 3; killed++ { // on a machine that takes its time for starts
		_ = a.Process.Kill()
		_ = a.Wait()
		a = spawn()
	}
	a.begun(t)
	waitFor(t, "the last good version to be in force", w.is(t, lastGood))
	if err := put(lastBad); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d changes in %v, %d of them good; %d agents were killed; the Node showed %d versions meanwhile, and %d containers started", changes,
		time.Since(began), len(w.good)-2, killed, len(told), starts)
	says := configFaults[w.faults[lastBad]].says
	waitLong(t, "the Node to have the last good version's digest, and why the one after it is refused: "+says, func() bool {
		look()
		return annotation(agent.PolicyAnnotation) == w.digest(lastGood) && strings.Contains(annotation(agent.RefusedAnnotation), says)
	})
	if !w.is(t, lastGood)() {
		t.Error("another version is in force")
	}
	c := guesttest.NewBundle(t).Start(t, rt.wrapped)
	wantConfined(t, c, tries{"write /etc/x": denied, fmt.Sprintf("write /mnt/v%d", lastGood): denied, fmt.Sprintf("write /mnt/v%d", lastBad): "ok"}, "web")

	if err := put(next); err != nil {
		t.Fatal(err)
	}
	waitLong(t, "the Node to have the next version", func() bool {
		return w.is(t, next)() && annotation(agent.PolicyAnnotation) == w.digest(next) && annotation(agent.RefusedAnnotation) == ""
	})
	look()
	wantRefusalEvent(t, k, node, rt)
	now, most := a.memory(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	last := -1
	for _, digest := range told {
		switch n, ok := w.digests[digest]; {
		case !ok:
			t.Errorf("the Node has named the digest %q, which was never in force", digest)
		case n < last:
			t.Errorf("the Node has named version %d after version %d", n, last)
		default:
			last = n
		}
	}
	if len(w.digests) < 3 || len(told) < 2 {
		t.Errorf("only these were in force: %v; and the Node showed %v", slices.Sorted(maps.Values(w.digests)), told)
	}
	t.Logf("%d versions were in force, by %d looks; the agent has %d KiB resident, at most %d", len(w.digests), w.looks, now, most)
}

// wantRefusalEvent has a container refused, of which the Node must have an event.
func wantRefusalEvent(t *testing.T, k *guesttest.ControlPlane, node string, rt arms) {
	t.Helper()
	if c, o := guesttest.NewBundle(t, asks("nowhere")).TryStart(t, rt.wrapped); c != nil || !strings.Contains(o.Stderr, "nowhere") {
		t.Fatalf("a container that may not ask for that: %+v", o)
	}
	var events string
	waitLong(t, "an event of the Node", func() bool {
		events = k.MustKubectl(t, "get", "events", "--namespace=default", "--field-selector=reason=ContainerRefused,involvedObject.name="+node,
			"--output=jsonpath={range .items[*]}{.type} {.message}{\"\\n\"}{end}")
		return events != ""
	})
	if !strings.HasPrefix(events, "Warning ") || !strings.Contains(events, "run was refused once: the container asks for a policy") || strings.Contains(events, "\n") {
		t.Errorf("the events of the Node:\n%s", events)
	}
}
