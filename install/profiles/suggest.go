package profiles

import (
	"context"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/suggest"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// A Fix is a change of a profile's text by which the profile allows what it denied.
type Fix struct {
	Profile string
	File    string // the path of the text; empty if it is in no file
	Source  string // where the text is from
	*suggest.Suggestion

	before []byte
}

// Suggest finds the change of a profile's text that allows what it denied. The denials are of this profile, its children and
// hats. With hold, no rule is added that gives up a protection. The error is a sentence that says why there is none, as where the
// text is not known.
func (d *Deciding) Suggest(ctx context.Context, name string, denials []suggest.Denial, hold bool) (*Fix, error) {
	known, err := d.known(name)
	if err != nil {
		return nil, err
	}
	f := &Fix{Profile: name, File: known.file, Source: known.source, before: known.text}
	f.Suggestion, err = suggest.For(ctx, d.reader, title(known, name), known.text, denials, suggest.Options{Senders: d.node.SendersFor(""), Hold: hold})
	return f, err
}

// Write writes the changed text into its file, in one step. It refuses if the file is not any more what was looked at.
func (f *Fix) Write() error {
	if f.File == "" {
		return exit.With(exit.Cannot, fmt.Errorf("the text of %s is in no file that could be changed: it is that of %s", oneline.Whole(f.Profile), f.Source))
	}
	if err := safefile.Rewrite(f.File, f.before, []byte(f.Text)); err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(fmt.Errorf("write %s: %w", oneline.Name(f.File), err)))
	}
	return nil
}
