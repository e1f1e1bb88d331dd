package wrapper

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Args is a runtime's command line, read as the runtime itself reads it.
//
// A container must never slip through because its command line was read otherwise than the runtime does. So what
// cannot be read for certain is an error where it could be one of the commands that we act on, and passes where it
// could not.
type Args struct {
	// Command is the runtime's command when it is one that we act on: create, run, start, restore, exec or delete.
	// It is empty for every other one, and for a line with which the runtime only prints its help or complains.
	Command string
	ID      string // the container

	argv    []string
	at      int // where Command stands in argv
	options []setting
}

// setting is an option as it was given.
type setting struct {
	name       string // the option's long name, however it was spelled
	value      string
	first, end int // it is argv[first:end]
	offset     int // where its value begins in argv[end-1]
}

// Dialect is a runtime's way of reading its command line.
type Dialect int

const (
	// Runc is how runc reads it, with urfave/cli: version 1 up to runc 1.5, version 3 afterwards.
	Runc Dialect = iota
	// Crun is how crun reads it, with glibc's argp.
	Crun
)

// dialectOf tells a runtime's dialect by its file's name: runc or crun with anything behind it (crun-wasm, runc.real),
// and krun, which is a crun.
func dialectOf(runtime string) (d Dialect, known bool) {
	switch {
	case strings.HasPrefix(runtime, "runc"):
		return Runc, true
	case strings.HasPrefix(runtime, "crun"), runtime == "krun":
		return Crun, true
	}
	return Runc, false
}

// ParseArgs reads a runtime's argv, its name included. On an error Args still has the options up to there.
func ParseArgs(d Dialect, argv []string) (Args, error) {
	a := Args{argv: argv}
	err := a.parse(d)
	if err == nil {
		return a, nil
	}
	a.Command = ""
	if mayStart(argv) {
		return a, fmt.Errorf("the runtime's command line cannot be read for certain: %w", err)
	}
	return a, nil
}

// mayStart tells whether a command line, however it is read, could be one that brings a process into a container.
func mayStart(argv []string) bool {
	return slices.ContainsFunc(argv[min(1, len(argv)):], func(s string) bool { return commands[strings.TrimSpace(s)].starts })
}

func (a *Args) parse(d Dialect) error {
	read, globals := a.readRunc, runcGlobals
	if d == Crun {
		read, globals = a.readCrun, crunGlobals
	}
	line, err := read(1, options(globals), 1)
	if err != nil || line.prints || len(line.positional) == 0 {
		return err
	}
	a.at = line.positional[0]
	command := a.argv[a.at]
	known, ours := commands[command]
	if !ours {
		return nil
	}
	// Only exec takes arguments of its own behind the container; crun stops at the first for every command.
	stop := 0
	if command == "exec" {
		stop = 1
	}
	line, err = read(a.at+1, options(known.options(d)), stop)
	if err != nil || line.prints || len(line.positional) == 0 {
		return err
	}
	if n := len(line.positional); n > 1 && command != "exec" && !(d == Crun && command == "restore" && n == 2) {
		return nil // the runtime takes one container and complains
	}
	if d == Crun {
		err = a.checkCrun(command)
	} else {
		err = checkRunc(command, a.argv[line.positional[0]:])
	}
	if err != nil {
		return err
	}
	a.Command, a.ID = command, a.argv[line.positional[0]]
	if command == "delete" {
		return nil // of a container that is known by another name, the record goes with a later sweep
	}
	return checkID(command, a.ID)
}

// checkID refuses ids that are no single name in a directory: older cruns take "./c1" and "c1/" for the container c1.
// runc and newer cruns refuse them, too (runc's libcontainer/factory_linux.go, validateID).
func checkID(command, id string) error {
	if id == "" || id == "." || id == ".." || strings.ContainsAny(id, "/\x00") {
		return fmt.Errorf("%s is given the container id %q, which is no plain name", command, id)
	}
	return nil
}

// line is what came of reading options and arguments.
type line struct {
	positional []int // indexes in argv: up to the one where options end, all that follow it included
	prints     bool  // help or version is asked for: the runtime does nothing else
}

// arity says what belongs to an option besides its name.
type arity byte

const (
	none     arity = 0
	required arity = '=' // a value, behind = or as the next argument
	optional arity = '?' // a value behind =, or none (crun)
	next     arity = '+' // a value as the next argument only (crun)
	prints   arity = '!' // none, and the runtime prints something and ends
)

// option is one that a runtime knows.
type option struct {
	name, short string
	arity       arity
}

// options reads a table of options: names apart by blanks, each with its short form behind a slash and its arity.
func options(table string) []option {
	var all []option
	for _, s := range strings.Fields(table) {
		var o option
		if last := s[len(s)-1]; strings.IndexByte("=?+!", last) >= 0 {
			o.arity, s = arity(last), s[:len(s)-1]
		}
		o.name, o.short, _ = strings.Cut(s, "/")
		all = append(all, o)
	}
	return all
}

// option gives the last setting of an option, which is the one that counts.
func (a *Args) option(name string) (value string, ok bool) {
	for _, s := range slices.Backward(a.options) {
		if s.name == name {
			return s.value, true
		}
	}
	return "", false
}

// flag tells whether an option without a value is given. runc's may be given as --force=false.
func (a *Args) flag(name string) bool {
	value, ok := a.option(name)
	return ok && isTrue(value)
}

func isTrue(value string) bool {
	b, err := strconv.ParseBool(value)
	return value == "" || err != nil || b
}

// withOption gives the command line with an option of the command set to value, and any other setting of it gone.
func (a *Args) withOption(name, value string) []string {
	out := slices.Clone(a.argv)
	for _, s := range slices.Backward(a.options) {
		if s.name == name && s.first > a.at {
			out = slices.Delete(out, s.first, s.end)
		}
	}
	return slices.Insert(out, a.at+1, "--"+name+"="+value)
}

// withValue gives the command line with the value of a given option replaced.
func (a *Args) withValue(name, value string) []string {
	out := slices.Clone(a.argv)
	for _, s := range slices.Backward(a.options) {
		if s.name == name {
			out[s.end-1] = out[s.end-1][:s.offset] + value
			break
		}
	}
	return out
}
