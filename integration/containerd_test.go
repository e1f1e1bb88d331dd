package integration

import (
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/inside"
)

func TestContainerdStarts(t *testing.T) {
	inside.EachContainerd(t, func(t *testing.T, v inside.ContainerdVersion) {
		c := inside.StartContainerd(t, v, inside.ContainerdConfig{CRI: true})
		if out := c.MustCtr(t, "plugins", "ls"); !strings.Contains(out, "cri") {
			t.Errorf("no CRI plugin: %s", out)
		}
		c.Restart(t)
		c.MustCtr(t, "version")
	})
}
