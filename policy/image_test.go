package policy

import (
	"path"
	"strings"
	"testing"

	"github.com/distribution/reference"
)

func TestImagePatternsFitWhatEnginesShow(t *testing.T) {
	const digest = "@sha256:dc9b771e81c5824d926f734e7d5eac60483110d988ff0a350f72e3b738108237"
	for _, test := range []struct {
		pattern      string
		fits, passes []string
	}{
		{"nginx:*", []string{"nginx:1.27", "docker.io/library/nginx:1.27", "index.docker.io/nginx:1", "nginx", "library/nginx:1"},
			[]string{"localhost/nginx:1.27", "team/nginx:1", "quay.io/nginx:1", "nginx" + digest, "nginx:1" + digest, ""}},
		{"docker.io/library/nginx:1.27", []string{"nginx:1.27", "docker.io/nginx:1.27"}, []string{"nginx:1.28", "nginx"}},
		{"nginx", []string{"nginx", "nginx:1.27", "nginx" + digest, "docker.io/library/nginx:1" + digest}, []string{"nginx2:1", "x/nginx"}},
		{"nginx:latest", []string{"nginx", "nginx:latest"}, []string{"nginx:1"}},
		{"nginx" + digest, []string{"nginx" + digest, "nginx:1.27" + digest}, []string{"nginx:1.27"}},
		{"nginx:1.27" + digest, []string{"nginx" + digest, "nginx:1.28" + digest}, []string{"nginx:1.27"}},
		{"team/app:v*", []string{"team/app:v1", "docker.io/team/app:v2"}, []string{"team/app:1", "quay.io/team/app:v1"}},
		{"registry.example:5000/app:*", []string{"registry.example:5000/app:1", "registry.example:5000/app"},
			[]string{"registry.example/app:1", "registry.example:5000/x/app:1"}},
		{"registry.example:5000/app", []string{"registry.example:5000/app:1", "registry.example:5000/app" + digest}, nil},
		{"localhost/app:*", []string{"localhost/app:1", "localhost/app"}, []string{"app:1"}},
		{"*.example/*/app:*", []string{"a.example/b/app:1"}, []string{"b/app:1"}},
		{"*/*/nginx:*", []string{"nginx:1", "quay.io/team/nginx:1"}, []string{"localhost/nginx:1"}},
		{"docker.io/library/*", []string{"nginx", "nginx:1", "redis" + digest}, []string{"team/nginx", "sha256:" + strings.Repeat("a", 64)}},
		{"docker.io/*/app", []string{"team/app:1", "app"}, []string{"team/app2:1"}},
		{"Registry/app:1", []string{"Registry/app:1"}, nil},
	} {
		patterns, err := ImagePatterns(test.pattern)
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
			continue
		}
		fits := func(image string) bool {
			for _, p := range patterns {
				if ok, err := path.Match(p, CanonicalImage(image)); ok || err != nil {
					return true
				}
			}
			return false
		}
		for _, image := range test.fits {
			if !fits(image) {
				t.Errorf("%s (%q) does not fit %s (%s)", test.pattern, patterns, image, CanonicalImage(image))
			}
		}
		for _, image := range test.passes {
			if fits(image) {
				t.Errorf("%s (%q) fits %s (%s)", test.pattern, patterns, image, CanonicalImage(image))
			}
		}
	}
	for _, pattern := range []string{"*/nginx:*", "te?m/nginx", "[ab]/nginx"} {
		if patterns, err := ImagePatterns(pattern); err == nil {
			t.Errorf("%s is taken for %q", pattern, patterns)
		}
	}
}

// FuzzCanonicalImage holds our reading of a reference against that of the package from which engines have theirs.
func FuzzCanonicalImage(f *testing.F) {
	for _, ref := range []string{"nginx", "nginx:1.27", "team/app", "localhost/x", "localhost:5000/x:1", "docker.io/nginx", "index.docker.io/a/b",
		"quay.io/a/b@sha256:" + strings.Repeat("a", 64), "nginx:1@sha256:" + strings.Repeat("b", 64), "A/b", "[::1]:5000/x", "sha256:1", "docker.io/a"} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		named, err := reference.ParseDockerRef(ref)
		if err != nil || strings.HasPrefix(ref, "sha256:") {
			CanonicalImage(ref)
			return
		}
		if got := CanonicalImage(ref); got != named.String() {
			t.Errorf("%q: got %q, want %q", ref, got, named)
		}
	})
}
