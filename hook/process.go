package hook

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// processAlive reports whether a process exists and is no zombie. If started is not empty, the process must have started
// then.
func processAlive(pid int, started string) bool {
	at, alive := StartOf(pid)
	return alive && (started == "" || at == started)
}

// StartOf returns when a process started, in clock ticks since boot, and whether it exists and is no zombie (proc(5),
// /proc/pid/stat).
func StartOf(pid int) (started string, alive bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if pid <= 0 || err != nil {
		return "", false
	}
	// "PID (COMM) STATE ...": COMM may hold anything, so look from its end. The start time is the 22nd of all fields.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "", false
	}
	return fields[19], true
}
