package source

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What comes may be no record of AppArmor's, and still be what is behind a loss.
func TestWhateverComesIsHeard(t *testing.T) {
	const other = "type=1300 audit(1.000:9): arch=c000003e"
	for name, opened := range map[string]func() Source{
		"the kernel's log": func() Source {
			l, s := newLog(t, host(t), Options{})
			l.write(entry(0, "usb 1-1: new device"))
			return s
		},
		"the journal": func() Source {
			return open(t, journaled(t, with(bySocket(1), "_AUDIT_TYPE", "1130")), Journal, Options{})
		},
		"auditd's log": func() Source {
			h := host(t)
			write(t, h.AuditLog, strings.Replace(other, "audit(", "msg=audit(", 1)+"\n")
			return open(t, h, AuditLog, Options{})
		},
		"the audit socket": func() Source {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			m, err := host(t).newMulticast(fds[0], Options{Follow: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { m.Close(); unix.Close(fds[1]) })
			if _, err := unix.Write(fds[1], []byte(other)); err != nil {
				t.Fatal(err)
			}
			return m
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := opened()
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second) // the socket has no end
			defer stop()
			heard := 0
			Hear(s, func() { heard++; stop() })
			var e Entry
			if err := s.Next(ctx, &e); heard == 0 {
				t.Errorf("nothing was heard until %v", err)
			}
		})
	}
	s := open(t, journaled(t), Journal, Options{})
	Hear(s, func() { t.Error("nothing came, and it was heard") })
	var e Entry
	if err := s.Next(t.Context(), &e); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
