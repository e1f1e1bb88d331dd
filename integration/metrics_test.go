package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// metricsIn reads lines of Prometheus' text format: numbers by names with labels.
func metricsIn(t *testing.T, text string) map[string]float64 {
	t.Helper()
	all := make(map[string]float64)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all[line[:at]] = value
	}
	return all
}

func metricsNow(t *testing.T) map[string]float64 {
	t.Helper()
	return metricsIn(t, guesttest.MustRun(t, "oci-apparmor", "status", "--prometheus"))
}

const webStarts = `oci_apparmor_decisions_total{engine="other",outcome="confined",policy="web",wiring="wrapper"}`

// What the wrapper decides, refuses, executes and repairs is in the metrics, as a file and as the agent serves it.
func TestMetrics(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // what is counted is ours
	setPolicy(t, webPolicy)
	rt := armsOf(t, "runc")
	c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
	wantLabel(t, c, "web")
	c.ExecProbe(t, "label")
	refused := guesttest.NewBundle(t, asks("batch"))
	if _, o := refused.TryStart(t, rt.wrapped); o.Code == 0 {
		t.Fatal("a request for a policy that does not exist is granted")
	}
	guesttest.LoadProfile(t, loose("web"))
	guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
	if err := os.MkdirAll("/var/lib/prometheus/node-exporter", 0o755); err != nil {
		t.Fatal(err)
	}
	guesttest.MustRun(t, "sh", "-e", "-c", block(t, "install/README.md#metrics"))
	file, err := os.ReadFile("/var/lib/prometheus/node-exporter/oci-apparmor.prom")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		webStarts: 2,
		`oci_apparmor_decisions_total{engine="other",outcome="refused",policy="",wiring="wrapper"}`: 1,
		`oci_apparmor_refusals_total{command="run",engine="other",reason="unknown-policy"}`:         1,
		`oci_apparmor_execs_total{engine="other",outcome="confined"}`:                               1,
		`oci_apparmor_drifts_total{by="start",outcome="replaced"}`:                                  1,
		`oci_apparmor_profile_loads_total{by="start",outcome="added"}`:                              1,
		`oci_apparmor_profile_loads_total{by="start",outcome="replaced"}`:                           1,
		`oci_apparmor_warnings_total{command="run",engine="other"}`:                                 1,
		`oci_apparmor_start_duration_seconds_count{wiring="wrapper"}`:                               2,
		`oci_apparmor_containers{engine="other",state="confined"}`:                                  2,
		`oci_apparmor_policy_profiles{state="loaded"}`:                                              1,
		`oci_apparmor_policy_profiles{state="missing"}`:                                             1,
		`oci_apparmor_enforcing`:         1,
		`oci_apparmor_counts_lost_total`: 0,
	}
	check := func(of string, got map[string]float64) {
		t.Helper()
		for name, n := range want {
			if v, ok := got[name]; !ok || v != n {
				t.Errorf("%s: %s is %v (%v), want %v", of, name, v, ok, n)
			}
		}
		if sum := got[`oci_apparmor_start_duration_seconds_sum{wiring="wrapper"}`]; sum <= 0 || sum > 60 {
			t.Errorf("%s: two starts took %v s", of, sum)
		}
	}
	check("the file", metricsIn(t, string(file)))
	if t.Failed() {
		t.Logf("%s", file)
	}

	const at = "127.0.0.1:9470"
	guesttest.MustRun(t, "busybox", "ip", "link", "set", "lo", "up")
	agent := exec.Command("oci-apparmor", "agent", "--listen", at)
	var said bytes.Buffer
	agent.Stdout, agent.Stderr = &said, &said
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Signal(syscall.SIGTERM)
		_ = agent.Wait()
	})
	var served string
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if served, err = get("http://" + at + "/metrics"); err == nil && strings.Contains(served, "oci_apparmor_last_apply_success") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the agent serves %q, %v; it said %s", served, err, &said)
		}
	}
	for range 50 {
		if served, err = get("http://" + at + "/metrics"); err != nil {
			t.Fatal(err)
		}
	}
	check("the agent", metricsIn(t, served))
	if metricsIn(t, served)["oci_apparmor_last_apply_success"] != 1 || !strings.Contains(served, `oci_apparmor_policy_info{digest="sha256:`) {
		t.Errorf("the agent serves\n%s\nand said %s", served, &said)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", agent.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("%s", status)
	}
	anon := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(status)
	if kib, _ := strconv.Atoi(string(m[1])); kib > 20<<10 {
		t.Errorf("the agent's resident memory is %d KiB after 50 scrapes", kib)
	}
	t.Logf("the agent's resident memory is %s KiB after 50 scrapes, %s of it its own", m[1], anon[1])
}

func get(url string) (string, error) {
	r, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = errors.New(r.Status)
	}
	return string(b), err
}

// fastRuntime makes a runtime that does nothing, so that many starts through the wrapper take no time but its own.
func fastRuntime(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "runc")
	guesttest.MustRun(t, "cp", program(t, "true"), path)
	return path
}

// 1,000 starts in a minute, by many processes at once and some of them killed, with nobody who reads, lose no count.
func TestMetricsLoseNoCount(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky)
	setPolicy(t, webPolicy)
	const workers = 8
	starts := guesttest.Count(t, 200, 1000, "starts at once through the wrapper")
	runtime, wrapper := fastRuntime(t), program(t, "oci-apparmor-runtime")
	bundles := make([]*guesttest.Bundle, workers)
	for i := range bundles {
		bundles[i] = guesttest.NewBundle(t, asks("web"))
	}
	var next, done, killed atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for _, b := range bundles {
		all.Go(func() {
			for i := next.Add(1); i <= int64(starts); i = next.Add(1) {
				cmd := exec.Command(wrapper, "create", "--bundle", b.Dir, fmt.Sprint("many", i))
				cmd.Env = append(os.Environ(), "OCI_APPARMOR_RUNTIME="+runtime)
				var out bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				if i%10 == 0 {
					time.AfterFunc(time.Duration(i%200)*time.Millisecond/10, func() { _ = cmd.Process.Kill() })
				}
				switch err := cmd.Wait(); {
				case err == nil:
					done.Add(1)
				case cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled():
					killed.Add(1)
				default:
					t.Errorf("%v: %s", err, &out)
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	got := metricsNow(t)
	if n := int64(got[webStarts]); n < done.Load() || n > done.Load()+killed.Load() {
		t.Errorf("%d starts are counted, and %d were made, beside %d that were killed", n, done.Load(), killed.Load())
	}
	if got["oci_apparmor_counts_lost_total"] != 0 {
		t.Errorf("%v counts are lost", got["oci_apparmor_counts_lost_total"])
	}
	t.Logf("%v starts counted, %d made and %d killed, in %s", got[webStarts], done.Load(), killed.Load(), took.Round(time.Millisecond))
}

// Where nothing can be counted, containers start and are confined as ever.
func TestMetricsStopNoStart(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky)
	setPolicy(t, webPolicy)
	rt := armsOf(t, "runc")
	dir := filepath.Dir(counts.Path)
	starts := func(what string) {
		t.Helper()
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		wantLabel(t, c, "web")
		if label := c.ExecProbe(t, "label"); !strings.HasPrefix(label, "web") {
			t.Errorf("%s: an exec is under %q", what, label)
		}
		for command, want := range webTries {
			if got := c.Ask(t, command); got != want {
				t.Errorf("%s: %s: %s, want %s", what, command, got, want)
			}
		}
	}
	counted := func(what string, want float64) {
		t.Helper()
		if got := metricsNow(t)[webStarts]; got != want {
			t.Errorf("%s: %v starts are counted, want %v", what, got, want)
		}
	}
	starts("as ever")
	counted("as ever", 1)
	if err := os.Remove(counts.Path); err != nil {
		t.Fatal(err)
	}
	starts("without the file")
	counted("without the file", 1)
	for _, tt := range []struct {
		what   string
		damage func() error
	}{
		{"the file is cut", func() error { return os.Truncate(counts.Path, 100) }},
		{"the file is text", func() error { return os.WriteFile(counts.Path, bytes.Repeat([]byte("x"), 320<<10), 0o600) }},
		{"a directory is there", func() error { return errors.Join(os.Remove(counts.Path), os.Mkdir(counts.Path, 0o700)) }},
	} {
		if err := tt.damage(); err != nil {
			t.Fatal(err)
		}
		starts(tt.what)
		counted(tt.what, 1)
	}

	// Only the file is on a disk that may not be written.
	guesttest.MustRun(t, "mount", "--bind", counts.Path, counts.Path)
	guesttest.MustRun(t, "mount", "-o", "remount,bind,ro", counts.Path)
	starts("the file may only be read")
	counted("the file may only be read", 1)
	guesttest.MustRun(t, "umount", counts.Path)

	// There is room for the container's record, and none for the counters.
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=200k,mode=0700"); err != nil {
		t.Fatal(err)
	}
	starts("the disk is full")
	if _, err := os.Stat(counts.Path); err == nil {
		t.Error("the file of counters is there on a disk that has no room for it")
	}
	if got := metricsNow(t); got[webStarts] != 0 || got["oci_apparmor_enforcing"] != 1 {
		t.Errorf("on a full disk the metrics are %v", got)
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	starts("after the full disk")
	counted("after the full disk", 2)
}
