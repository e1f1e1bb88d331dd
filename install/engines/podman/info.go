package podman

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/oci-apparmor/oci-apparmor/install/engines/compare"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
)

// copied is a directory in which Podman reads copies of a configuration, and has its state besides, so that nothing of
// the node's is made or changed.
type copied struct {
	*podman
	dir    string
	remove func()
}

// copies makes such a directory.
func (n *podman) copies() (*copied, error) {
	c := &copied{podman: n}
	var err error
	c.dir, c.remove, err = n.Candidate(func(dir string) (map[string][]byte, error) {
		storage := fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", dir+"/root", dir+"/run")
		return map[string][]byte{"storage.conf": []byte(storage)}, nil
	})
	return c, err
}

// runtime is what Podman says of a runtime.
type runtime struct{ Name, Path, Version string }

// info is what Podman makes of a configuration.
type info struct {
	runtime runtime
	rest    map[string]string // what else depends on its files, by the names that lead to it
}

// said are the parts of podman info that depend on its files, and on nothing that changes by itself.
var said = []string{"host.cgroupManager", "host.conmon.", "host.databaseBackend", "host.eventLogger", "host.logDriver",
	"host.networkBackend", "host.rootlessNetworkCmd", "host.security.", "plugins.", "registries.", "version."}

// info has Podman read what files say together, from one file: it reads either that or all of those. With a runtime it takes that
// one.
func (c *copied) info(ctx context.Context, m merged, with string) (*info, error) {
	values := plain(m)
	set := func(table, key string, v any) {
		t, ok := values[table].(map[string]any)
		if !ok {
			t = map[string]any{}
			values[table] = t
		}
		if t[key] = v; v == nil {
			delete(t, key)
		}
	}
	for _, key := range []string{"static_dir", "tmp_dir", "volume_path"} { // below the directory by default
		set("engine", key, nil)
	}
	set("engine", "lock_type", "file")
	set("engine", "events_logger", "none")
	set("network", "network_config_dir", c.dir+"/networks")
	text, err := toml.Marshal(values)
	if err != nil {
		return nil, err
	}
	conf := path.Join(c.dir, "containers.conf")
	if err := os.WriteFile(c.Tree.Real(conf), text, 0o600); err != nil {
		return nil, err
	}
	args := []string{"--root", c.dir + "/root", "--runroot", c.dir + "/run", "--tmpdir", c.dir + "/tmp"}
	if with != "" {
		args = append(args, "--runtime", with)
	}
	out, err := c.Run(ctx, []string{"CONTAINERS_CONF=" + conf, "CONTAINERS_STORAGE_CONF=" + path.Join(c.dir, "storage.conf")},
		c.program, append(args, "info", "--format", "json")...)
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), c.dir, ""))
	}
	return parseInfo(out)
}

func parseInfo(out []byte) (*info, error) {
	var all map[string]any
	i := new(info)
	var named struct{ Host struct{ OCIRuntime runtime } }
	if err := errors.Join(json.Unmarshal(out, &all), json.Unmarshal(out, &named)); err != nil {
		return nil, fmt.Errorf("podman info: %w", err)
	}
	i.runtime = named.Host.OCIRuntime
	if i.runtime.Path == "" {
		return nil, errors.New("podman info has no runtime")
	}
	i.rest = flatten(all)
	maps.DeleteFunc(i.rest, func(key, _ string) bool {
		return !slices.ContainsFunc(said, func(part string) bool { return strings.HasPrefix(key, part) })
	})
	return i, nil
}

// flatten returns each value by the names that lead to it.
func flatten(table map[string]any) map[string]string {
	return compare.Flatten(table, func(any) bool { return false })
}

// same returns an error that names what differs.
func same(was, now map[string]string) error {
	if err := compare.Same(was, now); err != nil {
		return fmt.Errorf("podman info: %w", err)
	}
	return nil
}

// proof has Podman read the configuration before and after, as far as ours is a runtime's, and compares what it says.
func (c *copied) proof(ctx context.Context, before *info, after merged, w *wanted) error {
	if w.link == "" {
		now, err := c.info(ctx, after, "")
		if err != nil {
			return err
		}
		if now.runtime != before.runtime {
			return fmt.Errorf("the default runtime would be %s", now.runtime.Name)
		}
		return same(before.rest, now.rest)
	}
	at := path.Join(c.dir, "podman", path.Base(w.link)) // the link itself need not be there
	if err := os.MkdirAll(c.Tree.Real(path.Dir(at)), 0o700); err != nil {
		return err
	}
	if err := os.Symlink(path.Join(c.Bin, wrapper), c.Tree.Real(at)); err != nil {
		return err
	}
	tomlfile.Get(after, keyRuntimes...).(map[string]any)[Runtime] = &list{values: []any{at}}
	for _, with := range []string{"", Runtime} {
		now, err := c.info(ctx, after, with)
		if err != nil {
			return err
		}
		want := before.runtime
		if with == Runtime || w.isDefault {
			want.Name, want.Path = Runtime, at
			if w.other {
				want.Version = now.runtime.Version
			}
		}
		if now.runtime != want {
			return fmt.Errorf("podman info: the runtime %q would be %+v, and not %+v", with, now.runtime, want)
		}
		if err := same(before.rest, now.rest); err != nil {
			return err
		}
	}
	return nil
}
