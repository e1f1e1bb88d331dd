package profile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Standalone gives a text that compiles to want on this node, whoever compiles it: AppArmor's own service does, from a file
// in /etc/apparmor.d. The text is the same with all that it includes put in, without comments, and with the modes that want
// has. It was compiled and compared before it is given.
//
// What a configuration can still change is how the parser lays out the same rules (Optimize in parser.conf). Then the
// kernel's hash is another.
func (c *Compiler) Standalone(ctx context.Context, text []byte, want []Compiled) ([]byte, error) {
	whole, err := c.Preprocess(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("put in what it includes: %w", err)
	}
	alone := withModes(bare(string(whole)), want)
	data, _, err := c.output(ctx, []byte(alone))
	if err != nil {
		return nil, fmt.Errorf("with its includes put in: %w", err)
	}
	b, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("with its includes put in: %w", err)
	}
	if !slices.Equal(b.Profiles, want) {
		return nil, errors.New("with its includes put in, and the mode written into it, it compiles to something else")
	}
	return []byte(alone), nil
}

// AsLoaded compiles a text as AppArmor's own service does, with the node's configuration, for the kernel of c.
func (c *Compiler) AsLoaded(ctx context.Context, text []byte) (Blob, error) {
	data, _, err := c.output(ctx, text, "--config-file", cmp.Or(c.Conf, ConfFile))
	if err != nil {
		return Blob{}, err
	}
	return Parse(data)
}

// bare takes out lines that are empty or a comment. In a text without includes, # at a line's beginning is one.
func bare(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if t := strings.TrimSpace(line); t != "" && t[0] != '#' {
			b.WriteString(strings.TrimRight(line, " \t\r\n") + "\n")
		}
	}
	return b.String()
}

// block finds the beginning of a profile, child or hat, up to the brace that opens it: one with a blank behind it, as any
// other begins a pattern.
var block = regexp.MustCompile(`(?m)(?:^|[\s{},])(profile\s|hat\s|\^|/|"/|@\{)(?:[^\n{,]|\{\S|,\S|\([^)\n]*\))*?\s*\{(?:\s|$)`)

// flags finds the flags in such a beginning.
var flags = regexp.MustCompile(`(flags\s*=\s*)?\(([^)]*)\)`)

// withModes writes the mode of its profiles into a text that leaves it out. All profiles of one text have the same mode,
// where the policy says it; who writes a text with several has written them.
func withModes(text string, want []Compiled) string {
	mode := want[0].Mode
	if mode == Enforce || slices.ContainsFunc(want, func(c Compiled) bool { return c.Mode != mode }) {
		return text
	}
	return block.ReplaceAllStringFunc(text, func(head string) string {
		if at := flags.FindStringSubmatchIndex(head); at != nil {
			given := head[at[4]:at[5]]
			if slices.Contains(strings.FieldsFunc(given, func(r rune) bool { return r == ',' || r == ' ' }), mode.String()) {
				return head
			}
			return head[:at[5]] + "," + mode.String() + head[at[5]:]
		}
		at := strings.LastIndexByte(head, '{')
		return strings.TrimRight(head[:at], " \t") + " flags=(" + mode.String() + ") " + head[at:]
	})
}
