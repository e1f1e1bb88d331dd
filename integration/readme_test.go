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

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// The sessions that the documents show of profiles and of status are what its commands print, in this guest as in the
// one that they were taken from, but for what differs each time.
func TestReadmeShowsWhatIsPrinted(t *testing.T) {
	noPolicy(t)
	unstarted := guesttest.NewBundle(t, names("shop"), sleeps)
	t.Cleanup(func() { guesttest.Run(t, "runc", "delete", "--force", "shop-1") })
	showsSession(t, block(t, "install/README.md#profiles-by-hand"), unstarted.Dir)

	setPolicy(t, webPolicy)
	rt := armsOf(t, "runc")
	for _, c := range []struct {
		id, runtime string
		edit        func(*specs.Spec)
	}{{"by-hand", rt.bare, func(*specs.Spec) {}}, {"shop-1", rt.wrapped, asks("web")}, {"shop-2", rt.wrapped, asks("web")}} {
		b := guesttest.NewBundle(t, c.edit, sleeps)
		b.ID = c.id
		c := b.Start(t, c.runtime)
		if c.ID == "shop-2" { // past the wrapper, and without a profile
			args := append([]string{"exec", "--detach"}, byFile(t, c, nil)("/bin/busybox", "sleep", "1000")...)
			guesttest.MustRun(t, rt.bare, args...)
		}
	}
	showsSession(t, block(t, "install/README.md#see-what-is-confined"), "")
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

// showsSession runs the commands of a session in a document, each after a "$ ", and compares what they print with the
// lines that follow them. BUNDLE in them is a directory.
func showsSession(t *testing.T, session, bundle string) {
	t.Helper()
	shown := strings.TrimPrefix(strings.TrimSuffix(session, "\n"), "$ ")
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
	t.Logf("printed is\n%s", &printed) // what the document takes
	want, got := "$ "+shown+"\n", printed.String()
	for _, v := range varying {
		want, got = v.is.ReplaceAllString(want, v.as), v.is.ReplaceAllString(got, v.as)
	}
	if want != got {
		t.Errorf("the document shows\n%s", want)
	}
}

// The README's commands under "Install", but for those that install the programs and a unit, and those for a container
// without an engine make the label that the document names.
func TestReadmeTellsHowToUseIt(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // the commands are ours
	dir := noPolicy(t)
	const label = "node-baseline//&web (enforce)"
	if !strings.Contains(read(t, "../install/README.md"), "`"+label+"`") {
		t.Errorf("install/README.md does not name the label %s", label)
	}
	for _, part := range []struct {
		script, input string
		want          []string
	}{
		{script: installScript(t), want: []string{"generation 1 is in force", "label     node-baseline//&web"}},
		{block(t, "install/README.md#without-an-engine"), "cat /proc/self/attr/current\nexit\n", []string{label}},
	} {
		master, slave := terminal(t) // as the container's shell wants it
		cmd := exec.Command("sh", "-e", "-c", part.script)
		cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		slave.Close()
		var said strings.Builder
		fmt.Fprint(master, part.input)
		io.Copy(&said, master) // until the last of them has closed the terminal
		err := cmd.Wait()
		for _, w := range part.want {
			if err != nil || !strings.Contains(said.String(), w) {
				t.Errorf("%s\n%v; it printed\n%s\nwant %q", part.script, err, &said, w)
			}
		}
	}
}

// installScript returns the README's commands under "Install" that a guest can run.
func installScript(t *testing.T) string {
	t.Helper()
	return commands(block(t, "README.md#install"), "make install ", "systemctl ")
}
