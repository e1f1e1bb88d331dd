// Package recorder makes profiles of what containers did under recording profiles. It reads the records, and says what of
// them is missing: of a recording that is not whole, nothing is made.
package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/learn"
)

// A Request is which profile is made of which records.
type Request struct {
	From     []string // files with records
	Recorded string   // the profile, in complain mode, under which the workload ran
	Name     string   // the profile to be made; empty for that of Recorded
	Vouched  bool     // see source.Options
	Exactly  bool     // no abstractions, which allow more than was seen
	Features string   // the file of the kernel features to compile for; empty for the running kernel's
}

// Learn makes a profile of files with records.
func Learn(ctx context.Context, n *node.Node, what Request) (*learn.Learned, error) {
	if what.Name == "" {
		what.Name = what.Recorded
	}
	if err := profile.CheckName(what.Name); err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	c, _, err := n.NewCompiler(ctx, what.Features)
	if err != nil {
		return nil, err
	}
	r := &learn.Recording{Of: func(name string) bool { return name == what.Recorded }}
	var foreign uint64
	for _, name := range what.From {
		src, err := source.Open(ctx, name, source.Options{Vouched: what.Vouched})
		if err != nil {
			return nil, exit.With(exit.Cannot, exit.AsRoot(err))
		}
		left, err := read(ctx, src, r)
		foreign += left
		if err = errors.Join(err, src.Close()); err != nil {
			return nil, exit.With(exit.Cannot, err)
		}
	}
	if r.Seen() == 0 {
		why := ""
		if foreign > 0 {
			why = fmt.Sprintf("; it has %s that somebody else than the kernel may have written: if you know that nobody has, say so by --vouched",
				output.Count(int(foreign), "record", "records"))
		}
		return nil, exit.With(exit.Cannot, fmt.Errorf("nothing was recorded of the profile %s in complain mode%s", oneline.Name(what.Recorded), why))
	}
	to := learn.Target{Name: what.Name, From: "records of " + what.Recorded, Included: !what.Exactly}
	to.Senders = n.SendersFor(what.Features)
	made, err := r.Text(ctx, c, to)
	if err != nil {
		return nil, exit.With(exit.Cannot, err)
	}
	if foreign > 0 {
		made.Notes = append(made.Notes, fmt.Sprintf("not learned: %s that somebody else than the kernel may have written (see --vouched)",
			output.Count(int(foreign), "record", "records")))
	}
	return made, nil
}

// read adds the records of a source to a recording. foreign is how many of the recording's were left out, since the kernel
// need not have written them. The error says that some are missing.
func read(ctx context.Context, src source.Source, r *learn.Recording) (foreign uint64, err error) {
	var e source.Entry
	for {
		err := src.Next(ctx, &e)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return foreign, err
		}
		switch {
		case e.Kernel:
			r.Add(&e.Record)
		case r.Ours(&e.Record):
			foreign++
		}
	}
	return foreign, whole(src)
}

// main returns the profile that a child is of.
func main(name string) string {
	name, _, _ = strings.Cut(name, "//")
	return name
}

// whole returns an error if records of a source are missing.
func whole(src source.Source) error {
	lost := src.Lost()
	if len(lost) == 0 {
		return nil
	}
	words := make([]string, len(lost))
	for i, l := range lost {
		words[i] = l.Sentence()
	}
	return fmt.Errorf("%s: nothing is made of a recording of which anything may be missing: %s", oneline.Name(src.Name()), strings.Join(words, "; "))
}
