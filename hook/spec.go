package hook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sys/unix"
)

// maxSpec bounds config.json and process files, in bytes. Engines write some tens of kilobytes.
const maxSpec = 16 << 20

// document is a JSON file of the OCI runtime specification (config.json or a process file), kept as its bytes. Only
// what decides is taken out of it, and an edit changes no byte but those of the profile.
//
// Runtimes disagree about documents that say a thing twice: Go's encoding/json takes the last of two equal keys and
// matches keys without regard to case, C parsers take them as they stand. A document in which that could make a
// runtime see another profile, process or annotation than we do is refused.
type document struct {
	data []byte

	process     span // what stands between the braces of "process"; of a process file, of the whole document
	profile     span // value of "apparmorProfile"; empty when there is none
	choice      string
	annotations map[string]string

	rootfs string // root.path
	powers powers
}

// span is a range of a document's bytes.
type span struct{ start, end int }

// parseSpec reads a config.json.
func parseSpec(data []byte) (*document, error) {
	d := &document{data: data}
	err := d.parse(func(dec *jsontext.Decoder) error {
		_, err := object(dec, []string{"process", "annotations", "linux", "mounts", "root"}, func(key string) error {
			switch key {
			case "root":
				return d.parseRoot(dec)
			case "mounts":
				return each(dec, d.parseMount)
			case "process":
				return d.parseProcess(dec)
			case "annotations":
				return d.parseAnnotations(dec)
			case "linux":
				return d.parseLinux(dec)
			}
			return dec.SkipValue()
		})
		return err
	})
	if err == nil && d.process == (span{}) {
		err = errors.New("no process in it")
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// parseProcess reads a file as given to the runtime's exec --process.
func parseProcess(data []byte) (*document, error) {
	d := &document{data: data}
	if err := d.parse(d.parseProcess); err != nil {
		return nil, err
	}
	return d, nil
}

// parse runs read over the one value that the document must be and puts the line into its errors.
func (d *document) parse(read func(*jsontext.Decoder) error) error {
	if len(d.data) > maxSpec {
		return fmt.Errorf("larger than %d MiB", maxSpec>>20)
	}
	if err := nulInKey(d.data); err != nil {
		return err
	}
	// Strings that are not UTF-8 are the runtime's to judge; where they would decide something, policy refuses them.
	dec := jsontext.NewDecoder(bytes.NewBuffer(d.data), jsontext.AllowInvalidUTF8(true))
	err := read(dec)
	if err == nil {
		switch _, err = dec.ReadToken(); err {
		case io.EOF:
			return nil
		case nil:
			err = errors.New("something stands after its end")
		}
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
			err = fmt.Errorf("%s is there twice, and runtimes disagree about which one counts", quote(string(syntax.JSONPointer)))
		case syntax.Err != nil:
			err = syntax.Err
		}
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(d.data[:min(int(offset), len(d.data))], []byte("\n")), err)
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
				1+bytes.Count(data[:dec.InputOffset()], []byte("\n")), quote(tok.String()))
		}
	}
}

// object reads an object and calls member with each key, to consume its value. A key that is one of known but for its
// case is an error. It gives what stands between the braces.
func object(dec *jsontext.Decoder, known []string, member func(key string) error) (span, error) {
	tok, err := dec.ReadToken()
	if err != nil {
		return span{}, err
	}
	if tok.Kind() != '{' {
		return span{}, fmt.Errorf("a JSON %s stands where an object must", tok.Kind())
	}
	inside := span{start: int(dec.InputOffset())}
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return span{}, err
		}
		key := tok.String()
		for _, k := range known {
			if key != k && strings.EqualFold(key, k) {
				return span{}, fmt.Errorf("key %s is %q in another spelling, and runtimes disagree about what that means",
					quote(key), k)
			}
		}
		if err := member(key); err != nil {
			return span{}, err
		}
	}
	_, err = dec.ReadToken()
	inside.end = int(dec.InputOffset()) - len("}")
	return inside, err
}

// value reads the next value whole and says where it stands.
func value(dec *jsontext.Decoder) (jsontext.Value, span, error) {
	v, err := dec.ReadValue()
	end := int(dec.InputOffset())
	return v, span{end - len(v), end}, err
}

func (d *document) parseProcess(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '{' {
		return errors.New("its process is not an object")
	}
	inside, err := object(dec, []string{"apparmorProfile", "capabilities"}, func(key string) error {
		switch key {
		case "apparmorProfile":
			v, at, err := value(dec)
			if err != nil {
				return err
			}
			d.profile = at
			switch v.Kind() {
			case 'n':
			case '"':
				d.choice = unquote(v)
			default:
				return errors.New("process.apparmorProfile is not a string")
			}
			return nil
		case "capabilities":
			return d.parseCapabilities(dec)
		}
		return dec.SkipValue()
	})
	d.process = inside
	return err
}

func (d *document) parseAnnotations(dec *jsontext.Decoder) error {
	if dec.PeekKind() == 'n' {
		return dec.SkipValue()
	}
	d.annotations = make(map[string]string)
	_, err := object(dec, nil, func(key string) error {
		v, _, err := value(dec)
		if err != nil {
			return err
		}
		if v.Kind() != '"' {
			return fmt.Errorf("annotation %s is not a string", quote(key))
		}
		d.annotations[key] = unquote(v)
		return nil
	})
	return err
}

func (d *document) parseRoot(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '{' {
		return dec.SkipValue() // the runtime's to refuse
	}
	_, err := object(dec, []string{"path"}, func(key string) (err error) {
		if key == "path" {
			d.rootfs, err = text(dec)
			return err
		}
		return dec.SkipValue()
	})
	return err
}

func unquote(v jsontext.Value) string {
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil && len(b) == 0 {
		return string(v)
	}
	return string(b)
}

// withProfile gives the document with label as the process's profile. The document itself is unchanged.
func (d *document) withProfile(label string) ([]byte, error) {
	quoted, err := jsontext.AppendQuote(nil, label)
	if err != nil {
		return nil, fmt.Errorf("label %s: %w", quote(label), err)
	}
	if d.profile != (span{}) {
		return splice(d.data, d.profile, quoted), nil
	}
	member := append([]byte(`"apparmorProfile":`), quoted...)
	if len(bytes.TrimSpace(d.data[d.process.start:d.process.end])) > 0 {
		member = append(member, ',')
	}
	return splice(d.data, span{d.process.start, d.process.start}, member), nil
}

// splice gives data with at replaced by insert.
func splice(data []byte, at span, insert []byte) []byte {
	out := make([]byte, 0, len(data)+len(insert))
	out = append(out, data[:at.start]...)
	out = append(out, insert...)
	return append(out, data[at.end:]...)
}

// SetProcessProfile gives doc, a process file as a runtime's exec --process takes it, with label as its
// apparmorProfile. Nothing else of it changes.
func SetProcessProfile(doc []byte, label string) ([]byte, error) {
	d, err := parseProcess(doc)
	if err != nil {
		return nil, err
	}
	return d.withProfile(label)
}

// specFile is a bundle's config.json.
type specFile struct {
	*document
	path string
	stat os.FileInfo
}

// BundleDir gives a bundle's directory, absolute and without links. Runtimes go there by chdir(2), to which the ".." of
// "link/.." is the parent of what the link leads to. Package filepath cuts both away as text, and os.Getwd believes $PWD:
// by these we would read another config.json than the runtime.
func BundleDir(dir string) (string, error) {
	if !filepath.IsAbs(dir) {
		wd, err := unix.Getwd()
		if err != nil {
			return "", fmt.Errorf("the bundle's directory: where we are: %w", err)
		}
		dir = wd + "/" + dir
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("the bundle's directory: %w", err)
	}
	return dir, nil
}

// readSpec reads the config.json of the bundle in directory dir.
func readSpec(dir string) (*specFile, error) {
	dir, err := BundleDir(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "config.json")
	// O_NONBLOCK: opening a FIFO must not hang; regular files do not mind.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSpec+1))
	if err != nil {
		return nil, err
	}
	d, err := parseSpec(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &specFile{document: d, path: path, stat: stat}, nil
}

// setProfile rewrites the file with label as its profile: beside it, with its mode and owner, and renamed, so that a
// crash leaves the old file or the new one. A file that names the label already is left alone.
func (s *specFile) setProfile(label string) error {
	if s.profile != (span{}) && s.choice == label {
		return nil
	}
	data, err := s.withProfile(label)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(s.path), ".config.json.")
	if err != nil {
		return fmt.Errorf("rewriting %s: %w", s.path, err)
	}
	err = func() error {
		defer tmp.Close()
		if _, err := tmp.Write(data); err != nil {
			return err
		}
		if owner, ok := s.stat.Sys().(*syscall.Stat_t); ok {
			if err := tmp.Chown(int(owner.Uid), int(owner.Gid)); err != nil && os.Geteuid() == 0 {
				return err
			}
		}
		return tmp.Chmod(s.stat.Mode())
	}()
	if err == nil {
		err = os.Rename(tmp.Name(), s.path)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("rewriting %s: %w", s.path, err)
	}
	return nil
}

// quote makes a string from a workload fit for one line of an error.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// ReadSpec reads a whole spec from r, within bounds.
func ReadSpec(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSpec+1))
	if err != nil {
		return nil, fmt.Errorf("reading the spec from standard input: %w", err)
	}
	return data, nil
}
