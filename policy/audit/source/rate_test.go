package source

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestManyMessagesASecondAreReadByTens(t *testing.T) {
	at := time.Now()
	now := func() time.Time { return at }
	var r rate
	high := func(n int, apart time.Duration) (is bool) {
		for range n {
			at = at.Add(apart)
			is = r.high(now)
		}
		return is
	}
	if high(5*many, time.Second/50) {
		t.Error("50 a second are many")
	}
	if !high(2*many, time.Second/2000) {
		t.Error("2,000 a second are few")
	}
	if high(2*many, time.Second/50) {
		t.Error("50 a second are still many after more")
	}
}

// What comes while the reader rests is read in order, and the end of a context is not waited for.
func TestAReaderThatRestsMissesNothing(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	m, err := host(t).newMulticast(fds[0], Options{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const messages = 10 * many
	sent := make(chan error)
	go func() {
		for i := range messages {
			message := make([]byte, unix.SizeofNlMsghdr, longestMessage)
			binary.NativeEndian.PutUint16(message[4:], 1400)
			if _, err := unix.Write(fds[1], append(message, byte(i))); err != nil {
				sent <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
		sent <- nil
	}()
	for i := range messages {
		n, _, err := m.receive(t.Context())
		if err != nil || m.buf[shift+n-1] != byte(i) {
			t.Fatalf("message %d: %d bytes, %v, %v", i, n, m.buf[shift+n-1], err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, stop)
	if _, _, err := m.receive(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after the last one: %v", err)
	}
}
