// Package jsonread reads JSON files that others wrote and that decide about containers.
//
// Runtimes disagree about a document that has a key twice. Go's encoding/json takes the last of two equal keys, and ignores
// the case of keys. Parsers in C take keys as they stand. So three documents are errors: one with a key twice, one with a
// key that differs from a known one only in case, and one with a NUL in a key. The functions read from a jsontext.Decoder
// and use no reflection: its first use would cost a container's start more than all of its reading.
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

// MaxSize is the size of the largest document that is read, in bytes. Engines write some tens of kilobytes.
const MaxSize = 16 << 20

// ErrStop is what the function read of Document returns when it has found what it looks for. Document returns it unchanged.
var ErrStop = errors.New("stopped")

// Span is the range of bytes [Start, End) of a document.
type Span struct{ Start, End int }

// Document calls read for the one value that data must be. read must consume the whole value. An error names the line of
// data where reading stopped.
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

// nulInKey returns an error for a document in which a key has a NUL. crun's parser takes the part before the NUL for the
// key.
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

// Object reads an object and calls member with each of its keys. member must consume the key's value. A key that differs
// from one of known only in case is an error.
func Object(dec *jsontext.Decoder, known []string, member func(key string) error) error {
	_, err := Inside(dec, known, member)
	return err
}

// Inside is Object, and also returns where the text between the braces is in the document.
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

// Value reads the next value whole, and also returns where it is in the document.
func Value(dec *jsontext.Decoder) (jsontext.Value, Span, error) {
	v, err := dec.ReadValue()
	end := int(dec.InputOffset())
	return v, Span{end - len(v), end}, err
}

// Unquote returns the text of a JSON string. Bytes that are not UTF-8 stay as they are.
func Unquote(v jsontext.Value) string {
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil && len(b) == 0 {
		return string(v)
	}
	return string(b)
}

// Strings reads the next value, and calls each with every string in it. The keys of objects are among them.
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

// Objects reads a list of objects, and calls item for each of them. item must consume the object. Objects skips a value that
// is no list, and a member that is no object: the runtime refuses those.
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

// Text reads the next value. It returns an empty string if the value is no string.
func Text(dec *jsontext.Decoder) (string, error) {
	v, _, err := Value(dec)
	if err != nil || v.Kind() != '"' {
		return "", err
	}
	return Unquote(v), nil
}

// Map reads an object of strings. It skips any other value and returns nil.
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
