package command

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/hook/notice/reader"
	"github.com/oci-apparmor/oci-apparmor/install/doctor"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// session is what the commands work on and write to: this machine and this process's streams, or those of a test.
type session struct {
	*node.Node
	stdout, stderr io.Writer
	live           bool          // stderr is a terminal, on which a line can be overwritten
	journaled      bool          // stderr is the journal, which has each notice already
	screen         func() screen // the terminal of stdout, if there is one

	label   func(pid int) (kernel.Label, error)
	patient *doctor.Node // what the doctor looks at; nil for this machine
	log     notice.Log   // where notices are written
	notices interface {  // where notices are read
		Read(ctx context.Context, q reader.Query, each func(notice.Notice) error, warn func(string)) error
	}
	records func(ctx context.Context, name string, o source.Options) (source.Source, error) // where audit records are read
	alive   func(ctx context.Context, s source.Source) ([]source.Loss, error)               // whether it has what the kernel logs
}

// thisSession returns the session of this process.
func thisSession() *session {
	_, err := unix.IoctlGetTermios(unix.Stderr, unix.TCGETS)
	s := &session{
		Node:      node.This(),
		stdout:    os.Stdout,
		stderr:    os.Stderr,
		live:      err == nil,
		journaled: isJournal(unix.Stderr, os.Getenv("JOURNAL_STREAM")),
		screen:    stdoutScreen,
		label:     kernel.Current,
		log:       notice.NodeLog(),
		notices:   reader.NodeReader(),
		records:   source.Open,
		alive:     source.Alive,
	}
	s.Warn = s.warn
	return s
}

// isJournal reports whether a file descriptor is the stream that systemd connected to the journal: the device and the inode
// in JOURNAL_STREAM, as DEVICE:INODE (systemd.exec(5)).
func isJournal(fd int, stream string) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	return stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// warn reports something that went wrong and stops nothing.
func (s *session) warn(sentence string) { fmt.Fprintln(s.stderr, "oci-apparmor: "+sentence) }

// warnAll writes lines that name a file, and then warns with sentences.
func (s *session) warnAll(lines, sentences []string) {
	for _, line := range lines {
		fmt.Fprintln(s.stderr, line)
	}
	for _, sentence := range sentences {
		s.Warn(sentence)
	}
}

// print returns a printer for standard output.
func (s *session) print() *output.Printer { return &output.Printer{W: s.stdout} }

// action makes a command's function of f. It adds an exit code to errors that have none, because run takes an error without
// one for cobra's, which is about the command line.
func action(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := f(cmd, args)
		if err == nil {
			return nil
		}
		code, bare := exit.Split(err)
		return exit.With(code, bare)
	}
}

// exclusive returns an error if the command line has both flags.
func exclusive(cmd *cobra.Command, one, other string) error {
	if !cmd.Flags().Changed(one) || !cmd.Flags().Changed(other) {
		return nil
	}
	return exit.With(exit.Usage, fmt.Errorf("--%s and --%s cannot be given together: see %s --help", one, other,
		cmd.CommandPath()))
}

// warnOfNamesakes warns where a source of records was named, and a file in the working directory has that name, too.
func (s *session) warnOfNamesakes(sources ...string) {
	for _, name := range sources {
		if !ofNode(name) {
			continue
		}
		if _, err := os.Stat(name); err == nil {
			s.Warnf("%s is the source of that name, and not the file here: for that, write ./%s", name, name)
		}
	}
}
