package nearest

import "testing"

func TestOf(t *testing.T) {
	words := []string{"docker", "podman", "k3s", "k0s"}
	for word, want := range map[string]string{
		"dcker": "docker", "dokcer": "docker", "dockerd": "docker", "docker": "docker", "padmen": "podman",
		"k3": "k3s", "k8s": "k3s", "x": "", "": "", "kubernetes": "", "dock": "docker", "doc": "",
	} {
		if got := Of(word, words); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestSwappedLettersAreNearest(t *testing.T) {
	for word, words := range map[string][]string{"wbe": {"bse", "web"}, "we": {"xy", "ew"}, "batch": {"catchy", "bacth"}} {
		if got := Of(word, words); got != words[1] {
			t.Errorf("%q of %q: got %q", word, words, got)
		}
	}
}
