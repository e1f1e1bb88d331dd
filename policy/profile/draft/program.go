package draft

import (
	"bytes"
	"encoding/binary"
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
)

// launchers are programs that run the program in their arguments.
var launchers = map[string]launcher{
	"tini": {options: "-p -e"}, "tini-static": {options: "-p -e"}, "docker-init": {options: "-p -e"}, "catatonit": {}, "dumb-init": {options: "-r --rewrite"},
	"gosu": {own: 1}, "su-exec": {own: 1},
	// setpriv(1). It takes the value of an option behind "=", too.
	"setpriv": {options: "--ambient-caps --inh-caps --bounding-set --ruid --euid --reuid --rgid --egid --regid --groups --securebits " +
		"--pdeathsig --ptracer --selinux-label --apparmor-profile --landlock-access --landlock-rule --seccomp-filter"},
}

// A launcher says which arguments of a program stand ahead of those that name the program it runs.
type launcher struct {
	own     int    // how many are there, beside options
	options string // those that have their value in the next argument, with blanks between
}

// shells run whatever a script names.
var shells = []string{"sh", "bash", "dash", "ash", "busybox", "ksh", "mksh", "zsh", "fish"}

// usualPath is where a program is looked for if the description has no PATH.
var usualPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// anyProgram are the programs of an image that are in the usual directories.
const anyProgram = "/{,usr/,usr/local/}{,s}bin/*"

// started is what is known of the programs that run when the container starts.
type started struct {
	patterns []string
	any      string // why nobody can tell which programs run besides: a phrase; empty if these are all
	static   bool   // all of them are known to load no library
	unseen   bool   // no file of the image was looked at
}

// program writes the rules for the programs that the container starts with.
func (w *writer) program() {
	s := started{static: w.Files != nil, unseen: w.Files == nil}
	w.follow(&s, w.Args, 0)
	comment := []string{"The program, which may start itself anew. Whatever else it starts has no rule yet."}
	if s.any != "" {
		comment = []string{"The program, and those of the image, because " + s.any + "."}
		if !slices.Contains(s.patterns, anyProgram) {
			s.patterns = append(s.patterns, anyProgram)
		}
	}
	w.block(comment...)
	for _, p := range s.patterns {
		w.rule("%s mrix", word(p))
	}
	switch {
	case s.any != "":
		w.note("any program of the image may run, because %s", s.any)
	case s.unseen:
		w.note("the files of the image were not looked at: where the program is a link or a script, the rules need the file that it leads to and the interpreter")
	}
	if s.static && s.any == "" {
		return
	}
	w.block("Libraries and modules of programs.")
	w.rule("/{,usr/,usr/local/}lib{,32,64,x32}/** mr")
	w.rule("/opt/** mr")
}

// follow finds the programs that a command runs, through those that only run another one.
func (w *writer) follow(s *started, args []string, depth int) {
	if len(args) == 0 || args[0] == "" {
		if depth == 0 {
			s.any, s.static = "the description does not say what runs", false
		}
		return
	}
	name, found := w.find(args[0])
	for _, p := range name {
		if !slices.Contains(s.patterns, p) {
			s.patterns = append(s.patterns, p)
		}
	}
	base := path.Base(args[0])
	if found != "" {
		base = path.Base(found)
	}
	interpreter := w.kind(s, found)
	own, launches := launchers[base]
	switch {
	case depth > 4:
		s.any = "too many programs run one another"
	case slices.Contains(shells, base) || slices.Contains(shells, path.Base(args[0])):
		s.any = "a shell runs whatever it is told to"
	case len(interpreter) > 0:
		if path.Base(interpreter[0]) == "env" && len(interpreter) > 1 {
			w.follow(s, interpreter[:1], depth+1)
			interpreter = interpreter[1:]
		}
		w.follow(s, interpreter[:1], depth+1)
	case found == "" && (strings.HasSuffix(base, ".sh") || strings.Contains(base, "entrypoint")):
		s.any = oneline.Word(base) + " seems to be a shell's script"
	case launches:
		w.follow(s, own.launched(args[1:]), depth+1)
	}
}

// launched returns the command among the arguments of a program that runs it.
func (l launcher) launched(args []string) []string {
	own, options := l.own, strings.Fields(l.options)
	for len(args) > 0 && (strings.HasPrefix(args[0], "-") || own > 0) {
		if !strings.HasPrefix(args[0], "-") {
			own--
		}
		with := slices.Contains(options, args[0]) && len(args) > 1
		if args = args[1:]; with {
			args = args[1:]
		}
	}
	return args
}

// find returns patterns of the paths at which a program may be, and its file if the files of the image are known.
func (w *writer) find(name string) (patterns []string, file string) {
	var at []string
	switch {
	case strings.HasPrefix(name, "/"):
		at = []string{path.Clean(name)}
	case strings.Contains(name, "/"):
		at = []string{path.Join("/", w.Dir, name)}
	default:
		dirs := w.Path
		if len(dirs) == 0 {
			dirs = usualPath
		}
		for _, dir := range dirs {
			at = append(at, path.Join("/", dir, name))
		}
	}
	at = slices.DeleteFunc(at, func(p string) bool { return !sayable(p) })
	if w.Files != nil {
		for _, p := range at {
			if real, ok := w.Files.Real(p); ok && sayable(real) {
				return []string{ruletext.Literal(real)}, real
			}
		}
	}
	usual := false
	for _, p := range at {
		if !strings.Contains(name, "/") && slices.Contains(usualPath, path.Dir(p)) {
			if !usual {
				patterns = append(patterns, "/{,usr/,usr/local/}{,s}bin/"+ruletext.Literal(name))
			}
			usual = true
			continue
		}
		patterns = append(patterns, w.pattern(p))
	}
	return patterns, ""
}

// kind looks into a program. It returns the interpreter of a script and its argument.
func (w *writer) kind(s *started, file string) (interpreter []string) {
	if file == "" {
		s.static = false
		return nil
	}
	start := make([]byte, 4096)
	n, err := w.Files.Start(file, start)
	if err != nil {
		s.static = false
		return nil
	}
	start = start[:n]
	line, script := bytes.CutPrefix(start, []byte("#!"))
	if !script {
		s.static = s.static && isStatic(start)
		return nil
	}
	line, _, _ = bytes.Cut(line[:min(len(line), 256)], []byte("\n")) // BINPRM_BUF_SIZE of the kernel
	return strings.Fields(string(line))
}

// isStatic reports whether the beginning of a program shows that it is linked statically: a 64-bit file of ELF in little
// endian whose program headers are all here, and have no interpreter (PT_INTERP, elf(5)).
func isStatic(start []byte) bool {
	const header, entry, interp = 64, 56, 3
	if len(start) < header || !bytes.HasPrefix(start, []byte("\x7fELF\x02\x01")) {
		return false
	}
	at, size := binary.LittleEndian.Uint64(start[32:]), binary.LittleEndian.Uint16(start[54:])
	count := binary.LittleEndian.Uint16(start[56:])
	if size != entry || count == 0 || at > uint64(len(start)) || uint64(len(start))-at < uint64(size)*uint64(count) {
		return false
	}
	for i := range int(count) {
		if binary.LittleEndian.Uint32(start[int(at)+i*entry:]) == interp {
			return false
		}
	}
	return true
}
