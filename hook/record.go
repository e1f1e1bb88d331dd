package hook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Record is what is remembered of a container that was given a label: a JSON file in Host.Containers, for as long as
// the runtime knows the container. Its keys are the fields' names in lower case; profiles is an object of each profile's
// name and directory.
type Record struct {
	ID         string
	Root       string // the runtime's --root
	Engine     string
	Bundle     string
	Created    time.Time // RFC 3339
	PID        int       // of the process that creates it: ours, then the runtime's
	Generation uint64
	Policy     string
	Reason     string
	Label      string
	Profiles   []kernel.Loaded // of the label, as the kernel held them at create: Name and Dir
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
	member("generation", jsontext.Uint(r.Generation))
	member("policy", jsontext.String(r.Policy))
	member("reason", jsontext.String(r.Reason))
	member("label", jsontext.String(r.Label))
	member("profiles", jsontext.BeginObject)
	for _, l := range r.Profiles {
		member(l.Name, jsontext.String(l.Dir))
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
				_, err := object(dec, nil, func(name string) error {
					v, _, err := value(dec)
					r.Profiles = append(r.Profiles, kernel.Loaded{Name: name, Dir: unquote(v)})
					return err
				})
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
		if err == nil && (r.ID == "" || r.Label == "" || len(r.Profiles) == 0) {
			err = errors.New("not a whole record")
		}
		return err
	})
}

func newRecord(w Wiring, id, bundle string, gen *store.Generation, d policy.Decision, loaded []kernel.Loaded) Record {
	return Record{
		ID: id, Root: w.Root, Engine: w.Engine, Bundle: bundle, Created: time.Now().UTC(), PID: os.Getpid(),
		Generation: gen.Number, Policy: d.Policy, Reason: d.Reason, Label: d.Label, Profiles: loaded,
	}
}

// recordPath names a record by a hash: ids are the workload's, and one id may be used under several roots.
func (h *Host) recordPath(w Wiring, id string) string {
	sum := sha256.Sum256([]byte(w.Root + "\x00" + id))
	return filepath.Join(h.Containers, hex.EncodeToString(sum[:16])+".json")
}

func (h *Host) remember(w Wiring, r Record) error {
	data, err := r.marshal()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(h.Containers, 0o700); err != nil {
		return fmt.Errorf("remembering the container: %w", err)
	}
	path := h.recordPath(w, r.ID)
	tmp := path + "." + strconv.Itoa(os.Getpid())
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("remembering the container: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("remembering the container: %w", err)
	}
	return nil
}

func (h *Host) remove(w Wiring, id string) {
	if w.Root != "" {
		os.Remove(h.recordPath(w, id))
	}
}

// Recall gives what is remembered of a container; fs.ErrNotExist for one that was not given a label by us.
func (h *Host) Recall(w Wiring, id string) (Record, error) {
	return readRecord(h.recordPath(w, id))
}

func readRecord(path string) (Record, error) {
	var r Record
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := r.parse(data); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Start checks a created container before its process runs: its profile must have been in the kernel without a break,
// since a removed one leaves the process unconfined even if it is loaded again, and it must have our content.
func (h *Host) Start(ctx context.Context, w Wiring, id string) (warning string, err error) {
	r, err := h.Recall(w, id)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, l := range r.Profiles {
		same, err := h.Kernel.Same(l)
		if err != nil {
			return "", err
		}
		if !same {
			return "", fmt.Errorf("profile %s was removed from the kernel after the container was created: its process would "+
				"run unconfined, also if the profile is loaded again; delete the container and create it anew", l.Name)
		}
	}
	return h.verify(ctx, r)
}

// Exec gives the label for another process in a container: the container's, its content verified again. It gives
// ours=false for a container that we gave no label.
func (h *Host) Exec(ctx context.Context, w Wiring, id string) (label, warning string, ours bool, err error) {
	r, err := h.Recall(w, id)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", false, nil
	}
	if err != nil {
		return "", "", true, err
	}
	warning, err = h.verify(ctx, r)
	return r.Label, warning, true, err
}

// verify makes sure that the kernel holds what a container's label is made of, by the policy in force now. A profile
// that this policy no longer has must be the one of create.
func (h *Host) verify(ctx context.Context, r Record) (string, error) {
	gen, err := h.Store.Current()
	if err != nil {
		return "", err
	}
	var now []policy.Profile
	for _, l := range r.Profiles {
		if p, ok := gen.Index.Profile(l.Name); ok {
			now = append(now, p)
			continue
		}
		same, err := h.Kernel.Same(l)
		if err != nil {
			return "", err
		}
		if !same {
			return "", fmt.Errorf("profile %s was removed from the kernel, and the policy in force no longer has it", l.Name)
		}
	}
	_, warnings, err := h.ensure(ctx, gen, now)
	return join(warnings...), err
}

// Forget drops what is remembered of a container that the runtime is about to delete. While its process is alive it
// is kept, since the runtime may fail to delete it, and processes may be started in it: Sweep sees to it later.
func (h *Host) Forget(w Wiring, id string) {
	if !alive(filepath.Join(w.Root, id)) {
		h.remove(w, id)
	}
}

// alive tells whether the container whose state is in dir has an init process. Runtimes keep its pid in the file
// state.json (runc: init_process_pid) or status (crun: pid).
func alive(dir string) bool {
	data, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		data, err = os.ReadFile(filepath.Join(dir, "status"))
	}
	if err != nil {
		_, err := os.Lstat(dir)
		return err == nil
	}
	var pid int
	d := document{data: data}
	err = d.parse(func(dec *jsontext.Decoder) error {
		_, err := object(dec, nil, func(key string) error {
			v, _, err := value(dec)
			if err == nil && (key == "init_process_pid" || key == "pid") {
				pid, err = strconv.Atoi(string(v))
			}
			return err
		})
		return err
	})
	return err != nil || processAlive(pid)
}

// processAlive tells whether a process exists and is no zombie.
func processAlive(pid int) bool {
	if pid <= 0 {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	// "PID (COMM) STATE ...": COMM may hold anything, so look from its end.
	_, after, ok := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	return !ok || after == "" || (after[0] != 'Z' && after[0] != 'X')
}

// Sweep forgets the containers that their runtime no longer knows.
func (h *Host) Sweep() {
	for r, path := range h.records() {
		if _, err := os.Lstat(filepath.Join(r.Root, r.ID)); errors.Is(err, fs.ErrNotExist) && !processAlive(r.PID) {
			os.Remove(path)
		}
	}
}

// records goes through everything that is remembered.
func (h *Host) records() func(func(Record, string) bool) {
	return func(yield func(Record, string) bool) {
		paths, _ := filepath.Glob(filepath.Join(h.Containers, "*.json"))
		for _, path := range paths {
			if r, err := readRecord(path); err == nil && !yield(r, path) {
				return
			}
		}
	}
}
