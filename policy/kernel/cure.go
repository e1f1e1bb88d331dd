package kernel

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel/internal/rawblob"
)

// poisoned describes a defect of kernels up to 7.2.12; Debian's 6.12.117 does not have it. The kernel keeps the bytes of
// every load in a directory raw_data/REVISION. A load that fails late, as with a name of more than about 250 bytes, leaves
// that directory there and does not raise the revision. After that, every load of new bytes fails with EEXIST, whoever
// tries.
const poisoned = "the kernel refuses every new profile, of anyone, because an earlier load of somebody's failed" +
	" half-way and left its directory in policy/raw_data behind; removing any profile with" +
	" `apparmor_parser -R FILE` ends that, and so does a reboot"

const (
	maxRawData = 16 << 20 // largest load that is tried, in bytes; docker-default has 13 KiB
	maxRewrite = 3        // how many loads are tried; the first should be enough
)

// cure ends that state and changes no profile. It writes bytes to .replace that the kernel has already. For such a load,
// the kernel makes no directory, finds that every profile in it is the current one, skips it, and raises the revision.
//
// The bytes are right if every profile in them still points to them. No replacement can overtake them, because the kernel
// takes none in this state.
func (k *Kernel) cure() (warning string, err error) {
	before, err := k.Revision()
	if err != nil {
		return "", uncured(err)
	}
	f, err := os.Open(k.profiles())
	if err != nil {
		return "", uncured(err)
	}
	defer f.Close()
	dirs, err := f.Readdirnames(-1)
	if err != nil {
		return "", uncured(err)
	}
	failed := uncured(fmt.Errorf("none of the %d loaded profiles can be loaded again unchanged", len(dirs)))
	tries := 0
	for _, dir := range dirs {
		blob, err := k.resident(dir)
		if err != nil {
			continue
		}
		if now, err := k.Revision(); err == nil && now != before {
			return "", nil // somebody else removed a profile, which ended that state
		}
		if err = k.write(blob); err == nil {
			return fmt.Sprintf("the kernel refused every new profile (a defect that a failed load of somebody's had set off);"+
				" loading the profile in policy/profiles/%s again, unchanged, ended that", dir), nil
		}
		failed = uncured(err)
		if tries++; tries == maxRewrite {
			break
		}
	}
	return "", failed
}

// uncured returns the error of that state, with the reason why it stays.
func uncured(err error) error { return fmt.Errorf("%w (%w)", unix.EEXIST, err) }

var errNotResident = errors.New("not what the kernel would skip")

// resident returns the bytes from which the profile in a directory below policy/profiles was loaded. It returns an error if
// to load them again would change anything.
func (k *Kernel) resident(dir string) ([]byte, error) {
	revision, err := rawRevision(k.profiles() + "/" + dir)
	if err != nil {
		return nil, err
	}
	raw := k.FS + "/policy/raw_data/" + revision
	f, err := os.Open(raw + "/raw_data")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	blob, err := io.ReadAll(io.LimitReader(f, maxRawData+1))
	if err != nil {
		return nil, err
	}
	if len(blob) > maxRawData || !sumMatches(raw, blob) {
		return nil, errNotResident
	}
	profiles, err := rawblob.Walk(blob)
	if err != nil {
		return nil, err
	}
	for _, p := range profiles {
		if p.Namespace || strings.HasPrefix(p.Name, ":") {
			return nil, errNotResident
		}
		main, below, nested := strings.Cut(p.Name, childSeparator)
		path, err := k.locate(k.profiles(), main, "")
		if err != nil || path == "" {
			return nil, errors.Join(errNotResident, err)
		}
		path = k.profiles() + "/" + path
		if nested {
			if path, err = k.child(path, below); err != nil || path == "" {
				return nil, errors.Join(errNotResident, err)
			}
		}
		if current, err := rawRevision(path); err != nil || current != revision {
			return nil, errors.Join(errNotResident, err)
		}
	}
	return blob, nil
}

// rawRevision returns the name of the directory in policy/raw_data that has a profile's bytes. The link raw_data of the
// profile's directory is "../../raw_data/REVISION/raw_data", with more dots for a child.
func rawRevision(path string) (string, error) {
	link, err := os.Readlink(path + "/raw_data")
	if err != nil {
		return "", err
	}
	for strings.HasPrefix(link, "../") {
		link = link[len("../"):]
	}
	revision, ok := strings.CutPrefix(link, "raw_data/")
	if ok {
		revision, ok = strings.CutSuffix(revision, "/raw_data")
	}
	if !ok || strings.Trim(revision, "0123456789") != "" || revision == "" {
		return "", fmt.Errorf("%s/raw_data: %q is not where the kernel keeps a profile's bytes", path, link)
	}
	return revision, nil
}

// sumMatches reports whether blob has the hash that the kernel shows for the bytes in the directory raw.
func sumMatches(raw string, blob []byte) bool {
	if text, err := readWord(raw + "/sha256"); err == nil {
		sum := sha256.Sum256(blob)
		return text == hex.EncodeToString(sum[:])
	}
	text, err := readWord(raw + "/sha1")
	sum := sha1.Sum(blob)
	return err == nil && text == hex.EncodeToString(sum[:])
}
