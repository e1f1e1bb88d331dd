package k3s

import (
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/containerd"
)

const (
	head    = "[plugins.'io.containerd.cri.v1.runtime'.containerd"
	table   = head + ".runtimes.apparmor]\nruntime_path = '/opt/containerd-shim-apparmor-v2'\n"
	options = head + ".runtimes.apparmor.options]\nSystemdCgroup = true\n"
)

// Ours is taken out of a template, and all else stays, whatever it is.
func TestCutOfATemplate(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"alone", base + "\n" + table + options, base + "\n"},
		{"with lines of Windows", strings.ReplaceAll(base+table+"# end\n", "\n", "\r\n"), strings.ReplaceAll(base+"# end\n", "\n", "\r\n")},
		{"without a newline at its end", base + strings.TrimSuffix(table, "\n"), base},
		{"in two places", table + "[x]\ny = {{ .Y }}\n" + options + "{{ end }}\n", "[x]\ny = {{ .Y }}\n{{ end }}\n"},
		{"below a condition", "{{ if .A }}\n" + table + "{{ else }}\n[x]\n{{ end }}\n", "{{ if .A }}\n{{ else }}\n[x]\n{{ end }}\n"},
		{"as the default", base + head + "]\ndefault_runtime_name = \"apparmor\" # all\n" + table, base},
		{"as the default, beside other keys", head + "]\nsnapshotter = \"native\"\ndefault_runtime_name = \"apparmor\"\n" + table,
			head + "]\nsnapshotter = \"native\"\n"},
		{"with other plugins' of that name", "[plugins.x.runtimes.a]\nb = 1\n", "[plugins.x.runtimes.a]\nb = 1\n"},
		{"what nobody can read", "{{ if }}\n[[[\n= =\n\"\"\"\n", "{{ if }}\n[[[\n= =\n\"\"\"\n"},
		{"nothing", "", ""},
	} {
		f, err := parse("config-v3.toml.tmpl", []byte(tt.text))
		if err == nil {
			err = containerd.Cut(f)
		}
		if err != nil || string(f.Text) != tt.want {
			t.Errorf("%s: %v, got\n%q\nwant\n%q", tt.name, err, f.Text, tt.want)
		}
	}
}

// What has our runtime's name and cannot be taken out for certain is an error with its line.
func TestTemplateThatIsNotUnderstood(t *testing.T) {
	for name, text := range map[string]string{
		"another one's":          "\n" + head + ".runtimes.apparmor]\nruntime_type = 'io.containerd.kata.v2'\n",
		"an action in its table": "\n" + strings.Replace(table, "/opt/", "{{ .Opt }}", 1),
		"a name by an action":    "\n" + head + ".runtimes.{{ .Name }}apparmor]\nx = 1\n",
		"a default by itself":    "\ndefault_runtime_name = 'apparmor' {{ .X }}\n",
	} {
		if _, err := parse("x.tmpl", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), "x.tmpl:2: a runtime apparmor stands here that is not ours") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add(base + table + options)
	f.Add("{{\n" + head + "]\n[")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := parse("x.tmpl", []byte(text))
		if err != nil {
			return
		}
		if string(file.Text) != text {
			t.Errorf("it becomes %q", file.Text)
		}
		if err := containerd.Cut(file); err == nil && ours(file.Text) != "" {
			t.Errorf("ours is left: %q", file.Text)
		}
	})
}
