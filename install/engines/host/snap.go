package host

import (
	"fmt"
	"regexp"

	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

var strict = regexp.MustCompile(`(?m)^confinement:\s*strict\b`)

// StrictSnap returns why an engine that is a snap cannot be wired: a strictly confined one has a root of its own, and starts no
// program from outside of it. It is empty where there is no snap of that name, or one that is not strictly confined.
func StrictSnap(d *wire.Draft, name string) (string, error) {
	meta, err := d.Read("/snap/" + name + "/current/meta/snap.yaml")
	if err != nil || !meta.IsFile() || !strict.Match(meta.Data) {
		return "", err
	}
	return fmt.Sprintf("the snap %s is strictly confined, so that it starts no program from outside of itself, as ours are", name), nil
}
