package status

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkGather is for a node with 2,000 profiles and 500 containers, a pod's each.
func BenchmarkGather(b *testing.B) {
	const profiles, containers = 2000, 500
	m := newMachine(b)
	var text strings.Builder
	for i := range profiles {
		fmt.Fprintf(&text, "profile-%d (enforce)\n", i)
	}
	m.process(1, "unconfined", "/init.scope", "pid:[1]")
	mounts := make([]map[string]string, 100)
	for i := range mounts {
		mounts[i] = map[string]string{"destination": fmt.Sprint("/some/where/", i), "type": "bind", "source": fmt.Sprint("/from/else/where/", i)}
	}
	rest, err := json.Marshal(mounts)
	if err != nil {
		b.Fatal(err)
	}
	for i := range containers {
		id := fmt.Sprintf("%064x", i)
		m.prepare("containerd/runc/k8s.io", id)
		pid := 1000 + i
		m.process(pid, "web (enforce)", "/kubepods/burstable/pod1/"+id, fmt.Sprintf("pid:[%d]", pid))
		m.Write("run/containerd/runc/k8s.io/"+id+"/state.json",
			fmt.Sprintf(`{"id":%q,"init_process_pid":%d,"config":{"mounts":%s}}`, id, pid, rest)) // in runc's order
		config := filepath.Join(m.Dir, "bundles", id, "config.json")
		spec := fmt.Appendf(nil, `{"process":{},"mounts":%s,"annotations":{"io.kubernetes.cri.sandbox-namespace":"lab",`+
			`"io.kubernetes.cri.sandbox-name":"pod"},"linux":{"namespaces":[]}}`, rest)
		if err := os.WriteFile(config, spec, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	m.Kernel.Write(b, "fs/profiles", text.String())
	for _, with := range []bool{false, true} {
		b.Run(map[bool]string{false: "profiles and processes", true: "containers too"}[with], func(b *testing.B) {
			for b.Loop() {
				s, err := m.Gather(with)
				if err != nil || len(s.Profiles) != profiles || with && len(s.Containers) != containers {
					b.Fatal(err, len(s.Containers))
				}
				if _, err := s.JSON(Show{true, true, with}, false, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
