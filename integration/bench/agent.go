package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/counts"
)

// scraped measures the agent while 5,000 decisions a minute are recorded and somebody reads its metrics every 15 seconds, as
// Prometheus does by default in many clusters.
func scraped(bin string) error {
	agent, err := startAgent(bin)
	if err != nil {
		return err
	}
	defer agent.stop()
	table := counts.New(counts.Path)
	record := func() {
		table.Add(append(counts.StartDuration.Observe(5*time.Millisecond, counts.Wrapper),
			counts.Decisions.With("docker", counts.Wrapper, "web", counts.Confined))...)
	}
	record()
	time.Sleep(5 * time.Second) // until it has applied the policy
	before, err := processorTime(agent.Process.Pid)
	if err != nil {
		return err
	}
	const seconds, each = 60, 5000 / 60
	began := time.Now()
	for s := range seconds {
		for range each {
			record()
		}
		if s%15 == 0 {
			if err := agent.scrape(); err != nil {
				return err
			}
		}
		time.Sleep(time.Until(began.Add(time.Duration(s+1) * time.Second)))
	}
	after, err := processorTime(agent.Process.Pid)
	if err != nil {
		return err
	}
	took := time.Since(began)
	line("agent, 5,000 decisions a minute and a scrape every 15 s", 100*float64(after-before)/float64(took), 2, "%",
		fmt.Sprintf("of a core: %s of %s", after-before, took.Round(time.Second)), "a system call of the guest's kernel in user mode takes several of the machine's")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", agent.Process.Pid))
	if err != nil {
		return err
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		return fmt.Errorf("no resident size in %s", status)
	}
	kib, _ := strconv.Atoi(string(m[1]))
	line("agent's resident memory after that", float64(kib)/1024, 20, "MiB", "pages of the program's file among it", "")
	return nil
}

// agent is an oci-apparmor agent that runs.
type agent struct {
	*exec.Cmd
	said   bytes.Buffer
	client http.Client
}

// startAgent starts the agent, and returns when its metrics can be read.
func startAgent(bin string) (*agent, error) {
	const socket = work + "/agent.sock"
	a := &agent{Cmd: exec.Command(filepath.Join(bin, "oci-apparmor"), "agent", "--listen", "unix:"+socket)}
	a.Stdout, a.Stderr = &a.said, &a.said
	a.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	if err := a.Start(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		err := a.scrape()
		if err == nil {
			return a, nil
		}
		if time.Now().After(end) {
			a.stop()
			return nil, fmt.Errorf("%w; the agent said %s", err, &a.said)
		}
	}
}

// scrape reads the agent's metrics.
func (a *agent) scrape() error {
	r, err := a.client.Get("http://agent/metrics")
	if err != nil {
		return err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err == nil && !strings.Contains(string(text), "oci_apparmor_") {
		err = fmt.Errorf("the agent serves %s", text)
	}
	return err
}

func (a *agent) stop() {
	_ = a.Process.Signal(syscall.SIGTERM)
	_ = a.Wait()
}

// processorTime returns the time that a process has run, to a hundredth of a second (proc(5), /proc/pid/stat).
func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * (time.Second / 100), err
}
