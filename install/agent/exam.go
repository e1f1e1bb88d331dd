package agent

import (
	"context"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/install/doctor"
	"github.com/oci-apparmor/oci-apparmor/install/probe"
)

// DoExam is what the child does that examines the node and starts a container through each engine that is wired.
func DoExam(ctx context.Context, n *doctor.Node, o probe.Options) (a ExamAnswer) {
	r := doctor.Examine(ctx, n)
	for _, f := range r.Findings {
		if f.Severity == doctor.Error {
			a.Errors++
		}
		if f.Severity != doctor.Note && len(a.Findings) < maxLines {
			a.Findings = append(a.Findings, clean(fmt.Sprintf("%s [%s]", f.What, f.ID)))
		}
	}
	probed := &doctor.Report{}
	probed.AddProbes(ctx, n, o)
	for _, f := range probed.Findings {
		if f.Severity == doctor.Error && len(a.Failed) < maxLines {
			a.Failed = append(a.Failed, clean(fmt.Sprintf("%s [%s]", f.What, f.ID)))
		}
	}
	if len(a.Failed) == 0 {
		for _, s := range probed.Probes {
			a.Probed = append(a.Probed, s.Engine)
		}
	}
	return a
}
