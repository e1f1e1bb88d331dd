package guest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// MirrorVariable is the environment variable with the URI of a Debian mirror. A machine needs it if its own package
// sources have no Debian archive.
const MirrorVariable = "OCI_APPARMOR_DEBIAN_MIRROR"

// keyring is the file in which the package debian-archive-keyring has the keys of Debian's archives.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// mirror returns the URI of the Debian archive: MirrorVariable if it is set, else the archive from which this machine
// installs its own packages.
func mirror() (string, error) {
	if uri := os.Getenv(MirrorVariable); uri != "" {
		return uri, nil
	}
	// apt knows the origin of what it has fetched. Where it has fetched nothing yet, its sources are read instead.
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian").Output()
	if uri, _, _ := strings.Cut(string(out), "\n"); err == nil && uri != "" {
		return uri, nil
	}
	names := []string{"/etc/apt/sources.list"}
	for _, pattern := range []string{"*.sources", "*.list"} {
		more, _ := filepath.Glob("/etc/apt/sources.list.d/" + pattern)
		names = append(names, more...)
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		uri := debianURI(f, strings.HasSuffix(name, ".sources"))
		f.Close()
		if uri != "" {
			return uri, nil
		}
	}
	return "", fmt.Errorf("this machine's apt sources name no Debian mirror: set %s to the URI of one", MirrorVariable)
}

// debianURI finds the first URI of a Debian archive in a file of apt sources; deb822 says which of apt's two formats it
// has (sources.list(5)).
func debianURI(r io.Reader, deb822 bool) string {
	var uris, types []string
	found := func() string {
		defer func() { uris, types = nil, nil }()
		if !slices.Contains(types, "deb") {
			return ""
		}
		for _, uri := range uris {
			if filepath.Base(strings.TrimRight(uri, "/")) == "debian" {
				return uri
			}
		}
		return ""
	}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "#") {
			continue
		}
		if deb822 {
			switch field, value, _ := strings.Cut(line, ":"); {
			case line == "":
				if uri := found(); uri != "" {
					return uri
				}
			case strings.EqualFold(field, "Types"):
				types = strings.Fields(value)
			case strings.EqualFold(field, "URIs"):
				uris = strings.Fields(value)
			}
			continue
		}
		kind, rest, _ := strings.Cut(line, " ")
		if options := strings.TrimSpace(rest); strings.HasPrefix(options, "[") {
			_, rest, _ = strings.Cut(options, "]")
		}
		types, uris = []string{kind}, strings.Fields(rest)
		if uri := found(); uri != "" {
			return uri
		}
	}
	return found()
}

// aptOptions are this machine's settings for how packages are fetched: proxies, certificates, and whether the archive's
// dates are checked, which they can't be on a mirror that is a snapshot.
func aptOptions() []string {
	out, err := exec.Command("apt-config", "dump", "--format", "%f %v%n", "Acquire").Output()
	if err != nil {
		return nil
	}
	var options []string
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, prefix := range []string{"http::", "https::", "Check-", "Retries"} {
			rest, ok := strings.CutPrefix(name, "Acquire::")
			if ok && strings.HasPrefix(strings.ToLower(rest), strings.ToLower(prefix)) && value != "" {
				options = append(options, fmt.Sprintf("%s %q", name, value))
			}
		}
	}
	return options
}
