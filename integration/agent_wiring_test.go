package integration

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/install/agent"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// servedByAgent returns what the agent serves on its socket.
func servedByAgent(t *testing.T, path string) string {
	t.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", agent.Dir+"/agent.sock")
	}
	c := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: time.Minute}
	r, err := c.Get("http://agent" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v: %s", path, r.Status, err, data)
	}
	return string(data)
}

// wiringIs returns a condition for a state of the agent: how an engine stands, and how often the agent has wired it again.
func wiringIs(engine, state string, rewired uint64) func(agent.State) bool {
	return func(s agent.State) bool {
		return slices.ContainsFunc(s.Wiring, func(w agent.Wiring) bool {
			return w.Engine == engine && w.State == state && w.Rewired == rewired
		})
	}
}

// replaceFile replaces a file by another one, as an upgrade does.
func replaceFile(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".dpkg-new", text)
	if err := os.Rename(path+".dpkg-new", path); err != nil {
		t.Fatal(err)
	}
}

// What other tools take out of an engine's file is said within seconds: in the log, the state and the metrics. Where that is
// asked for, the file is put back byte for byte, unless somebody else goes on to write it.
func TestAgentWiring(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // what an agent does is ours; which files install writes, other tests show of each engine
	guesttest.NeedDocker(t)
	setPolicy(t, webPolicy)
	const theirs = "{\n  \"log-driver\": \"json-file\"\n}\n"
	writeFile(t, dockerConfig, theirs)
	t.Cleanup(func() { os.Remove(dockerConfig) })
	guesttest.MustRun(t, "oci-apparmor", "install", "--yes", "docker")
	t.Cleanup(func() { guesttest.MustRun(t, "oci-apparmor", "uninstall", "--yes", "docker") })
	wired, ours := treeHash(t), read(t, dockerConfig)
	lose := map[string]func(){
		"written in place":                func() { writeFile(t, dockerConfig, theirs) },
		"replaced, as an upgrade does it": func() { replaceFile(t, dockerConfig, theirs) },
	}

	a := startAgent(t, "--on-wiring-lost=report")
	want := func(how, is string) {
		t.Helper()
		took := a.until(t, how+": "+is, wiringIs("docker", is, 0))
		t.Logf("%s: %s is seen after %v", how, is, took)
		if took > 30*time.Second { // a loaded machine, which is emulated; three seconds are what it takes
			t.Errorf("%s: that was seen after %v", how, took)
		}
		var served agent.State
		if err := json.Unmarshal([]byte(servedByAgent(t, "/state")), &served); err != nil || !wiringIs("docker", is, 0)(served) {
			t.Errorf("%s: Docker is %s, and served is %+v (%v)", how, is, served.Wiring, err)
		}
		n, told := metricsIn(t, servedByAgent(t, "/metrics"))[`oci_apparmor_engine_wired{engine="docker"}`]
		if !told || (n == 1) != (is == agent.WiringKept) {
			t.Errorf("%s: Docker is %s, and the metrics have %v (%v)", how, is, n, told)
		}
	}
	want("install", agent.WiringKept)
	for how, lose := range lose {
		lose()
		want(how, agent.WiringLost)
		if read(t, dockerConfig) != theirs {
			t.Errorf("%s: an agent that is to report writes an engine's file", how)
		}
		writeFile(t, dockerConfig, ours)
		want("by hand again", agent.WiringKept)
	}
	const lost = "wiring: docker: lost: what install wrote into its files is gone: run oci-apparmor install docker"
	if said := a.end(t); strings.Count(said, lost) != len(lose) || strings.Count(said, "wiring: docker: wired") != len(lose) {
		t.Errorf("it says\n%s", said)
	}
	if all := noted(t); !slices.ContainsFunc(all, func(n notice.Notice) bool { return n.Message == lost }) {
		t.Errorf("in the node's log is %+v", all)
	}

	// What was lost while no agent ran, as before a boot, is put back at its start.
	writeFile(t, dockerConfig, theirs)
	a = startAgent(t, "--on-wiring-lost=repair")
	times := uint64(0)
	put := func(how string) {
		t.Helper()
		times++
		t.Logf("%s: put back after %v", how, a.until(t, how+": put back", wiringIs("docker", agent.WiringKept, times)))
		if treeHash(t) != wired {
			t.Errorf("%s: the files are not as they were: %s has\n%s", how, dockerConfig, read(t, dockerConfig))
		}
	}
	put("before it began")
	for how, lose := range lose {
		lose()
		put(how)
	}
	writeFile(t, dockerConfig, theirs)
	a.until(t, "lost once more", wiringIs("docker", agent.WiringLost, times))
	said := a.end(t)
	if read(t, dockerConfig) != theirs || !strings.Contains(said, "docker: wired again 3 times in an hour, and lost again") {
		t.Errorf("a file that somebody else keeps writing is written for ever: it says\n%s", said)
	}
}
