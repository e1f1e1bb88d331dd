package lint

// check is one entry in the list of checks.
type check struct {
	name string // as Warning.Check and commands have it
	what string // it looks for, in a line
	of   of
	find func(*linter) // which reports by linter.warn
}

// of is the kind of thing that a check is run on.
type of uint8

const (
	elsewhere      of = iota // found by package enforced, and by who calls apparmor_parser; it has no function here
	texts                    // once for a text
	blocks                   // for each profile of the text itself
	compiledBlocks           // for each of which it is known what it was compiled to
	judgedBlocks             // for each of which that is known, and of its rules as well
)

// Peers is the name of the check for rules by which processes reach each other.
const Peers = "peers"

// checks are all checks. Warnings are sorted by line; those of one line have the order of this list.
var checks = []check{
	{"abi", "the text names no ABI", texts, (*linter).abi},
	{"attach-disconnected", "the flag without which files that were opened outside of the container are denied",
		compiledBlocks, (*linter).attachDisconnected},
	{Peers, "rules by which processes reach each other, alone and in a stack, and by which the runtime stops them",
		compiledBlocks, (*linter).peers},
	{"usr-merge", "paths in /bin, /sbin and /lib*, which are links in most images", judgedBlocks, (*linter).usrMerge},
	{"link", "paths that lead over a symbolic link, of which the kernel sees the target only", judgedBlocks, (*linter).links},
	{"busybox", "denied programs that are parts of /bin/busybox in images such as Alpine's", judgedBlocks, (*linter).busybox},
	{"ping", "raw sockets denied, by which ping is no longer stopped", judgedBlocks, (*linter).ping},
	{"dev-null", "writing to /dev/null denied", judgedBlocks, (*linter).devNull},
	{"matches-nothing", "deny rules that match nothing", blocks, (*linter).nothing},
	{"overruled", "deny rules that rules of a higher priority overrule", judgedBlocks, (*linter).overruled},
	{"no-child", "rules that execute programs under a child profile which is not there", judgedBlocks, (*linter).noChild},
	{"silent", "deny rules that log nothing", blocks, (*linter).silent},
	{"unconfined", "rules by which processes leave their confinement", elsewhere, nil},
	{"not-enforced", "rules that the compiled profile does not enforce on this kernel, or not as they stand", elsewhere, nil},
	{"parser", "what apparmor_parser says", elsewhere, nil},
}

// Checks returns the description of each check, one line, by the check's name.
func Checks() map[string]string {
	all := make(map[string]string, len(checks))
	for _, c := range checks {
		all[c.name] = c.what
	}
	return all
}
