package kernel_test

import (
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

func TestMangle(t *testing.T) {
	for name, want := range map[string]string{
		"web":                "web",
		"docker-default":     "docker-default",
		"a+b":                "ab",
		"..hidden":           "hidden",
		"/usr/sbin/cupsd":    "usr.sbin.cupsd",
		"./../x y\tz":        "x_y_z",
		"/{usr/,}bin/*":      "usr.bin.",
		"libvirt-0123_a.b@c": "libvirt-0123_a.bc",
		"ä":                  "",
		"":                   "",
	} {
		if got := kernel.Mangle(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
