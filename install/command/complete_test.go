package command

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Shells are offered verbs, flags, and the names that the node knows.
func TestComplete(t *testing.T) {
	m := newMachine(t)
	m.write("etc/policy.yaml", "version: 1\nprofiles: {web: {file: profiles/web}, wide: {file: profiles/wide}}\npolicies: {shop: {profile: web}, desk: {profile: wide}}\n"+
		"assign: [{policy: shop, request: desk}]\n")
	m.write("etc/profiles/web", "profile web { }\n")
	m.write("etc/profiles/wide", "profile wide { }\n")
	if code, _ := m.run("policy", "apply"); code != 0 {
		t.Fatal(m.errOut.String())
	}
	m.write("securityfs/profiles", "held (enforce)\n")
	for _, c := range []struct {
		line string
		want []string // words
		does string   // what the shell does besides: 4 nothing, 0 offers files, 16 directories
	}{
		{"", []string{"agent", "audit", "doctor", "install", "kubernetes", "log", "policy", "profile", "status", "uninstall", "version"}, "4"},
		{"install ", []string{"containerd", "cri-o", "crun", "docker", "k0s", "k3s", "microk8s", "podman", "rke2", "runc"}, "4"},
		{"install --via ", []string{"hook", "shim", "wrapper"}, "4"},
		{"install --root ", nil, "16"},
		{"uninstall containerd ", []string{"cri-o", "docker", "k0s", "k3s", "microk8s", "podman", "rke2"}, "4"},
		{"policy ", []string{"apply", "check", "diff", "explain", "load", "promote", "rollback", "schema", "show", "test", "watch"}, "4"},
		{"policy apply --d", []string{"--dry-run"}, "4"},
		{"policy apply --store ", nil, "16"},
		{"policy apply --features ", nil, "0"},
		{"policy check ", nil, "4"},
		{"policy check --config ", nil, "0"},
		{"policy apply --config ", nil, "16"},
		{"policy explain --engine c", []string{"containerd", "cri-o"}, "4"},
		{"policy explain --annotation ", []string{"oci-apparmor/policy=desk", "oci-apparmor/policy=shop"}, "4"},
		{"policy explain --engine-choice ", []string{"docker-default", "held", "unconfined", "web", "wide"}, "4"},
		{"audit --type c", []string{"changed", "complain"}, "4"},
		{"audit --source a", []string{"audit.log", "auto"}, "4"},
		{"audit --source ./", nil, "0"},
		{"audit --pod ", nil, "4"},
		{"policy show ", nil, "4"},
		{"profile unload ", []string{"held"}, "4"},
		{"profile unload held ", nil, "4"},
		{"profile show w", []string{"web", "wide"}, "4"},
		{"profile diff ", []string{"2015:docker-default", "kernel:held", "node:docker-default", "policy:web", "policy:wide"}, "4"},
		{"profile load ", nil, "0"},
		{"profile why w", []string{"web", "wide"}, "4"},
		{"profile why ./", nil, "0"},
		{"profile check --image ", nil, "0"},
		{"profile check --rootfs ", nil, "16"},
		{"profile diff ./", nil, "0"},
		{"status --show c", []string{"containers"}, "4"},
	} {
		args := strings.Split("__complete "+c.line, " ")
		code, out := m.run(args...)
		var got []string
		does := ""
		for line := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			if strings.Contains(line, "`") {
				t.Errorf("%q: back quotes in %q", c.line, line)
			}
			if rest, is := strings.CutPrefix(word, ":"); is {
				does = rest
			} else if word != "help" && word != "--help" && word != "-h" {
				got = append(got, word)
			}
		}
		slices.Sort(got)
		if code != 0 || !slices.Equal(got, c.want) || does != c.does {
			t.Errorf("%q: %q, :%s (code %d), want %q, :%s", c.line, got, does, code, c.want, c.does)
		}
	}
}

// Whoever adds a flag with a value or a command with arguments says what is offered for it, be it nothing.
func TestCompleteKnowsEveryFlag(t *testing.T) {
	root := rootCommand(newMachine(t).session)
	flags, commands := map[string]bool{}, map[string]bool{}
	for cmd := range all(root) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Value.Type() == "bool" {
				return
			}
			flags[f.Name] = true
			if flagWords[f.Name] == nil {
				t.Errorf("flagWords has nothing for --%s of %s", f.Name, cmd.CommandPath())
			}
		})
		path := strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")
		commands[path] = true
		takes := cmd.Use != cmd.Name() && !strings.HasSuffix(cmd.Use, "[flags]")
		if takes != (argumentWords[path] != nil) {
			t.Errorf("%s is used as %q, and argumentWords has something for it: %t", cmd.CommandPath(), cmd.Use, argumentWords[path] != nil)
		}
	}
	for name := range flagWords {
		if !flags[name] {
			t.Errorf("flagWords has --%s, which no command takes", name)
		}
	}
	for path := range argumentWords {
		if !commands[path] {
			t.Errorf("argumentWords has %q, which is no command", path)
		}
	}
}
