package main

import (
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// warn says the outcome's warning, if it has one.
func (c *call) warn() {
	if c.out.Warning != "" {
		c.say(notice.Warning, c.out.Warning)
	}
}

// say prints a line for whoever called the hook, and has the node's log say it as well: newer cruns give hooks /dev/null
// for standard error, and Podman drops what a precreate hook says.
func (c *call) say(level notice.Level, text string) {
	c.host.Note(c.caller, notice.Notice{Level: level, Command: c.stage, ID: c.id, Message: text}, c.out)
	if level == notice.Warning {
		text = "warning: " + text
	}
	if c.id != "" {
		text = "container " + c.id + ": " + text
	}
	fmt.Fprintln(c.stderr, oneline.Printable("oci-apparmor-hook: "+text))
}
