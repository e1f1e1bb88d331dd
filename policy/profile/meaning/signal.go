package meaning

import (
	"slices"
	"strconv"
	"strings"
)

// Signal is a signal's number in AppArmor's own order, which is the same on every architecture
// (security/apparmor/include/sig_names.h).
type Signal byte

// signalNames are the names that rules have for signals, by their numbers.
var signalNames = [...]string{"", "hup", "int", "quit", "ill", "trap", "abrt", "bus", "fpe", "kill", "usr1", "segv", "usr2",
	"pipe", "alrm", "term", "stkflt", "chld", "cont", "stop", "stp", "ttin", "ttou", "urg", "xcpu", "xfsz", "vtalrm", "prof",
	"winch", "io", "pwr", "sys", "emt", "lost", "unused", "exists"}

// realTime is the number of SIGRTMIN, and realTimes how many are counted from it (parser/signal.cc).
const (
	realTime  = 128
	realTimes = 33
)

// Signals by which a container is stopped.
const (
	SIGKILL Signal = 9
	SIGTERM Signal = 15
)

// LastSignal is the last of those that have a name of their own on Linux.
const LastSignal Signal = 31

// ParseSignal returns the signal that a rule calls name ("kill", "rtmin+3"), and false where there is none.
func ParseSignal(name string) (Signal, bool) {
	if n, ok := strings.CutPrefix(name, "rtmin+"); ok {
		i, err := strconv.ParseUint(n, 10, 8)
		return realTime + Signal(i), err == nil && i < realTimes
	}
	i := slices.Index(signalNames[:], name)
	return Signal(max(i, 0)), i > 0
}

// String returns the name that rules have for the signal.
func (s Signal) String() string {
	switch {
	case s > 0 && int(s) < len(signalNames):
		return signalNames[s]
	case s >= realTime && s < realTime+realTimes:
		return "rtmin+" + strconv.Itoa(int(s-realTime))
	}
	return "unknown"
}
