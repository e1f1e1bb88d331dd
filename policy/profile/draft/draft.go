// Package draft makes the first text of a profile for a container, from what a description of the container says: its
// program, mounts, capabilities, ports and devices. It knows neither the formats of descriptions nor what a program needs
// that no description says.
//
// A draft allows nothing that Docker's default profile denies (package templates), and far less of what that allows. It has
// no includes, so that a reader sees all of it.
package draft

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// A Container is what a description says of one. All strings are those of whoever wrote the description.
type Container struct {
	From  string // the description, for people, such as "bundle /run/web"
	Image string // empty if not said

	Args  []string // the program and its arguments; nil if not said
	Path  []string // the directories of PATH; nil if not said
	Dir   string   // the directory in which it starts
	Files Files    // the files of the image; nil if they are not known

	Root            bool     // it runs as root in its user namespace, or nobody knows
	User            string   // as the description has it
	NoNewPrivileges bool     // no program gives a process more privileges than it has
	Bounding        []string // the capabilities that a process may ever have, as CAP_CHOWN
	Ambient         []string // those that a process without root keeps

	ReadOnlyRoot bool
	Mounts       []Mount
	Devices      []Device
	Masked       []string // paths that the runtime hides

	Ports     []Port
	NoNetwork bool // it has no network
	LowPorts  bool // ports below 1024 take no capability
}

// Files are the files of an image by their names in the container. Package draft believes nothing of what they return.
type Files interface {
	Real(name string) (real string, ok bool)          // with links resolved; ok is false if there is no such file
	Start(name string, buf []byte) (n int, err error) // reads the beginning of a regular file
}

// A Mount is a mount of the description.
type Mount struct {
	At       string // in the container
	Source   string // on the node, for a bind mount; empty if not known
	Type     string // of the file system; "bind" for a bind mount
	Writable bool
}

// A Device is a device that the runtime makes in the container.
type Device struct {
	Path  string
	Write bool
}

// A Port is a port at which the container listens.
type Port struct {
	Number   uint16
	Protocol string // tcp, udp or sctp
}

// A Target is what a draft must know besides of the node.
type Target struct {
	templates.Target

	Sockets []string // of engines: whoever may write to one owns the node
	Data    []string // the directories of engines' data
}

// A Draft is a text, and what its reader must know.
type Draft struct {
	Text  []byte
	Notes []string // sentences about what the description says, and the text does not allow or does not know
	Never []string // accesses of package access of which the text allows none
}

// Text makes the draft of the profile name for a container. The error says what of the description no rule can say.
func Text(c *Container, name string, to Target) (*Draft, error) {
	if err := profile.CheckName(name); err != nil {
		return nil, err
	}
	for _, label := range to.Senders {
		if err := templates.CheckPeer(label); err != nil {
			return nil, fmt.Errorf("label of an engine's program: %w", err)
		}
	}
	w := &writer{Container: c, to: to, name: name}
	if err := w.check(); err != nil {
		return nil, err
	}
	w.header()
	for _, block := range blocks {
		block(w)
	}
	w.text.WriteString("}\n")
	return &Draft{w.text.Bytes(), w.notes, w.never()}, nil
}

// blocks write the parts of a text, in its order.
var blocks = []func(*writer){
	(*writer).program, (*writer).image, (*writer).mounts, (*writer).devices, (*writer).kernel, (*writer).node,
	(*writer).capabilities, (*writer).network, (*writer).peers,
}

// A writer writes the text of one draft.
type writer struct {
	*Container
	to   Target
	name string

	text     bytes.Buffer
	notes    []string
	writable []string // directories below which processes may write, as the container has them
}

func (w *writer) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// block begins a part with a comment of a few lines.
func (w *writer) block(comment ...string) {
	if !bytes.HasSuffix(w.text.Bytes(), []byte("{\n")) {
		w.text.WriteByte('\n')
	}
	for _, line := range comment {
		fmt.Fprintf(&w.text, "  # %s\n", line)
	}
}

// rule writes a rule, to which it adds the comma.
func (w *writer) rule(format string, args ...any) { fmt.Fprintf(&w.text, "  "+format+",\n", args...) }

// check refuses what no rule can say as it is, and cleans the paths.
func (w *writer) check() error {
	c := *w.Container
	w.Container = &c
	clean := func(what string, at *string) error {
		if *at = path.Clean("/" + *at); !sayable(*at) {
			return fmt.Errorf("%s: %s %s holds a character that no rule can have", c.From, what, oneline.Quote(*at))
		}
		return nil
	}
	c.Mounts, c.Devices, c.Masked = slices.Clone(c.Mounts), slices.Clone(c.Devices), slices.Clone(c.Masked)
	for i := range c.Mounts {
		if err := clean("the mount at", &c.Mounts[i].At); err != nil {
			return err
		}
	}
	for i := range c.Devices {
		if err := clean("the device", &c.Devices[i].Path); err != nil {
			return err
		}
	}
	for i := range c.Masked {
		if err := clean("the masked path", &c.Masked[i]); err != nil {
			return err
		}
	}
	for _, list := range [][]string{c.Bounding, c.Ambient} {
		for _, name := range list {
			if _, known := capability(name); !known {
				return fmt.Errorf("%s: %s is no capability that AppArmor knows", c.From, oneline.Quote(name))
			}
		}
	}
	slices.SortStableFunc(c.Mounts, func(a, b Mount) int { return cmp.Compare(a.At, b.At) })
	return nil
}

// header says what the text was made from, and opens the profile. attach_disconnected is for files that were opened outside
// of the container, such as its standard output.
func (w *writer) header() {
	said := func(what, is string) {
		if is != "" {
			fmt.Fprintf(&w.text, "#   %-8s %s\n", what, oneline.Cut(oneline.Printable(is), 100))
		}
	}
	fmt.Fprintf(&w.text, "# A first profile for a container, made by \"oci-apparmor profile new\" of\n#\n")
	said("from", w.From)
	said("image", w.Image)
	said("runs", strings.Join(w.Args, " "))
	said("user", w.User)
	w.text.WriteString(`#
# It allows what that says, and what every container needs under runc and crun. It allows nothing that docker-default denies.
# No description says which files a program writes, and which other programs it starts: try it in complain mode first.
`)
	if _, err := os.Stat(filepath.Join(cmp.Or(w.to.Base, profile.BaseDir), "abi/3.0")); err == nil {
		// With a later ABI, parsers mediate classes for which there is no rule here, and without one it depends on them.
		w.text.WriteString("abi <abi/3.0>,\n")
	}
	fmt.Fprintf(&w.text, "\nprofile %q flags=(attach_disconnected,mediate_deleted) {\n", w.name)
}
