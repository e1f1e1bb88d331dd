package wrapper

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// The options of runc 1.0 to 1.6: main.go and COMMAND.go of github.com/opencontainers/runc. urfave/cli adds help and
// version. Its version 3 also takes the global options after the command.
const runcGlobals = "debug log= log-format= root= criu= systemd-cgroup rootless= help/h! version/v!"

// runcInherited are the options that every command takes.
const runcInherited = " debug log= log-format= root= criu= systemd-cgroup rootless= help/h!"

// readRunc reads options and arguments from argv[from] on. After the stop-th argument nothing is an option; 0 means that
// options may follow everywhere.
//
// Three parsers are in use. urfave/cli 1.22.1 (runc 1.0 and 1.1) and 1.22.17 (runc 1.2 to 1.5) each sort options before
// arguments in its own way, and leave the rest to package flag. Version 3 (runc 1.6) reads from left to right, trims white
// space, and takes "-1" for an argument. readRunc reads from left to right. It refuses a line that one of the three would
// accept and read in another way. A line that all of them refuse may pass.
func (a *Args) readRunc(from int, known []option, stop int) (line, error) {
	var l line
	for i := from; i < len(a.argv); i++ {
		arg := a.argv[i]
		if arg == "--" {
			l.rest(i+1, len(a.argv))
			return l, nil
		}
		if arg != strings.TrimSpace(arg) {
			return l, fmt.Errorf("argument %q has white space at its end, which some versions of runc drop", arg)
		}
		if arg == "-" {
			return l, errors.New(`argument "-" means different things to different versions of runc`)
		}
		if !strings.HasPrefix(arg, "-") {
			l.positional = append(l.positional, i)
			if len(l.positional) == stop {
				l.rest(i+1, len(a.argv))
				return l, nil
			}
			continue
		}

		name, value, assigned := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if !strings.HasPrefix(arg, "--") && !unicode.IsLetter(rune(arg[1])) {
			return l, fmt.Errorf("%q is an option to some versions of runc and a container to others", arg)
		}
		o, ok := lookup(known, name)
		if !ok {
			if !assigned {
				return l, unknownOption(arg)
			}
			continue // an option of a newer runc; whatever it means, it is this one argument
		}
		s := setting{name: o.name, value: value, first: i, offset: len(arg) - len(value)}
		switch {
		case o.arity == prints:
			// The last one counts, as for every option.
			l.prints = isTrue(value)
		case o.arity == required && !assigned:
			i++
			if i == len(a.argv) {
				return l, fmt.Errorf("option %q has no value", arg)
			}
			if s.value = a.argv[i]; s.value == "-" || s.value == "--" {
				return l, fmt.Errorf("the value %q of option %q means different things to different versions of runc",
					s.value, arg)
			}
			s.offset = 0
		}
		s.end = i + 1
		a.options = append(a.options, s)
	}
	return l, nil
}

// checkRunc returns an error for arguments after the container that versions of runc read differently.
func checkRunc(command string, arguments []string) error {
	if command == "exec" && len(arguments) > 1 && strings.TrimSpace(arguments[1]) == "" {
		return errors.New("after an empty argument some versions of runc go on looking for options")
	}
	return nil
}

func (l *line) rest(from, end int) {
	for i := from; i < end; i++ {
		l.positional = append(l.positional, i)
	}
}

func lookup(known []option, name string) (option, bool) {
	for _, o := range known {
		if name != "" && (o.name == name || o.short == name) {
			return o, true
		}
	}
	return option{}, false
}

func unknownOption(arg string) error {
	return fmt.Errorf("option %q is not known to this version of oci-apparmor, so the argument after it may be its value "+
		"or not: write it as %s=VALUE, leave it out, or use a version that knows it", arg, arg)
}
