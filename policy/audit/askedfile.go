package audit

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// letters are the permissions of files in a mask (aa_file_perm_chrs, security/apparmor/file.c).
var letters = map[byte]uint32{'x': meaning.MayExec, 'w': meaning.MayWrite, 'r': meaning.MayRead, 'a': meaning.MayAppend,
	'c': meaning.MayCreate, 'd': meaning.MayDelete, 'k': meaning.MayLock, 'm': meaning.MayMmapExec, 'l': meaning.MayLink}

// letterOf are the permissions that a letter stands for in the masks of an operation, where these are other ones: a mask has
// "w" for setattr, chmod and chown as well, and "r" for getattr (map_mask_to_chr_mask).
var letterOf = map[string]map[byte]uint32{
	"getattr":     {'r': meaning.MayGetAttr},
	"chmod":       {'w': meaning.MayChmod},
	"chown":       {'w': meaning.MayChown},
	"truncate":    {'w': meaning.MayWrite | meaning.MaySetAttr},
	"rename_src":  {'w': meaning.MayWrite | meaning.MaySetAttr},
	"rename_dest": {'w': meaning.MayWrite | meaning.MaySetAttr},
}

// fileBits returns the permissions of a mask of letters. Kernels before Linux 2.6.36 put "::" behind those of the owner, and
// ahead of those of others.
func fileBits(operation, mask string) (all uint32, err error) {
	for i := range len(mask) {
		c := mask[i]
		bits, ok := letterOf[operation][c]
		if !ok {
			bits, ok = letters[c]
		}
		switch {
		case c == ':':
		case !ok:
			return 0, fmt.Errorf("no kernel writes the permissions %s for a file", oneline.Quote(mask))
		}
		all |= bits
	}
	return all, nil
}

// askedOfFile reads a record of class "file", which also has execs and changes of the profile.
func askedOfFile(r *Record) (Asked, error) {
	switch operation := r.Get("operation"); operation {
	case "exec":
		return askedExec(r)
	case "change_hat":
		return askedHat(r)
	case "change_profile", "change_onexec", "stack", "stack_onexec":
		label := cmp.Or(r.Get("target"), r.Get("name"))
		if label == "" {
			return Asked{}, fmt.Errorf("the record does not say to which profile the process was to change")
		}
		return one(meaning.ChangeProfileAccess{Label: label, Stack: strings.HasPrefix(operation, "stack"),
			OnExec: strings.HasSuffix(operation, "onexec")}), nil
	}
	return askedFile(r)
}

func askedHat(r *Record) (Asked, error) {
	hat := cmp.Or(r.Get("target"), r.Get("name"))
	name, _ := r.Profile()
	if i := strings.LastIndex(hat, "//"); i >= 0 {
		hat = hat[i+2:]
	}
	if hat == "" {
		return Asked{}, because(NoSuchHat, "the profile %s has none of the hats that the process was to change into", oneline.Quote(name))
	}
	return one(meaning.ChangeHatAccess{Hat: hat}), nil
}

// path returns the path that a record is about, and whether the process owns the file.
func (r *Record) path() (path string, owner bool, err error) {
	path = r.Get("name")
	if !strings.HasPrefix(path, "/") {
		return "", false, because(Disconnected, "the kernel has no whole path of the file, but %s", oneline.Quote(path))
	}
	fsuid, known := r.Number("fsuid")
	ouid, also := r.Number("ouid")
	return path, known && also && fsuid == ouid, nil
}

// askedExec reads a record of an exec. One that has no mask is of an exec for which a change of the profile was asked ahead
// of it (AA_MAY_ONEXEC has no letter).
func askedExec(r *Record) (Asked, error) {
	path, owner, err := r.path()
	if err != nil {
		return Asked{}, err
	}
	requested, _ := r.Masks()
	if target := r.Get("target"); requested == "" && target != "" {
		return Asked{Accesses: []meaning.Access{
			meaning.ChangeProfileAccess{Label: target, OnExec: true, Program: path},
			meaning.ChangeProfileAccess{Label: target, OnExec: true, Program: path, Stack: true}},
			Open: "whether the label was to be stacked is not logged"}, nil
	}
	asked := one(meaning.ExecAccess{Path: path, Owner: owner})
	asked.Denied = meaning.MayExec
	if r.Type == Audited {
		asked.Denied = 0
	}
	return asked, nil
}

// askedFile reads a record of an access by path.
func askedFile(r *Record) (Asked, error) {
	path, owner, err := r.path()
	if err != nil {
		return Asked{}, err
	}
	operation := r.Get("operation")
	requested, refused := r.Masks()
	want, err := fileBits(operation, requested)
	if err != nil {
		return Asked{}, err
	}
	denied, err := fileBits(operation, refused)
	if err != nil {
		return Asked{}, err
	}
	switch want |= denied; {
	case operation == "link" || operation == "inode_link":
		target := cmp.Or(r.Get("target"), r.Get("name2"))
		if !strings.HasPrefix(target, "/") {
			return Asked{}, because(Disconnected, "the kernel has no whole path of the file that was to be linked, but %s", oneline.Quote(target))
		}
		return Asked{Accesses: []meaning.Access{meaning.LinkAccess{Path: path, Target: target, Owner: owner}}, Denied: denied}, nil
	case want == 0:
		return Asked{}, fmt.Errorf("the record does not say which permission was asked for")
	case want == meaning.MayExec:
		return Asked{Accesses: []meaning.Access{meaning.ExecAccess{Path: path, Owner: owner}}, Denied: denied}, nil
	}
	return Asked{Accesses: []meaning.Access{meaning.FileAccess{Path: path, Want: want, Owner: owner}}, Denied: denied}, nil
}
