package agent

import (
	"bufio"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Frugal has Go collect garbage when its memory has grown to so many bytes, and never because time has passed: by itself it collects every two
// minutes, which wakes a process that has nothing to do. Where what is in use leaves too little below that, as with many profiles, Go would
// collect all the time. So after each collection the limit is set anew: a quarter more than what is in use at least. The function that it
// returns has Go collect as before.
func Frugal(least int64) (end func()) {
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(least)
	ended := new(atomic.Bool)
	(&collected{least, ended}).hear()
	return func() {
		ended.Store(true)
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
}

// collected is garbage, by which it is heard that Go has collected.
type collected struct {
	least int64
	ended *atomic.Bool
}

func (c *collected) hear() {
	runtime.SetFinalizer(c, func(c *collected) {
		if !c.ended.Load() {
			debug.SetMemoryLimit(max(c.least, roomy()))
			c.hear()
		}
	})
}

// roomy returns a limit that leaves room for a quarter more than is in use, in bytes as debug.SetMemoryLimit counts them (runtime/metrics).
func roomy() int64 {
	const total, released, objects, free, unused, live = "/memory/classes/total:bytes", "/memory/classes/heap/released:bytes",
		"/memory/classes/heap/objects:bytes", "/memory/classes/heap/free:bytes", "/memory/classes/heap/unused:bytes", "/gc/heap/live:bytes"
	now := make(map[string]int64)
	var all []metrics.Sample
	for _, name := range []string{total, released, objects, free, unused, live} {
		all = append(all, metrics.Sample{Name: name})
	}
	metrics.Read(all)
	for _, s := range all {
		if s.Value.Kind() == metrics.KindUint64 {
			now[s.Name] = int64(s.Value.Uint64())
		}
	}
	besides := now[total] - now[released] - now[objects] - now[free] - now[unused] // stacks, and what Go itself needs
	return besides + now[live]*5/4
}

// trim gives back memory that the process does not need any more: what its start has read of the program's code and
// constants, of which the process that stays needs a small part, and what of the heap is free. The kernel reads again what
// is needed, from its cache of the file. It fails silently: then the process is larger than it might be.
func trim() {
	debug.FreeOSMemory()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		// START-END PERMISSIONS OFFSET DEVICE INODE PATH (proc_pid_maps(5))
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[5] != self || strings.Contains(fields[1], "w") {
			continue // what can be written may differ from the file
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil || end <= start {
			continue
		}
		// Of a mapping that is private and was never written to, MADV_DONTNEED drops pages that are in the file.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
	}
}
