package wrapper

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// log is where and how a runtime writes its messages.
type log struct {
	file string // --log; empty for standard error
	json bool   // --log-format json
}

// log returns where the runtime would write its messages. If crun logs to journald or syslog, our messages go to standard
// error only.
func (a *Args) log(d Dialect) (l log) {
	l.file, _ = a.option("log")
	if d == Crun {
		kind, rest, typed := strings.Cut(l.file, ":")
		switch {
		case typed && kind == "file":
			l.file = rest
		case typed:
			l.file = ""
		}
	}
	format, _ := a.option("log-format")
	l.json = format == "json"
	return l
}

// report informs whoever started the container. It writes a line into the runtime's log, if there is one, in the format of
// --log-format. It also writes an error to stderr, as runc does. containerd shows the last line of level error of a JSON
// log. conmon shows standard error.
func (l log) report(stderr io.Writer, level, message string) {
	line := l.line(level, message, time.Now())
	if l.file == "" {
		stderr.Write(line)
		return
	}
	err := appendTo(l.file, line)
	if level == "error" || err != nil {
		fmt.Fprintln(stderr, oneline.Printable(message))
	}
}

func appendTo(path string, line []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// line returns a line as logrus writes it for runc, by its JSONFormatter or its TextFormatter.
func (l log) line(level, message string, now time.Time) []byte {
	at := now.Format(time.RFC3339)
	if !l.json {
		return fmt.Appendf(nil, "time=%q level=%s msg=%q\n", at, level, message)
	}
	line := []byte(`{"level":"` + level + `","msg":`)
	line, _ = jsontext.AppendQuote(line, message) // its error reports bytes that are not UTF-8, which became U+FFFD
	return append(line, `,"time":"`+at+"\"}\n"...)
}
