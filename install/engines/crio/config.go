package crio

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/oci-apparmor/oci-apparmor/install/engines/compare"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// CRI-O's main file, and the directory of files that are read after it (pkg/config/config_unix.go).
const (
	main    = "/etc/crio/crio.conf"
	dropIns = "/etc/crio/crio.conf.d"
)

// dropIn is our file. All of the directory's files are read, whatever their names, in the order of these.
const dropIn = dropIns + "/oci-apparmor.conf"

var (
	keyDefault  = []string{"crio", "runtime", "default_runtime"}
	keyRuntimes = []string{"crio", "runtime", "runtimes"}
)

func keyOurs() []string { return append(keyRuntimes[:3:3], Runtime) }

// read parses the files that CRI-O reads, in their order. It also goes down into directories (UpdateFromPath).
func read(d *wire.Draft) ([]*tomlfile.File, error) {
	var all []*tomlfile.File
	var walk func(p string) error
	walk = func(p string) error {
		e, err := d.Read(p)
		if err != nil {
			return err
		}
		if e.IsFile() {
			f, err := tomlfile.Parse(p, e.Data)
			all = append(all, f)
			return err
		}
		names, err := d.List(p)
		if err != nil || !e.IsDir() {
			return err
		}
		for _, name := range names {
			if err := walk(path.Join(p, name)); err != nil {
				return err
			}
		}
		return nil
	}
	return all, errors.Join(walk(main), walk(dropIns))
}

// config is what CRI-O makes of its files.
type config struct {
	values   map[string]string         // by the names that lead to them
	standard string                    // the name of the default runtime
	runtimes map[string]map[string]any // by their names
}

// neutral is a runtime that copies have besides. Without one CRI-O prints no runtime that is its own.
const neutral = "oci-apparmor-neutral"

// daemon is a CRI-O.
type daemon struct {
	*host.Host
	program string
}

// look finds out about the CRI-O of a host.
func look(h *host.Host, d *wire.Draft) (*daemon, error) {
	for _, p := range h.Processes("crio") {
		for flag, usual := range map[[2]string]string{{"--config", "-c"}: main, {"--config-dir", "-d"}: dropIns} {
			if at := p.Flag(flag[:]...); at != "" && path.Clean(at) != usual {
				return nil, fmt.Errorf("crio runs as process %d with %s %s, and only %s can be changed here", p.PID, flag[0], at, usual)
			}
		}
	}
	return &daemon{Host: h, program: h.Program(d, "crio")}, nil
}

// dump asks CRI-O what it makes of files, by a copy of them.
func (n *daemon) dump(ctx context.Context, files []*tomlfile.File) (*config, error) {
	out, err := n.ask(ctx, files)
	if err != nil {
		return nil, err
	}
	return parseDump(out)
}

// ask returns what CRI-O prints of files.
func (n *daemon) ask(ctx context.Context, files []*tomlfile.File) ([]byte, error) {
	dir, remove, err := n.Candidate(func(string) (map[string][]byte, error) {
		all := map[string][]byte{
			main:                  nil, // which may be missing
			dropIns + "/000-none": fmt.Appendf(nil, "%s\nruntime_path = \"/\"\n", tomlfile.Head(append(keyRuntimes[:3:3], neutral))),
		}
		for _, f := range files {
			all[f.Path] = f.Text
		}
		return all, nil
	})
	if err != nil {
		return nil, err
	}
	defer remove()
	out, err := n.Run(ctx, nil, n.program, "--config", path.Join(dir, main), "--config-dir", path.Join(dir, dropIns), "config")
	if err != nil {
		return nil, fmt.Errorf("crio cannot read its configuration: %w", errors.New(strings.ReplaceAll(err.Error(), dir, "")))
	}
	return out, nil
}

func parseDump(out []byte) (*config, error) {
	var values map[string]any
	if err := toml.Unmarshal(out, &values); err != nil {
		return nil, fmt.Errorf("crio config: %w", err)
	}
	c := &config{standard: standardOf(values), runtimes: map[string]map[string]any{}}
	if runtimes, ok := tomlfile.Get(values, keyRuntimes...).(map[string]any); ok {
		delete(runtimes, neutral)
		for name, t := range runtimes {
			if t, ok := t.(map[string]any); ok {
				c.runtimes[name] = t
			}
		}
	}
	if len(c.runtimes) == 0 {
		return nil, errors.New("crio config prints no runtimes")
	}
	c.values = compare.Flatten(values, compare.IsZero)
	return c, nil
}

// standardOf returns the name of the default runtime. CRI-O does not print the one that it has without a file.
func standardOf(values map[string]any) string {
	if name, _ := tomlfile.Get(values, keyDefault...).(string); name != "" {
		return name
	}
	runtimes, _ := tomlfile.Get(values, keyRuntimes...).(map[string]any)
	for _, name := range []string{"crun", "runc"} { // runc up to 1.30
		if _, ok := runtimes[name]; ok {
			return name
		}
	}
	return "crun"
}

// merged returns what files say together, by our own reading: where CRI-O cannot be asked, as in an image without /proc. A
// runtime's table replaces an earlier one of that name.
func merged(files []*tomlfile.File) *config {
	c := &config{runtimes: map[string]map[string]any{}}
	for _, f := range files {
		if name, _ := f.Get(keyDefault...).(string); name != "" {
			c.standard = name
		}
		runtimes, _ := f.Get(keyRuntimes...).(map[string]any)
		for name, t := range runtimes {
			if t, ok := t.(map[string]any); ok {
				c.runtimes[name] = t
			}
		}
	}
	if c.standard == "" {
		c.standard = "crun"
		if c.runtimes["crun"] == nil && c.runtimes["runc"] != nil {
			c.standard = "runc"
		}
	}
	if c.runtimes[c.standard] == nil {
		c.runtimes[c.standard] = map[string]any{}
	}
	return c
}
