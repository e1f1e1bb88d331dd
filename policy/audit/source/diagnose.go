package source

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// hopeless returns why nothing can come through a source, as a part of a sentence, or "" if something can.
func (h *Host) hopeless(name string) string {
	if mode := word(h.Parameters + "/audit"); mode == "quiet" || mode == "quiet_denied" {
		return "AppArmor is told to write no records: write normal to " + h.Parameters + "/audit"
	}
	status, err := h.Status()
	switch {
	case errors.Is(err, ErrNoAudit):
		return ErrNoAudit.Error() + ": boot without audit=0"
	case err != nil: // such as that this process may not know
		return ""
	case name == AuditLog && status.Auditd == 0:
		return "auditd does not run: start it, or read another source"
	case name == Kmsg && status.Auditd != 0:
		return fmt.Sprintf("auditd (process %d) takes the records, so that the kernel does not log them: read %s", status.Auditd, AuditLog)
	}
	return ""
}

// diagnose returns what may be wrong with a source through which nothing came, although something can.
func diagnose(name string) string {
	switch name {
	case Multicast:
		return "in another network namespace than the node's, the kernel lets it be opened and sends nothing: run this on the node itself"
	case Kmsg:
		return "the kernel writes only ten messages in five seconds into its log, and others come first: read the audit socket (multicast), or set kernel.printk_ratelimit to 0"
	case Journal:
		return "journald listens to the audit socket only if systemd-journald-audit.socket is on: `systemctl enable --now systemd-journald-audit.socket` and restart systemd-journald"
	}
	return "auditd runs and does not write it: its disk may be full, its configuration another file, or a rule exclude records of type AVC (`auditctl -l`)"
}

// word returns the content of a small file, or "".
func word(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}
