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
		need := needOf(ctx, h, e)
		for _, why := range need.Unknown {
			unknown = append(unknown, e.Name()+": "+why)
		}
		if len(need.Containers) > 0 {
			ties = append(ties, fmt.Sprintf("%s: these containers %s: remove %s first", e.Name(), need.Why,
				oneline.And(need.Containers)))
		}
		d := wire.NewDraft(h.Tree)
		_, err := b.Unwire(d, e.Name(), e.Strip)
		if err == nil {
			_, err = e.Clear(h, d)
		}
		_, recorded := b.Wiring(e.Name())
		switch {
		case err != nil && recorded:
			ties = append(ties, fmt.Sprintf("%s is wired to them, and cannot be looked at: %v", e.Name(), err))
		case err != nil:
			unknown = append(unknown, fmt.Sprintf("%s: %v", e.Name(), err))
		case recorded || changesFiles(d.Edits()):
			does := "run oci-apparmor uninstall " + e.Name() + " first"
			if then := e.Then(); then != "" {
				does += ", and then " + then
			}
			ties = append(ties, e.Name()+" is wired to them: "+does)
		default:
			why, err := goesOn(ctx, b, h, e)
			if err != nil {
				unknown = append(unknown, fmt.Sprintf("%s: %v", e.Name(), err))
			}
			if why == "" && len(d.Edits()) > 0 && !need.Any() {
				why = fmt.Sprintf("%s needs no more what the last uninstall has left for it: run oci-apparmor uninstall %s first", e.Name(), e.Name())
			}
			if why != "" {
				ties = append(ties, why)
			}
		}
	}
	return ties, unknown
}

// goesOn returns why an engine needs our programs whose files have nothing of ours any more: its daemon was not restarted since.
func goesOn(ctx context.Context, b *wire.Book, h *host.Host, e Engine) (string, error) {
	s, ok := serves(e, h, b)
	if !ok {
		return "", nil
	}
	main, ok := s.main()
	if !ok {
		return "", nil
	}
	t, err := s.taken(ctx, main)
	if err != nil || !t.Ours {
		return "", err
	}
	why := fmt.Sprintf("%s is not wired to them any more, and calls them until it is restarted%s", e.Name(), by(e.Then()))
	if stops := s.cost(ctx); stops != "" {
		why += ", and " + stops
	}
	return why, nil
}
