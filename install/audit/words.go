package audit

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Tried returns what a record's process tried, as the rest of a sentence that begins with the process: "read /etc/shadow". It
// is fit for a line. It is about the record, whatever a profile makes of it.
func (e *Event) Tried() string {
	if say := tried[e.Operation]; say != nil {
		return say(e)
	}
	switch {
	case e.get("family") != "":
		return e.Operation + " on " + e.socket()
	case e.get("requested_mask") != "" && e.get("name") != "":
		return e.onFile()
	case e.get("bus") != "":
		return e.onBus()
	}
	return oneline.Word(cmp.Or(e.Operation, "something")) + named(e.get("name"))
}

// tried has what is said of operations (security/apparmor/include/audit.h). Those that are not here are said by their fields.
var tried = map[string]func(*Event) string{
	"capable":        func(e *Event) string { return "use the capability " + oneline.Word(e.get("capname")) },
	"exec":           func(e *Event) string { return "execute" + named(e.get("name")) },
	"mkdir":          func(e *Event) string { return "make the directory" + named(e.get("name")) },
	"rmdir":          func(e *Event) string { return "remove the directory" + named(e.get("name")) },
	"mknod":          func(e *Event) string { return "create" + named(e.get("name")) },
	"unlink":         func(e *Event) string { return "delete" + named(e.get("name")) },
	"truncate":       func(e *Event) string { return "truncate" + named(e.get("name")) },
	"chmod":          func(e *Event) string { return "change the mode of" + named(e.get("name")) },
	"chown":          func(e *Event) string { return "change the owner of" + named(e.get("name")) },
	"getattr":        func(e *Event) string { return "look at the state of" + named(e.get("name")) },
	"rename_src":     func(e *Event) string { return "rename" + named(e.get("name")) },
	"rename_dest":    func(e *Event) string { return "rename something to" + named(e.get("name")) },
	"symlink":        func(e *Event) string { return "make the symbolic link" + named(e.get("name")) },
	"link":           func(e *Event) string { return "link" + named(e.get("target")) + " as" + named(e.get("name")) },
	"file_inherit":   func(e *Event) string { return e.onFile() + ", which was open when it was executed" },
	"file_receive":   func(e *Event) string { return e.onFile() + ", which another process passed to it" },
	"change_profile": func(e *Event) string { return "change its profile to" + named(cmp.Or(e.get("target"), e.get("name"))) },
	"change_onexec": func(e *Event) string {
		return "change its profile with the next program to" + named(cmp.Or(e.get("target"), e.get("name")))
	},
	"stack": func(e *Event) string {
		return "stack a profile on its own:" + named(cmp.Or(e.get("target"), e.get("name")))
	},
	"change_hat":    func(e *Event) string { return "change into the hat" + named(cmp.Or(e.get("target"), e.get("name"))) },
	"userns_create": func(*Event) string { return "make a user namespace" },
	"uring_sqpoll":  func(*Event) string { return "make an io_uring that a thread of the kernel polls" },
	"uring_override": func(*Event) string {
		return "use the rights of another process in an io_uring"
	},
	"setrlimit": func(e *Event) string {
		return "set the limit " + oneline.Word(e.get("rlimit")) + " to " + oneline.Word(e.get("value"))
	},
	"umount":    func(e *Event) string { return "unmount" + named(e.get("name")) },
	"pivotroot": func(e *Event) string { return "make" + named(e.get("name")) + " the root" },
	"mount": func(e *Event) string {
		what := named(e.get("srcname"))
		if kind := e.get("fstype"); kind != "" {
			what = " " + oneline.Word(kind) + " of" + what
		}
		if e.get("srcname") == "" {
			what = strings.TrimSuffix(what, " of")
		}
		options := ""
		if flags := e.get("flags"); flags != "" {
			options = " (" + oneline.Whole(flags) + ")"
		}
		return "mount" + what + " at" + named(e.get("name")) + options
	},
	"signal": func(e *Event) string {
		signal := "the signal " + oneline.Word(e.get("signal"))
		if e.passive() {
			return "send it " + signal
		}
		return "send " + signal + " to a process" + under(e.get("peer"))
	},
	"ptrace": func(e *Event) string {
		verb := "debug"
		if strings.HasPrefix(e.get("requested_mask"), "read") {
			verb = "look into"
		}
		if e.passive() {
			return verb + " it"
		}
		return verb + " a process" + under(e.get("peer"))
	},
	"profile_load":    func(e *Event) string { return "load the profile" + named(e.get("name")) },
	"profile_replace": func(e *Event) string { return "replace the profile" + named(e.get("name")) },
	"profile_remove":  func(e *Event) string { return "remove the profile" + named(e.get("name")) },
	"create":          sockets("make"),
	"bind":            sockets("bind"),
	"connect":         sockets("connect"),
	"listen":          sockets("listen on"),
	"accept":          sockets("accept a connection of"),
	"sendmsg":         sockets("send by"),
	"recvmsg":         sockets("receive by"),
}

// sockets says what was done to a socket. Files have operations of the same names.
func sockets(verb string) func(*Event) string {
	return func(e *Event) string {
		if e.get("family") == "" && e.get("name") != "" {
			return e.onFile()
		}
		return verb + " " + e.socket()
	}
}

func (e *Event) socket() string {
	s := "a socket of " + oneline.Word(e.get("family"))
	if kind := e.get("sock_type"); kind != "" {
		s += ", " + oneline.Word(kind)
	}
	for _, end := range [][3]string{{" at ", "laddr", "lport"}, {" to ", "faddr", "fport"}} {
		addr, port := e.get(end[1]), e.get(end[2])
		if addr != "" || port != "" {
			s += end[0] + oneline.Word(strings.TrimSuffix(addr+":"+port, ":"))
		}
	}
	for _, end := range [][2]string{{" at ", "addr"}, {" to ", "peer_addr"}} {
		if addr := e.get(end[1]); addr != "" && addr != "none" {
			s += end[0] + oneline.Name(addr)
		}
	}
	return s + under(e.get("peer"))
}

func (e *Event) onBus() string {
	what := "send"
	if e.get("mask") == "receive" {
		what = "receive"
	}
	if e.get("mask") == "bind" {
		return "take the name" + named(e.get("name")) + " on the " + oneline.Word(e.get("bus")) + " bus"
	}
	member := strings.Trim(e.get("interface")+"."+e.get("member"), ".")
	return what + " " + oneline.Word(cmp.Or(member, "a message")) + " on the " + oneline.Word(e.get("bus")) + " bus" +
		under(cmp.Or(e.get("peer_label"), e.get("peer")))
}

// letters are what a mask of a file asks for (aa_file_perm_chrs, security/apparmor/lib.c).
var letters = []struct{ letter, word string }{
	{"r", "read"}, {"w", "write"}, {"a", "append to"}, {"c", "create"}, {"d", "delete"}, {"k", "lock"}, {"l", "link"},
	{"m", "map as a program"}, {"x", "execute"},
}

func (e *Event) onFile() string {
	mask := cmp.Or(e.get("denied_mask"), e.get("requested_mask"))
	var verbs []string
	for _, l := range letters {
		if strings.Contains(mask, l.letter) {
			verbs = append(verbs, l.word)
		}
	}
	return cmp.Or(oneline.And(verbs), oneline.Word(e.Operation)) + named(e.get("name"))
}

// named returns a blank and a name, or nothing.
func named(name string) string {
	if name == "" {
		return ""
	}
	return " " + oneline.Name(name)
}

func under(label string) string {
	if label == "" {
		return ""
	}
	return " under " + oneline.Name(label)
}

// Outcome returns what came of what was tried: "denied by profile web".
func (e *Event) Outcome() string {
	by := ""
	if e.Profile != "" {
		by = " by profile " + oneline.Name(e.Profile)
		if e.Namespace != "" {
			by += " of the namespace " + oneline.Name(e.Namespace)
		}
	}
	s := ""
	switch e.Kind {
	case Denied:
		s = "denied" + by
	case Killed:
		s = "denied" + by + ", which kills"
	case Complain:
		s = "would be denied" + by + ", which only logs"
	case Audited:
		s = "allowed" + by + ", which logs it"
	case Changed:
		s = "done"
		if e.get("error") != "" {
			s = "failed"
		}
	case Failed:
		s = "AppArmor had an error" + under(e.Profile)
	default:
		s = "what AppArmor did" + under(e.Profile) + " is not said"
	}
	if e.Info != "" {
		s += " (" + oneline.Whole(oneline.Cut(e.Info, 200)) + ")"
	}
	return s
}

// Sentence returns what the event says, fit for a line.
func (e *Event) Sentence() string {
	if n := e.Notice; n != nil {
		text := oneline.Printable(n.Message)
		if n.Command != "" {
			text = oneline.Printable(n.Command) + ": " + text
		}
		return text
	}
	s := e.Who() + " tried to " + e.Tried() + ": " + e.Outcome()
	if !e.Trusted {
		s += "; nobody vouches for this record"
	}
	return s
}
