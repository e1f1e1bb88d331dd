package hook

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/oci-apparmor/oci-apparmor/hook/internal/jsonread"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// document is a JSON file of the OCI runtime specification: config.json, or a process file. It keeps the file's bytes. The
// fields have only what the policy needs, and an edit changes only the bytes of the profile. A document in which a runtime
// could see another profile, process or annotation than we do is an error: see package jsonread.
type document struct {
	data []byte

	process     jsonread.Span // between the braces of "process", or of the whole document for a process file
	profile     jsonread.Span // value of "apparmorProfile"; empty if there is none
	choice      string
	annotations map[string]string

	rootfs      string // root.path
	cgroupsPath string // linux.cgroupsPath
	powers      powers
	drivers     []byte // /proc/devices; nil if it was not read
}

// parseSpec reads a config.json.
func parseSpec(data []byte) (*document, error) {
	d := &document{data: data}
	err := jsonread.Document(data, func(dec *jsontext.Decoder) error {
		return jsonread.Object(dec, []string{"process", "annotations", "linux", "mounts", "root"}, func(key string) error {
			switch key {
			case "root":
				return d.parseRoot(dec)
			case "mounts":
				return jsonread.Objects(dec, d.parseMount)
			case "process":
				return d.parseProcess(dec)
			case "annotations":
				return d.parseAnnotations(dec)
			case "linux":
				return d.parseLinux(dec)
			}
			return dec.SkipValue()
		})
	})
	if err == nil && d.process == (jsonread.Span{}) {
		err = errors.New("no process in it")
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// parseProcess reads a process file, as a runtime's exec --process takes it.
func parseProcess(data []byte) (*document, error) {
	d := &document{data: data}
	if err := jsonread.Document(data, d.parseProcess); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *document) parseProcess(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '{' {
		return errors.New("its process is not an object")
	}
	inside, err := jsonread.Inside(dec, []string{"apparmorProfile", "capabilities"}, func(key string) error {
		switch key {
		case "apparmorProfile":
			v, at, err := jsonread.Value(dec)
			if err != nil {
				return err
			}
			d.profile = at
			switch v.Kind() {
			case 'n':
			case '"':
				d.choice = jsonread.Unquote(v)
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
	return jsonread.Object(dec, nil, func(key string) error {
		v, _, err := jsonread.Value(dec)
		if err != nil {
			return err
		}
		if v.Kind() != '"' {
			return fmt.Errorf("annotation %s is not a string", oneline.Quote(key))
		}
		d.annotations[key] = jsonread.Unquote(v)
		return nil
	})
}

func (d *document) parseRoot(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '{' {
		return dec.SkipValue() // the runtime's to refuse
	}
	return jsonread.Object(dec, []string{"path"}, func(key string) (err error) {
		if key == "path" {
			d.rootfs, err = jsonread.Text(dec)
			return err
		}
		return dec.SkipValue()
	})
}

// withProfile returns the document with label as the process's profile. The document itself is unchanged.
func (d *document) withProfile(label string) ([]byte, error) {
	quoted, err := jsontext.AppendQuote(nil, label)
	if err != nil {
		return nil, fmt.Errorf("label %s: %w", oneline.Quote(label), err)
	}
	if d.profile != (jsonread.Span{}) {
		return splice(d.data, d.profile, quoted), nil
	}
	member := append([]byte(`"apparmorProfile":`), quoted...)
	if len(bytes.TrimSpace(d.data[d.process.Start:d.process.End])) > 0 {
		member = append(member, ',')
	}
	return splice(d.data, jsonread.Span{Start: d.process.Start, End: d.process.Start}, member), nil
}

// splice returns data with insert in place of at.
func splice(data []byte, at jsonread.Span, insert []byte) []byte {
	out := make([]byte, 0, len(data)+len(insert))
	out = append(out, data[:at.Start]...)
	out = append(out, insert...)
	return append(out, data[at.End:]...)
}

// SetProcessProfile returns doc with label as its apparmorProfile, and otherwise unchanged. doc is a process file, as a
// runtime's exec --process takes it.
func SetProcessProfile(doc []byte, label string) ([]byte, error) {
	d, err := parseProcess(doc)
	if err != nil {
		return nil, err
	}
	return d.withProfile(label)
}

// ReadSpec reads a whole config.json from r, up to the size that the parser refuses. Its errors do not name r.
func ReadSpec(r io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, jsonread.MaxSize+1))
}
