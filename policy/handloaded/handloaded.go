// Package handloaded stores the texts of profiles that were loaded by hand. The kernel holds only the compiled form, from
// which nobody can get the text back.
package handloaded

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Dir is the directory of the texts, with one file for each profile. Write makes it if it is missing.
type Dir string

// Text is the text of a profile as it was loaded, and its JSON form in the file.
type Text struct {
	Name     string     `json:"name"`
	Source   string     `json:"source"` // the file that it came from, absolute
	Loaded   time.Time  `json:"loaded"` // RFC 3339
	By       string     `json:"by"`     // the user, and in brackets the user that became root
	Parser   string     `json:"parser"`
	Compiled []Compiled `json:"compiled"` // the profile, then its children
	Text     string     `json:"text"`
}

// Compiled is a profile that the text compiles to, with the kernel's hashes of it in hexadecimal digits.
type Compiled struct {
	Name   string `json:"name"`
	Mode   string `json:"mode"`
	SHA1   string `json:"sha1"`
	SHA256 string `json:"sha256"`
}

// New returns a Text for a text that was compiled to b.
func New(text []byte, b profile.Blob) Text {
	t := Text{Name: b.Profiles[0].Name, Text: string(text)}
	for _, c := range b.Profiles {
		t.Compiled = append(t.Compiled, Compiled{
			c.Name, c.Mode.String(), hex.EncodeToString(c.SHA1[:]), hex.EncodeToString(c.SHA256[:]),
		})
	}
	return t
}

// Profiles returns the profiles that the text was compiled to, to compare them with the kernel's.
func (t *Text) Profiles() ([]profile.Compiled, error) {
	all := make([]profile.Compiled, len(t.Compiled))
	for i, c := range t.Compiled {
		all[i].Name = c.Name
		mode, err := profile.ParseMode(c.Mode)
		all[i].Mode = mode
		_, err1 := hex.Decode(all[i].SHA1[:], []byte(c.SHA1))
		_, err2 := hex.Decode(all[i].SHA256[:], []byte(c.SHA256))
		if len(c.SHA1) != 2*sha1.Size || len(c.SHA256) != 2*sha256.Size {
			err = errors.New("a hash of the wrong length")
		}
		if err := errors.Join(err, err1, err2); err != nil {
			return nil, fmt.Errorf("what is kept of profile %s: %w", t.Name, err)
		}
	}
	return all, nil
}

// Write writes a text beside the stored one, so that a full disk shows before anything is loaded. commit then puts it in
// place of the old one. drop removes it, unless it is in place.
func (d Dir) Write(t Text) (commit func() error, drop func(), err error) {
	if err := profile.CheckName(t.Name); err != nil { // it becomes a path
		return nil, nil, err
	}
	for _, dir := range []string{filepath.Dir(string(d)), string(d)} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, nil, err
		}
	}
	data, err := json.Marshal(t)
	if err != nil {
		return nil, nil, err
	}
	staged, err := safefile.Stage(d.path(t.Name), data, safefile.Options{Sync: true})
	if err != nil {
		return nil, nil, err
	}
	return staged.Commit, staged.Drop, nil
}

// Get returns the text of a profile. The error wraps fs.ErrNotExist if none is stored.
func (d Dir) Get(name string) (Text, error) {
	var t Text
	if err := profile.CheckName(name); err != nil {
		return t, fmt.Errorf("%w (%w)", os.ErrNotExist, err)
	}
	data, err := os.ReadFile(d.path(name))
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(data, &t); err != nil {
		return t, fmt.Errorf("%s: %w", d.path(name), err)
	}
	if t.Name != name || len(t.Compiled) == 0 {
		return t, fmt.Errorf("%s: it is not the text of profile %s", d.path(name), name)
	}
	return t, nil
}

// Remove removes the text of a profile, if there is one.
func (d Dir) Remove(name string) error {
	if profile.CheckName(name) != nil {
		return nil
	}
	err := os.Remove(d.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// path returns the path of a profile's file.
func (d Dir) path(name string) string { return filepath.Join(string(d), name+".json") }
