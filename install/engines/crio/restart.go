package crio

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Taken returns what CRI-O has of ours, by what it says of itself. Where it does not say that, as before 1.28, it is known only of
// one that was started after its files were changed: a reload reads these, too.
func (Engine) Taken(ctx context.Context, h *host.Host, main host.Process, changes wire.Changes) (t host.Taken, err error) {
	d := wire.NewDraft(h.Tree)
	n, err := look(h, d)
	if err != nil {
		return t, err
	}
	files, err := read(d)
	if err != nil {
		return t, err
	}
	s, err := (&running{n, main}).status(ctx)
	if err == nil {
		return s.taken(files, main.Flag("--default-runtime")), nil
	}
	var with []string
	for _, f := range files {
		if ours(f.Get(keyOurs()...)) {
			with = append(with, f.Path)
		}
	}
	changes = wire.Changes{Last: changes.Last}
	if t, unknown := h.TakenAtStart(main, "crio", d, with, changes); unknown == nil && t.Older == "" {
		return t, nil
	}
	return t, err
}

// taken compares what CRI-O says of itself with files, whose default a flag takes the place of.
func (s *status) taken(files []*tomlfile.File, flag string) (t host.Taken) {
	written, is := merged(files), s.runtimes[Runtime]
	if flag != "" {
		written.standard = flag
	}
	wanted := written.runtimes[Runtime]
	t.Ours = ours(is)
	switch {
	case ours(wanted) && !t.Ours:
		t.Older = fmt.Sprintf("CRI-O runs without our runtime %s, which its files have", Runtime)
	case t.Ours && !ours(wanted):
		t.Older = fmt.Sprintf("CRI-O goes on with our runtime %s, which its files do not have any more", Runtime)
	case t.Ours && wanted["runtime_path"] != is["runtime_path"]:
		t.Older = fmt.Sprintf("CRI-O's runtime %s is another one than in its files", Runtime)
	case written.standard == Runtime && s.standard != Runtime:
		t.Older = fmt.Sprintf("CRI-O's default runtime is %s, and in its files it is ours", oneline.Name(s.standard))
	case written.standard != Runtime && s.standard == Runtime:
		t.Older = fmt.Sprintf("CRI-O goes on with our runtime %s as its default, which it is not in its files any more", Runtime)
	}
	return t
}

// Works returns an error unless CRI-O answers, as a kubelet asks it.
func (Engine) Works(ctx context.Context, h *host.Host) error {
	_, err := crictl(ctx, h, "version")
	return err
}

// Running returns the ids of the containers that run, as crictl prints them.
func (Engine) Running(ctx context.Context, h *host.Host) ([]string, error) {
	out, err := crictl(ctx, h, "ps", "--quiet")
	var ids []string
	for id := range strings.FieldsSeq(out) {
		ids = append(ids, id[:min(13, len(id))])
	}
	return ids, err
}

// crictl runs a command of crictl.
func crictl(ctx context.Context, h *host.Host, command ...string) (string, error) {
	p, ok := Engine{}.Main(h)
	if !ok {
		return "", errors.New("CRI-O does not run")
	}
	crictl, args, err := (&running{&daemon{Host: h}, p}).client()
	if err != nil {
		return "", err
	}
	out, err := h.Run(ctx, nil, crictl, args(command...)...)
	return string(out), err
}

// Stops reports that containers run on without CRI-O: each has its conmon.
func (Engine) Stops(context.Context, *host.Host) (bool, error) { return false, nil }
