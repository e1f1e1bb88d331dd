package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"

	"github.com/oci-apparmor/oci-apparmor/integration/bundle"
	"github.com/oci-apparmor/oci-apparmor/integration/containerd"
)

// shimPrograms are our shim for containerd and the stock one, which is built from the same version of containerd's
// module with the same flags.
type shimPrograms struct{ ours, stock string }

// sizes compares the files.
func (p shimPrograms) sizes() error {
	ours, err := os.Stat(p.ours)
	if err != nil {
		return err
	}
	stock, err := os.Stat(p.stock)
	if err != nil {
		return err
	}
	line("size of our shim ÷ the stock one", float64(ours.Size())/float64(stock.Size()), 1.1, "",
		fmt.Sprintf("%d ÷ %d bytes, both without cgo, symbols and grpc", ours.Size(), stock.Size()),
		"of what decides, reads specs and asks the kernel, and of TOML for options")
	return nil
}

// calls times the shim's short runs: -v, and start, by which containerd has it start the server of a container.
func (p shimPrograms) calls(d *daemon, n int) error {
	version := func(program string) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			begin := time.Now()
			err := quiet(program, "-v")
			return time.Since(begin), err
		}
	}
	times, err := compare(n, version(p.ours), version(p.stock))
	if err != nil {
		return err
	}
	const why = "its file is larger by our code, which is mapped and initialized first"
	ratio("our shim -v ÷ the stock one", 1.1, times[0], times[1], strconv.Itoa(n)+" times each", why)

	start := func(program string, answered, old bool) func() (time.Duration, error) {
		return func() (time.Duration, error) { return d.startShim(program, answered, old) }
	}
	each := strconv.Itoa(n) + " times each, a bundle each"
	// The stock shim of this version does not know the old protocol.
	if times, err = compare(n, start(p.ours, false, false), start(p.stock, false, false), start(p.ours, false, true)); err != nil {
		return err
	}
	ratio("our shim start ÷ the stock one", 1.1, times[0], times[1], each, why)
	ratio("our shim start, as containerd before 2.3 calls it ÷ the same", 0, times[2], times[1], each, "")
	if times, err = compare(n, start(p.ours, true, false), start(p.stock, true, false)); err != nil {
		return err
	}
	ratio("start of our shim until it serves ÷ the stock one", 0, times[0], times[1], each, "")
	return nil
}

// startShim times "start" of a shim as containerd 2.3 and later call it, or older ones, in a bundle of its own, until it has
// given the address of its server back, or until that has answered a call. The server ends before it returns.
func (d *daemon) startShim(program string, answered, old bool) (time.Duration, error) {
	id := d.nextID()
	dir := filepath.Join(d.dir, id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := bundle.Write(dir, bundle.Spec("/run")); err != nil {
		return 0, err
	}
	if err := syscall.Mkfifo(dir+"/log", 0o700); err != nil {
		return 0, err
	}
	log, err := os.OpenFile(dir+"/log", os.O_RDWR, 0) // both ends, so that the server can open it at once
	if err != nil {
		return 0, err
	}
	defer log.Close()

	input, err := proto.Marshal(&bootapi.BootstrapParams{
		InstanceID: id, Namespace: "default", LogLevel: bootapi.LogLevel_LOG_LEVEL_INFO,
		ContainerdGrpcAddress: containerd.Socket, ContainerdTtrpcAddress: containerd.Socket + ".ttrpc",
		ContainerdBinary: filepath.Join(d.Bin, "containerd"),
	})
	if err != nil {
		return 0, err
	}
	if old {
		input = nil // it sends options, or nothing
	}
	var out bytes.Buffer
	cmd := exec.Command(program, "-namespace", "default", "-address", containerd.Socket,
		"-publish-binary", filepath.Join(d.Bin, "containerd"), "-id", id, "start")
	cmd.Dir = dir
	cmd.Env = append(d.Env, "TTRPC_ADDRESS="+containerd.Socket+".ttrpc", "GRPC_ADDRESS="+containerd.Socket, "GOMAXPROCS=2")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &out

	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s start: %w: %s", program, err, out.Bytes())
	}
	took := time.Since(begin)
	result := new(bootapi.BootstrapResult)
	if old {
		result.Address = out.String()
	} else if err := proto.Unmarshal(out.Bytes(), result); err != nil {
		return 0, fmt.Errorf("%s start said %q: %w", program, out.Bytes(), err)
	}
	conn, err := net.Dial("unix", strings.TrimPrefix(result.Address, "unix://"))
	if err != nil {
		return 0, err
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	task := taskapi.NewTTRPCTaskClient(client)
	server, err := task.Connect(ctx, &taskapi.ConnectRequest{ID: id})
	if err != nil {
		return 0, fmt.Errorf("%s does not serve: %w", program, err)
	}
	if answered {
		took = time.Since(begin)
	}
	if _, err := task.Shutdown(ctx, &taskapi.ShutdownRequest{ID: id}); err != nil && !errors.Is(err, ttrpc.ErrClosed) {
		return 0, err
	}
	return took, waitGone(int(server.ShimPid))
}

// memory is what a process has in memory, in KiB.
type memory struct {
	resident     int
	proportional int // what it shares counts by its part only
}

func memoryOf(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return memory{}, err
	}
	var m memory
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch words[0] {
		case "Rss:":
			m.resident, err = strconv.Atoi(words[1])
		case "Pss:":
			m.proportional, err = strconv.Atoi(words[1])
		}
		if err != nil {
			return memory{}, err
		}
	}
	return m, nil
}

// shimMemory compares the memory of shims that each serve a container, n of each kind.
func (d *daemon) shimMemory(n int, arms ...arm) error {
	running := make([][]*container, len(arms))
	defer func() {
		for _, cs := range running {
			for _, c := range cs {
				c.remove()
			}
		}
	}()
	for range n {
		for i, a := range arms {
			c, err := d.runDetached(a)
			if err != nil {
				return err
			}
			running[i] = append(running[i], c)
		}
	}
	const why = "the program's file is larger by our code, and its pages are resident; the process's own memory, which is what one " +
		"more pod takes, is in PSS"
	look := func(when, why string) error {
		resident, proportional := make([]amounts, len(arms)), make([]amounts, len(arms))
		for i, cs := range running {
			for _, c := range cs {
				m, err := memoryOf(c.shim)
				if err != nil {
					return err
				}
				resident[i] = append(resident[i], m.resident)
				proportional[i] = append(proportional[i], m.proportional)
			}
		}
		for i, a := range arms[:len(arms)-1] {
			last := len(arms) - 1
			for _, what := range []struct {
				name string
				of   []amounts
			}{{"RSS", resident}, {"PSS", proportional}} {
				ours, stock := what.of[i], what.of[last]
				line(fmt.Sprintf("%s of %s ÷ %s, %s", what.name, a.name, arms[last].name, when),
					float64(ours.median())/float64(stock.median()), 1.05, "",
					fmt.Sprintf("%d shims each; %s ÷ %s KiB", n, ours, stock), why)
			}
		}
		return nil
	}
	time.Sleep(5 * time.Second)
	if err := look("5 s after the start", "a shim's second garbage collection adds 0.5 MB, and some have not come to it yet"); err != nil {
		return err
	}
	for _, cs := range running {
		for _, c := range cs {
			if err := c.exec(); err != nil {
				return err
			}
		}
	}
	time.Sleep(5 * time.Second)
	if err := look("5 s after an exec", why); err != nil {
		return err
	}
	// Twice a minute a shim gives memory back that it does not use.
	time.Sleep(35 * time.Second)
	return look("a minute after the start", why)
}

// waitGone waits until the process is no more.
func waitGone(pid int) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return nil
		}
		_, state, _ := bytes.Cut(text, []byte(") "))
		if bytes.HasPrefix(state, []byte("Z")) || bytes.HasPrefix(state, []byte("X")) {
			return nil
		}
	}
	return fmt.Errorf("process %d has not ended after a minute", pid)
}
