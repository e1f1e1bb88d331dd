package command

import (
	"bytes"
	"context"
	"errors"
	"time"
)

// watchStatus prints a status, and again whenever it is another one, until the context ends: on a terminal over the one
// before where over is true, as far as there is room, and else below it.
func (n *node) watchStatus(ctx context.Context, over bool, text func() ([]byte, error)) error {
	var before []byte
	ticker := time.NewTicker(n.pause)
	defer ticker.Stop()
	for {
		now, err := text()
		var f *failure
		if err != nil && (!errors.As(err, &f) || f.code != noPolicy) { // a profile may come
			return err
		}
		if s := n.screen(); !bytes.Equal(now, before) || before == nil {
			before = now
			if over && s.terminal {
				now = append([]byte("\x1b[H\x1b[J"), cut(now, s.height)...)
			}
			if _, err := n.stdout.Write(now); err != nil {
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

// cut gives the first lines of a text, one less than there is room for, so that nothing scrolls.
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
