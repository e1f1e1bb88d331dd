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
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
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
	Created    time.Time // RFC 3339
	PID        int       // of the process that creates it: ours, then the runtime's
	Started    string    // when that process started, in clock ticks since boot
	Generation uint64
	Policy     string
	Reason     string
	Label      string          // empty where the engine's choice was kept
	Profiles   []RecordProfile // of the label, as the kernel held them at create
}

// RecordProfile is a profile of a container's label.
type RecordProfile struct {
	Name     string
	Dir      string             // see kernel.Loaded
	Compiled []profile.Compiled // an object of name to "SHA1 SHA256 MODE", the hashes in hexadecimal digits
}

func newRecord(w Wiring, id, bundle string, gen *store.Generation, d policy.Decision, loaded []kernel.Loaded) *Record {
	r := &Record{
		ID: id, Root: w.Root, Engine: w.Engine, Bundle: bundle, Created: time.Now().UTC(), PID: os.Getpid(),
		Generation: gen.Number, Policy: d.Policy, Reason: d.Reason, Label: d.Label,
	}
	r.Started, _ = startOf(r.PID)
	for i, l := range loaded {
		r.Profiles = append(r.Profiles, RecordProfile{Name: l.Name, Dir: l.Dir, Compiled: d.Profiles[i].Compiled})
	}
	return r
}

// marshal and parse do without encoding/json, whose first use of a type costs a start more than all the rest of the
// record.
func (r *Record) marshal() ([]byte, error) {
	var out bytes.Buffer
	enc := jsontext.NewEncoder(&out, jsontext.AllowInvalidUTF8(true))
	tokens := []jsontext.Token{jsontext.BeginObject}
	member := func(key string, value jsontext.Token) { tokens = append(tokens, jsontext.String(key), value) }
	member("id", jsontext.String(r.ID))
	member("root", jsontext.String(r.Root))
	member("engine", jsontext.String(r.Engine))
	member("bundle", jsontext.String(r.Bundle))
	member("created", jsontext.String(r.Created.Format(time.RFC3339)))
	member("pid", jsontext.Int(int64(r.PID)))
	member("started", jsontext.String(r.Started))
	member("generation", jsontext.Uint(r.Generation))
	member("policy", jsontext.String(r.Policy))
	member("reason", jsontext.String(r.Reason))
	member("label", jsontext.String(r.Label))
	member("profiles", jsontext.BeginObject)
	for _, p := range r.Profiles {
		member(p.Name, jsontext.BeginObject)
		member("dir", jsontext.String(p.Dir))
		member("compiled", jsontext.BeginObject)
		for _, c := range p.Compiled {
			member(c.Name, jsontext.String(fmt.Sprintf("%x %x %s", c.SHA1, c.SHA256, c.Mode)))
		}
		tokens = append(tokens, jsontext.EndObject, jsontext.EndObject)
	}
	tokens = append(tokens, jsontext.EndObject, jsontext.EndObject)
	for _, t := range tokens {
		if err := enc.WriteToken(t); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
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
		if key == "dir" {
			p.Dir = unquote(v)
		}
		return err
	})
	r.Profiles = append(r.Profiles, p)
	return err
}
