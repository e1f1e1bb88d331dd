package containerd

import (
	"testing"
	"time"
)

// A container that is probed by execs for a year costs no more memory than one that was probed for an hour.
func TestOnlyTheLatestProcessesAreRemembered(t *testing.T) {
	s := newService(nil, nil)
	s.add("c", container{})
	for pid := 1; pid <= 10*mostRan; pid++ {
		s.began("c", pid, time.Unix(int64(pid), 0))
	}
	c, _ := s.get("c")
	if len(c.ran) != mostRan || c.ran[0].PID != 1 || c.ran[1].PID != 9*mostRan+2 || c.ran[mostRan-1].PID != 10*mostRan {
		t.Errorf("%d are remembered: %+v", len(c.ran), c.ran)
	}
	s.began("gone", 1, time.Now())
	s.ended("gone", 1, nil)
	if _, ok := s.get("gone"); ok {
		t.Error("a process of a container that was deleted made one")
	}
}
