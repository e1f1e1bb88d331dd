package safefile

import (
	"time"

	"golang.org/x/sys/unix"
)

// A Stamp is what stat(2) returns of a file that changes when the file is changed or replaced. Two equal stamps of a path
// mean the same content, if the first one was settled when the content was read. Linux sets the time of change (ctime) at
// every write, and no program can set it to another value.
//
// A write to a file on tmpfs by mmap(2) does not change the stamp, nor does a write to the disk below the file system.
type Stamp struct {
	Dev, Ino       uint64
	Mode, UID, GID uint32
	Size           int64
	Mtime, Ctime   int64 // nanoseconds since 1970
}

// StampOf returns the stamp of a file from the result of stat(2).
func StampOf(st *unix.Stat_t) Stamp {
	return Stamp{
		Dev: uint64(st.Dev), Ino: st.Ino, Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: st.Size,
		Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(),
	}
}

// Steps of the time of change. Linux takes it from a clock that ticks every 1 to 10 ms. Some file systems keep whole
// seconds, and FAT every second one.
const (
	tick       = 20 * time.Millisecond
	wholeSteps = 3 * time.Second
)

// Settled reports whether a change of the file after now would give it another stamp. It returns false for a file that was
// changed so shortly before now that the time of the next change may be the same one. Take now before the content is read.
func (s Stamp) Settled(now time.Time) bool {
	step := tick
	if s.Ctime%int64(time.Second) == 0 {
		step = wholeSteps
	}
	return now.UnixNano()-s.Ctime > int64(step)
}
