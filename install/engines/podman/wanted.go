package podman

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/compare"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// wanted is what Podman is to read.
type wanted struct {
	*podman
	draft     *wire.Draft
	before    merged
	base      base
	isDefault bool
	own       string // the name of the link that ours was called by when it was wired by hand

	link  string            // of our wrapper; empty where the hook calls us
	other bool              // it stands before another runtime than the default
	lists map[string]string // what is added to lists, by their keys
	notes []string
}

// runtime drafts a runtime of ours before the one that is the default now.
func (w *wanted) runtime() error {
	var err error
	if (w.own == "crun" || w.own == "runc") && w.own != w.base.name { // its containers are that one's
		w.base, w.other = base{w.own, w.own}, true
	}
	if w.link, err = w.Before(w.draft, "podman", w.base.path); err != nil {
		if !errors.Is(err, host.ErrStandsForNone) || w.isDefault {
			return err
		}
		w.other = true
		w.notes = append(w.notes, "ours calls another runtime than the default "+w.base.name+": "+err.Error())
		for _, name := range []string{"crun", "runc"} {
			if w.link, err = w.Before(w.draft, "podman", name); err == nil {
				w.base.name = name
				break
			}
		}
		if err != nil {
			return err
		}
	}
	var text strings.Builder
	text.WriteString(mark + tomlfile.Head(keyRuntime[:1]) + "\n")
	if w.isDefault {
		fmt.Fprintf(&text, "runtime = %q\n", Runtime)
	}
	w.lists = map[string]string{}
	for _, key := range [][]string{keyJSON, keyNoCgroup} {
		if slices.Contains(w.before.strings(key), path.Base(w.base.name)) {
			text.WriteString(w.add(key, Runtime))
		}
	}
	fmt.Fprintf(&text, "\n%s\n%s = %s\n", tomlfile.Head(keyRuntimes), Runtime, quoted([]string{w.link}))
	if flags, ok := tomlfile.Get(w.before, append(keyFlags[:2:2], w.base.name)...).(*list); ok {
		value, err := tomlfile.Value(flags.values)
		if err != nil {
			return fmt.Errorf("runtimes_flags: %w", err)
		}
		fmt.Fprintf(&text, "\n%s\n%s = %s\n", tomlfile.Head(keyFlags), Runtime, value)
	}
	if err := w.draft.WriteFile(dropIn, []byte(text.String())); err != nil {
		return err
	}
	if !w.isDefault {
		w.notes = append(w.notes, "containers come to us by podman --runtime "+Runtime+" run, as root")
		return nil
	}
	w.notes = append(w.notes, "containers that exist keep the runtime that they were made with",
		"the RUN steps of podman build come to us as well, and nobody reports their names and images: under a policy with a rule for "+
			"these, build with podman --runtime "+w.base.name+" build")
	platforms, _ := tomlfile.Get(w.before, keyPlatform...).(map[string]any)
	for platform, name := range platforms {
		w.notes = append(w.notes, fmt.Sprintf("images of the platform %s are started by %v all the same, as platform_to_oci_runtime says",
			platform, name))
	}
	return w.spare("runtime", keyRuntime, func(name string, _ merged) string { return "runtime = " + tomlfile.Quote(name) + "\n" })
}

// hook drafts our hook, in a directory of its own: for all containers, or for those that ask for a policy.
func (w *wanted) hook() error {
	at, err := w.Ours(w.draft, hook)
	if err != nil {
		return err
	}
	when := `{"always": true}`
	if !w.isDefault {
		when = `{"annotations": {"^oci-apparmor/policy(\\..*)?$": ".*"}}`
	}
	program, err := json.Marshal(at)
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`{"version": "1.0.0", "when": %s, "stages": ["precreate"], "hook": {"path": %s,
  "args": [%q, "precreate", "--engine", "podman"]}}
`, when, program, hook)
	w.lists = map[string]string{}
	lines := mark + tomlfile.Head(keyHooks[:1]) + "\n" + w.add(keyHooks, hooksDir(w.Host))
	err = errors.Join(w.draft.WriteFile(hookFile(w.Host), []byte(text)), w.draft.WriteFile(dropIn, []byte(lines)))
	if err != nil {
		return err
	}
	w.notes = append(w.notes, "what podman exec and health checks start in a container is not covered by the hook")
	if len(w.version) > 0 && w.podman.before(4, 6) { // it runs the hook in no bundle (libpod, setupOCIHooks)
		w.notes = append(w.notes, "Podman before 4.6 reports neither id nor name of a container to the hook: one that may be another "+
			"rule's by its name or image is refused")
	}
	if !w.isDefault {
		w.notes = append(w.notes, "containers come to us that ask for a policy by annotation, and no others")
		return nil
	}
	return w.spare("hooks_dir", keyHooks, func(_ string, m merged) string {
		return "hooks_dir = " + quoted(m.hooks(), "{append = false}") + "\n"
	})
}

// add returns a line that adds a string to a list.
func (w *wanted) add(key []string, value string) string {
	w.lists[key[1]] = value
	all := w.before.strings(key)
	if key[1] == keyHooks[1] {
		all = w.before.hooks()
	}
	if w.before5() || len(w.before.strings(key)) == 0 {
		return key[1] + " = " + quoted(append(slices.Clone(all), value)) + "\n"
	}
	return key[1] + " = " + quoted([]string{value}, "{append = true}") + "\n"
}

// before5 reports whether this Podman may not know {append = true}.
func (w *wanted) before5() bool { return w.podman.before(5) }

// quoted writes an array of strings, and more elements as they are.
func quoted(all []string, more ...string) string {
	parts := make([]string, len(all))
	for i, s := range all {
		parts[i] = tomlfile.Quote(s)
	}
	return "[" + strings.Join(append(parts, more...), ", ") + "]"
}

// spare has other users than root go on with what a key is now: what is for root they read as well, and we refuse them.
func (w *wanted) spare(name string, key []string, line func(runtime string, m merged) string) error {
	if len(w.version) > 0 && w.podman.before(5, 6) {
		users, err := rootlessUsers(w.draft, key)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return fmt.Errorf("podman before 5.6 gives the default of root to other users as well, and we refuse their containers: for %s, "+
				"set %s in ~/.config/containers/containers.conf first, in the table [engine]", strings.Join(users, ", "), name)
		}
		w.notes = append(w.notes, "Podman before 5.6 gives this default to other users than root as well, and we refuse their containers: they "+
			"need a "+name+" of their own in ~/.config/containers/containers.conf")
		return nil
	}
	paths, err := with(w.draft, rootless)
	if err != nil {
		return err
	}
	files, err := tomlfile.ReadAll(w.draft, paths)
	if err != nil {
		return err
	}
	if tomlfile.Get(merge(files), key...) != nil { // somebody has seen to it
		return nil
	}
	all, err := w.files(w.draft)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(f *tomlfile.File) bool { return f.Path == dropIn || strings.Contains(f.Path, "/"+own) })
	m := merge(all)
	b, err := w.read(w.draft, m)
	if err != nil {
		return err
	}
	w.notes = append(w.notes, "other users than root keep what they have: rootless containers are not covered")
	return w.draft.WriteFile(rootlessDropIn, []byte(mark+tomlfile.Head(key[:1])+"\n"+line(b.name, m)))
}

// rootlessUsers returns the users that have a storage of Podman's, and do not set a key themselves.
func rootlessUsers(d *wire.Draft, key []string) ([]string, error) {
	accounts, err := accounts(d)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, a := range accounts {
		if a.root {
			continue
		}
		// What a user has made there may be anything. It counts as nothing then.
		if e, err := d.Read(path.Join(a.home, ".local/share/containers/storage")); err != nil || !e.IsDir() {
			continue
		}
		paths, _ := with(d, path.Join(a.home, own))
		files, err := tomlfile.ReadAll(d, paths)
		if v := tomlfile.Get(merge(files), key...); err != nil || v == nil || v == any(Runtime) {
			all = append(all, a.name)
		}
	}
	return all, nil
}

// account is a line of /etc/passwd.
type account struct {
	name, home string
	root       bool
}

// accounts returns the accounts of /etc/passwd (passwd(5)) that have a home directory. Lines that are none are left out.
func accounts(d *wire.Draft) ([]account, error) {
	passwd, err := d.Read("/etc/passwd")
	if err != nil || !passwd.IsFile() {
		return nil, err
	}
	var all []account
	for line := range strings.Lines(string(passwd.Data)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) == 7 && path.IsAbs(fields[5]) {
			all = append(all, account{name: fields[0], home: fields[5], root: fields[2] == "0"})
		}
	}
	return all, nil
}

// onlyOurs compares what the files say before and after, by our own reading: all but ours is to be the same.
func (w *wanted) onlyOurs(files []*tomlfile.File) error {
	after := merge(files)
	late := func(key []string) error {
		for _, f := range slices.Backward(files) {
			if f.Path != dropIn && f.Get(key...) != nil {
				return fmt.Errorf("%s:%d: %s is set there, and is read after ours: take it out, or give that file a name before %s", f.Path,
					f.Line(key...), key[len(key)-1], path.Base(dropIn))
			}
		}
		return fmt.Errorf("%s: %s is not what it was to be", dropIn, key[1])
	}
	but := []string{"engine.runtimes." + Runtime, "engine.runtimes_flags." + Runtime}
	for _, key := range [][]string{keyHooks, keyJSON, keyNoCgroup} {
		but = append(but, strings.Join(key, "."))
		want := w.before.strings(key)
		if key[1] == keyHooks[1] && w.link == "" {
			want = w.before.hooks()
		}
		if value, ok := w.lists[key[1]]; ok {
			want = append(slices.Clone(want), value)
		}
		if !slices.Equal(after.strings(key), want) {
			return late(key)
		}
	}
	if w.link != "" {
		paths, _ := tomlfile.Get(after, append(keyRuntimes[:2:2], Runtime)...).(*list)
		if paths == nil || !slices.Equal(paths.values, []any{w.link}) {
			return late(append(keyRuntimes[:2:2], Runtime))
		}
		if w.isDefault {
			but = append(but, "engine.runtime")
			if after.text(keyRuntime...) != Runtime {
				return late(keyRuntime)
			}
		}
	}
	return compare.Same(flatten(plain(w.before)), flatten(plain(after)), but...)
}
