package profile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// Standalone returns a text that compiles to the same on this node, whoever compiles it: AppArmor's own service does, from a
// file in /etc/apparmor.d. The text is the same with all that it includes put in, without comments, and with mode for all of
// its profiles; Enforce leaves those that it says itself. It was compiled, with the configuration that the service has, and
// compared with what want gives, which is waited for at the end.
//
// What a configuration can still change is how the parser lays out the same rules (Optimize in parser.conf), and so can
// where the parser's memory is (see withoutRandomness). Then the kernel's hash is another.
func (c *Compiler) Standalone(ctx context.Context, text []byte, mode Mode, want func() (Blob, error)) ([]byte, error) {
	whole, err := c.Preprocess(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("put in what it includes: %w", err)
	}
	said := mode.String()
	if mode == Enforce { // it is what every text says that says nothing
		said = ""
	}
	alone := syntax.Read(string(whole)).WithMode(said, modes[:]...)
	b, err := c.AsLoaded(ctx, []byte(alone))
	if err != nil {
		return nil, fmt.Errorf("with its includes put in: %w", err)
	}
	wanted, err := want()
	if err != nil {
		return nil, err
	}
	if err := c.same(ctx, []byte(alone), b, wanted); err != nil {
		return nil, err
	}
	return []byte(alone), nil
}

// same compares what a text compiled to with what it should.
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

// AsLoaded compiles a text as AppArmor's own service does, with the node's configuration, for the kernel of c.
func (c *Compiler) AsLoaded(ctx context.Context, text []byte) (Blob, error) {
	data, _, err := c.output(ctx, text, "--config-file", cmp.Or(c.Conf, ConfFile))
	if err != nil {
		return Blob{}, err
	}
	return Parse(data)
}
