package hook

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/oci-apparmor/oci-apparmor/hook/internal/jsonread"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Record is what Prepare writes about a container: a JSON file in Host.Containers, which stays for as long as the runtime
// knows the container. Its keys are the names of the fields in lower case.
type Record struct {
	ID         string
	Root       string // the runtime's --root
	Engine     string
	Bundle     string
	Names      Names
	Created    time.Time // RFC 3339 with nanoseconds; records of earlier versions have none
	PID        int       // of the process that creates the container: ours, then the runtime's
	Started    string    // when that process started, in clock ticks since boot
	Init       int       // the container's first process, if its delete was asked for while that ran; else 0
	Generation uint64
	Policy     string
	Reason     string
	Label      string          // empty if the engine's choice was kept
	Profiles   []RecordProfile // of the label, or ours in the choice that was kept, as the kernel held them at create
}

// Names are the names by which people know a container, from its engine: see policy.Facts. A name is empty if the engine
// said nothing that can be trusted.
type Names struct {
	Namespace, Pod, Container, Image string
	Sandbox                          bool
}

// NamesOf returns the names in facts. If the container's name could not be read, its id takes the place of the name.
func NamesOf(f policy.Facts) Names {
	n := Names{Namespace: f.Namespace, Pod: f.Pod, Container: f.Container, Image: f.Image, Sandbox: f.Sandbox}
	if f.Unverified != nil {
		n.Container = f.ID
	}
	return n
}

// RecordProfile is a profile of a container's label.
type RecordProfile struct {
	Name     string
	Dir      string             // see kernel.Loaded
	Since    int64              // see kernel.Loaded; 0 in records of earlier versions
	Compiled []profile.Compiled // an object of name to "SHA1 SHA256 MODE", the hashes in hexadecimal digits; see kernel.Held
}

func newRecord(c Caller, f policy.Facts, bundle string, gen *store.Generation, d policy.Decision,
	held []RecordProfile) *Record {
	r := &Record{
		ID: f.ID, Root: c.Root, Engine: c.Engine, Bundle: bundle, Created: time.Now().UTC(), PID: os.Getpid(),
		Names:      NamesOf(f),
		Generation: gen.Number, Policy: d.Policy, Reason: d.Reason, Label: d.Label, Profiles: held,
	}
	r.Started, _ = StartOf(r.PID)
	return r
}

// We write and read a record's JSON without encoding/json. Its first use of a type cost a container's start 0.3 to 0.5 ms,
// and each later command for the container as much again (measured cold, one process each: 0.14 ms by hand, 0.43 ms by
// encoding/json, for writing as for reading). The members are listed once, in fields.

// field is a member of a JSON object: its key, and a pointer to its value.
type field struct {
	key   string
	value any // *string, *bool, *int, *int64, *uint64 or *time.Time
}

func (r *Record) fields() []field {
	return []field{
		{"id", &r.ID},
		{"root", &r.Root},
		{"engine", &r.Engine},
		{"bundle", &r.Bundle},
		{"namespace", &r.Names.Namespace},
		{"pod", &r.Names.Pod},
		{"container", &r.Names.Container},
		{"image", &r.Names.Image},
		{"sandbox", &r.Names.Sandbox},
		{"created", &r.Created},
		{"pid", &r.PID},
		{"started", &r.Started},
		{"init", &r.Init},
		{"generation", &r.Generation},
		{"policy", &r.Policy},
		{"reason", &r.Reason},
		{"label", &r.Label},
	}
}

func (p *RecordProfile) fields() []field {
	return []field{{"dir", &p.Dir}, {"since", &p.Since}}
}

func (r *Record) marshal() []byte { return r.members().object() }

func (r *Record) members() members {
	var profiles members
	for _, p := range r.Profiles {
		var compiled members
		for _, c := range p.Compiled {
			compiled.add(c.Name, quoted(fmt.Sprintf("%x %x %s", c.SHA1, c.SHA256, c.Mode)))
		}
		one := membersOf(p.fields())
		one.add("compiled", compiled.object())
		profiles.add(p.Name, one.object())
	}
	record := membersOf(r.fields())
	record.add("profiles", profiles.object())
	return record
}

// members are the members of a JSON object that is being built, each with a comma before it.
type members []byte

func membersOf(fields []field) (m members) {
	for _, f := range fields {
		m.add(f.key, f.marshal())
	}
	return m
}

func (m *members) add(key string, value []byte) {
	*m = append(append(append(*m, ','), quoted(key)...), ':')
	*m = append(*m, value...)
}

func (m members) object() []byte {
	return append(append([]byte{'{'}, bytes.TrimPrefix(m, []byte{','})...), '}')
}

// quoted returns a JSON string, with U+FFFD for bytes that are not UTF-8.
func quoted(s string) []byte {
	b, _ := jsontext.AppendQuote(nil, s)
	return b
}

func (f field) marshal() []byte {
	switch v := f.value.(type) {
	case *bool:
		return strconv.AppendBool(nil, *v)
	case *int:
		return strconv.AppendInt(nil, int64(*v), 10)
	case *int64:
		return strconv.AppendInt(nil, *v, 10)
	case *uint64:
		return strconv.AppendUint(nil, *v, 10)
	case *time.Time:
		return quoted(v.Format(time.RFC3339Nano))
	}
	return quoted(*f.value.(*string))
}

// parseField reads the value of the field with this key. It skips a key that no field has.
func parseField(dec *jsontext.Decoder, fields []field, key string) error {
	v, _, err := jsonread.Value(dec)
	i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
	if err != nil || i < 0 {
		return err
	}
	switch to := fields[i].value.(type) {
	case *string:
		*to = jsonread.Unquote(v)
	case *bool:
		*to, err = strconv.ParseBool(string(v))
	case *int:
		*to, err = strconv.Atoi(string(v))
	case *int64:
		*to, err = strconv.ParseInt(string(v), 10, 64)
	case *uint64:
		*to, err = strconv.ParseUint(string(v), 10, 64)
	case *time.Time:
		*to, err = time.Parse(time.RFC3339, jsonread.Unquote(v))
	}
	return err
}

// parse reads a record. other is called for each key that a record does not have, and must consume its value; nil skips it.
func (r *Record) parse(data []byte, other func(dec *jsontext.Decoder, key string) error) error {
	fields := r.fields()
	return jsonread.Document(data, func(dec *jsontext.Decoder) error {
		err := jsonread.Object(dec, nil, func(key string) error {
			if key == "profiles" {
				return jsonread.Object(dec, nil, func(name string) error { return r.parseProfile(dec, name) })
			}
			if other != nil && !slices.ContainsFunc(fields, func(f field) bool { return f.key == key }) {
				return other(dec, key)
			}
			return parseField(dec, fields, key)
		})
		if err == nil && (r.ID == "" || r.Label != "" && len(r.Profiles) == 0) {
			err = errors.New("not a whole record")
		}
		return err
	})
}

func (r *Record) parseProfile(dec *jsontext.Decoder, name string) error {
	p := RecordProfile{Name: name}
	fields := p.fields()
	err := jsonread.Object(dec, nil, func(key string) error {
		if key != "compiled" {
			return parseField(dec, fields, key)
		}
		return jsonread.Object(dec, nil, func(name string) error {
			hashes, err := jsonread.Text(dec)
			if err != nil {
				return err
			}
			c, err := parseCompiled(name, hashes)
			p.Compiled = append(p.Compiled, c)
			return err
		})
	})
	r.Profiles = append(r.Profiles, p)
	return err
}

// parseCompiled reads the hashes and the mode of a profile: "SHA1 SHA256 MODE".
func parseCompiled(name, hashes string) (profile.Compiled, error) {
	c := profile.Compiled{Name: name}
	f := strings.Fields(hashes)
	if len(f) != 3 || len(f[0]) != hex.EncodedLen(len(c.SHA1)) || len(f[1]) != hex.EncodedLen(len(c.SHA256)) {
		return c, fmt.Errorf("malformed hashes of %s", oneline.Quote(name))
	}
	_, err1 := hex.Decode(c.SHA1[:], []byte(f[0]))
	_, err2 := hex.Decode(c.SHA256[:], []byte(f[1]))
	mode, err3 := profile.ParseMode(f[2])
	c.Mode = mode
	return c, errors.Join(err1, err2, err3)
}
