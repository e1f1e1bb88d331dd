package wrapper

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// The options of crun 0.15 to 1.29: src/crun.c and src/COMMAND.c of github.com/containers/crun. argp adds argpOptions
// to each list (glibc's argp/argp-parse.c).
const (
	crunGlobals = "debug cgroup-manager= systemd-cgroup log= log-format= log-level= root= rootless= version/v! /V!" +
		argpOptions
	argpOptions = " help/?! usage! program-name= HANG?"
)

// readCrun reads options from argv[from] up to the first argument, as argp does with ARGP_IN_ORDER. A long option may be
// cut short if no other begins so. Short options may be joined.
func (a *Args) readCrun(from int, known []option, _ int) (line, error) {
	var l line
	i := from
	for ; i < len(a.argv); i++ {
		arg := a.argv[i]
		if arg == "--" {
			i++
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			break
		}
		var err error
		if arg[1] == '-' {
			i, err = a.readLong(i, known, &l)
		} else {
			i, err = a.readShort(i, known, &l)
		}
		if err != nil || l.prints {
			return l, err
		}
	}
	l.rest(i, len(a.argv))
	return l, nil
}

// readLong reads the long option argv[i] and returns the index of its last argument.
func (a *Args) readLong(i int, known []option, l *line) (int, error) {
	arg := a.argv[i]
	name, value, assigned := strings.Cut(arg[len("--"):], "=")
	found := lookupPrefix(known, name)
	switch {
	case len(found) > 1:
		return i, fmt.Errorf("option %q may be --%s or --%s", arg, found[0].name, found[1].name)
	case len(found) == 0 && assigned:
		return i, nil // an option of a newer crun; whatever it means, it is this one argument
	case len(found) == 0:
		return i, unknownOption(arg)
	}
	o := found[0]
	if assigned && (o.arity == none || o.arity == prints || o.arity == next) {
		return i, fmt.Errorf("option --%s takes no value after =", o.name)
	}
	return a.set(i, len(arg)-len(value), assigned, o, l)
}

// readShort reads the short options that are joined in argv[i] and returns the index of the last one's last argument.
func (a *Args) readShort(i int, known []option, l *line) (int, error) {
	arg := a.argv[i]
	for at := 1; at < len(arg); at++ {
		o, ok := lookupShort(known, arg[at:at+1])
		if !ok {
			return i, unknownOption("-" + arg[at:at+1])
		}
		attached := (o.arity == required || o.arity == optional) && at+1 < len(arg)
		last, err := a.set(i, at+1, attached, o, l)
		if err != nil || l.prints || attached || last > i {
			return last, err
		}
	}
	return i, nil
}

// set records an option in argv[i] and returns the index of its last argument. An attached value begins at offset in
// argv[i]. Any other value is the next argument.
func (a *Args) set(i, offset int, attached bool, o option, l *line) (int, error) {
	s := setting{name: o.name, first: i, end: i + 1, offset: offset}
	switch {
	case o.arity == prints:
		l.prints = true
	case attached:
		s.value = a.argv[i][offset:]
	case o.arity == required || o.arity == next:
		if i+1 == len(a.argv) {
			return i, fmt.Errorf("option --%s has no value", o.name)
		}
		s.value, s.end, s.offset = a.argv[i+1], i+2, 0
	}
	a.options = append(a.options, s)
	return s.end - 1, nil
}

func lookupShort(known []option, short string) (option, bool) {
	for _, o := range known {
		if o.short == short {
			return o, true
		}
	}
	return option{}, false
}

// lookupPrefix returns the option of that name, or else all options that begin so.
func lookupPrefix(known []option, prefix string) []option {
	var found []option
	for _, o := range known {
		if o.name == prefix && prefix != "" {
			return []option{o}
		}
		if o.name != "" && strings.HasPrefix(o.name, prefix) {
			found = append(found, o)
		}
	}
	return found
}

// checkCrun returns an error for options of crun that we cannot follow.
func (a *Args) checkCrun(command string) error {
	if file, ok := a.option("config"); ok && file != "config.json" {
		return fmt.Errorf("option --config makes crun %s read %q in place of the bundle's config.json, into which the "+
			"profile is written: name the file config.json", command, file)
	}
	if _, ok := a.option("rootless"); ok {
		return errors.New("crun up to 1.21 takes the value of option --rootless for --root, and later versions ignore it: " +
			"leave it out")
	}
	// crun changes into the bundle before it looks for the root.
	if root, ok := a.option("root"); ok && !filepath.IsAbs(root) {
		return fmt.Errorf("option --root names the relative path %q, of which crun makes another one for each command: give "+
			"an absolute path", root)
	}
	return nil
}
