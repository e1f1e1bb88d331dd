// Package element reads the elements of which a compiled AppArmor profile consists: numbers, strings, tables and the
// structs and arrays around them, each with or without a name. It knows their form and not their meaning, and trusts
// none of their lengths.
//
// The form is enum aa_code and the aa_unpack functions of the kernel (security/apparmor/include/policy_unpack.h and
// policy_unpack.c), and sd_write of the parser (parser/parser_interface.c).
package element

import (
	"encoding/binary"
	"fmt"
)

// Code is the kind of an element. All numbers are little endian.
type Code byte

const (
	U8        Code = iota
	U16            // 2 bytes
	U32            // 4 bytes
	U64            // 8 bytes
	Name           // u16 length, bytes with a closing NUL; names the element after it
	String         // u16 length, bytes with a closing NUL
	Blob           // u32 length, bytes
	Struct         //
	StructEnd      //
	List           //
	ListEnd        //
	Array          // u16 count of the elements that follow
	ArrayEnd       //
)

// Element is one value: its name, where it has one, its code, and its bytes without lengths and closing NUL.
type Element struct {
	Name  []byte
	Code  Code
	Value []byte
	At    int // offset of Value
}

// Is reports whether the element has this name ("" for none) and code.
func (e Element) Is(name string, code Code) bool { return string(e.Name) == name && e.Code == code }

// Uint32 returns the value of an element of code U32.
func (e Element) Uint32() uint32 { return binary.LittleEndian.Uint32(e.Value) }

// Uint64 returns the value of an element of code U64.
func (e Element) Uint64() uint64 { return binary.LittleEndian.Uint64(e.Value) }

// Uint16 returns the value of an element of code U16, and the count of one of code Array.
func (e Element) Uint16() uint16 { return binary.LittleEndian.Uint16(e.Value) }

// Reader walks the elements of Data, from Pos on.
type Reader struct {
	Data []byte
	Pos  int
}

// Malformed returns the error for bytes that no parser writes.
func (r *Reader) Malformed(format string, args ...any) error {
	return fmt.Errorf("not a compiled AppArmor profile in the form that the kernel loads: byte %d of %d: %s",
		r.Pos, len(r.Data), fmt.Sprintf(format, args...))
}

// take returns the next n bytes and steps over them.
func (r *Reader) take(n int) ([]byte, error) {
	if n > len(r.Data)-r.Pos {
		return nil, r.Malformed("%d bytes are missing at its end", n-(len(r.Data)-r.Pos))
	}
	b := r.Data[r.Pos : r.Pos+n]
	r.Pos += n
	return b, nil
}

// text returns a name's or string's bytes without the closing NUL.
func (r *Reader) text() ([]byte, error) {
	n, err := r.take(2)
	if err != nil {
		return nil, err
	}
	b, err := r.take(int(binary.LittleEndian.Uint16(n)))
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || b[len(b)-1] != 0 {
		return nil, r.Malformed("a string without an end")
	}
	return b[:len(b)-1], nil
}

// Next returns the next element. It may have no name, but no empty one.
func (r *Reader) Next() (Element, error) {
	var e Element
	code, err := r.take(1)
	if err != nil {
		return e, err
	}
	if Code(code[0]) == Name {
		if e.Name, err = r.text(); err != nil {
			return e, err
		}
		if len(e.Name) == 0 {
			return e, r.Malformed("an empty name")
		}
		if code, err = r.take(1); err != nil {
			return e, err
		}
	}
	e.Code, e.At = Code(code[0]), r.Pos
	switch e.Code {
	case U8:
		e.Value, err = r.take(1)
	case U16, Array:
		e.Value, err = r.take(2)
	case U32:
		e.Value, err = r.take(4)
	case U64:
		e.Value, err = r.take(8)
	case String:
		e.At = r.Pos + 2 // behind the length
		e.Value, err = r.text()
	case Blob:
		var n []byte
		if n, err = r.take(4); err != nil {
			return e, err
		}
		size := binary.LittleEndian.Uint32(n)
		if int64(size) > int64(len(r.Data)) {
			return e, r.Malformed("a table of %d bytes", size)
		}
		e.At = r.Pos
		e.Value, err = r.take(int(size))
	case Struct, StructEnd, List, ListEnd, ArrayEnd:
	default:
		return e, r.Malformed("%#x is no element's code", byte(e.Code))
	}
	return e, err
}

// Want returns the next element and refuses any but one of this name and code.
func (r *Reader) Want(name string, code Code) (Element, error) {
	at := r.Pos
	e, err := r.Next()
	if err != nil {
		return e, err
	}
	if !e.Is(name, code) {
		r.Pos = at
		return e, r.Malformed("element %+.64q of code %d where %+.64q of code %d belongs", e.Name, e.Code, name, code)
	}
	return e, nil
}

// Accept returns the next element and steps over it where it has this name and code. Any other it leaves where it is.
func (r *Reader) Accept(name string, code Code) (Element, bool) {
	at := r.Pos
	e, err := r.Next()
	if err != nil || !e.Is(name, code) {
		r.Pos = at
		return Element{}, false
	}
	return e, true
}

// Skip steps over the rest of a struct whose beginning was read, and over its end.
func (r *Reader) Skip() error {
	for depth := 1; depth > 0; {
		e, err := r.Next()
		if err != nil {
			return err
		}
		switch e.Code {
		case Struct:
			depth++
		case StructEnd:
			depth--
		}
	}
	return nil
}
