package containerd

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oci-apparmor/oci-apparmor/hook"
)

// mostRan is how many processes the shim remembers of a container. One that is probed by an exec every few seconds has a new
// one each time.
const mostRan = 64

// began remembers a process that was started in a container, not before a time. It reads nothing of the process, because that
// would cost the start.
func (s *service) began(id string, pid int, from time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.containers[id]
	if !ok || pid <= 0 {
		return
	}
	if c.ran = append(slices.Clip(c.ran), hook.Ran{PID: pid, From: from.UTC()}); len(c.ran) > mostRan {
		c.ran = slices.Delete(c.ran, 1, 2)
	}
	s.containers[id] = c
}

// ended remembers when a process of a container ended.
func (s *service) ended(id string, pid int, at *timestamppb.Timestamp) {
	if at == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ran := s.containers[id].ran
	for i := range slices.Backward(ran) {
		if ran[i].PID == pid && ran[i].To.IsZero() {
			ran[i].To = at.AsTime()
			return
		}
	}
}
