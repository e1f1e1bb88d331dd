// Package access has the language in which people write what a process may do and may not, one access or many in a line:
//
//	r /srv/www/index.html        owner w "/home/*/my notes"      x /usr/bin/dash -> unconfined
//	capability sys_admin         signal send set=kill peer=web   tcp connect
//
// The words are those of AppArmor's rules (apparmor.d(5)), globs included. Parse reads a line as a Pattern, which is all
// accesses that it is about: "w /etc/**" is every way to write to every file below /etc. What a Pattern says of a stack of
// profiles is decided by the automata of the profiles, for all accesses of it. Format writes one access in the language.
// Forms are all forms of a line.
//
// Permissions of files are letters, which may be joined, as in "rw":
//
//	r   read a file or list a directory
//	w   change what is at a path, in any way but a hard link: write, append, create, delete, setattr, chmod and chown, each of
//	    which is a word of the language, too. To truncate asks write and setattr. To rename is to delete at one path, and to
//	    create at another.
//	a   append: open with O_APPEND
//	k   lock
//	m   map a file into memory as a program
//	l   make a hard link; "l PATH -> TARGET" names the file that is there
//	x   execute; "x PATH -> LABEL" under a label, "ix" under the same profile, "px" under another, "cx" under a child, "ux"
//	    under none
//
// So who denies "w /etc/passwd" can rely on it that nothing at that path is changed by that path. A hard link to the file, or
// a mount over it, is another access: "l", "mount". Whether a profile to which an exec is to go is loaded, only the kernel
// knows: "px" and "ix" are both allowed where a rule says pix.
//
// "getattr" and "rename" are permissions that no letter stands for. "read+write" is one access that asks for both at once.
// "owner" is about processes that own the file, "other" about the others; without a word, a pattern is about both.
//
// A pattern is about accesses that a kernel asks about: paths have no "//", "/./" or "/../", those of directories end with a
// slash, labels have names, and flags of mounts are without those that the kernel takes away ahead of the question. A text
// with a byte 0, as abstract addresses of sockets may be, is not asked about. In a text, "\" and three octal digits are a
// byte, quotes let blanks stand in it, and "" is the empty one. Variables are not known.
package access

// A Form is a form that a line can have.
type Form struct {
	Syntax  string // with what may be left out in brackets
	Example string
	About   string // what the example is about
}

// Forms are the forms of a line.
var Forms = []Form{
	{"[owner|other] PERMISSIONS PATH", "owner rw /home/**", "reading and changing files below /home that the process owns"},
	{"[owner|other] x PATH [-> LABEL]", "x /usr/bin/** -> unconfined", "executing a program without confinement"},
	{"[owner|other] l PATH [-> PATH]", "l /srv/** -> /etc/shadow", "making a hard link to /etc/shadow"},
	{"file", "file", "all accesses to files"},
	{"capability [NAME ...]", "capability sys_admin sys_module", "using one of two capabilities"},
	{"[network] [FAMILY] [TYPE|tcp|udp|icmp] [PERMISSION] [protocol=NUMBER]", "inet6 tcp connect", "connecting by TCP and IPv6"},
	{"[owner|other] unix [TYPE] [PERMISSION] [addr=ADDRESS] [peer=(addr=ADDRESS, label=LABEL)]",
		"unix stream connect peer=(addr=@bus*, label=unconfined)", "connecting to an abstract socket of an unconfined process"},
	{"mount [fstype=TYPE] [options=FLAGS] [options in FLAGS] [data=TEXT] [SOURCE] [-> PATH]",
		"mount fstype=(proc, sysfs) -> /**", "mounting proc or sysfs anywhere"},
	{"remount [options=FLAGS] [options in FLAGS] [data=TEXT] [PATH]", "remount options=rw /sys/", "making /sys writable"},
	{"bind [SOURCE] [-> PATH]", "bind /proc/** -> /**", "mounting something of /proc in a second place"},
	{"umount [PATH]", "umount /proc/**", "unmounting what covers something in /proc"},
	{"pivot_root [oldroot=PATH] [PATH]", "pivot_root", "making another directory the root"},
	{"signal [send|receive] [set=SIGNAL] [peer=LABEL]", "signal receive set=(term, kill) peer=unconfined",
		"being stopped by an unconfined process"},
	{"ptrace [trace|read|tracedby|readby] [peer=LABEL]", "ptrace trace peer=unconfined", "debugging an unconfined process"},
	{"change_profile [now|onexec|request] [stack] [[owner|other] PATH] [-> LABEL]", "change_profile -> unconfined",
		"leaving the profile, at once or with the next program"},
	{"change_hat [NAME]", "change_hat", "changing into a hat"},
	{"rlimit [RESOURCE [<= NUMBER[UNIT]]]", "rlimit nofile <= 65536", "setting the hard limit of open files to at most 65536"},
	{"userns", "userns", "making a user namespace"},
	{"io_uring [sqpoll|override_creds] [label=LABEL]", "io_uring sqpoll", "making an io_uring that a kernel thread polls"},
	{"mqueue [PERMISSION] [label=LABEL] [NAME]", "mqueue (create, open) /jobs", "making or opening a message queue"},
	{"dbus [send|receive] [bus=BUS] [path=PATH] [interface=NAME] [member=NAME] [peer=(name=NAME, label=LABEL)]",
		"dbus send bus=system interface=org.freedesktop.systemd1.Manager", "sending messages to systemd"},
	{"dbus bind [bus=BUS] [name=NAME]", "dbus bind bus=system", "taking a name on the system's message bus"},
	{"dbus eavesdrop [bus=BUS]", "dbus eavesdrop", "reading what others send"},
}
