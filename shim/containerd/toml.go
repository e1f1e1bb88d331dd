package containerd

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/containerd/containerd/api/types/runc/options"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// parseTOML reads options from lines of TOML, "name = value", whose values are strings, booleans and integers: runc's
// shim has no options of other types, and so neither tables nor lists occur. A package for all of TOML would make the
// shim a fiftieth larger, in the memory of every pod.
func parseTOML(text string, opts *options.Options) error {
	set := make(map[protoreflect.FieldNumber]bool)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || line[0] == '[' {
			return fmt.Errorf("line %d is not an option, name = value: %q", n, line)
		}
		option := optionNamed(opts, name)
		if option == nil {
			return fmt.Errorf("runc's shim has no option %q (line %d)", name, n)
		}
		if set[option.Number()] {
			return fmt.Errorf("option %s is there a second time (line %d)", name, n)
		}
		set[option.Number()] = true
		v, err := parseValue(option.Kind(), strings.TrimSpace(value))
		if err != nil {
			return fmt.Errorf("option %s (line %d): %w", name, n, err)
		}
		opts.ProtoReflect().Set(option, v)
	}
	return nil
}

// optionNamed finds an option by the name that it has in containerd's configuration, such as BinaryName; nil if there is
// none. As in containerd, case does not matter.
func optionNamed(opts *options.Options, name string) protoreflect.FieldDescriptor {
	fields := opts.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); strings.EqualFold(f.JSONName(), name) {
			return f
		}
	}
	return nil
}

// parseValue reads a value of the kind that an option has, and a comment after it.
func parseValue(kind protoreflect.Kind, text string) (v protoreflect.Value, err error) {
	if kind == protoreflect.StringKind {
		text, err := parseString(text)
		return protoreflect.ValueOfString(text), err
	}
	text, _, _ = strings.Cut(text, "#")
	text = strings.TrimSpace(text)
	switch kind {
	case protoreflect.BoolKind:
		if text != "true" && text != "false" {
			return v, fmt.Errorf("%q is neither true nor false", text)
		}
		return protoreflect.ValueOfBool(text == "true"), nil
	case protoreflect.Uint32Kind:
		number, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return v, fmt.Errorf("%q is not a number from 0 to %d", text, uint32(1<<32-1))
		}
		return protoreflect.ValueOfUint32(uint32(number)), nil
	}
	return v, fmt.Errorf("no value of kind %s can be given", kind)
}

// parseString reads "a string" with escapes or 'one' without.
func parseString(text string) (string, error) {
	bad := errors.New("its value is not a string in quotes: " + strconv.Quote(text))
	var value, rest string
	if literal, ok := strings.CutPrefix(text, "'"); ok {
		if value, rest, ok = strings.Cut(literal, "'"); !ok {
			return "", bad
		}
	} else {
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil || quoted[0] != '"' {
			return "", bad
		}
		rest = text[len(quoted):]
		if value, err = strconv.Unquote(quoted); err != nil {
			return "", bad
		}
	}
	if rest = strings.TrimSpace(rest); rest != "" && rest[0] != '#' || !utf8.ValidString(value) {
		return "", bad
	}
	return value, nil
}
