package suite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

func nginxes(b *testing.B, n int) (Policy, string) {
	text, err := os.ReadFile("../../integration/testdata/docker-nginx-today")
	if err != nil {
		b.Fatal(err)
	}
	by := profiletest.Compiler(b, profiletest.Features())
	dir := b.TempDir()
	c := new(policy.Config)
	for i := range n {
		name := fmt.Sprintf("bench-%d", i)
		blob, err := by.Compile(b.Context(), name, profile.Enforce, name, []byte(strings.ReplaceAll(string(text), "docker-nginx", name)))
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), blob.Data, 0o644); err != nil {
			b.Fatal(err)
		}
		c.Profiles = append(c.Profiles, policy.Profile{Name: name, Source: "profiles/" + name})
		c.Policies = append(c.Policies, policy.Policy{Name: name, Profile: name})
	}
	a := policy.Assignment{File: "policy.yaml", Line: 1, Policy: "bench-0"}
	for _, p := range c.Policies[1:] {
		a.Request = append(a.Request, p.Name)
	}
	c.Assignments = append(c.Assignments, a)
	return Policy{Config: c, Source: func(f string) string { return f },
		Blob: func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }}, dir
}

func BenchmarkNever(b *testing.B) {
	p, _ := nginxes(b, 20)
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			for _, one := range p.Config.Profiles {
				data, _ := p.Blob(one.Name)
				if _, err := meaning.Read(data); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("walk", func(b *testing.B) {
		for b.Loop() {
			for _, one := range p.Config.Profiles {
				data, _ := p.Blob(one.Name)
				all, err := meaning.Read(data)
				if err != nil {
					b.Fatal(err)
				}
				if _, found, err := (meaning.Stack{all[0]}).Find(meaning.File, 1<<25, false, "/**"); found || err != nil {
					b.Fatal(found, err)
				}
			}
		}
	})
	for name, text := range map[string]string{
		"sysrq": "never: [{allow: w /proc/sysrq-trigger}]", "etc": "never: [{allow: w /etc/**}]", "module": "never: [{allow: capability sys_module}]",
		"mount": "never: [{allow: mount}]",
		"all":   "never: [{allow: [w /proc/sysrq-trigger, w /etc/**, mount, capability sys_module]}]",
	} {
		s := suiteOf(b, text, p)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r, err := Execute(context.Background(), p, s, nil)
				if err != nil {
					b.Fatal(err)
				}
				if b.N == 1 && !r.Passed() {
					b.Log(r.Results[0].Failed[0])
				}
			}
		})
	}
}
