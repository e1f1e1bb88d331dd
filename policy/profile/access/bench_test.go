package access_test

import (
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// assertions are what tests of a policy assert of a container's profile.
var assertions = []string{"r /usr/share/nginx/html/index.html", "w /etc/passwd", "w /etc/**", "x /usr/bin/dash", "tcp connect",
	"capability net_bind_service", "capability sys_admin", "mount", "ptrace trace peer=unconfined", "w /proc/sysrq-trigger",
	"signal receive set=(term, kill) peer=unconfined", "change_profile -> unconfined", "ux /**", "umount", "pivot_root", "file",
	"r /**", "l /**", "unix stream connect", "network", "change_profile", "signal", "capability"}

// A profile that is new each time, since a policy's test asks each profile some assertions.
func BenchmarkAssertions(b *testing.B) {
	text, err := templates.Text("docker-default", "docker-default", templates.Target{})
	if err != nil {
		b.Fatal(err)
	}
	data := profiletest.Several(b, string(text))
	for _, line := range append(assertions, "all") {
		lines := []string{line}
		if line == "all" {
			lines = assertions
		}
		b.Run(line, func(b *testing.B) {
			for b.Loop() {
				all, err := meaning.Read(data)
				if err != nil {
					b.Fatal(err)
				}
				for _, line := range lines {
					p, err := Parse(line)
					if err != nil {
						b.Fatal(err)
					}
					p.Allowed(all)
					p.Denied(all)
				}
			}
		})
	}
}

// What the assertions are compared with.
func BenchmarkCompile(b *testing.B) {
	text, err := templates.Text("docker-default", "docker-default", templates.Target{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		profiletest.Several(b, string(text))
	}
}
