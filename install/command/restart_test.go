package command

import (
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/output"
)

// What --restart does to engines is shown in package engines, and in guests by TestSystemdRestartContainerd and others.
func TestRestartNeedsAPolicy(t *testing.T) {
	m := newMachine(t)
	code, _ := m.run("install", "--restart", "--dry-run")
	if said := m.errOut.String(); code != 3 || !strings.Contains(said, "starts a container by our runtime") || !strings.Contains(said, "policy apply") {
		t.Errorf("exit code %d, %s", code, said)
	}
}

// Where containers would stop, that is shown, and nothing is done without a flag that agrees to it.
func TestRestartThatStopsContainers(t *testing.T) {
	stops := &engines.Restart{Unit: "docker.service", Running: []string{"a", "b"}, Stops: "docker.service stops its containers when it ends"}
	unknown := &engines.Restart{Unit: "docker.service", Stops: stops.Stops, Unknown: "no answer"}
	none := &engines.Restart{Unit: "docker.service", Stops: stops.Stops}
	for _, c := range []struct {
		r      *engines.Restart
		agreed bool
		err    string
	}{
		{stops, false, "docker: nothing was changed: docker.service stops its containers when it ends, and 2 containers run: give --stop-containers"},
		{stops, true, ""},
		{unknown, false, "docker: nothing was changed: docker.service stops its containers when it ends, and which containers run is not known, as it does not answer: no answer: give --stop-containers"},
		{unknown, true, ""},
		{none, false, ""},
		{nil, false, ""},
	} {
		err := checkStops(&wiringOptions{restart: true, yes: true, stop: c.agreed}, []*engines.Plan{{Engine: "docker", Restart: c.r}})
		if (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("%+v, agreed %v: %v", c.r, c.agreed, err)
		}
	}
	for _, c := range []struct {
		print func(*output.Printer)
		want  string
	}{
		{func(out *output.Printer) { showRestart(out, stops) }, "  systemctl restart docker.service; 2 containers run, and stop by that:\n  docker.service stops its containers when it ends\n"},
		{func(out *output.Printer) { showRestart(out, none) }, "  systemctl restart docker.service; 0 containers run\n"},
		{func(out *output.Printer) {
			r := *stops
			r.After, r.Outcome = []string{"b"}, engines.TakenOver
			showRestarted(out, &engines.Plan{Engine: "docker", Restart: &r})
		}, "docker: changed; systemctl restart docker.service is done, and a container has\n        started; of 2 containers these run no more: a\n"},
		{func(out *output.Printer) {
			showRestarted(out, &engines.Plan{Engine: "podman", Restart: &engines.Restart{Outcome: engines.TakenOver}})
		}, "podman: changed; a container has started\n"},
	} {
		var got strings.Builder
		c.print(&output.Printer{W: &got})
		if got.String() != c.want {
			t.Errorf("got\n%swant\n%s", got.String(), c.want)
		}
	}
}
