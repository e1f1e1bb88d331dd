package wrapper

import (
	"io"
	"strings"
	"testing"

	"github.com/urfave/cli"
)

// words is the alphabet of generated command lines: the pieces that parsers could trip over, alone and in each
// other's place.
var words = strings.Fields(`create run start restore exec delete state c1 c2 /b --bundle -b --bundle=/b -b=/c --b
	-bundle -b/b --process -p -p=/p --process=/p --apparmor --apparmor=x --root --root=/r -root --log --log=/l
	--log-format json --debug --debug=false --debug=x --systemd-cgroup --rootless auto --criu --no-pivot
	--no-pivot=true --force -f --force=false --tty -t -td -dp --detach -d --preserve-fds --preserve-fds=3 4 --env -e
	A=b --cap -c --help -h --help=false --version -v -- - --- -5 --new --new=x = -= --= help h true false
	--lsm-profile apparmor:x --keep --image-path --empty-ns --cgroup --user 0:0 -u -g --pid-file --console-socket
	--config -fx --bun --pro=/p`)

// commandLine makes a command line of bytes; 0xff and what follows is an argument as it stands.
func commandLine(name string, data []byte) []string {
	argv := []string{name}
	for i, b := range data {
		if b == 0xff {
			return append(argv, strings.Split(string(data[i+1:]), "\x00")...)
		}
		argv = append(argv, append(words, "")[int(b)%(len(words)+1)])
	}
	return argv
}

func indexOf(args ...string) []byte {
	var data []byte
	for _, a := range args {
		for i, w := range words {
			if w == a {
				data = append(data, byte(i))
			}
		}
	}
	return data
}

func addCommandLines(f *testing.F) {
	f.Add(indexOf("--root", "/b", "create", "--bundle", "/b", "c1"))
	f.Add(indexOf("exec", "-p", "/b", "--apparmor", "x", "c1"))
	f.Add(indexOf("create", "c1", "c2", "--bundle"))
	f.Add(indexOf("create", "c1", "--bundle", "--", "c2"))
	f.Add(indexOf("delete", "-", "--new"))
	f.Add(indexOf("restore", "--no-pivot", "c1", "--bundle", "/b"))
	f.Add(indexOf("--help=false", "--", "run", "--bundle", "--no-pivot", "c1"))
	f.Add([]byte("\x00\xff--bundle=\x00c1 \x00-\xc3\x28"))
}

// FuzzRuncAgrees compares with the parser that runc up to 1.5 uses: where it would act on a container, we either see
// the same command, container, bundle, process file and root, or refuse.
func FuzzRuncAgrees(f *testing.F) {
	addCommandLines(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		argv := commandLine("runc", data)
		theirs, acts := urfave(argv)
		if !acts {
			return
		}
		a, err := ParseArgs(Runc, argv)
		if err != nil || a.Command == "" && theirs[0] == "delete" {
			return // refused, or nothing forgotten where we are not certain
		}
		ours := [5]string{a.Command, a.ID}
		ours[2], _ = a.option("bundle")
		ours[3], _ = a.option("process")
		ours[4], _ = a.option("root")
		if ours != theirs {
			t.Errorf("%q:\nwe see   %q\nrunc has %q", argv, ours, theirs)
		}
	})
}

// urfave returns the command, container, bundle, process file and root that runc takes from a command line, and whether
// it acts on it at all. The options are put down a second time here, so that a slip in our tables shows.
func urfave(argv []string) (got [5]string, acts bool) {
	app := cli.NewApp()
	app.Name, app.Version = "runc", "1"
	app.Writer, app.ErrWriter = io.Discard, io.Discard
	app.ExitErrHandler = func(*cli.Context, error) {} // which would end the process
	app.Flags = flags("log,log-format,root,criu,rootless", "debug,systemd-cgroup")
	action := func(exact bool) func(*cli.Context) error {
		return func(c *cli.Context) error {
			if n := c.NArg(); n == 1 || n > 1 && !exact {
				acts = true
				got = [5]string{c.Command.Name, c.Args().First(), c.String("bundle"), c.String("process"),
					c.GlobalString("root")}
			}
			return nil
		}
	}
	const create = "bundle b,console-socket,pidfd-socket,pid-file,#preserve-fds"
	app.Commands = []cli.Command{
		{Name: "create", Action: action(true), Flags: flags(create, "no-pivot,no-new-keyring")},
		{Name: "run", Action: action(true), Flags: flags(create, "no-pivot,no-new-keyring,detach d,keep,no-subreaper")},
		{Name: "start", Action: action(true)},
		{Name: "delete", Action: action(true), Flags: flags("", "force f")},
		{Name: "restore", Action: action(true), Flags: flags("console-socket,image-path,work-path,manage-cgroups-mode,"+
			"bundle b,pid-file,@empty-ns,lsm-profile,lsm-mount-context", "tcp-established,ext-unix-sk,shell-job,file-locks,"+
			"detach d,no-subreaper,no-pivot,auto-dedup,lazy-pages")},
		{Name: "exec", Action: action(false), SkipArgReorder: true, Flags: flags("console-socket,pidfd-socket,cwd,@env e,"+
			"user u,@additional-gids g,process p,pid-file,process-label,apparmor,@cap c,#preserve-fds,@cgroup",
			"tty t,detach d,no-new-privs,ignore-paused")},
		{Name: "state", Action: func(*cli.Context) error { return nil }},
	}
	if err := app.Run(argv); err != nil {
		acts = false
	}
	return got, acts
}

// flags makes options of two lists: with a value (a number where # stands in front, many where @ does), and without.
func flags(valued, plain string) []cli.Flag {
	var fs []cli.Flag
	for _, s := range strings.Split(valued, ",") {
		name := strings.ReplaceAll(strings.Trim(s, "#@"), " ", ", ")
		switch {
		case s == "":
		case s[0] == '#':
			fs = append(fs, cli.IntFlag{Name: name})
		case s == "@additional-gids g":
			fs = append(fs, cli.Int64SliceFlag{Name: name})
		case s[0] == '@':
			fs = append(fs, cli.StringSliceFlag{Name: name})
		default:
			fs = append(fs, cli.StringFlag{Name: name})
		}
	}
	for _, s := range strings.Split(plain, ",") {
		fs = append(fs, cli.BoolFlag{Name: strings.ReplaceAll(s, " ", ", ")})
	}
	return fs
}

// FuzzArgs edits any command line in both dialects: nothing panics, what we read reads the same a second time, and an
// edited one is read with the new value.
func FuzzArgs(f *testing.F) {
	addCommandLines(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, d := range []Dialect{Runc, Crun} {
			argv := commandLine("x", data)
			a, err := ParseArgs(d, argv)
			if err != nil || a.Command == "" {
				continue
			}
			check := func(edited []string, name, value string) {
				b, err := ParseArgs(d, edited)
				got, _ := b.option(name)
				if err != nil || b.Command != a.Command || b.ID != a.ID || got != value {
					t.Errorf("%q became %q, which reads as %s of %q with --%s %q (%v)",
						argv, edited, b.Command, b.ID, name, got, err)
				}
			}
			switch a.Command {
			case "exec":
				check(a.withOption("apparmor", "L//&M"), "apparmor", "L//&M")
				if _, ok := a.option("process"); ok {
					check(a.withValue("process", "/proc/self/fd/64"), "process", "/proc/self/fd/64")
				}
			case "restore":
				check(a.withOption("lsm-profile", "apparmor:L"), "lsm-profile", "apparmor:L")
			}
		}
	})
}
