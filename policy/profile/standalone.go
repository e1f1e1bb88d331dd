package profile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// Standalone returns a text that needs no other file and compiles to the same profiles as the given one. AppArmor's own
// service can load it from a file in /etc/apparmor.d. It is the given text with its includes put in, without comments,
// and with the flag of mode in the header of each of its profiles. If mode is Enforce, the flags stay as they are.
//
// Standalone compiles the new text with the configuration that the service uses, and compares the outcome with the blob
// that want returns. It calls want after that, so that the blob may be compiled at the same time, and perhaps twice. The
// error says that the outcome is another, or that a compilation failed.
//
// The service may still load other bytes with the same meaning: the parser lays out the same rules in another way with
// other options (Optimize in parser.conf), or at other addresses in memory (see withoutRandomness). The kernel then
// shows another hash.
func (c *Compiler) Standalone(ctx context.Context, text []byte, mode Mode, want func() (Blob, error)) ([]byte, error) {
	if whole, ok := c.expand(text); ok {
		if alone := withMode(whole, mode); syntax.IncludesNothing(alone) {
			b, failed := c.AsLoaded(ctx, alone)
			wanted, err := want()
			if err != nil {
				return nil, err
			}
			if failed == nil && slices.Equal(b.Profiles, wanted.Profiles) {
				return alone, nil
			}
		}
	}
	// The parser knows better, and takes longer.
	whole, err := c.Preprocess(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("put in what it includes: %w", err)
	}
	alone := withMode(string(whole), mode)
	b, err := c.AsLoaded(ctx, alone)
	if err != nil {
		return nil, fmt.Errorf("with its includes put in: %w", err)
	}
	wanted, err := want()
	if err != nil {
		return nil, err
	}
	if err := c.same(ctx, alone, b, wanted); err != nil {
		return nil, err
	}
	return alone, nil
}

// withMode returns a text without includes, with the flag of mode in the header of each of its profiles.
func withMode(whole string, mode Mode) []byte {
	said := mode.String()
	if mode == Enforce { // it is what every text says that says nothing
		said = ""
	}
	return []byte(syntax.Read(whole).WithMode(said, modes[:]...))
}

// same returns an error if b, which the text compiled to, means something else than want.
func (c *Compiler) same(ctx context.Context, text []byte, b, want Blob) error {
	is := func(b Blob) bool { return slices.Equal(b.Profiles, want.Profiles) }
	if is(b) {
		return nil
	}
	b, err := c.written(ctx, text)
	if err != nil {
		return fmt.Errorf("with its includes put in: %w", err)
	}
	if is(b) {
		return nil
	}
	found, all, err := c.Outcomes(ctx, text, is)
	if err != nil {
		return err
	}
	if !found && (len(all) < 2 || !likeButForTables(all[0].Data, want.Data)) {
		return errors.New("with its includes put in, and the mode written into it, it compiles to something else")
	}
	return nil
}

// AsLoaded compiles a text as AppArmor's own service does: with the node's whole configuration, for the kernel of c.
func (c *Compiler) AsLoaded(ctx context.Context, text []byte) (Blob, error) {
	data, _, err := c.output(ctx, text, "--config-file", cmp.Or(c.Conf, ConfFile))
	if err != nil {
		return Blob{}, err
	}
	return Parse(data)
}
