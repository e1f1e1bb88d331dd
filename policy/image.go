package policy

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Images are matched by their full names, REGISTRY/PATH:TAG or REGISTRY/PATH@DIGEST. We make these from the short names of
// engines and people like ParseDockerRef of github.com/distribution/reference. We do not use that package, because it
// compiles regular expressions. That would cost a container start more than the whole decision.

// Docker Hub's name, and the directory of its own images.
const (
	hub         = "docker.io"
	hubsLibrary = "library"
)

// CanonicalImage returns the full name of an image: docker.io/library/nginx:1.27 for nginx:1.27. Without a tag and a
// digest, the tag is latest. With both, only the digest counts. A text that names no image, such as an image's id, stays as
// it is.
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

// splitImage splits off the digest of a reference, or else its tag, with the character before it. It drops a tag beside a
// digest.
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

// isRegistry reports whether the first part of a name is a registry, and not the first part of a path on Docker Hub.
func isRegistry(first string) bool {
	return strings.ContainsAny(first, ".:") || first == "localhost" || strings.ToLower(first) != first
}

// ImagePatterns returns the patterns for full names that a pattern of the policy file stands for. A pattern without a
// registry is for Docker Hub. A pattern without a tag and a digest is for all tags and digests. The error is for a pattern
// whose first part may be a registry or not.
func ImagePatterns(pattern string) ([]string, error) {
	first, rest, path := strings.Cut(pattern, "/")
	if path && plain(first) < len(first) && !isRegistry(first) && (first != "*" || !strings.Contains(rest, "/")) {
		return nil, fmt.Errorf("%s may be a registry, and may be somebody on Docker Hub: begin the pattern with a registry, "+
			"as in %s/%s, or with */*/ for any", oneline.Word(first), hub, pattern)
	}
	name, suffix := splitImage(pattern)
	if first != "*" || !path {
		name = withRegistry(name)
	}
	switch {
	case suffix != "" || strings.HasSuffix(name, "*"): // a last * also matches any tag or digest
		return []string{name + suffix}, nil
	case strings.Contains(name[strings.LastIndexByte(name, '/'):], "*"):
		return []string{name, name + ":*", name + "@*"}, nil
	}
	return []string{name + ":*", name + "@*"}, nil
}
