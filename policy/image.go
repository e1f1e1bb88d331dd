package policy

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Images are matched by their full names, REGISTRY/PATH:TAG or REGISTRY/PATH@DIGEST, as github.com/distribution/reference
// (ParseDockerRef) makes them of the short ones that engines and people use. It is done without that package here,
// because the regular expressions which that compiles would cost a container start more than all of its decision.

// Docker Hub's name, and the directory of its own images.
const (
	hub         = "docker.io"
	hubsLibrary = "library"
)

// CanonicalImage gives the full name of an image: docker.io/library/nginx:1.27 for nginx:1.27. Without tag and digest, the
// tag is latest; with both, the digest is what counts. What names no image, such as an image's id, stays as it is.
func CanonicalImage(ref string) string {
	if ref == "" || strings.HasPrefix(ref, "sha256:") {
		return ref
	}
	name, suffix := splitImage(ref)
	if suffix == "" {
		suffix = ":latest"
	}
	return withRegistry(name) + suffix
}

// splitImage splits off the digest of a reference, or else its tag, with the character before it. A tag beside a digest is
// dropped.
func splitImage(ref string) (name, suffix string) {
	name, digest, digested := strings.Cut(ref, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, suffix = name[:i], name[i:]
	}
	if digested {
		suffix = "@" + digest
	}
	return name, suffix
}

// withRegistry puts Docker Hub in front of a name without a registry, and its library into a name without a path.
func withRegistry(name string) string {
	first, rest, path := strings.Cut(name, "/")
	switch {
	case !path || !isRegistry(first):
		first, rest = hub, name
	case first == "index.docker.io":
		first = hub
	}
	if first == hub && !strings.Contains(rest, "/") {
		rest = hubsLibrary + "/" + rest
	}
	return first + "/" + rest
}

// isRegistry tells a registry from the first part of a path on Docker Hub.
func isRegistry(first string) bool {
	return strings.ContainsAny(first, ".:") || first == "localhost" || strings.ToLower(first) != first
}

// ImagePatterns gives the patterns, for full names, that a pattern of the policy file stands for: one without a registry
// is for Docker Hub, and one with neither a tag nor a digest is for all of them. The error is for a pattern of which
// nobody could say whether it begins with a registry.
func ImagePatterns(pattern string) ([]string, error) {
	first, rest, path := strings.Cut(pattern, "/")
	if path && plain(first) < len(first) && !isRegistry(first) && (first != "*" || !strings.Contains(rest, "/")) {
		return nil, fmt.Errorf("%s may be a registry, and may be somebody on Docker Hub: begin the pattern with a registry, as in "+
			"%s/%s, or with */*/ for any", oneline.Word(first), hub, pattern)
	}
	name, suffix := splitImage(pattern)
	if first != "*" || !path {
		name = withRegistry(name)
	}
	switch {
	case suffix != "" || strings.HasSuffix(name, "*"): // which stands for any of them, too
		return []string{name + suffix}, nil
	case strings.Contains(name[strings.LastIndexByte(name, '/'):], "*"):
		return []string{name, name + ":*", name + "@*"}, nil
	}
	return []string{name + ":*", name + "@*"}, nil
}
