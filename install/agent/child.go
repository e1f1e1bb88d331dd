package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Child runs a hidden command of this program, and returns what it has printed on standard output. Its lines on standard
// error go to said.
//
// What a child does takes tens of megabytes for a moment, and reads files and programs' answers that may be hostile. So the
// process that stays has neither the memory nor the faults of that.
type Child func(ctx context.Context, said func(line string), args ...string) ([]byte, error)

// maxPrinted bounds what a child prints, in bytes.
const maxPrinted = 4 << 20

// Self is a Child that runs the program of this process, also after another version has taken its place on the disk.
func Self(ctx context.Context, said func(line string), args ...string) ([]byte, error) {
	return run(ctx, said, "/proc/self/exe", args...)
}

func run(ctx context.Context, said func(line string), program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Args[0] = "oci-apparmor"
	// It ends as by a signal of systemd's, and leaves nothing half done. It outlives an agent that is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	out := &bounded{most: maxPrinted}
	errs := &bounded{most: 64 << 10}
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { // those are for the process that stays
		return strings.HasPrefix(s, "GOGC=") || strings.HasPrefix(s, "GOMEMLIMIT=")
	})
	err := cmd.Run()
	var lines []string
	for text := range strings.Lines(errs.buf.String()) {
		if text = strings.TrimPrefix(strings.TrimSpace(text), "oci-apparmor: "); text != "" {
			lines = append(lines, clean(text))
		}
	}
	if err == nil {
		for _, text := range lines {
			said(text)
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case out.over:
		return nil, fmt.Errorf("%s printed more than %d bytes", strings.Join(args, " "), maxPrinted)
	case err != nil:
		return nil, fmt.Errorf("oci-apparmor %s: %w: %s", strings.Join(args, " "), err, strings.Join(lines[:min(len(lines), maxLines)], "; "))
	}
	return out.buf.Bytes(), nil
}

// bounded keeps the first bytes that are written to it. It is no bytes.Buffer, into which io.Copy would read without bounds.
type bounded struct {
	buf  bytes.Buffer
	most int
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.most-b.buf.Len())
	b.over = b.over || n < len(p)
	b.buf.Write(p[:n])
	return len(p), nil
}

// ask runs a child and decodes what it prints.
func ask(ctx context.Context, c Child, r *Reporter, into any, args ...string) error {
	out, err := c(ctx, func(line string) { r.Logf("%s", line) }, append([]string{"agent"}, args...)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("oci-apparmor agent %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// Answer prints what a child answers.
func Answer(w io.Writer, answer any) error { return json.NewEncoder(w).Encode(answer) }
