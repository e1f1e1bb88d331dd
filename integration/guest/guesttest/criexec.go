package guesttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A Stream is a process in a container that was started as by "kubectl exec --stdin". The engine returns a URL. At that
// URL a WebSocket carries the standard streams as channels. Each message begins with the number of its channel
// (k8s.io/streaming, the protocol v4.channel.k8s.io).
type Stream struct {
	conn   *websocket.Conn
	ctx    context.Context
	stdout bytes.Buffer
	stderr bytes.Buffer
}

const (
	channelStdin = iota
	channelStdout
	channelStderr
	channelStatus
)

// Exec starts a program in the container, and stays connected to its standard streams.
func (c *PodContainer) Exec(t testing.TB, args ...string) *Stream {
	t.Helper()
	ctx, cancel := patient()
	t.Cleanup(cancel)
	r, err := c.Pod.cri.Exec(ctx, &cri.ExecRequest{ContainerId: c.ID, Cmd: args, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatalf("Exec of %q in container %s: %v", args, c.ID, err)
	}
	conn, response, err := websocket.Dial(ctx, r.Url, &websocket.DialOptions{Subprotocols: []string{"v4.channel.k8s.io"}})
	if err != nil {
		t.Fatalf("%s: %v (%+v)", r.Url, err, response)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return &Stream{conn: conn, ctx: ctx}
}

// Tell writes a line to the standard input of the process.
func (s *Stream) Tell(t testing.TB, line string) {
	t.Helper()
	if err := s.conn.Write(s.ctx, websocket.MessageBinary, append([]byte{channelStdin}, line+"\n"...)); err != nil {
		t.Fatalf("telling %q: %v", line, err)
	}
}

// Ask is Tell, and returns the line that the process then writes to its standard output.
func (s *Stream) Ask(t testing.TB, line string) string {
	t.Helper()
	s.Tell(t, line)
	for {
		if answer, err := s.stdout.ReadString('\n'); err == nil {
			return strings.TrimSuffix(answer, "\n")
		} else {
			s.stdout.WriteString(answer) // the rest of the line is on its way
		}
		if status, err := s.read(); err != nil || status != nil {
			t.Fatalf("asking %q: the process has ended: %s %v; it said: %s", line, status, err, s.stderr.String())
		}
	}
}

// Wait waits until the process ends. It returns the exit code, and what the process wrote since the last answer.
func (s *Stream) Wait(t testing.TB) Outcome {
	t.Helper()
	for {
		text, err := s.read()
		if err != nil {
			t.Fatalf("waiting for an exec'd process: %v; it said: %s", err, s.stderr.String())
		}
		if text == nil {
			continue
		}
		code, err := exitCode(text)
		if err != nil {
			t.Fatalf("an exec'd process ended with a status that is none: %v: %s", err, text)
		}
		return Outcome{Stdout: s.stdout.String(), Stderr: s.stderr.String(), Code: code}
	}
}

// read takes one message. It gives the status when the process has ended.
func (s *Stream) read() (status []byte, err error) {
	_, message, err := s.conn.Read(s.ctx)
	if err != nil || len(message) < 2 { // empty ones begin the stream
		return nil, err
	}
	switch content := message[1:]; message[0] {
	case channelStdout:
		s.stdout.Write(content)
	case channelStderr:
		s.stderr.Write(content)
	case channelStatus:
		return content, nil
	}
	return nil, nil
}

// exitCode reads the fields of a Kubernetes Status that tell how a process ended.
func exitCode(text []byte) (int, error) {
	var status struct {
		Status, Reason, Message string
		Details                 struct {
			Causes []struct{ Reason, Message string }
		}
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return 0, err
	}
	if status.Status == "Success" {
		return 0, nil
	}
	for _, cause := range status.Details.Causes {
		if cause.Reason == "ExitCode" {
			return strconv.Atoi(cause.Message)
		}
	}
	return 0, fmt.Errorf("%s: %s", status.Reason, status.Message)
}
