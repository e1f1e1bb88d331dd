package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Namesake is a runtime of an engine that has the name of ours and is not ours: a path of ours that is misspelt, or something
// else.
type Namesake struct {
	Name    string
	Program string // as the engine's file has it: a path, a name or a type
	Place   string // FILE:LINE or FILE:LINE:COLUMN
}

// Taken returns the error that ours cannot have the name.
func (n *Namesake) Taken() error {
	return fmt.Errorf("%s: there is a runtime %s that is not ours, as it calls %q: give it another name first, or remove it", n.Place,
		n.Name, n.Program)
}

// AddNamesake adds a fault for a namesake of ours.
func (i *Inspection) AddNamesake(d *wire.Draft, n *Namesake) {
	what := "is not ours, so that its containers start under no policy"
	if path.IsAbs(n.Program) && errors.Is(d.Runnable(n.Program), fs.ErrNotExist) {
		what = "is missing, so that no container starts by it"
	}
	i.Add(Foreign, "%s: the runtime %s there calls %q, which %s", n.Place, n.Name, n.Program, what)
}

// ByHand is a runtime of ours that an engine has by another name than ours. Somebody has written it by hand, and only they may know
// what it is for: it is left to them.
type ByHand struct {
	Name    string // of the runtime; empty where it has none
	Program string // as it is written there
	Place   string // as of a Namesake, or what else has it
}

func (b ByHand) String() string {
	return fmt.Sprintf("%s: the runtime %q there calls %q", b.Place, b.Name, b.Program)
}
