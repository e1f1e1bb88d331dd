package integration

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/inside"
)

// The sessions that the README shows of profiles and of status are what its commands print, in this guest as in the one that
// they were taken from, but for what differs each time.
func TestReadmeShowsWhatIsPrinted(t *testing.T) {
	noPolicy(t)
	unstarted := inside.NewBundle(t, names("shop"), sleeps)
	t.Cleanup(func() { inside.Run(t, "runc", "delete", "--force", "shop-1") })
	showsSession(t, "Profiles by hand", unstarted.Dir)

	setPolicy(t, webPolicy)
	rt := armsOf(t, "runc")
	for _, c := range []struct {
		id, runtime string
		edit        func(*specs.Spec)
	}{{"by-hand", rt.bare, func(*specs.Spec) {}}, {"shop-1", rt.wrapped, asks("web")}, {"shop-2", rt.wrapped, asks("web")}} {
		b := inside.NewBundle(t, c.edit, sleeps)
		b.ID = c.id
		c := b.Start(t, c.runtime)
		if c.ID == "shop-2" { // past the wrapper, and without a profile
			args := append([]string{"exec", "--detach"}, byFile(t, c, nil)("/bin/busybox", "sleep", "1000")...)
			inside.MustRun(t, rt.bare, args...)
		}
	}
	showsSession(t, "See what is confined", "")
}

func sleeps(s *specs.Spec) { s.Process.Args = []string{"/bin/sleep", "1000"} }

// varying is what differs each time, and widths depend on it.
var varying = []struct {
	is *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`sha(1|256):[0-9a-f]+`), "HASH"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d UTC`), "TIME"},
	{regexp.MustCompile(`process +\d+`), "process N"},
	{regexp.MustCompile(` +`), " "},
}

// showsSession runs the commands of the first session under a heading of the README, each behind a "$ ", and compares what they
// print with the lines behind them. BUNDLE in them is a directory.
func showsSession(t *testing.T, heading, bundle string) {
	t.Helper()
	_, section, ok := strings.Cut(read(t, "README.md"), "\n## "+heading+"\n")
	_, shown, ok1 := strings.Cut(section, "\n```\n$ ")
	shown, _, ok2 := strings.Cut(shown, "\n```\n")
	if !ok || !ok1 || !ok2 {
		t.Fatalf("the README has no session under %q", heading)
	}
	dir := t.TempDir()
	var printed strings.Builder
	for part := range strings.SplitSeq(shown, "\n$ ") {
		command, _, _ := strings.Cut(part, "\n")
		out, err := os.Create(filepath.Join(dir, "out")) // a container's process keeps it open
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", strings.ReplaceAll(command, "BUNDLE", bundle))
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
		cmd.Run()
		out.Close()
		if strings.HasPrefix(command, "runc run ") {
			waitFor(t, "the container's program", func() bool { return len(processesUnder("shop")) > 0 })
		}
		printed.WriteString("$ " + command + "\n" + strings.ReplaceAll(read(t, out.Name()), dir, "/srv"))
	}
	t.Logf("under %q is printed\n%s", heading, &printed) // what the README takes
	want, got := "$ "+shown+"\n", printed.String()
	for _, v := range varying {
		want, got = v.is.ReplaceAllString(want, v.as), v.is.ReplaceAllString(got, v.as)
	}
	if want != got {
		t.Errorf("under %q the README shows\n%s", heading, want)
	}
}

// The commands under "Use it", but for those that install the programs and a unit, give the label that stands above them.
func TestReadmeTellsHowToUseIt(t *testing.T) {
	dir := noPolicy(t)
	_, section, _ := strings.Cut(read(t, "README.md"), "\n## Use it\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := strings.Split(section, "\n```sh\n")
	if len(blocks) != 3 {
		t.Fatalf("there are %d blocks of commands under \"Use it\", want 2", len(blocks)-1)
	}
	const label = "node-baseline//&web (enforce)"
	if !strings.Contains(section, "`"+label+"`") {
		t.Errorf("the label %s is not under \"Use it\"", label)
	}
	for i, block := range blocks[1:] {
		commands, _, _ := strings.Cut(block, "\n```")
		var script strings.Builder
		for line := range strings.Lines(commands + "\n") {
			if !strings.HasPrefix(line, "make install ") && !strings.HasPrefix(line, "systemctl ") {
				script.WriteString(line)
			}
		}
		master, slave := terminal(t) // as the container's shell wants it
		cmd := exec.Command("sh", "-e", "-c", script.String())
		cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		slave.Close()
		var said strings.Builder
		if i == 1 {
			fmt.Fprint(master, "cat /proc/self/attr/current\nexit\n")
		}
		io.Copy(&said, master) // until the last of them has closed the terminal
		err := cmd.Wait()
		want := []string{"generation 1 is in force", "label     node-baseline//&web"}
		if i == 1 {
			want = []string{label}
		}
		for _, w := range want {
			if err != nil || !strings.Contains(said.String(), w) {
				t.Errorf("block %d: %v; it printed\n%s\nwant %q", i+1, err, &said, w)
			}
		}
	}
}
