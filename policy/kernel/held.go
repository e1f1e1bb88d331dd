package kernel

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Held returns a profile as the kernel holds it, whoever loaded it: its directory and time (see Loaded), and the kernel's
// hashes of it and of its children, by the one function that this kernel uses. Check can compare with these later. The
// hashes do not show what the profile allows.
//
// The error wraps ErrNotLoaded if there is no profile of that name. It is an error if the profile or a child is in a mode
// that confines nothing, or if the kernel does not enforce it (NotEnforcing).
func (k *Kernel) Held(name string) (held Loaded, content []profile.Compiled, err error) {
	if err := profile.CheckName(name); err != nil {
		return held, nil, err
	}
	main, err := k.Details(name)
	if err != nil {
		return held, nil, err
	}
	modes := make(map[string]profile.Mode)
	for _, part := range append([]string{name}, main.Children...) {
		parent := strings.TrimSuffix(strings.TrimSuffix(part, last(part)), childSeparator)
		if modes[parent] == profile.Complain && strings.HasPrefix(last(part), "null-") {
			modes[part] = profile.Complain
			continue // comes as processes run, see foreignChild
		}
		d := main
		if part != name {
			if d, err = k.Details(part); errors.Is(err, ErrNotLoaded) {
				continue // removed meanwhile
			} else if err != nil {
				return held, nil, err
			}
		}
		c := profile.Compiled{Name: part}
		if c.Mode, err = profile.ParseMode(d.Mode); err != nil {
			return held, nil, fmt.Errorf("profile %s is in mode %s, which is none of enforce, complain and kill", oneline.Quote(part),
				d.Mode)
		}
		function, digits, _ := strings.Cut(d.Hash, ":")
		sum := map[string][]byte{"sha1": c.SHA1[:], "sha256": c.SHA256[:]}[function]
		switch n, err := hex.Decode(sum, []byte(digits[:min(len(digits), 2*len(sum))])); {
		case sum == nil:
			return held, nil, &NotReadyError{Readiness: NoHash, Err: fmt.Errorf("there is none of profile %s", oneline.Quote(part))}
		case err != nil || n != len(sum):
			return held, nil, fmt.Errorf("profile %s: the kernel's hash %s is none", oneline.Quote(part), oneline.Quote(d.Hash))
		}
		modes[part] = c.Mode
		content = append(content, c)
	}
	if err := k.Enforced(content); err != nil {
		return held, nil, k.explain(err)
	}
	return Loaded{Name: name, Dir: main.Dir, Since: main.Since.UnixNano()}, content, nil
}
