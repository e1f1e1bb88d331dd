package profiles

import (
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// allowsNone returns an error if a text that this program made allows an access of never, which has lines of package access.
func allowsNone(made meaning.Stack, never []string) error {
	for _, line := range never {
		pattern, err := access.Parse(line)
		if err != nil {
			return err
		}
		example, found, err := pattern.Allowed(made)
		if err != nil {
			return err
		}
		if found {
			return fmt.Errorf("the text that was made would allow %s, and is not shown: it is a fault of this program", access.Format(example))
		}
	}
	return nil
}
