package integration

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// engineNames are the words by which the program would know an engine: names, keys, sockets, namespaces, cgroups.
var engineNames = regexp.MustCompile(`(?i)\b(docker|dockerd|podman|buildah|containerd|cri-?o|crio|nerdctl|ctr|libpod|moby|k8s\.io|kubepods|k3s|rke2|k0s|microk8s)\b|` +
	`Docker|Podman|Containerd|CRIO|Nerdctl|cri-containerd|docker-|libpod-|crio-|io\.kubernetes\.`)

// otherMeanings are words in which an engine's name is not an engine's.
var otherMeanings = regexp.MustCompile(`docker-default(-2015)?|docker\.io|dockerDefault\w*|dockerHub|Docker Hub|containerd-shim-apparmor-v2|ContainerdNamespace|/k8s\.io/`)

// Engines' names stand in the table of package engine. These files have some besides, each for one reason.
func TestEnginesNamesStandInTheirTable(t *testing.T) {
	guesttest.Outside(t)
	allowed := map[string]string{
		"policy/engine/":                    "the table",
		"hook/look.go":                      "the readers of files that one engine writes",
		"shim/containerd/":                  "containerd's shim, built of its packages",
		"shim/containerd-shim-apparmor-v2/": "the program of that shim",
		"install/engines/containerd/":       "the wiring of containerd",
		"install/engines/k3s/":              "the wiring of the containerd of K3s and RKE2",
		"install/engines/k0s/":              "the wiring of k0s' containerd",
		"install/engines/microk8s/":         "the wiring of MicroK8s' containerd",
		"install/engines/docker/":           "the wiring of Docker",
		"install/engines/ocihooks/":         "which engines share directories of hooks, and Podman's configuration of these",
		"install/engines/podman/":           "the wiring of Podman",
		"install/engines/crio/":             "the wiring of CRI-O",
		"install/engines/tasks/":            "the state of containerds, the node's and dockerd's own",
		"install/command/install.go":        "what engines lose by an uninstall, in its help",
		"install/engines/engines.go":        "the table of the engines that are wired",
		"hook/oci-apparmor-hook/main.go":    "Podman's own stage precreate in its help",
		"install/command/profile_daemon.go": "examples in its help",
		"install/command/profile_diff.go":   "Docker's profile of 2015 in its help",
		"install/command/profile_load.go":   "an engine's option in its help",
		"install/command/profile_new.go":    "the formats of engines' commands in its help",
		"install/workload/":                 "the formats that engines' commands print",
		"policy/profile/draft/program.go":   "the name of Docker's program that runs another one",
		"install/command/profile_show.go":   "Docker's profile of 2015 in its help",
		"install/command/policy_explain.go": "examples in its help",
		"policy/profile/lint/lint.go":       "a warning that names what sets a sysctl",
		"policy/profile/protect/table.go":   "what only one engine's daemon may do",
		"install/kubernetes/":               "units that one of ours waits for, and an annotation of images",
	}
	used := make(map[string]bool)
	for _, dir := range []string{"hook", "shim", "policy", "install"} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			name := filepath.ToSlash(strings.TrimPrefix(path, ".."+string(filepath.Separator)))
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				var word string
				switch n := n.(type) {
				case *ast.ImportSpec:
					return false
				case *ast.Ident:
					word = n.Name
				case *ast.BasicLit:
					if n.Kind == token.STRING {
						word = n.Value
					}
				}
				found := engineNames.FindString(otherMeanings.ReplaceAllString(word, ""))
				if found == "" {
					return true
				}
				for place := range allowed {
					if name == place || strings.HasSuffix(place, "/") && strings.HasPrefix(name, place) {
						used[place] = true
						return true
					}
				}
				t.Errorf("%s:%d has %q: what is known of engines stands in policy/engine", name, set.Position(n.Pos()).Line, found)
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for place, why := range allowed {
		if !used[place] {
			t.Errorf("%s has no engine's name any more (%s): take it out of this list", place, why)
		}
	}
}
