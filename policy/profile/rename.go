package profile

import (
	"fmt"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/internal/element"
)

// Renamed returns a copy of a blob with another name for its only profile, of the same length. apparmor_parser writes the
// same bytes for the same text with that name in each place where it stands, as that of the profile and in rules that lead
// to it (px ->). Rules about labels are compiled to tables, which keep the old name. With the length, the places of all
// tables stay, which the parser aligns.
func (b Blob) Renamed(name string) (Blob, error) {
	if err := CheckName(name); err != nil {
		return Blob{}, err
	}
	found, err := walk(b.Data)
	if err != nil {
		return Blob{}, err
	}
	if len(found) != 1 || len(found[0].Name) != len(name) {
		return Blob{}, fmt.Errorf("only a single profile can get another name, of the same length: %s cannot be %s", b.list(), oneline.Quote(name))
	}
	data := slices.Clone(b.Data)
	for r := (element.Reader{Data: b.Data}); r.Pos < len(r.Data); {
		e, err := r.Next()
		if err != nil {
			return Blob{}, err
		}
		if e.Code == element.String && string(e.Value) == found[0].Name {
			copy(data[e.At:], name)
		}
	}
	return Parse(data)
}
