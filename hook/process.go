package hook

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// processAlive tells whether a process exists and is no zombie, and, unless started is empty, is the one that started
// then.
func processAlive(pid int, started string) bool {
	at, alive := startOf(pid)
	return alive && (started == "" || at == started)
}

// startOf gives when a process started, in clock ticks since boot, and whether it is there and no zombie (proc(5),
// /proc/pid/stat).
func startOf(pid int) (started string, alive bool) {
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
