package integration

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oci-apparmor/oci-apparmor/integration/containerd"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// loggedRuntime is crun, which notes first how it is called.
const loggedRuntime = "/run/logged/crun"

// The same session through the stock shim, through ours, and through the stock one with our wrapper: what it says, how the
// runtime is called, what containerd tells of it, and what is left must be the same.
func TestContainerdSession(t *testing.T) {
	setPolicy(t, webPolicy)
	if err := os.MkdirAll(filepath.Dir(loggedRuntime), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, loggedRuntime, "#!/bin/sh\necho \"$@\" >>"+loggedRuntime+".log\nexec "+program(t, "crun")+" \"$@\"\n")
	if err := os.Chmod(loggedRuntime, 0o755); err != nil {
		t.Fatal(err)
	}
	stock, shim, wrapper := guesttest.StockCrun, guesttest.ShimCrun, guesttest.WrapperCrun
	stock.Runtime, shim.Runtime = loggedRuntime, loggedRuntime
	guesttest.OldestAndPresent(t, func(t *testing.T, v guesttest.ContainerdVersion) {
		c := guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{
			Options: []guesttest.Arm{shim}, Env: []string{"OCI_APPARMOR_RUNTIME=" + loggedRuntime}, // the variable is the wrapper's
		})
		first := prepareTask(t, c, stock) // makes directories that stay
		first.MustCtr(t, slices.Concat([]string{"run", "--rm", "--rootfs"}, stock.Flags(), []string{first.rootfs, first.ID, "/bin/true"})...)
		want := session(t, c, stock)
		for _, said := range []string{".memory.usage_limit=67108864", ".pids.current=2", `"exit_status":42`, "--systemd-cgroup"} {
			if !strings.Contains(strings.Join(want, "\n"), said) {
				t.Errorf("the session through the stock shim shows no %s:\n%s", said, strings.Join(want, "\n"))
			}
		}
		for _, arm := range []guesttest.Arm{shim, wrapper} {
			got := session(t, c, arm)
			for i := range max(len(want), len(got)) {
				if i >= len(want) || i >= len(got) || want[i] != got[i] {
					t.Errorf("they differ from the %d. of these on.\n--- stock\n%s\n--- %s\n%s", i+1, strings.Join(want, "\n"), arm.Name,
						strings.Join(got[min(i, len(got)):], "\n"))
					break
				}
			}
		}
	})
}

// session returns what is to be seen of one session, without what differs each time.
func session(t *testing.T, c *guesttest.Containerd, arm guesttest.Arm) (said []string) {
	write(t, loggedRuntime+".log", "")
	before := engineFiles(t)
	events := watchEvents(t, c)
	k, systemd := prepareTask(t, c, arm), prepareTask(t, c, arm)
	tasks := k.tasks
	// Another container of the same group keeps the shim alive: one that is told to end does not wait for its last events to
	// be taken (containerd 2.4, pkg/shim/shim.go).
	holder := prepareTask(t, c, arm)
	group := []string{"--annotation", "io.containerd.runc.v2.group=" + holder.ID}
	holder.MustCtr(t, slices.Insert(holder.runArgs(arm, "web"), 1, group...)...)
	varying := `time="[^"]*"|fifo/\d+|\b[0-9a-f]{64}\b|(--process|--pid-file) \S+`
	for _, k := range []*task{k, systemd, holder} {
		varying += `|` + regexp.QuoteMeta(k.ID) + `|` + regexp.QuoteMeta(filepath.Dir(k.rootfs))
	}
	varies := regexp.MustCompile(varying)
	say := func(format string, args ...any) {
		text := varies.ReplaceAllString(fmt.Sprintf(format, args...), "X")
		said = append(said, strings.ReplaceAll(text, "--resources=-", "--resources -")) // shims of containerd 2.x write the former
	}
	ctr := func(stdin string, args ...string) {
		t.Helper()
		cmd := c.CtrCommand(args...)
		cmd.Stdin = strings.NewReader(stdin)
		o := guesttest.RunCommand(t, cmd)
		say("ctr %s: exit code %d\nstdout: %s\nstderr: %s", strings.Join(args[:2], " "), o.Code, o.Stdout, o.Stderr)
	}
	run := func(options []string, command ...string) {
		t.Helper()
		args := slices.Concat([]string{"run", "--rootfs"}, options, group, arm.Flags())
		ctr("", append(append(args, "--annotation", "oci-apparmor/policy=web", k.rootfs, k.ID), command...)...)
	}

	log := filepath.Join(filepath.Dir(k.rootfs), "log")
	run([]string{"--detach", "--log-uri", "file://" + log}, "/bin/sh", "-c", "echo out; echo err >&2; while :; do sleep 100; done")
	waitFor(t, "the container to say its words", func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.Count(string(text), "\n") >= 2
	})
	say("the log: %q", slices.Sorted(strings.Lines(read(t, log)))) // standard output and error come by two pipes
	ctr("", "task", "exec", "--exec-id", "e1", k.ID, "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
	ctr("words", "task", "exec", "--exec-id", "e2", k.ID, "/bin/cat")
	ctr("", "task", "exec", "--exec-id", "e3", k.ID, "/nosuch")
	ctr("", "task", "exec", "--exec-id", "e4", k.ID, "/bin/sh", "-c", "kill -9 $$")
	ctr("", "task", "pause", k.ID)
	say("status: %s", tasks.Task(t, k.ID).GetStatus())
	ctr("", "task", "resume", k.ID)
	say("status: %s", tasks.Task(t, k.ID).GetStatus())

	limit := int64(64 << 20)
	resources, err := json.Marshal(specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = tasks.Update(tasks.Context(t), &tasksapi.UpdateTaskRequest{ContainerID: k.ID, Resources: &anypb.Any{
		TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", Value: resources,
	}})
	say("update: %v, memory.max %s", err, read(t, "/sys/fs/cgroup/default/"+k.ID+"/memory.max"))
	_, err = tasks.Update(tasks.Context(t), &tasksapi.UpdateTaskRequest{ContainerID: k.ID, Resources: &anypb.Any{
		TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", Value: []byte("not json"),
	}})
	say("update: %v", err)
	say("metrics: %s", metrics(t, k))
	processes, err := tasks.ListPids(tasks.Context(t), &tasksapi.ListPidsRequest{ContainerID: k.ID})
	say("%d processes: %v", len(processes.GetProcesses()), err)
	ctr("", "task", "kill", "--exec-id", "nosuch", k.ID)
	ctr("", "task", "delete", k.ID)
	ctr("", "task", "kill", "--signal", "SIGKILL", k.ID)
	k.waitStopped(t)
	ctr("", "task", "delete", k.ID)
	ctr("", "task", "delete", k.ID)
	ctr("", "container", "delete", k.ID)

	run([]string{"--rm"}, "/bin/sh", "-c", "echo out; echo err >&2; exit 42")
	run([]string{"--rm"}, "/nosuch")
	ctr("", "container", "delete", k.ID)
	told := events(k.ID)

	arm.SystemdCgroup = true // guests' containers are not systemd's, so that the runtime fails, but not before it was called
	systemd.create(t, arm, "web")
	_, err = systemd.tasks.CreateTask(t, systemd.ID, arm, "")
	say("create for systemd: %v", err)
	tasks.RemoveContainer(t, systemd.ID)

	holder.remove(t)
	say("processes in containers: %d", len(guesttest.ContainerProcesses(t)))
	waitFor(t, "the shims to end", func() bool { return len(guesttest.Shims(t)) == 0 })
	if records, err := filepath.Glob("/run/oci-apparmor/containers/*.json"); err != nil || len(records) > 0 {
		t.Errorf("records of containers are left: %q (%v)", records, err)
	}
	say("left: %s", strings.Join(added(before, engineFiles(t)), "\n"))
	for call := range strings.Lines(read(t, loggedRuntime+".log")) {
		say("the runtime was called: %s", strings.TrimSpace(call))
	}
	for _, e := range told {
		say("event %s", e)
	}
	return said
}

// metrics returns the names of a task's metrics, and the values of those that stay the same.
func metrics(t *testing.T, k *task) string {
	t.Helper()
	var metrics any
	d := json.NewDecoder(strings.NewReader(k.MustCtr(t, "task", "metrics", "--format", "json", k.ID)))
	d.UseNumber()
	if err := d.Decode(&metrics); err != nil {
		t.Fatal(err)
	}
	var keys []string
	var walk func(prefix string, value any)
	walk = func(prefix string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(value)) {
				walk(prefix+"."+k, value[k])
			}
		default: // counters are there while they are not zero, which changes: those of a kind count as one, io as none
			if prefix == ".pids.current" || prefix == ".memory.usage_limit" {
				keys = append(keys, fmt.Sprintf("%s=%v", prefix, value))
			}
			kind := strings.Join(strings.Split(prefix, ".")[:min(2, strings.Count(prefix, ".")+1)], ".")
			if kind != ".io" && !slices.Contains(keys, kind) {
				keys = append(keys, kind)
			}
		}
	}
	walk("", metrics)
	return strings.Join(keys, " ")
}

// engineFiles lists what is below containerd's directories, but for its content and metadata.
func engineFiles(t *testing.T) map[string]bool {
	t.Helper()
	files := map[string]bool{}
	for _, dir := range []string{containerd.State, containerd.Root + "/io.containerd.runtime.v2.task"} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				if os.IsNotExist(err) {
					return nil
				}
				return err
			}
			if entry.IsDir() && entry.Name() == "rootfs" {
				return fs.SkipDir
			}
			files[fmt.Sprintf("%s %s", path, entry.Type())] = true
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func added(before, after map[string]bool) (files []string) {
	for _, f := range slices.Sorted(maps.Keys(after)) {
		if !before[f] {
			files = append(files, f)
		}
	}
	return files
}

var (
	eventWord  = regexp.MustCompile(`^\S+ \S+ \S+ \S+ \S+ (/\S+) (.*)$`)
	eventField = regexp.MustCompile(`"(pid|exited_at|bundle|runtime|options)":("[^"]*"|\d+|\{[^{}]*(\{[^{}]*\}[^{}]*)*\}),?`)
)

// watchEvents begins to note events. The function waits for the last one of a session and gives those of a container and
// its tasks, without what differs each time: those of each kind in their order, since two kinds come by two ways, and a
// task's deletion after its end. Of a container that ctr runs in the foreground, containerd 2.4's shim answers ctr before it
// tells the exit (task/service.go, handleProcessExit), so that the deletion, which ctr calls for then, may come first.
func watchEvents(t *testing.T, c *guesttest.Containerd) func(id string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := c.CtrCommand("events")
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(end)
	// It says nothing when it has begun to listen: events are made until one arrives.
	waitFor(t, "ctr to hear of events", func() bool {
		c.MustCtr(t, "namespace", "label", "default", fmt.Sprintf("listen=%d", os.Getpid()))
		return read(t, path) != ""
	})
	return func(id string) (events []string) {
		count := func(topic string) int { return strings.Count(read(t, path), topic+` {"container_id":"`+id) }
		waitFor(t, "the last events", func() bool {
			return strings.Count(read(t, path), `/containers/delete {"id":"`+id) >= 3 && count("/tasks/delete") >= 2 &&
				strings.Contains(read(t, path), `"exit_status":42`)
		})
		kinds, deleted := map[string][]string{}, ""
		put := func(kind, event string) {
			if event != "" {
				kinds[kind] = append(kinds[kind], event)
			}
		}
		for line := range strings.Lines(read(t, path)) {
			if !strings.Contains(line, `"`+id+`"`) {
				continue
			}
			m := eventWord.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil {
				t.Errorf("no event: %q", line)
				continue
			}
			kind, event := strings.Split(m[1], "/")[1], m[1]+" "+eventField.ReplaceAllString(m[2], "")
			switch m[1] {
			case "/tasks/delete": // of the task, not of what was executed in it
				deleted = event
				continue
			case "/tasks/create":
				put(kind, deleted)
				deleted = ""
			}
			put(kind, event)
		}
		put("tasks", deleted)
		return append(kinds["tasks"], kinds["containers"]...)
	}
}
