package engines

import (
	"context"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Ties returns why our programs must stay on a host, a sentence each: an engine is wired to them, or containers need them
// that run or may be started again. unknown is what could not be looked at, and is no reason to keep them for good.
func Ties(ctx context.Context, b *wire.Book, h *host.Host) (ties, unknown []string) {
	for _, e := range table {
		need, err := e.Needed(ctx, h)
		if err != nil {
			need.Unknown = append(need.Unknown, err.Error())
		}
		for _, why := range need.Unknown {
			unknown = append(unknown, e.Name()+": "+why)
		}
		if len(need.Containers) > 0 {
			ties = append(ties, fmt.Sprintf("%s: these containers %s: remove %s first", e.Name(), need.Why,
				oneline.And(need.Containers)))
		}
		d := wire.NewDraft(h.Tree)
		_, err = b.Unwire(d, e.Name(), e.Strip)
		if err == nil {
			_, err = e.Clear(h, d)
		}
		_, recorded := b.Wiring(e.Name())
		switch {
		case err != nil && recorded:
			ties = append(ties, fmt.Sprintf("%s is wired to them, and cannot be looked at: %v", e.Name(), err))
		case err != nil:
			unknown = append(unknown, fmt.Sprintf("%s: %v", e.Name(), err))
		case recorded || len(d.Edits()) > 0:
			does := "run oci-apparmor uninstall " + e.Name()
			if then := e.Then(); then != "" {
				does += " first, and then " + then
			} else {
				does += " first"
			}
			ties = append(ties, e.Name()+" is wired to them: "+does)
		}
	}
	return ties, unknown
}
