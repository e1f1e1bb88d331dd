package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// The kubelet keeps what a ConfigMap has in a directory of its own for each version, and swaps the link ..data to it
// (AtomicWriter, k8s.io/kubernetes/pkg/volume/util/atomic_writer.go). Whoever reads several files through the link may get
// some of one version and some of the next. No version's directory has the name of an earlier one, so all that was read
// between two looks at the link is of one version if it is the same then.

// dataLink is the name of the link.
const dataLink = "..data"

// dataOf returns where the links of the versions lead in a configuration directory; empty if it has none.
func dataOf(config string) string {
	var all []string
	for _, dir := range []string{"", "policy.d", "profiles", "tests.d"} {
		if to, err := os.Readlink(filepath.Join(config, dir, dataLink)); err == nil {
			all = append(all, dir+"="+to)
		}
	}
	return strings.Join(all, "\n")
}

// maxReadings is how often a policy is read again that changes while it is read. A reading takes milliseconds, and the
// kubelet changes a ConfigMap at most every few seconds.
const maxReadings = 20

// errChanging is the error for files that change faster than they can be read.
var errChanging = exit.With(exit.Cannot, errors.New("the files are replaced by others faster than they can be read: try it again later"))

// settled is a policy that was read whole, and the version that it is of.
type settled struct {
	policy *policy.Config
	tests  *policyfile.Suite // nil unless the policy requires them, and its files have versions
	data   string            // dataOf
}

// readSettled reads and checks a policy. Where its files have versions, all of it is of one.
func readSettled(n *node.Node, config string, by policyfile.Reader, to func() templates.Target) (s settled, err error) {
	for range maxReadings {
		s = settled{data: dataOf(config)}
		if s.data != "" {
			by = policyfile.Reader{} // which leaves nothing to be read later
		}
		if s.policy, err = read(config, by, to); err == nil && n.Root {
			if err = policyfile.CheckAccess(config, s.policy); err != nil {
				err = exit.With(exit.Cannot, err)
			}
		}
		if err == nil && s.data != "" && s.policy.RequireTests {
			s.tests, err = readSuite(config, s.policy)
		}
		if dataOf(config) == s.data {
			return s, err
		}
	}
	return s, errChanging
}

// stillSettled returns an error if a profile includes files of the configuration directory, and these are of another version
// than the rest: they are read when it is compiled.
func (s settled) stillSettled(config string) error {
	if s.data == "" || dataOf(config) == s.data {
		return nil
	}
	within := absolute(config) + "/"
	for i := range s.policy.Profiles {
		d, err := s.policy.Profiles[i].Digest()
		if err != nil || slices.ContainsFunc(d.Includes, func(name string) bool { return strings.HasPrefix(name, within) }) {
			return errChanging
		}
	}
	return nil
}

// digest returns the hash of a policy as it was written, in hexadecimal: of its rules, its policies and the texts of its
// files. What a node makes of them does not count, as the texts of generated profiles.
func digest(p *policy.Config) (string, error) {
	bare := *p
	bare.Profiles = slices.Clone(p.Profiles)
	var all []byte
	for i := range bare.Profiles {
		one := &bare.Profiles[i]
		one.Compiled, one.Blob = nil, [sha256.Size]byte{}
		all = strconv.AppendQuote(all, one.Template)
		if one.EnforceAfter > 0 {
			all = strconv.AppendQuote(all, one.EnforceAfter.String())
		}
		if one.Template != "" {
			continue
		}
		text := sha256.Sum256(one.Text)
		if one.Unread != nil {
			text = one.Unread.SHA256
		}
		all = append(all, text[:]...)
	}
	all = strconv.AppendBool(all, p.RequireTests)
	index, err := bare.Encode()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append(all, index...))
	return hex.EncodeToString(sum[:]), nil
}
