package guesttest

import "testing"

func TestWhatSaysThatRecordsAreMissing(t *testing.T) {
	for line, gap := range map[string]bool{
		"(messages lost)": true,
		"audit: audit_lost=7 audit_rate_limit=0 audit_backlog_limit=64": true,
		"audit: backlog limit exceeded":                                 true,
		"audit: rate limit exceeded":                                    true,
		"audit: kauditd hold queue overflow":                            true,
		"audit: kauditd retry queue overflow":                           true,
		"kauditd_printk_skb: 12 callbacks suppressed":                   true,
		"net_ratelimit: 3 callbacks suppressed":                         false,
		"audit: type=1400 audit(1764485101.642:14): apparmor=\"STATUS\" operation=\"profile_load\" name=\"audit: audit_lost=1\"": false,
		"": false,
	} {
		if got := isGap(line); got != gap {
			t.Errorf("%q says that records are missing: %v, want %v", line, got, gap)
		}
	}
}
