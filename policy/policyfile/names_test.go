package policyfile

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
)

// The grammar of images' names is that of the package from which engines have it.
func TestImageNamesAreThoseOfEngines(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0a", 32)
	is := 0
	for _, name := range []string{
		"nginx", "nginx:1.27", "nginx" + digest, "team/app", "quay.io/team/app:v1", "localhost/app", "localhost:5000/app:1",
		"registry.example:5000/a/b/c", "[2001:db8::1]:5000/app", "[::1]/app:1", "a__b", "a--b", "a.b", "a-b_c.d/e", "Registry/app:1",
		"index.docker.io/nginx", "docker.io/nginx:" + strings.Repeat("t", 128),
		strings.Repeat("a", 240), "x/" + strings.Repeat("a", 254),

		"-nginx", "nginx-", "a..b", "a___b", "a._b", "a//b", "/a", "a/", "", "Nginx", "team/App", "nginx:", "nginx:-1", "nginx@", "a b",
		"nginx@sha256:abc", "nginx@sha256:" + strings.Repeat("0A", 32), "nginx@md5:" + strings.Repeat("0a", 16), "reg-.example/app",
		"-reg.example/app", "registry.example:port/app", "docker.io/nginx:" + strings.Repeat("t", 129), "\u00e9", "a:1:2", "x@y@z",
		strings.Repeat("a", 256), "quay.io/" + strings.Repeat("a", 256), "nginx\n", "http://nginx",
	} {
		_, err := reference.ParseNormalizedNamed(name)
		if got := isImageName(name); got != (err == nil) {
			t.Errorf("%q is a name: %v; the package says %v", name, got, err)
		}
		if err == nil {
			is++
		}
	}
	if is < 15 {
		t.Errorf("only %d of these are names", is)
	}
}
