package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/unload"
	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/learn"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
)

// ending is how long a recorder may take to end.
const ending = 20 * time.Second

// A Finished is what a recording has brought.
type Finished struct {
	*learn.Learned
	Session *Session
	Still   unload.InUse // what still runs under recording profiles, and denies nothing
}

// Finish ends the recording of a policy, if it goes on, and makes a profile of all that was recorded of the policy. The
// containers that were recorded run on as they are. Their profiles are removed from the kernel when nothing uses them.
func Finish(ctx context.Context, n *node.Node, policyName string, what Request) (*Finished, error) {
	h := homeOf(n.Store, policyName)
	if _, err := h.load(); errors.Is(err, fs.ErrNotExist) {
		return nil, exit.With(exit.Usage, fmt.Errorf("policy %s was not recorded: see oci-apparmor profile learn start", oneline.Name(policyName)))
	}
	s, err := h.stop(ctx)
	if err != nil {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	f := &Finished{Session: s}
	if f.Still, err = remove(ctx, n, policyName); err != nil {
		n.Warn(fmt.Sprintf("profiles of the recording stay in the kernel: %v", err))
	}
	if err := s.whole(); err != nil {
		return nil, exit.With(exit.Cannot, err)
	}
	r := &learn.Recording{Of: func(name string) bool { return recording.IsFor(policyName, name) }}
	records, err := os.Open(h.file("records"))
	if err != nil {
		return nil, exit.With(exit.Cannot, err)
	}
	defer records.Close()
	if err := readKept(records, r); err != nil {
		return nil, exit.With(exit.Cannot, err)
	}
	if what.Name == "" {
		what.Name = policyName
	}
	if err := profile.CheckName(what.Name); err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	c, _, err := n.NewCompiler(ctx, "")
	if err != nil {
		return nil, err
	}
	to := learn.Target{Name: what.Name, From: "a recording of policy " + policyName, Included: !what.Exactly}
	to.Senders = n.SendersFor("")
	if f.Learned, err = r.Text(ctx, c, to); err != nil {
		return nil, exit.With(exit.Cannot, err)
	}
	return f, nil
}

// stop ends a session that goes on, and returns it as it ended.
func (h home) stop(ctx context.Context) (*Session, error) {
	release, err := h.take(ctx, ending)
	if err != nil {
		return nil, err
	}
	defer release()
	return h.load()
}

// remove takes the profiles of a policy's recordings out of the kernel, but for those that something uses.
func remove(ctx context.Context, n *node.Node, policyName string) (still unload.InUse, err error) {
	all, err := n.Kernel.List()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range all {
		if p.Namespace == "" && recording.IsFor(policyName, p.Name) {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	if err := unload.Idle(n.State, names); err != nil && !errors.As(err, &still) {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(still, func(u unload.Use) bool { return u.Profile == name })
	})
	if len(names) == 0 {
		return still, nil
	}
	var since unload.InUse // since that look
	if _, err := unload.Profiles(ctx, n.State, names...); err != nil && !errors.As(err, &since) {
		return still, err
	}
	return append(still, since...), nil
}

// readKept adds records that a session has kept.
func readKept(in io.Reader, r *learn.Recording) error {
	records := audit.NewReader(in)
	var record audit.Record
	for {
		if err := records.Next(&record); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		r.Add(&record)
	}
}
