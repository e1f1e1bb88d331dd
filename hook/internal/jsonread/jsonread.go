// Package jsonread reads JSON files that decide about containers, and that others wrote.
//
// Runtimes disagree about documents that say a thing twice: Go's encoding/json takes the last of two equal keys and matches
// keys without regard to case, parsers in C take keys as they stand. So a document with a key twice, with a key that differs
// from a known one in case only, or with a NUL in a key, is an error. The functions read from a jsontext.Decoder, and have no
// reflection, whose first use would cost a container's start more than all of its reading.
package jsonread

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// MaxSize bounds a document, in bytes. Engines write some tens of kilobytes.
const MaxSize = 16 << 20

// ErrStop is what a read function of Document returns when it has what it looks for. Document returns it as it is.
var ErrStop = errors.New("stopped")

// Span is the range of bytes [Start, End) of a document.
type Span struct{ Start, End int }

// Document runs read over the one value that data must be. read consumes all of the value. An error says at which line of
// data reading stopped.
func Document(data []byte, read func(*jsontext.Decoder) error) error {
	if len(data) > MaxSize {
		return fmt.Errorf("larger than %d MiB", MaxSize>>20)
	}
	if err := nulInKey(data); err != nil {
		return err
	}
	// Strings that are not UTF-8 are the runtime's to judge; where they would decide something, policy refuses them.
	dec := jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowInvalidUTF8(true))
	err := read(dec)
	if err == nil {
		switch _, err = dec.ReadToken(); err {
		case io.EOF:
			return nil
		case nil:
			err = errors.New("something stands after its end")
		}
	}
	if err == ErrStop {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	offset := dec.InputOffset()
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		offset = syntax.ByteOffset
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			err = fmt.Errorf("%s is there twice, and runtimes disagree about which one counts", oneline.Quote(string(syntax.JSONPointer)))
		case syntax.Err != nil:
			err = syntax.Err
		}
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:min(int(offset), len(data))], []byte("\n")), err)
}

// nulInKey refuses a document in which a key has a NUL. crun's parser takes what stands before it for the key.
func nulInKey(data []byte) error {
	if !bytes.Contains(data, []byte(`\u0000`)) { // the only way to write one
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil // the end, or what the reading proper will find
		}
		if kind, n := dec.StackIndex(dec.StackDepth()); kind == '{' && n%2 == 1 && strings.Contains(tok.String(), "\x00") {
			return fmt.Errorf("line %d: key %s has a NUL in it, and runtimes disagree about what that means",
				1+bytes.Count(data[:dec.InputOffset()], []byte("\n")), oneline.Quote(tok.String()))
		}
	}
}

// Object reads an object and calls member with each of its keys. member consumes the key's value. A key that is one of known
// in another case is an error.
func Object(dec *jsontext.Decoder, known []string, member func(key string) error) error {
	_, err := Inside(dec, known, member)
	return err
}

// Inside is Object, and returns where in the document the text between the braces stands.
func Inside(dec *jsontext.Decoder, known []string, member func(key string) error) (Span, error) {
	tok, err := dec.ReadToken()
	if err != nil {
		return Span{}, err
	}
	if tok.Kind() != '{' {
		return Span{}, fmt.Errorf("a JSON %s stands where an object must", tok.Kind())
	}
	inside := Span{Start: int(dec.InputOffset())}
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return Span{}, err
		}
		key := tok.String()
		for _, k := range known {
			if key != k && strings.EqualFold(key, k) {
				return Span{}, fmt.Errorf("key %s is %q in another spelling, and runtimes disagree about what that means",
					oneline.Quote(key), k)
			}
		}
		if err := member(key); err != nil {
			return Span{}, err
		}
	}
	_, err = dec.ReadToken()
	inside.End = int(dec.InputOffset()) - len("}")
	return inside, err
}

// Value reads the next value whole, and returns where in the document it stands.
func Value(dec *jsontext.Decoder) (jsontext.Value, Span, error) {
	v, err := dec.ReadValue()
	end := int(dec.InputOffset())
	return v, Span{end - len(v), end}, err
}

// Unquote returns the text of a JSON string. What is not UTF-8 in it stays as it is.
func Unquote(v jsontext.Value) string {
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil && len(b) == 0 {
		return string(v)
	}
	return string(b)
}

// Strings reads the next value, and calls each with every string in it, keys of objects among them.
func Strings(dec *jsontext.Decoder, each func(string)) error {
	for depth := dec.StackDepth(); ; {
		tok, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if tok.Kind() == '"' {
			each(tok.String())
		}
		if dec.StackDepth() == depth {
			return nil
		}
	}
}

// Objects reads a list of objects, and calls item before each of them. item consumes the object. It passes over what is no list
// and what in a list is no object: that is the runtime's to refuse.
func Objects(dec *jsontext.Decoder, item func(*jsontext.Decoder) error) error {
	if dec.PeekKind() != '[' {
		return dec.SkipValue() // the runtime's to refuse
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() == '{' || dec.PeekKind() == 'n' {
		if dec.PeekKind() == 'n' {
			if err := dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if err := item(dec); err != nil {
			return err
		}
	}
	for dec.PeekKind() != ']' { // what is no object is the runtime's to refuse, too
		if err := dec.SkipValue(); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// Text reads the next value, and returns an empty string where it is no string.
func Text(dec *jsontext.Decoder) (string, error) {
	v, _, err := Value(dec)
	if err != nil || v.Kind() != '"' {
		return "", err
	}
	return Unquote(v), nil
}

// Map reads an object of strings. It passes over any other value and returns nil.
func Map(dec *jsontext.Decoder) (map[string]string, error) {
	if dec.PeekKind() != '{' {
		return nil, dec.SkipValue()
	}
	all := make(map[string]string)
	err := Object(dec, nil, func(key string) (err error) {
		all[key], err = Text(dec)
		return err
	})
	return all, err
}
