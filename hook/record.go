package hook

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Record is what is remembered of a container that Prepare decided upon: a JSON file in Host.Containers, for as long as
// the runtime knows the container. Its keys are the fields' names in lower case.
type Record struct {
	ID         string
	Root       string // the runtime's --root
	Engine     string
	Bundle     string
	Names      Names
	Created    time.Time // RFC 3339, with parts of a second; records of earlier versions have none
	PID        int       // of the process that creates it: ours, then the runtime's
	Started    string    // when that process started, in clock ticks since boot
	Generation uint64
	Policy     string
	Reason     string
	Label      string          // empty where the engine's choice was kept
	Profiles   []RecordProfile // of the label, or those of ours in the choice that was kept, as the kernel held them at create
}

// Names are what the engine said of a container, by which people know it: see policy.Facts. They are empty where it said
// nothing that can be trusted.
type Names struct {
	Namespace, Pod, Container, Image string
	Sandbox                          bool
}

// NamesOf gives those that facts have. Whose name should be known and is not goes by its id.
func NamesOf(f policy.Facts) Names {
	n := Names{Namespace: f.Namespace, Pod: f.Pod, Container: f.Container, Image: f.Image, Sandbox: f.Sandbox}
	if f.Untold != nil {
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

func newRecord(w Wiring, f policy.Facts, bundle string, gen *store.Generation, d policy.Decision, held []RecordProfile) *Record {
	r := &Record{
		ID: f.ID, Root: w.Root, Engine: w.Engine, Bundle: bundle, Created: time.Now().UTC(), PID: os.Getpid(),
		Names:      NamesOf(f),
		Generation: gen.Number, Policy: d.Policy, Reason: d.Reason, Label: d.Label, Profiles: held,
	}
	r.Started, _ = startOf(r.PID)
	return r
}

// marshal and parse do without encoding/json, whose first use of a type costs a start more than all the rest of the
// record.
func (r *Record) marshal() []byte {
	var record members
	record.text("id", r.ID)
	record.text("root", r.Root)
	record.text("engine", r.Engine)
	record.text("bundle", r.Bundle)
	record.text("namespace", r.Names.Namespace)
	record.text("pod", r.Names.Pod)
	record.text("container", r.Names.Container)
	record.text("image", r.Names.Image)
	record.add("sandbox", strconv.AppendBool(nil, r.Names.Sandbox))
	record.text("created", r.Created.Format(time.RFC3339Nano))
	record.add("pid", strconv.AppendInt(nil, int64(r.PID), 10))
	record.text("started", r.Started)
	record.add("generation", strconv.AppendUint(nil, r.Generation, 10))
	record.text("policy", r.Policy)
	record.text("reason", r.Reason)
	record.text("label", r.Label)
	var profiles members
	for _, p := range r.Profiles {
		var one, compiled members
		for _, c := range p.Compiled {
			compiled.text(c.Name, fmt.Sprintf("%x %x %s", c.SHA1, c.SHA256, c.Mode))
		}
		one.text("dir", p.Dir)
		one.add("since", strconv.AppendInt(nil, p.Since, 10))
		one.add("compiled", compiled.object())
		profiles.add(p.Name, one.object())
	}
	record.add("profiles", profiles.object())
	return record.object()
}

// members are those of a JSON object in the making, each with a comma before it.
type members []byte

func (m *members) add(key string, value []byte) {
	*m = append(append(append(*m, ','), quoted(key)...), ':')
	*m = append(*m, value...)
}

func (m *members) text(key, value string) { m.add(key, quoted(value)) }

func (m members) object() []byte {
	return append(append([]byte{'{'}, bytes.TrimPrefix(m, []byte{','})...), '}')
}

// quoted gives a JSON string, with U+FFFD for what is not UTF-8.
func quoted(s string) []byte {
	b, _ := jsontext.AppendQuote(nil, s)
	return b
}

func (r *Record) parse(data []byte) error {
	d := document{data: data}
	return d.parse(func(dec *jsontext.Decoder) error {
		_, err := object(dec, nil, func(key string) error {
			if key == "profiles" {
				_, err := object(dec, nil, func(name string) error { return r.parseProfile(dec, name) })
				return err
			}
			v, _, err := value(dec)
			if err != nil {
				return err
			}
			switch key {
			case "id":
				r.ID = unquote(v)
			case "root":
				r.Root = unquote(v)
			case "engine":
				r.Engine = unquote(v)
			case "bundle":
				r.Bundle = unquote(v)
			case "namespace":
				r.Names.Namespace = unquote(v)
			case "pod":
				r.Names.Pod = unquote(v)
			case "container":
				r.Names.Container = unquote(v)
			case "image":
				r.Names.Image = unquote(v)
			case "sandbox":
				r.Names.Sandbox, err = strconv.ParseBool(string(v))
			case "created":
				r.Created, err = time.Parse(time.RFC3339, unquote(v))
			case "pid":
				r.PID, err = strconv.Atoi(string(v))
			case "started":
				r.Started = unquote(v)
			case "generation":
				r.Generation, err = strconv.ParseUint(string(v), 10, 64)
			case "policy":
				r.Policy = unquote(v)
			case "reason":
				r.Reason = unquote(v)
			case "label":
				r.Label = unquote(v)
			}
			return err
		})
		if err == nil && (r.ID == "" || r.Label != "" && len(r.Profiles) == 0) {
			err = errors.New("not a whole record")
		}
		return err
	})
}

func (r *Record) parseProfile(dec *jsontext.Decoder, name string) error {
	p := RecordProfile{Name: name}
	_, err := object(dec, nil, func(key string) error {
		if key == "compiled" {
			_, err := object(dec, nil, func(name string) error {
				v, _, err := value(dec)
				if err != nil {
					return err
				}
				c := profile.Compiled{Name: name}
				f := strings.Fields(unquote(v))
				if len(f) != 3 || len(f[0]) != hex.EncodedLen(len(c.SHA1)) || len(f[1]) != hex.EncodedLen(len(c.SHA256)) {
					return fmt.Errorf("malformed hashes of %s", quote(name))
				}
				_, err1 := hex.Decode(c.SHA1[:], []byte(f[0]))
				_, err2 := hex.Decode(c.SHA256[:], []byte(f[1]))
				var err3 error
				c.Mode, err3 = profile.ParseMode(f[2])
				p.Compiled = append(p.Compiled, c)
				return errors.Join(err1, err2, err3)
			})
			return err
		}
		v, _, err := value(dec)
		if err != nil {
			return err
		}
		switch key {
		case "dir":
			p.Dir = unquote(v)
		case "since":
			p.Since, err = strconv.ParseInt(string(v), 10, 64)
		}
		return err
	})
	r.Profiles = append(r.Profiles, p)
	return err
}
