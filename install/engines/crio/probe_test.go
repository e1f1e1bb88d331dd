package crio

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
)

// What a probe has made is removed, however far it came.
func TestProbeOfCRIO(t *testing.T) {
	const said = "[crio.image]\npause_image = \"example.org/pause:3\"\n[crio.runtime.runtimes.crun]\nruntime_path = \"/usr/bin/crun\"\n"
	for _, tt := range []struct {
		name, fails string
		stock       bool
		want        []string // of crictl, by the first words
	}{
		{name: "works", want: []string{"runp --runtime apparmor POD", "create pod-1 CONTAINER POD", "start container-1",
			"exec --sync container-1 /probe wait", "stop --timeout 0 container-1", "rmp --force pod-1"}},
		{name: "by the default", stock: true, want: []string{"runp POD", "create pod-1 CONTAINER POD", "start container-1",
			"exec --sync container-1 /probe wait", "stop --timeout 0 container-1", "rmp --force pod-1"}},
		{name: "no pod", fails: "runp", want: []string{"runp --runtime apparmor POD", "pods --quiet --name ^probe-1$", "rmp --force pod-late"}},
		{name: "no container", fails: "create", want: []string{"runp --runtime apparmor POD", "create pod-1 CONTAINER POD", "rmp --force pod-1"}},
		{name: "no start", fails: "start", want: []string{"runp --runtime apparmor POD", "create pod-1 CONTAINER POD", "start container-1",
			"stop --timeout 0 container-1", "rmp --force pod-1"}},
		{name: "no exec", fails: "exec", want: []string{"runp --runtime apparmor POD", "create pod-1 CONTAINER POD", "start container-1",
			"exec --sync container-1 /probe wait", "stop --timeout 0 container-1", "rmp --force pod-1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, map[string]string{main: "[crio.api]\nlisten = \"/run/other.sock\"\n"}, "crio", "crictl")
			c := &host.Throwaway{Name: "probe-1", Dir: t.TempDir(), Args: []string{"/probe", "wait"}, Stock: tt.stock,
				Annotation: map[string]string{"oci-apparmor/policy": "web"}}
			var asked []string
			h.Run = func(_ context.Context, _ []string, program string, args ...string) ([]byte, error) {
				if program == "/usr/bin/crio" {
					return []byte(said), nil
				}
				if strings.Join(args[:6], " ") != "--runtime-endpoint unix:///run/other.sock --image-endpoint unix:///run/other.sock --timeout 30s" {
					t.Errorf("%s %q", program, args)
				}
				command := strings.Join(args[6:], " ")
				for file, name := range map[string]string{"pod.json": "POD", "container.json": "CONTAINER"} {
					command = strings.ReplaceAll(command, filepath.Join(c.Dir, file), name)
				}
				asked = append(asked, command)
				if args[6] == tt.fails {
					return nil, errors.New("it fails")
				}
				return []byte(map[string]string{"runp": "pod-1\n", "create": "container-1\n", "pods": "pod-late\n"}[args[6]]), nil
			}
			n := &running{&daemon{h, "/usr/bin/crio"}, host.Process{Args: []string{"crio"}}}
			started, remove, err := n.probe(t.Context(), c)
			if failed := slices.Contains([]string{"runp", "create", "start"}, tt.fails); (err != nil) != failed {
				t.Fatal(err)
			}
			if err == nil {
				if err := started.Exec(t.Context()); (err != nil) != (tt.fails == "exec") || started.ID != "container-1" {
					t.Errorf("%q, %v", started.ID, err)
				}
			}
			if err := remove(); err != nil {
				t.Error(err)
			}
			if !slices.Equal(asked, tt.want) {
				t.Errorf("asked for\n%s\nwant\n%s", strings.Join(asked, "\n"), strings.Join(tt.want, "\n"))
			}
			var pod podConfig
			var in containerConfig
			for file, v := range map[string]any{"pod.json": &pod, "container.json": &in} {
				text, err := os.ReadFile(filepath.Join(c.Dir, file))
				if err == nil {
					err = json.Unmarshal(text, v)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if in.Image.Image != "example.org/pause:3" || len(in.Mounts) != 1 || in.Mounts[0] != (mount{"/probe", c.Rootfs() + "/probe", true}) ||
				!slices.Equal(in.Command, c.Args) || pod.Annotations["oci-apparmor/policy"] != "web" || pod.Linux.Security.Namespaces.Network != node {
				t.Errorf("%+v\n%+v", pod, in)
			}
		})
	}
}
