package source

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
)

// busUnits are the services that decide about D-Bus and log that.
var busUnits = []string{"dbus.service", "dbus-broker.service"}

// fromDBus reports whether the system's D-Bus daemon sent a USER_AVC. The kernel writes by which process a message is,
// and that is all: any process with CAP_AUDIT_WRITE sends messages, also in a container that Docker starts. So the process
// must run since before the record, in the service's cgroup, into which only who rules the node can put one.
func (h *Host) fromDBus(r *audit.Record) bool {
	for _, f := range r.Fields {
		if f.Added && string(f.Key) == "pid" { // the first one is the kernel's
			pid, err := strconv.ParseUint(string(f.Text), 10, 31)
			return err == nil && h.isBus(pid, r.Time)
		}
	}
	return false
}

// isBus reports whether a process is the D-Bus daemon, and was at that time.
func (h *Host) isBus(pid uint64, at time.Time) bool {
	dir := h.Proc + "/" + strconv.FormatUint(pid, 10)
	cgroups, err := os.ReadFile(dir + "/cgroup")
	if err != nil {
		return false
	}
	found := false
	for line := range strings.Lines(string(cgroups)) { // ID:CONTROLLERS:PATH
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && (fields[1] == "" || fields[1] == "name=systemd") {
			for _, unit := range busUnits {
				found = found || fields[2] == "/system.slice/"+unit
			}
		}
	}
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil || !found {
		return false
	}
	// Field 22 is when it began, in hundredths of a second since the boot (proc_pid_stat(5)). Field 2 is in brackets.
	_, rest, _ := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte{' '})
	fields := strings.Fields(string(rest))
	const starttime = 22 - 3
	if len(fields) <= starttime {
		return false
	}
	ticks, err := strconv.ParseInt(fields[starttime], 10, 64)
	var up unix.Timespec
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) != nil {
		return false
	}
	const slack = time.Second // the two clocks are not read at once
	began := time.Now().Add(time.Duration(ticks)*10*time.Millisecond - time.Duration(up.Nano()))
	return began.Before(at.Add(slack))
}
