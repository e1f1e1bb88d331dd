package policyfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
)

// text sets the text of a profile. A relative path is one of the configuration directory, root, and stays in it.
func (r Reader) text(p *policy.Profile, root *root, path string) (err error) {
	name := path // for Seen
	if !filepath.IsAbs(path) {
		name = filepath.Join(root.Name(), path)
	}
	as, ok := r.Seen.Is(seen.Text, name, func(st *unix.Stat_t) error { return root.stat(path, st) })
	if digest, err := profile.ParseDigest(as); ok && err == nil {
		dir := root.Name()
		p.Unread = &policy.Unread{Digest: digest, Read: func() ([]byte, error) { return readAgain(dir, path) }}
		return nil
	}
	now := time.Now()
	var st safefile.Stamp
	if p.Text, st, err = readText(root, path); err != nil {
		return err
	}
	if r.Seen == nil {
		return nil
	}
	if digest, err := profile.DigestOf(p.Text); err == nil { // one without a digest is read each time
		r.Seen.Add(seen.Text, name, st, now, digest.String())
	}
	return nil
}

// readAgain is readText by itself.
func readAgain(dir, path string) ([]byte, error) {
	root, err := openRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.close()
	text, _, err := readText(root, path)
	return text, err
}

// readText reads a profile's text, and returns the stamp that its file had before.
func readText(root *root, path string) ([]byte, safefile.Stamp, error) {
	if filepath.IsAbs(path) {
		text, st, err := readRegular(maxText, func() (*os.File, error) { return open(path) })
		return text, st, missing(path, err)
	}
	if text, st, ok := root.readFast(path); ok {
		return text, st, nil
	}
	text, st, err := readRegular(maxText, func() (*os.File, error) { return root.OpenFile(path, flags, 0) })
	var errno syscall.Errno
	if e := new(fs.PathError); errors.As(err, &e) && !errors.As(err, &errno) { // os.Root's own
		err = fmt.Errorf("%s leads out of %s: a relative path stays inside of it, an absolute one may lead anywhere (%w)",
			path, root.Name(), err)
	}
	return text, st, missing(filepath.Join(root.Name(), path), err)
}
