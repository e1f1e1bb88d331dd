package guest

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// A marked stream is a command's output between two marks that job.sh writes: NUL, nonce, " start" and newline before it;
// NUL, nonce, " exit ", the exit code and newline after it.
type marked struct {
	nonce   string
	started func()
	exited  func(code int)
}

// copy passes on to w what stands between the marks, as it arrives, until the second mark or the end of r.
// An error of w is kept for the end, so that r is read on and the guest is not held up.
func (m marked) copy(w io.Writer, r io.Reader) error {
	prefix := []byte("\x00" + m.nonce + " ")
	var werr error
	var pending []byte
	running := false
	pass := func(b []byte) {
		if running && werr == nil && len(b) > 0 {
			_, werr = w.Write(b)
		}
	}
	chunk := make([]byte, 32<<10)
	for {
		n, err := r.Read(chunk)
		pending = append(pending, chunk[:n]...)
		for {
			at := markStart(pending, prefix)
			pass(pending[:at])
			pending = pending[at:]
			end := bytes.IndexByte(pending, '\n')
			if len(pending) < len(prefix) || end < 0 {
				break // perhaps the beginning of a mark: wait for the rest of it
			}
			mark := string(pending[len(prefix):end])
			pending = pending[end+1:]
			if mark == "start" {
				running = true
				m.started()
				continue
			}
			var code int
			if _, err := fmt.Sscanf(mark, "exit %d", &code); err != nil {
				return fmt.Errorf("the guest wrote a mark that is none: %s", strconv.Quote(mark))
			}
			m.exited(code)
			return werr
		}
		if err == io.EOF {
			pass(pending)
			return werr
		}
		if err != nil {
			return err
		}
	}
}

// markStart returns the index in b where the prefix stands, or where b's end could be the beginning of it, or len(b).
func markStart(b, prefix []byte) int {
	if i := bytes.Index(b, prefix); i >= 0 {
		return i
	}
	for i := max(0, len(b)-len(prefix)+1); i < len(b); i++ {
		if bytes.HasPrefix(prefix, b[i:]) {
			return i
		}
	}
	return len(b)
}
