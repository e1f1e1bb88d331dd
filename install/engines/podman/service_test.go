package podman

import "testing"

func TestIsService(t *testing.T) {
	for _, c := range []struct {
		args []string
		want bool
	}{
		{[]string{"/usr/bin/podman", "--log-level=info", "system", "service"}, true},
		{[]string{"podman", "system", "service", "--time", "0"}, true},
		{[]string{"podman", "run", "--name", "system", "image", "service"}, false},
		{[]string{"podman", "system", "prune"}, false},
		{[]string{"podman"}, false},
	} {
		if isService(c.args) != c.want {
			t.Errorf("%q: %v", c.args, !c.want)
		}
	}
}
