package meaning

import (
	"slices"
	"strconv"
	"strings"
)

// A Signal is a signal's number in AppArmor's own order, which is the same on every architecture
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

// Signals by which engines stop a container.
const (
	SIGKILL Signal = 9
	SIGTERM Signal = 15
)

// LastSignal is the last signal that has a name of its own on Linux. Those after it are real-time signals.
const LastSignal Signal = 31

// exists is the number of kill(2)'s signal 0, by which a process asks whether another one exists.
const exists Signal = 35

// sent reports whether a process can send the signal. The three before exists are those of architectures other than AppArmor is used on.
func (s Signal) sent() bool {
	return s > 0 && s <= LastSignal || s == exists || s >= realTime && s < realTime+realTimes
}

// ParseSignal returns the signal that rules call name, such as "kill" or "rtmin+3", and false if there is none.
func ParseSignal(name string) (Signal, bool) {
	if n, ok := strings.CutPrefix(name, "rtmin+"); ok {
		i, err := strconv.ParseUint(n, 10, 8)
		return realTime + Signal(i), err == nil && i < realTimes
	}
	i := slices.Index(signalNames[:], name)
	return Signal(max(i, 0)), i > 0
}

// String returns the name of the signal in rules.
func (s Signal) String() string {
	switch {
	case s > 0 && int(s) < len(signalNames):
		return signalNames[s]
	case s >= realTime && s < realTime+realTimes:
		return "rtmin+" + strconv.Itoa(int(s-realTime))
	}
	return "unknown"
}
