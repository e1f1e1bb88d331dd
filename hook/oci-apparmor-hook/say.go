package main

import (
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// warn prints and logs the outcome's warning, if it has one.
func (c *call) warn() {
	if c.out.Warning != "" {
		c.say(notice.Warning, "", c.out.Warning)
	}
}

// passed counts a container that may go on, if there is no error. It returns the error.
func (c *call) passed(err error) error {
	if err == nil {
		c.host.Passed(c.caller, c.stage, c.out, counts.Age())
	}
	return err
}

// say prints a line for the caller of the hook, and writes it to the node's log. The log is needed because newer versions of
// crun give hooks /dev/null for standard error, and Podman drops what a precreate hook prints.
func (c *call) say(level notice.Level, reason notice.Reason, text string) {
	c.host.Note(c.caller, notice.Notice{Level: level, Command: c.stage, ID: c.id, Reason: reason, Message: text}, c.out)
	if level == notice.Warning {
		text = "warning: " + text
	}
	if c.id != "" {
		text = "container " + c.id + ": " + text
	}
	fmt.Fprintln(c.stderr, oneline.Printable("oci-apparmor-hook: "+text))
}
