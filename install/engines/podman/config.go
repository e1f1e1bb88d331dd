package podman

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// The files that Podman reads as root, in this order, if they are there (common/pkg/config/new.go). Each may have a
// directory of drop-ins, of its name and ".d", which are read in the order of their names.
const (
	vendor = "/usr/share/containers/containers.conf" // has no drop-ins
	system = "/etc/containers/containers.conf"
)

// own is a user's own configuration, below the home directory. From Podman 5 on root has one as well, and it is read last.
const own = ".config/containers/containers.conf"

// rootless is what Podman reads besides as another user than root, from 5.6 on.
const rootless = "/etc/containers/containers.rootless.conf"

// Our files.
const (
	dropIn         = system + ".d/oci-apparmor.conf"
	rootlessDropIn = rootless + ".d/oci-apparmor.conf"
)

// Keys of the files.
var (
	keyRuntime  = []string{"engine", "runtime"}
	keyRuntimes = []string{"engine", "runtimes"}
	keyFlags    = []string{"engine", "runtimes_flags"} // from Podman 5.5 on
	keyHooks    = []string{"engine", "hooks_dir"}
	keyJSON     = []string{"engine", "runtime_supports_json"}
	keyNoCgroup = []string{"engine", "runtime_supports_nocgroup"}
	keyPlatform = []string{"engine", "platform_to_oci_runtime"}
)

// defaults are what Podman has for a list that no file sets (common/pkg/config/default.go).
var defaults = map[string][]string{
	"hooks_dir":                 {"/usr/share/containers/oci/hooks.d"},
	"runtime_supports_json":     {"crun", "runc", "kata", "runsc", "youki", "krun"},
	"runtime_supports_nocgroup": {"crun", "krun"},
}

// implicitHooks are what Podman takes where hooks_dir is an empty list (libpod/container_internal.go).
var implicitHooks = []string{"/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"}

// with returns the files that have drop-ins beside them, each before its own.
func with(d *wire.Draft, main string) ([]string, error) {
	all, err := d.Glob(main + ".d/*.conf")
	return append([]string{main}, all...), err
}

// files parses all files of a configuration, in the order in which Podman reads them.
func (n *podman) files(d *wire.Draft) ([]*tomlfile.File, error) {
	paths, mains := []string{vendor}, []string{system}
	if !n.before(5) {
		accounts, err := accounts(d)
		if err != nil {
			return nil, err
		}
		for _, a := range accounts {
			if a.root {
				mains = append(mains, path.Join(a.home, own))
				break
			}
		}
	}
	for _, main := range mains {
		all, err := with(d, main)
		if err != nil {
			return nil, err
		}
		paths = append(paths, all...)
	}
	return tomlfile.ReadAll(d, paths)
}

// merged is what several files say together: tables, values, and a *list for each array.
type merged map[string]any

// list is an array that files have set. From Podman 4.8 on an array may end with {append=true}, which holds for later files
// as well (common/internal/attributedstring).
type list struct {
	values  []any
	appends bool
	more    bool // they come after the default's
}

func merge(files []*tomlfile.File) merged {
	all := merged{}
	for _, f := range files {
		mergeInto(all, f.Values)
	}
	return all
}

func mergeInto(to, from map[string]any) {
	for key, v := range from {
		switch v := v.(type) {
		case map[string]any:
			sub, ok := to[key].(map[string]any)
			if !ok {
				sub = map[string]any{}
				to[key] = sub
			}
			mergeInto(sub, v)
		case []any:
			was, _ := to[key].(*list)
			to[key] = was.then(v)
		default:
			to[key] = v
		}
	}
}

// then returns the list after a later file's array.
func (l *list) then(v []any) *list {
	next := &list{}
	if l != nil {
		next.appends = l.appends
	}
	for _, of := range v {
		if attributes, ok := of.(map[string]any); ok && len(attributes) == 1 {
			if appends, ok := attributes["append"].(bool); ok {
				next.appends = appends
				continue
			}
		}
		next.values = append(next.values, of)
	}
	switch {
	case !next.appends:
	case l == nil:
		next.more = true
	default:
		next.more, next.values = l.more, append(slices.Clone(l.values), next.values...)
	}
	return next
}

// array returns the array that stands for the list in one file.
func (l *list) array() []any {
	all := slices.Clone(l.values)
	if all == nil {
		all = []any{}
	}
	if l.more {
		all = append(all, map[string]any{"append": true})
	}
	return all
}

// plain returns what one file would have to say for it to say the same.
func plain(m map[string]any) map[string]any {
	all := make(map[string]any, len(m))
	for key, v := range m {
		switch v := v.(type) {
		case map[string]any:
			all[key] = plain(v)
		case *list:
			all[key] = v.array()
		default:
			all[key] = v
		}
	}
	return all
}

// text returns the string at a key; an empty one where there is none.
func (m merged) text(key ...string) string {
	s, _ := tomlfile.Get(m, key...).(string)
	return s
}

// strings returns the strings of a list, with the default's where these count.
func (m merged) strings(key []string) []string {
	l, ok := tomlfile.Get(m, key...).(*list)
	if !ok {
		return defaults[key[1]]
	}
	var all []string
	if l.more {
		all = slices.Clone(defaults[key[1]])
	}
	for _, v := range l.values {
		if s, ok := v.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// hooks returns the directories of hooks.
func (m merged) hooks() []string {
	if all := m.strings(keyHooks); len(all) > 0 {
		return all
	}
	return implicitHooks
}

// podman is a Podman with its configuration.
type podman struct {
	*host.Host
	program string
	version []int // empty where Podman cannot be asked, as in an image: it does not run without /proc
}

// look finds out about the Podman of a host.
func look(ctx context.Context, h *host.Host, d *wire.Draft) (*podman, error) {
	n := &podman{Host: h, program: h.Program(d, "podman")}
	if !h.Live() {
		return n, nil
	}
	var err error
	n.version, err = h.VersionOf(ctx, n.program)
	return n, err
}

// before reports whether the version is known and below another, or is not known.
func (n *podman) before(version ...int) bool { return slices.Compare(n.version, version) < 0 }

// base returns the runtime that is the default now, by its name and its path.
type base struct{ name, path string }

// searched are the directories in which Podman looks for a runtime that no file names, in this order.
var searched = []string{"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/sbin", "/bin"}

// read returns the default runtime by the files alone.
func (n *podman) read(d *wire.Draft, m merged) (base, error) {
	names := []string{"crun", "runc"}
	if name := m.text(keyRuntime...); path.IsAbs(name) {
		return base{name, name}, nil
	} else if name != "" {
		names = []string{name}
	}
	for _, name := range names {
		var paths []string
		if l, ok := tomlfile.Get(m, append(keyRuntimes[:2:2], name)...).(*list); ok {
			for _, p := range l.values {
				paths = append(paths, fmt.Sprint(p))
			}
		} else {
			for _, dir := range searched {
				paths = append(paths, path.Join(dir, name))
			}
		}
		for _, p := range paths {
			if d.Runnable(p) == nil {
				return base{name, p}, nil
			}
		}
	}
	return base{}, errors.New("there is no program of its default runtime " + strings.Join(names, " or "))
}
