package integration

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// containerdConfig is where containerd looks for its configuration, and where the README's commands write to.
const containerdConfig = "/etc/containerd/config.toml"

// What the README has a node do to containerd's configuration makes the runtime that it says and changes nothing else, for
// each containerd, with a main file as Debian's package has it, as containerd itself makes it, as kubeadm's users make it
// of that, with one that names runc alone, and with none.
func TestContainerdConfigOfReadme(t *testing.T) {
	guesttest.EachContainerd(t, func(t *testing.T, v guesttest.ContainerdVersion) {
		for _, main := range mainFiles(t, v) {
			t.Run(main.name, func(t *testing.T) {
				withMainFile(t, main.text)
				if main.text == "" {
					writeFile(t, containerdConfig, defaultConfig(t, v)) // what it is without a file, as a file
				}
				before := dumped(t, v)
				if main.text == "" {
					os.Remove(containerdConfig)
				}
				if out, err := readmeContainerd(t, v).CombinedOutput(); err != nil {
					t.Fatalf("the README's commands: %v\n%s", err, out)
				}
				after := dumped(t, v)
				want := map[string]string{
					"runtime_type": "io.containerd.runc.v2", "runtime_path": guesttest.OurShim, "pod_annotations": "[oci-apparmor/*]",
					"options.SystemdCgroup": "true",
				}
				for key, value := range after {
					table, ours, is := strings.Cut(key, ".containerd.runtimes.apparmor.")
					if !is {
						if before[key] != value {
							t.Errorf("%s is %s, and was %q before", key, value, before[key])
						}
						continue
					}
					if !strings.HasPrefix(table, "plugins.io.containerd.") {
						t.Errorf("the runtime stands in %s", table)
					}
					if w, ok := want[ours]; ok && w != value {
						t.Errorf("%s is %s, want %s", ours, value, w)
					}
					delete(want, ours)
				}
				for key := range before {
					if _, ok := after[key]; !ok {
						t.Errorf("%s = %s is lost", key, before[key])
					}
				}
				if len(want) > 0 {
					t.Errorf("of the runtime there is no %v", slices.Sorted(maps.Keys(want)))
				}
			})
		}
	})
}

// The README's lines add the runtime once to a file of a known version, and leave any other file as it is.
func TestContainerdLinesOfReadmeTwice(t *testing.T) {
	guesttest.Outside(t)
	const table = "[plugins.\"%s\".containerd.runtimes.apparmor]\n"
	for _, test := range []struct{ name, text, want string }{ // the plugin's name, or what is said of the file
		{"version 2", "version = 2\n", "io.containerd.grpc.v1.cri"},
		{"a comment behind the version", "version = 2  # as kubeadm has it\n", "io.containerd.grpc.v1.cri"},
		{"version 3", "version = 3\n", "io.containerd.cri.v1.runtime"},
		{"a table in a comment", "version = 3\n# " + fmt.Sprintf(table, "x"), "io.containerd.cri.v1.runtime"},
		{"no version", "root = \"/var/lib/containerd\"\n", " is of version 1, as it names none: "},
		{"version 1", "version = 1\n", " is of version 1: "},
		{"a version of the future", "version = 12\n", " is of version 12: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "config.toml")
			writeFile(t, config, test.text)
			script := strings.ReplaceAll(block(t, "shim/README.md#containerd-and-kubernetes"), containerdConfig, config)
			known := strings.HasPrefix(test.want, "io.")
			for range 2 {
				out, err := exec.Command("sh", "-c", "{\n"+script+"\n}; echo end").CombinedOutput()
				if err != nil || !strings.HasSuffix(string(out), "end\n") {
					t.Fatalf("the shell did not come to its end: %v\n%s", err, out)
				}
				if !known && !strings.Contains(string(out), config+test.want) {
					t.Errorf("it says %s", out)
				}
			}
			text := read(t, config)
			if !known && text != test.text {
				t.Errorf("the file became\n%s", text)
			}
			if n := strings.Count(text, "\n"+fmt.Sprintf(table, test.want)); known && n != 1 {
				t.Errorf("the runtime's table is there %d times:\n%s", n, text)
			}
		})
	}
}

// A pod gets its policy by what the README has a node of kubeadm's do.
func TestContainerdPodByReadme(t *testing.T) {
	guesttest.EachContainerd(t, func(t *testing.T, v guesttest.ContainerdVersion) {
		setPolicy(t, podPolicy)
		text := regexp.MustCompile(`(?m)^(\s*sandbox(?:_image)? = )['"].*['"]$`).ReplaceAllString(defaultConfig(t, v), fmt.Sprintf("${1}%q", guesttest.PauseImage))
		withMainFile(t, text)
		if out, err := readmeContainerd(t, v).CombinedOutput(); err != nil {
			t.Fatalf("the README's commands: %v\n%s", err, out)
		}
		text = read(t, containerdConfig)
		text = strings.ReplaceAll(text, "SystemdCgroup = true", "SystemdCgroup = false") // as this guest has it, in which no systemd runs
		if ignoresRuntimePath(v) {
			text = regexp.MustCompile(`runtime_type = .*\n\s*runtime_path = "`+guesttest.OurShim+`"`).ReplaceAllString(text,
				fmt.Sprintf("runtime_type = %q", guesttest.Type.Type))
		}
		c := guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{CRI: true, Main: text})
		c.MustCtr(t, "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
		pod := guesttest.DialCRI(t, c.Socket).Pod(t, "apparmor", guesttest.Annotated("oci-apparmor/policy", "web"))
		wantPodConfined(t, startPodContainer(t, pod, "front"), podWeb, "web (enforce)")
		pod.Remove(t)
	})
}

// A file of its own beside the main one counts where it is of the main file's version.
func TestContainerdConfigOfItsOwn(t *testing.T) {
	guesttest.EachContainerd(t, func(t *testing.T, v guesttest.ContainerdVersion) {
		if strings.HasPrefix(v.Name, "1.") {
			t.Skip("containerd 1.x puts an imported file in the place of its whole CRI section, as the README says")
		}
		for _, main := range mainFiles(t, v) {
			if main.text == "" {
				continue // then there is nothing that imports
			}
			t.Run(main.name, func(t *testing.T) {
				dir := t.TempDir()
				text := regexp.MustCompile(`(?m)^imports = .*\n`).ReplaceAllString(main.text, "")
				withMainFile(t, fmt.Sprintf("imports = [%q]\n", dir+"/*.toml")+text)
				before := dumped(t, v)
				if out, err := readmeContainerd(t, v).CombinedOutput(); err != nil {
					t.Fatalf("the README's commands: %v\n%s", err, out)
				}
				appended := dumped(t, v)
				_, table, _ := strings.Cut(read(t, containerdConfig), "containerd.runtimes.apparmor]")
				version := regexp.MustCompile(`(?m)^version = (\d)`).FindStringSubmatch(main.text)[1]
				plugin := "io.containerd.cri.v1.runtime"
				if version == "2" {
					plugin = "io.containerd.grpc.v1.cri"
				}
				writeFile(t, containerdConfig, fmt.Sprintf("imports = [%q]\n", dir+"/*.toml")+text)
				writeFile(t, filepath.Join(dir, "apparmor.toml"),
					fmt.Sprintf("version = %s\n[plugins.%q.containerd.runtimes.apparmor]%s", version, plugin, table))
				imported := dumped(t, v)
				if !maps.Equal(imported, appended) || maps.Equal(imported, before) {
					t.Errorf("it comes to something else than what is written into the main file:\n%v\n%v", imported, appended)
				}
			})
		}
	})
}

type mainFile struct{ name, text string }

// mainFiles returns main files of containerd as nodes have them.
func mainFiles(t *testing.T, v guesttest.ContainerdVersion) []mainFile {
	t.Helper()
	standard := defaultConfig(t, v)
	version := regexp.MustCompile(`(?m)^version = (\d)$`).FindStringSubmatch(standard)
	if version == nil {
		t.Fatalf("containerd %s config default names no version:\n%s", v.Name, standard)
	}
	files := []mainFile{
		{"none", ""},
		{"config default", standard},
		{"kubeadm", strings.ReplaceAll(standard, "SystemdCgroup = false", "SystemdCgroup = true")},
		{"runc alone", `version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = true
`},
	}
	if packaged, err := os.ReadFile(containerdConfig); err == nil {
		files = append(files, mainFile{"package", string(packaged)})
	} else {
		t.Logf("this guest's package has no main file: %v", err)
	}
	return files
}

// defaultConfig returns what a containerd prints as its default configuration.
func defaultConfig(t *testing.T, v guesttest.ContainerdVersion) string {
	t.Helper()
	return guesttest.MustRun(t, filepath.Join(v.Bin, "containerd"), "config", "default") + "\n"
}

// withMainFile has containerd's main file, or none where the text is empty, until the test ends.
func withMainFile(t *testing.T, text string) {
	t.Helper()
	old, err := os.ReadFile(containerdConfig)
	t.Cleanup(func() {
		os.Remove(containerdConfig)
		if err == nil {
			writeFile(t, containerdConfig, string(old))
		}
	})
	if text == "" {
		os.Remove(containerdConfig)
		return
	}
	writeFile(t, containerdConfig, text)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// readmeContainerd makes a command of those that shim/README.md has for containerd's configuration.
func readmeContainerd(t *testing.T, v guesttest.ContainerdVersion) *exec.Cmd {
	t.Helper()
	script := block(t, "shim/README.md#containerd-and-kubernetes")
	if !strings.Contains(script, containerdConfig) {
		t.Fatalf("the commands for containerd's configuration do not name %s", containerdConfig)
	}
	cmd := exec.Command("sh", "-e", "-c", script)
	cmd.Env = append(os.Environ(), "PATH="+v.Bin+":"+os.Getenv("PATH"))
	return cmd
}

// dumped returns what containerd makes of its configuration: each value by the names of the tables and the key that lead to
// it, with dots between them. What stands for the default is left out: empty values, and a sandbox_mode of podsandbox
// (ValidatePluginConfig in pkg/cri/config/config.go of containerd 1.7 puts that in for none).
func dumped(t *testing.T, v guesttest.ContainerdVersion) map[string]string {
	t.Helper()
	return dumpedWith(t, v)
}

// dumpedWith is dumped with flags for containerd, as of another main file.
func dumpedWith(t *testing.T, v guesttest.ContainerdVersion, flags ...string) map[string]string {
	t.Helper()
	text := guesttest.MustRun(t, filepath.Join(v.Bin, "containerd"), append(flags, "config", "dump")...)
	var tables map[string]any
	if _, err := toml.Decode(text, &tables); err != nil {
		t.Fatalf("containerd config dump: %v\n%s", err, text)
	}
	values := map[string]string{}
	var flatten func(prefix string, table map[string]any)
	flatten = func(prefix string, table map[string]any) {
		for key, value := range table {
			if sub, ok := value.(map[string]any); ok {
				flatten(prefix+key+".", sub)
			} else if text := fmt.Sprint(value); !slices.Contains([]string{"", "0", "false", "[]"}, text) && key+text != "sandbox_modepodsandbox" {
				values[prefix+key] = text
			}
		}
	}
	flatten("", tables)
	return values
}
