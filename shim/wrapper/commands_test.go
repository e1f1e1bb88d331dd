package wrapper

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// passing are the commands of runc and crun that bring no process into a container and end none that we remember.
var passing = strings.Fields("checkpoint events features help h kill list mounts pause ps resume spec state update")

// Each command that the runtimes of this machine have is acted on, or is known to need nothing of ours.
func TestEveryCommandIsKnown(t *testing.T) {
	known := map[string]bool{}
	for _, name := range passing {
		known[name] = true
	}
	for name, c := range commands {
		if known[name] {
			t.Errorf("%s both passes and is acted on", name)
		}
		known[name] = true
		if c.act == nil {
			t.Errorf("nothing is done for %s", name)
		}
	}
	heading := regexp.MustCompile(`(?s)\nCOMMANDS:\n(.*?)\n(\n|$)`)
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			path, err := exec.LookPath(runtime)
			if err != nil {
				t.Skip(err)
			}
			help, err := exec.Command(path, "--help").CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, help)
			}
			found := heading.FindSubmatch(help)
			if found == nil {
				t.Fatalf("its help lists no commands:\n%s", help)
			}
			count := 0
			for line := range strings.Lines(string(found[1])) {
				names, _, _ := strings.Cut(strings.TrimSpace(line), " ")
				for name := range strings.SplitSeq(strings.Trim(names, ","), ",") {
					if count++; !known[name] {
						t.Errorf("%s is neither acted on nor known to pass: does it start a process?", name)
					}
				}
			}
			if count < 12 {
				t.Errorf("its help lists %d commands:\n%s", count, help)
			}
		})
	}
}
