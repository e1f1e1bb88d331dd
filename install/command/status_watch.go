package command

import (
	"bytes"
	"context"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
)

// watchStatus prints a status, and prints it again when it has changed, until the context ends. On a terminal, if over is
// set, it overwrites the one before, as far as there is room. Otherwise it prints below it.
func (s *session) watchStatus(ctx context.Context, over bool, text func() ([]byte, error)) error {
	var before []byte
	ticker := time.NewTicker(s.Pause)
	defer ticker.Stop()
	for {
		now, err := text()
		if code, _ := exit.Split(err); err != nil && code != noPolicy { // a profile may come
			return err
		}
		if to := s.screen(); !bytes.Equal(now, before) || before == nil {
			before = now
			if over && to.terminal {
				now = append([]byte("\x1b[H\x1b[J"), cut(now, to.height)...)
			}
			if _, err := s.stdout.Write(now); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// cut returns the first lines of a text, one less than height, so that nothing scrolls.
func cut(text []byte, height int) []byte {
	at := 0
	for line := 1; ; line++ {
		next := bytes.IndexByte(text[at:], '\n')
		if next < 0 {
			return text
		}
		if height > 1 && line == height {
			return text[:at]
		}
		at += next + 1
	}
}
