package source

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// diagnose returns what is wrong with a source through which nothing came, as a part of a sentence.
func (h *Host) diagnose(name string) string {
	if word(h.Parameters+"/audit") == "quiet" || word(h.Parameters+"/audit") == "quiet_denied" {
		return "AppArmor is told to write no records: write normal to " + h.Parameters + "/audit"
	}
	status, err := h.Status()
	if errors.Is(err, ErrNoAudit) {
		return ErrNoAudit.Error() + ": boot without audit=0"
	}
	served := err == nil && status.Auditd != 0
	switch name {
	case Multicast:
		return "in another network namespace than the node's, the kernel lets it be opened and sends nothing: run this on the node itself"
	case Kmsg:
		if served {
			return fmt.Sprintf("auditd (process %d) takes the records, so that the kernel does not log them: read %s", status.Auditd, AuditLog)
		}
		return "the kernel writes only ten messages in five seconds into its log, and others come first: read the audit socket (multicast), or set kernel.printk_ratelimit to 0"
	case Journal:
		why := "journald listens to the audit socket only if systemd-journald-audit.socket is on: `systemctl enable --now systemd-journald-audit.socket` and restart systemd-journald"
		if served {
			return fmt.Sprintf("auditd (process %d) takes the records, so that the kernel does not log them, and %s; or read %s", status.Auditd, why, AuditLog)
		}
		return why
	case AuditLog:
		if err == nil && !served {
			return "auditd does not run: start it, or read another source"
		}
		return "auditd runs and does not write it: its disk may be full, its configuration another file, or a rule exclude records of type AVC (`auditctl -l`)"
	}
	return "nobody knows why"
}

// word returns the content of a small file, or "".
func word(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}
