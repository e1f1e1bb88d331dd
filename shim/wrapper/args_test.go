package wrapper

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// want is what a command line comes to; the zero value is one that passes untouched.
type want struct {
	command, id   string
	bundle        string
	process       string
	root, log     string
	force, refuse bool
}

func seen(d Dialect, argv []string) want {
	a, err := ParseArgs(d, argv)
	w := want{command: a.Command, id: a.ID, refuse: err != nil}
	if a.Command != "" {
		w.bundle, _ = a.option("bundle")
		w.process, _ = a.option("process")
		w.root, _ = a.option("root")
		w.log, _ = a.option("log")
		w.force = a.flag("force")
	}
	return w
}

func TestRuncCommandLine(t *testing.T) {
	for _, tt := range []struct {
		name string
		args string // apart by blanks; "" is an empty argument
		want want
	}{
		{"nothing", ``, want{}},
		{"create as containerd writes it",
			`--root /r/k8s.io --log /b/log.json --log-format json create --bundle /b --pid-file /b/init.pid c1`,
			want{command: "create", id: "c1", bundle: "/b", root: "/r/k8s.io", log: "/b/log.json"}},
		{"create as conmon writes it",
			`--systemd-cgroup --root=/run/runc --log-format=json --log /l create --bundle /b --pid-file /p c1`,
			want{command: "create", id: "c1", bundle: "/b", root: "/run/runc", log: "/l"}},
		{"exec as containerd writes it",
			`--root /r --log /l --log-format json exec --process /tmp/p --console-socket /s --detach --pid-file /b/x.pid c1`,
			want{command: "exec", id: "c1", process: "/tmp/p", root: "/r", log: "/l"}},
		{"exec as CRI-O writes it", `--root /r exec --process /tmp/p c1`,
			want{command: "exec", id: "c1", process: "/tmp/p", root: "/r"}},

		{"bundle short", `create -b /b c1`, want{command: "create", id: "c1", bundle: "/b"}},
		{"bundle short with =", `create -b=/b c1`, want{command: "create", id: "c1", bundle: "/b"}},
		{"bundle with one dash", `create -bundle /b c1`, want{command: "create", id: "c1", bundle: "/b"}},
		{"short name with two dashes", `create --b /b c1`, want{command: "create", id: "c1", bundle: "/b"}},
		{"bundle with =", `create --bundle=/b c1`, want{command: "create", id: "c1", bundle: "/b"}},
		{"value with = in it", `create --bundle=/b=c c1`, want{command: "create", id: "c1", bundle: "/b=c"}},
		{"empty value", `create --bundle= c1`, want{command: "create", id: "c1"}},
		{"no joined short options", `exec -td c1 sh`, want{refuse: true}},
		{"no value joined to a short option", `create -b/b c1`, want{refuse: true}},
		{"no bundle", `run c1`, want{command: "run", id: "c1"}},
		{"the last bundle counts", `create --bundle /a --bundle /b c1`, want{command: "create", id: "c1", bundle: "/b"}},
		{"options behind the container", `create c1 --bundle /b`, want{command: "create", id: "c1", bundle: "/b"}},
		{"global options behind the command", `create --root /r c1`, want{command: "create", id: "c1", root: "/r"}},
		{"bool with value", `--debug=false --systemd-cgroup=true delete --force=true c1`,
			want{command: "delete", id: "c1", force: true}},
		{"bool that is off", `delete --force=false c1`, want{command: "delete", id: "c1"}},
		{"bool does not take the next argument", `delete -f true`, want{command: "delete", id: "true", force: true}},
		{"end of options before the command", `--root /r -- create c1`, want{command: "create", id: "c1", root: "/r"}},
		{"end of options before the container", `create -b /b -- c1`, want{command: "create", id: "c1", bundle: "/b"}},
		{"options of the process are not ours", `exec c1 sh --process /p -c x`, want{command: "exec", id: "c1"}},
		{"options of the process behind --", `exec -- c1 -p /p`, want{command: "exec", id: "c1"}},

		{"container called create", `--root /r create create`, want{command: "create", id: "create", root: "/r"}},
		{"container called exec", `start exec`, want{command: "start", id: "exec"}},
		{"log called create", `--log create delete c1`, want{command: "delete", id: "c1", log: "create"}},
		{"root called exec", `--root exec state create`, want{}},
		{"bundle called --no-pivot", `create --bundle --no-pivot c1`,
			want{command: "create", id: "c1", bundle: "--no-pivot"}},
		{"process called create", `exec -p create c1`, want{command: "exec", id: "c1", process: "create"}},

		{"version", `--version`, want{}},
		{"version before a command", `-v create c1`, want{}},
		{"version taken back", `--version=false create c1`, want{command: "create", id: "c1"}},
		{"help", `-h`, want{}},
		{"help before a command", `--help create c1`, want{}},
		{"help of a command", `create --help c1`, want{}},
		{"help command", `help create`, want{}},
		{"other commands", `--root /r kill --all create KILL`, want{}},
		{"update from standard input", `update --resources=- c1`, want{}},
		{"unknown command", `crate create`, want{}},
		{"command and nothing else", `create`, want{}},
		{"command without a container", `exec --process /p`, want{}},
		{"too many containers", `start a b`, want{}},
		{"empty argument for a command", `"" create c1`, want{}},
		{"empty argument for the process", `exec c1 "" -p /p`, want{refuse: true}},

		{"empty container", `create ""`, want{refuse: true}},
		{"unknown global option, then a command", `--new x create c1`, want{refuse: true}},
		{"unknown global option with value, then a command", `--new=x create c1`, want{command: "create", id: "c1"}},
		{"unknown global option, then a command that starts nothing", `--new state c1`, want{}},
		{"unknown option of a command", `create --new c1`, want{refuse: true}},
		{"unknown option of a command with value", `create --new=x c1`, want{command: "create", id: "c1"}},
		{"unknown option of delete", `delete --new c1`, want{}},
		{"option without its value", `create a b --bundle`, want{refuse: true}},
		{"global option without its value", `--root`, want{}},
		{"dash for a container", `create - --bundle /b`, want{refuse: true}},
		{"dash for a value", `create c1 --bundle -`, want{refuse: true}},
		{"dashes for a value", `create /b --bundle -- c1`, want{refuse: true}},
		{"a number with a dash", `exec -5 c1 sh`, want{refuse: true}},
		{"three dashes", `create ---bundle c1`, want{refuse: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			argv := split("runc " + tt.args)
			if got := seen(Runc, argv); got != tt.want {
				t.Errorf("%q:\n got %+v\nwant %+v", argv, got, tt.want)
			}
		})
	}
}

func TestRuncWhiteSpaceIsRefused(t *testing.T) {
	for _, argv := range [][]string{
		{"runc", "create", " c1"},
		{"runc", "create", "c1\n"},
		{"runc", "create", "--bundle=/b ", "c1"},
		{"runc", "--root=/r\t", "create", "c1"},
		{"runc", " --debug", "create", "c1"},
		{"runc", "create", "\u00a0", "c1"},
	} {
		if got := seen(Runc, argv); !got.refuse {
			t.Errorf("%q is read as %+v, and some versions of runc read it otherwise", argv, got)
		}
	}
	if got := seen(Runc, []string{"runc", "exec", "c1", " x"}); got.refuse || got.id != "c1" {
		t.Errorf("white space in the process's own arguments: got %+v", got)
	}
}

func TestCrunCommandLine(t *testing.T) {
	for _, tt := range []struct {
		name string
		args string
		want want
	}{
		{"create as conmon writes it",
			`--systemd-cgroup --root=/run/crun --log-format=json --log /l create --bundle /b --pid-file /p c1`,
			want{command: "create", id: "c1", bundle: "/b", root: "/run/crun", log: "/l"}},
		{"Podman's cgroup manager", `--cgroup-manager systemd create -b /b c1`,
			want{command: "create", id: "c1", bundle: "/b"}},
		{"bundle joined", `create -b/b c1`, want{command: "create", id: "c1", bundle: "/b"}},
		{"= belongs to a short option's value", `create -b=/b c1`, want{command: "create", id: "c1", bundle: "=/b"}},
		{"one dash is short options", `create -bundle c1`, want{command: "create", id: "c1", bundle: "undle"}},
		{"cut short", `create --bun /b c1`, want{command: "create", id: "c1", bundle: "/b"}},
		{"cut short with =", `create --bun=/b c1`, want{command: "create", id: "c1", bundle: "/b"}},
		{"whole name that begins another", `exec --process /p c1`, want{command: "exec", id: "c1", process: "/p"}},
		{"cut too short", `exec --proc /p c1`, want{refuse: true}},
		{"cut too short with =", `exec --pro=/p c1`, want{refuse: true}},
		{"joined short options", `exec -dp /p c1`, want{command: "exec", id: "c1", process: "/p"}},
		{"joined short options and value", `exec -dp/p c1`, want{command: "exec", id: "c1", process: "/p"}},
		{"-t takes what is joined to it", `exec -tp p c1`, want{command: "exec", id: "p"}},
		{"-t takes nothing else", `exec -t c1 sh`, want{command: "exec", id: "c1"}},
		{"options end at the container", `exec c1 sh -p /p`, want{command: "exec", id: "c1"}},
		{"end of options", `exec -p /p -- c1`, want{command: "exec", id: "c1", process: "/p"}},
		{"-- for a value", `create --bundle -- c1`, want{command: "create", id: "c1", bundle: "--"}},
		{"dash is a container", `start -`, want{command: "start", id: "-"}},
		{"container called create", `create create`, want{command: "create", id: "create"}},
		{"log called create", `--log create delete -f c1`,
			want{command: "delete", id: "c1", log: "create", force: true}},
		{"restore with its directory", `restore --image-path /i -b /b c1 x`,
			want{command: "restore", id: "c1", bundle: "/b"}},
		{"option with the next argument for a value", `restore --network-lock skip c1`,
			want{command: "restore", id: "c1"}},
		{"another config file", `create --config other.json c1`, want{refuse: true}},
		{"another config file, short", `run -fother.json c1`, want{refuse: true}},
		{"the usual config file", `create -f config.json c1`, want{command: "create", id: "c1"}},
		{"relative root", `--root r create c1`, want{refuse: true}},
		{"rootless", `--rootless=true create c1`, want{refuse: true}},

		{"version", `--version`, want{}},
		{"version cut short", `--ver create c1`, want{}},
		{"version ends it before an unknown option", `-V --new create c1`, want{}},
		{"usage", `create --usage c1`, want{}},
		{"help", `create -? c1`, want{}},
		{"other commands", `--root /r list create`, want{}},
		{"too many containers", `create c1 --bundle /b`, want{}},
		{"no container", `create -b /b`, want{}},
		{"empty container", `start ""`, want{refuse: true}},
		{"unknown global option, then a command", `--new x create c1`, want{refuse: true}},
		{"unknown short option", `create -zb /b c1`, want{refuse: true}},
		{"unknown option with value", `create --new=x c1`, want{command: "create", id: "c1"}},
		{"value for an option without one", `create --no-pivot=x c1`, want{refuse: true}},
		{"option without its value", `create c1 -b`, want{}},
		{"option without its value, no container", `create -b`, want{refuse: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			argv := split("crun " + tt.args)
			if got := seen(Crun, argv); got != tt.want {
				t.Errorf("%q:\n got %+v\nwant %+v", argv, got, tt.want)
			}
		})
	}
}

func TestDialect(t *testing.T) {
	for name, want := range map[string]string{
		"runc": "0 true", "runc.real": "0 true", "crun": "1 true", "krun": "1 true", "crun-wasm": "1 true",
		"crun.distrib": "1 true", "youki": "0 false", "my-crun": "0 false", "": "0 false",
	} {
		d, known := dialectOf(name)
		if got := fmt.Sprint(int(d), " ", known); got != want {
			t.Errorf("dialect of %s: got %v, want %v", name, got, want)
		}
	}
}

func TestContainerIDsThatAreNoPlainNames(t *testing.T) {
	for _, id := range []string{"./c1", "c1/", "c1/.", "..", ".", "/c1", "a/b"} {
		for command, c := range commands {
			if !c.starts {
				continue
			}
			for _, d := range []Dialect{Runc, Crun} {
				if a, err := ParseArgs(d, []string{"r", command, id}); err == nil {
					t.Errorf("%s %s passes as %+v", command, id, a)
				}
			}
		}
	}
}

func TestCommandLineIsEdited(t *testing.T) {
	for _, tt := range []struct {
		name    string
		dialect Dialect
		args    string
		edit    func(Args) []string
		want    string
	}{
		{"label added", Runc, `--root /r exec c1 sh -c x`, apparmor, `--root /r exec --apparmor=L c1 sh -c x`},
		{"caller's label dropped", Runc, `exec --apparmor u -apparmor=v -t --apparmor= c1 sh --apparmor w`, apparmor,
			`exec --apparmor=L -t c1 sh --apparmor w`},
		{"caller's label dropped, crun", Crun, `exec --app u -t --apparm=v c1 sh --apparmor w`, apparmor,
			`exec --apparmor=L -t c1 sh --apparmor w`},
		{"LSM profile replaced", Runc, `restore --bundle /b c1 --lsm-profile selinux:x`, lsm,
			`restore --lsm-profile=apparmor:L --bundle /b c1`},
		{"LSM profile added, crun", Crun, `restore --lsm-p=x -b/b c1`, lsm, `restore --lsm-profile=apparmor:L -b/b c1`},
		{"process file", Runc, `exec --process /p -d c1`, process, `exec --process N -d c1`},
		{"process file with =", Runc, `exec -p=/p -d c1`, process, `exec -p=N -d c1`},
		{"the process file that counts", Runc, `exec -p /p --process /q c1`, process, `exec -p /p --process N c1`},
		{"process file joined", Crun, `exec -dp/p c1`, process, `exec -dpN c1`},
		{"process file behind joined options", Crun, `exec -dp /p c1`, process, `exec -dp N c1`},
		{"process file cut short", Crun, `exec --process=/p c1 --process=/q`, process, `exec --process=N c1 --process=/q`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			argv := split("x " + tt.args)
			before := slices.Clone(argv)
			a, err := ParseArgs(tt.dialect, argv)
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.edit(a); !slices.Equal(got, split("x "+tt.want)) {
				t.Errorf("got %q, want %q", got, split("x "+tt.want))
			}
			if !slices.Equal(argv, before) {
				t.Errorf("the command line itself was changed to %q", argv)
			}
		})
	}
}

func apparmor(a Args) []string { return a.withOption("apparmor", "L") }
func lsm(a Args) []string      { return a.withOption("lsm-profile", "apparmor:L") }
func process(a Args) []string  { return a.withValue("process", "N") }

func TestErrorSaysWhichArgument(t *testing.T) {
	_, err := ParseArgs(Runc, split("runc create --new c1"))
	if err == nil || !strings.Contains(err.Error(), `"--new"`) {
		t.Errorf("got %v, want an error that names --new", err)
	}
}

func split(s string) []string {
	args := strings.Fields(s)
	for i, a := range args {
		if a == `""` {
			args[i] = ""
		}
	}
	return args
}
