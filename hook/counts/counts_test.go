package counts

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("COUNTS_TEST_TABLE"); path != "" {
		child(path)
		return
	}
	os.Exit(m.Run())
}

func newTable(t testing.TB) *Table {
	t.Helper()
	return New(filepath.Join(t.TempDir(), "run", "counts"))
}

// numbers returns the counters by their keys, with the number that is lost under "lost".
func numbers(t testing.TB, table *Table) map[string]uint64 {
	t.Helper()
	all, err := table.Read()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]uint64)
	for _, c := range all.All {
		key := c.Name
		for _, label := range slices.Sorted(maps.Keys(c.Labels)) {
			key += " " + label + "=" + c.Labels[label]
		}
		got[key] += c.N
	}
	if all.Lost > 0 {
		got["lost"] = all.Lost
	}
	return got
}

func check(t *testing.T, table *Table, want map[string]uint64) {
	t.Helper()
	if got := numbers(t, table); !maps.Equal(got, want) {
		t.Errorf("counted\n%v, want\n%v", got, want)
	}
}

func TestCountsAreAddedUp(t *testing.T) {
	table := newTable(t)
	check(t, table, map[string]uint64{})
	for range 3 {
		table.Add(Decisions.With("docker", Wrapper, "web", Confined), Execs.With("docker", Kept))
		table.Add(Execs.Plus(5, "docker", Kept))
	}
	table.Add()
	table.Add(Execs.With("docker", Refused), Decisions.With("docker", Shim, "", Refused))
	check(t, table, map[string]uint64{
		"decisions engine=docker outcome=confined policy=web wiring=wrapper": 3,
		"decisions engine=docker outcome=refused policy= wiring=shim":        1,
		"execs engine=docker outcome=kept":                                   18,
		"execs engine=docker outcome=refused":                                1,
	})
	if st, err := os.Stat(table.path); err != nil || st.Size() != size || st.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", st, err)
	}
	if left, err := os.ReadDir(filepath.Dir(table.path)); err != nil || len(left) != 1 {
		t.Errorf("its directory has %v, %v", left, err)
	}
	(*Table)(nil).Add(Execs.With("docker", Kept)) // counts nothing, and stops nobody
}

func TestDurationsFallIntoTheirBuckets(t *testing.T) {
	table := newTable(t)
	for _, d := range []time.Duration{-1, 250 * time.Microsecond, 251 * time.Microsecond, 5 * time.Second, 5*time.Second + 1} {
		table.Add(StartDuration.Observe(d, Shim)...)
	}
	check(t, table, map[string]uint64{
		"start_duration_buckets le=0.00025 wiring=shim": 2,
		"start_duration_buckets le=0.0005 wiring=shim":  1,
		"start_duration_buckets le=5 wiring=shim":       1,
		"start_duration_buckets le=+Inf wiring=shim":    1,
		"start_duration_nanoseconds wiring=shim":        uint64(10*time.Second + 501*time.Microsecond + 1),
	})
}

// Names of policies take only slots of their own. What does not fit is counted under Other, and what even then does not,
// is counted as lost.
func TestTooManyPoliciesAreOthers(t *testing.T) {
	table := newTable(t)
	const policies = slots
	for i := range policies {
		table.Add(Decisions.With("docker", Wrapper, "p"+strconv.Itoa(i), Confined))
	}
	table.Add(Decisions.With("docker", Wrapper, strings.Repeat("l", 200), Confined)) // there is no place for it
	table.Add(Execs.With("docker", Kept), Decisions.With("docker", Wrapper, "p0", Confined))
	got := numbers(t, table)
	const other = "decisions engine=docker outcome=confined policy=other wiring=wrapper"
	const p0 = "decisions engine=docker outcome=confined policy=p0 wiring=wrapper"
	if got[p0] != 2 || got[other] != policies-slots/2+1 || got["execs engine=docker outcome=kept"] != 1 || got["lost"] != 0 {
		t.Errorf("p0 %d, other %d, execs %d, lost %d", got[p0], got[other], got["execs engine=docker outcome=kept"], got["lost"])
	}
	if len(got) != slots/2+2 {
		t.Errorf("%d counters, want %d", len(got), slots/2+2)
	}
	for i := range slots {
		table.Add(Refusals.With("docker", "c"+strconv.Itoa(i), "r"))
	}
	if got := numbers(t, table); got["lost"] == 0 || len(got) > slots {
		t.Errorf("lost %d of %d counters", got["lost"], len(got))
	}
}

func TestLongestPolicyHasPlace(t *testing.T) {
	table, name := newTable(t), strings.Repeat("x", 200)
	table.Add(Decisions.With("containerd", Precreate, name, Complaining))
	check(t, table, map[string]uint64{"decisions engine=containerd outcome=complaining policy=" + name + " wiring=precreate": 1})
}

func TestHostileValuesAreOthers(t *testing.T) {
	table := newTable(t)
	for _, value := range []string{"a b", "a=b", "a\n", "\x00", "é", `"`, strings.Repeat("x", longestKey+1)} {
		table.Add(Decisions.With("docker", Wrapper, value, Confined))
	}
	check(t, table, map[string]uint64{"decisions engine=docker outcome=confined policy=other wiring=wrapper": 7})
}

// A file of a later version has names, labels and values that this one does not know.
func TestLaterVersionsCountInTheSameFile(t *testing.T) {
	table := newTable(t)
	later := Family{Name: "later", Labels: []string{"new"}}
	labelled := Family{Name: "execs", Labels: []string{"engine", "outcome", "new"}}
	table.Add(later.With("x"), labelled.With("docker", "unheard", "y"), Execs.With("docker", Kept))
	check(t, table, map[string]uint64{
		"later new=x": 1,
		"execs engine=docker new=y outcome=unheard": 1,
		"execs engine=docker outcome=kept":          1,
	})
}

// Who is killed between the steps of a count leaves a slot without its key, or with a part of it. The next one goes on.
func TestACountThatWasCutOffIsTakenUp(t *testing.T) {
	count := Execs.With("docker", Kept)
	key := count.key(nil, false)
	for written := range len(key) + 1 {
		table := newTable(t)
		table.Add(Execs.With("docker", Refused)) // makes the file
		m, err := open(table.path, true)
		if err != nil {
			t.Fatal(err)
		}
		hash, n := hashOf(key), closed.end-closed.first
		slot := closed.first + int(hash>>1%uint64(n))
		m.hash(slot).Store(hash)
		if err := m.writeKey(slot, key[:written]); err != nil {
			t.Fatal(err)
		}
		check(t, table, map[string]uint64{"execs engine=docker outcome=refused": 1})
		table.Add(count)
		check(t, table, map[string]uint64{"execs engine=docker outcome=refused": 1, "execs engine=docker outcome=kept": 1})
		m.close()
	}
}

// damages are files in the place of the counters, and whether the next count puts a new one there.
func TestWhatIsNotTheFileIsReplaced(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"removed":          os.Remove,
		"empty":            func(path string) error { return os.Truncate(path, 0) },
		"cut":              func(path string) error { return os.Truncate(path, size-1) },
		"longer":           func(path string) error { return os.Truncate(path, size+1) },
		"text":             func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("x", size)), 0o600) },
		"a link":           func(path string) error { _ = os.Remove(path); return os.Symlink("/etc/passwd", path) },
		"a pipe":           func(path string) error { _ = os.Remove(path); return unix.Mkfifo(path, 0o600) },
		"an empty dir":     func(path string) error { _ = os.Remove(path); return os.Mkdir(path, 0o700) },
		"others' to write": func(path string) error { return os.Chmod(path, 0o666) },
		"no directory":     func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			table := newTable(t)
			table.Add(Execs.With("docker", Kept))
			if err := damage(table.path); err != nil {
				t.Fatal(err)
			}
			if all, err := table.Read(); len(all.All) > 0 {
				t.Errorf("reads %v, %v", all, err)
			}
			table.Add(Execs.With("docker", Refused))
			check(t, table, map[string]uint64{"execs engine=docker outcome=refused": 1})
		})
	}
}

// Where nothing can be written, nothing is counted, and nothing waits or fails.
func TestNothingTakesTheCounts(t *testing.T) {
	dir := t.TempDir()
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(filepath.Join(full, "counts", "more"), 0o700); err != nil { // a directory that cannot be removed
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(full, "counts"), "/proc/self/counts", "/dev/null/counts"} {
		New(path).Add(Execs.With("docker", Kept))
		if all, err := New(path).Read(); len(all.All) > 0 {
			t.Errorf("%s: reads %v, %v", path, all, err)
		}
	}
}

// Memory of a file that was cut after it was mapped is no memory: to touch it ends a program, unless it is prepared.
func TestAFileThatIsCutWhileItIsMappedEndsNobody(t *testing.T) {
	table := newTable(t)
	table.Add(Execs.With("docker", Kept))
	m, err := open(table.path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	if err := os.Truncate(table.path, 0); err != nil {
		t.Fatal(err)
	}
	if m.guarded(func() { m.add(Execs.With("docker", Kept), nil) }) {
		t.Error("counts in memory that is not there")
	}
	if all, err := m.read(); err == nil {
		t.Errorf("reads %v of memory that is not there", all)
	}
}

// What others have written into the file is not believed, and harms nobody.
func FuzzRead(f *testing.F) {
	f.Add(uint16(3000), []byte("execs engine=docker outcome=kept"))
	f.Add(uint16(0), []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, slot uint16, data []byte) {
		table := newTable(t)
		table.Add(Execs.With("docker", Kept))
		file, err := os.OpenFile(table.path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.WriteAt(data[:min(len(data), keySize)], int64(slot)*8); err != nil {
			t.Fatal(err)
		}
		all, err := table.Read()
		for _, c := range all.All {
			if !isValue(c.Name) {
				t.Errorf("reads %+v", c)
			}
		}
		table.Add(Execs.With("docker", Kept))
		_ = err
	})
}

// child adds to counters until it is killed, and says after each count that it has.
func child(path string) {
	n, _ := strconv.Atoi(os.Getenv("COUNTS_TEST_NUMBER"))
	table := New(path)
	for i := range n {
		table.Add(Decisions.With("docker", Wrapper, "p"+strconv.Itoa(i%8), Confined), Execs.With("docker", Kept))
		os.Stdout.Write([]byte{'.'})
	}
}

// Processes that count at once, of which some are killed, lose nothing: no more and no less is counted than they said, but
// for the one count that a killed process was at.
func TestProcessesThatAreKilledLoseNoCount(t *testing.T) {
	table := newTable(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const processes, each = 12, 400
	var least, most uint64
	type running struct {
		cmd  *exec.Cmd
		said chan uint64 // how many counts it has said, at its end
	}
	var all []running
	for i := range processes {
		cmd, number := exec.Command(self), each
		if i%3 == 0 {
			number = 1 << 30 // it ends only by being killed
		}
		cmd.Env = append(os.Environ(), "COUNTS_TEST_TABLE="+table.path, "COUNTS_TEST_NUMBER="+strconv.Itoa(number))
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		r := running{cmd, make(chan uint64, 1)}
		all = append(all, r)
		go func() {
			var said uint64
			for one := make([]byte, 1); ; said++ {
				if n, _ := out.Read(one); n == 0 {
					break
				}
				if i%3 == 0 && said == uint64(20+i) { // it is at the next ones
					_ = cmd.Process.Kill()
				}
			}
			r.said <- said
		}()
	}
	killed := 0
	for _, r := range all {
		said := <-r.said
		if r.cmd.Wait() != nil {
			killed++
			most++
		}
		least += said
	}
	if killed != processes/3 {
		t.Errorf("%d processes were killed, want %d", killed, processes/3)
	}
	most += least
	var decisions uint64
	got := numbers(t, table)
	for key, n := range got {
		if strings.HasPrefix(key, "decisions ") {
			decisions += n
		}
	}
	execs := got["execs engine=docker outcome=kept"]
	if decisions < least || decisions > most || execs < least || execs > decisions || got["lost"] != 0 {
		t.Errorf("counted %d decisions and %d execs, lost %d; %d to %d were made", decisions, execs, got["lost"], least, most)
	}
	t.Logf("%d counts by %d processes, of which %d were killed", decisions, processes, killed)
}

func TestAgeIsThatOfTheProcess(t *testing.T) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		t.Fatal(err)
	}
	const tick = time.Second / 100
	kernels := time.Duration(up.Nano()) - time.Duration(ticks)*tick
	if d := (Age() - kernels).Abs(); d > 20*tick { // of a machine that is busy
		t.Errorf("the process is %s old, and the kernel says %s", Age(), kernels)
	}
}

// What may only be read can be read, and a count to it is dropped.
func TestAFileThatCanOnlyBeRead(t *testing.T) {
	table := newTable(t)
	table.Add(Execs.With("docker", Kept))
	m, err := open(table.path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	if all, err := m.read(); err != nil || len(all.All) != 1 || all.All[0].N != 1 {
		t.Errorf("reads %v, %v", all, err)
	}
	if m.guarded(func() { m.add(Execs.With("docker", Kept), nil) }) {
		t.Error("counts in a file that may only be read")
	}
	check(t, table, map[string]uint64{"execs engine=docker outcome=kept": 1})
}

func TestTheHeaderIsOurs(t *testing.T) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], magic)
	if string(b[:]) != "acounts1" {
		t.Errorf("the magic is %q", b)
	}
	seen := make(map[string]bool)
	for _, f := range Families {
		if seen[f.Name] || !isValue(f.Name) || f.Open != "" && !slices.Contains(f.Labels, f.Open) {
			t.Errorf("counter %s is there twice, or cannot be written", f.Name)
		}
		seen[f.Name] = true
	}
}

func BenchmarkAdd(b *testing.B) {
	table := newTable(b)
	for b.Loop() {
		table.Add(append(StartDuration.Observe(time.Millisecond, Wrapper), Decisions.With("docker", Wrapper, "web", Confined))...)
	}
}

func BenchmarkRead(b *testing.B) {
	table := newTable(b)
	for i := range 100 {
		table.Add(Decisions.With("docker", Wrapper, fmt.Sprint("p", i), Confined))
	}
	for b.Loop() {
		if _, err := table.Read(); err != nil {
			b.Fatal(err)
		}
	}
}
