package counts

import (
	"time"

	"golang.org/x/sys/unix"
)

// born is when this process was started. The kernel tells that only to a hundredth of a second (/proc/self/stat), which is
// more than a start takes. So it is the time when our code was first called, less the processor time that the process had
// taken until then: before that it waits for nothing but its own file.
var born = func() time.Time {
	now := time.Now()
	var used unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &used) != nil {
		return now
	}
	return now.Add(-time.Duration(used.Nano()))
}()

// Age returns how long this process has run.
func Age() time.Duration { return time.Since(born) }
