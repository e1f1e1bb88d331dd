package wrapper

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Args is a runtime's command line, read as the runtime itself reads it.
//
// A container must not escape its policy because we read its command line differently from the runtime. So a line that
// cannot be read for certain is an error if it could be one of the commands that we act on. Otherwise it passes.
type Args struct {
	// Command is the runtime's command if it is one that we act on: create, run, start, restore, exec or delete.
	// It is empty for every other command, and for a line for which the runtime only prints its help or an error.
	Command string
	ID      string // the container's

	argv    []string
	at      int // index of Command in argv
	options []setting
}

// setting is an option on the command line.
type setting struct {
	name       string // the option's long name, however it was spelled
	value      string
	first, end int // it is argv[first:end]
	offset     int // its value is argv[end-1][offset:]
}

// Dialect is a runtime's way of reading its command line.
type Dialect int

const (
	// Runc is runc's way, with urfave/cli: version 1 up to runc 1.5, version 3 afterwards.
	Runc Dialect = iota
	// Crun is crun's way, with glibc's argp.
	Crun
)

// dialectOf returns a runtime's dialect by the name of its file: a name that begins with runc or crun (crun-wasm,
// runc.real), or krun, which is a crun.
func dialectOf(runtime string) (d Dialect, known bool) {
	switch {
	case strings.HasPrefix(runtime, "runc"):
		return Runc, true
	case strings.HasPrefix(runtime, "crun"), runtime == "krun":
		return Crun, true
	}
	return Runc, false
}

// ParseArgs reads a runtime's argv, which begins with its name. With an error, Args has the options before the fault.
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

// mayStart reports whether a command line could bring a process into a container, in whatever way it is read.
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
	// Only exec takes arguments of its own after the container. crun stops at the first argument of every command.
	stop := 0
	if command == "exec" {
		stop = 1
	}
	line, err = read(a.at+1, options(known.options(d)), stop)
	if err != nil || line.prints || len(line.positional) == 0 {
		return err
	}
	if n := len(line.positional); n > 1 && command != "exec" && !(d == Crun && command == "restore" && n == 2) {
		return nil // the runtime takes one container, and refuses this
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
		return nil // if the id is another spelling, a later sweep removes the record
	}
	return checkID(command, a.ID)
}

// checkID returns an error for an id that is no plain name for a directory: old versions of crun take "./c1" and "c1/" for
// the container c1. runc and newer versions of crun refuse such ids, too (runc's libcontainer/factory_linux.go,
// validateID).
func checkID(command, id string) error {
	if id == "" || id == "." || id == ".." || strings.ContainsAny(id, "/\x00") {
		return fmt.Errorf("%s is given the container id %q, which is no plain name", command, id)
	}
	return nil
}

// line is the result of reading options and arguments.
type line struct {
	positional []int // indexes in argv of the arguments, and of everything after the end of the options
	prints     bool  // help or version is asked for, so the runtime does nothing else
}

// arity is what an option has besides its name.
type arity byte

const (
	none     arity = 0
	required arity = '=' // a value after = or as the next argument
	optional arity = '?' // a value after =, or none (crun)
	next     arity = '+' // a value as the next argument only (crun)
	prints   arity = '!' // none; the runtime prints something and ends
)

// option is an option that a runtime has.
type option struct {
	name, short string
	arity       arity
}

// options reads a table of options. Blanks separate the names. A slash and the short form may follow a name, then the
// arity.
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

// option returns the value of an option. Of several settings the last one counts.
func (a *Args) option(name string) (value string, ok bool) {
	for _, s := range slices.Backward(a.options) {
		if s.name == name {
			return s.value, true
		}
	}
	return "", false
}

// flag reports whether an option without a value is set. runc also takes --force=false.
func (a *Args) flag(name string) bool {
	value, ok := a.option(name)
	return ok && isTrue(value)
}

func isTrue(value string) bool {
	b, err := strconv.ParseBool(value)
	return value == "" || err != nil || b
}

// withOption returns the command line with an option of the command set to value, and without its other settings.
func (a *Args) withOption(name, value string) []string {
	out := slices.Clone(a.argv)
	for _, s := range slices.Backward(a.options) {
		if s.name == name && s.first > a.at {
			out = slices.Delete(out, s.first, s.end)
		}
	}
	return slices.Insert(out, a.at+1, "--"+name+"="+value)
}

// withValue returns the command line with value in place of an option's value.
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
