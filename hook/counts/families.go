package counts

import (
	"strconv"
	"time"
)

// Families are all counters. A new one is a row here, and in install/README.md. A label that is added to one is empty in
// what earlier versions counted.
var Families = []*Family{&Decisions, &Refusals, &Warnings, &Execs, &Loads, &Drifts}

var (
	Decisions = Family{
		Name: "decisions",
		Help: "Containers about which oci-apparmor decided, by the decided policy and what became of it. A container that " +
			"passes both a hook and the guard is counted once by each.",
		Labels: []string{"engine", "wiring", "policy", "outcome"}, Open: "policy",
	}
	Refusals = Family{
		Name:   "refusals",
		Help:   "Commands for containers that were refused, by the command and the reason.",
		Labels: []string{"engine", "command", "reason"},
	}
	Warnings = Family{
		Name:   "warnings",
		Help:   "Commands for containers that were carried out with a warning.",
		Labels: []string{"engine", "command"},
	}
	Execs = Family{
		Name:   "execs",
		Help:   "Processes that engines started or asked to start in running containers.",
		Labels: []string{"engine", "outcome"},
	}
	Loads = Family{
		Name:   "profile_loads",
		Help:   "Profiles that were loaded into the kernel: added, or put in place of other content.",
		Labels: []string{"by", "outcome"},
	}
	Drifts = Family{
		Name:   "drifts",
		Help:   "Profiles that the kernel was found to hold with other content than the policy's, each time it was found.",
		Labels: []string{"by", "outcome"},
	}
)

// The values of the label wiring: in which way an engine reached us.
const (
	Wrapper   = "wrapper"
	Shim      = "shim"
	Precreate = "precreate" // Podman's hook of that stage
	Guard     = "guard"     // a hook of stage createRuntime or prestart
	Prepare   = "prepare"   // oci-apparmor-hook prepare, by hand
)

// The values of the label outcome.
const (
	Confined    = "confined"
	Complaining = "complaining" // under a label of which a profile only logs
	Recorded    = "recorded"    // under a profile that denies nothing, because its policy is recorded
	Kept        = "kept"        // as the engine chose
	Refused     = "refused"

	Added    = "added"
	Replaced = "replaced"
	Left     = "left" // as it was found
)

// The values of the label by: who loads a profile, or finds that it drifted.
const (
	ByStart   = "start" // a container's start, or an exec in it
	ByAgent   = "agent"
	ByCommand = "command" // oci-apparmor policy load and others
)

// Histogram is a family of counters for durations.
type Histogram struct {
	Name   string
	Help   string
	Labels []string
	Bounds []time.Duration // the highest duration of each bucket, ascending; one more bucket has the rest

	buckets, sum Family
}

// Bucket is the label with the highest duration of a bucket, in seconds, or Inf.
const (
	Bucket = "le"
	Inf    = "+Inf"
)

// Histograms are all histograms.
var Histograms = []*Histogram{&StartDuration}

// StartDuration is what a container's start takes in our programs: in the wrapper and the hook from the start of the
// process to its end or its execve, in the shim our part of containerd's call Create.
var StartDuration = newHistogram("start_duration",
	"What oci-apparmor adds to the start of a container: in the wrapper and the hook from the start of the process until it "+
		"becomes the runtime or ends, in the shim its own part of the call Create.",
	[]string{"wiring"},
	250*time.Microsecond, 500*time.Microsecond, time.Millisecond, 2500*time.Microsecond, 5*time.Millisecond,
	10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond, 250*time.Millisecond,
	500*time.Millisecond, time.Second, 5*time.Second)

func newHistogram(name, help string, labels []string, bounds ...time.Duration) Histogram {
	return Histogram{Name: name, Help: help, Labels: labels, Bounds: bounds,
		buckets: Family{Name: name + "_buckets", Labels: append(labels[:len(labels):len(labels)], Bucket)},
		sum:     Family{Name: name + "_nanoseconds", Labels: labels},
	}
}

// Observe returns what to add for a duration. Who is killed between the two has it in a bucket and not in the sum.
func (h *Histogram) Observe(d time.Duration, values ...string) []Count {
	d = max(d, 0)
	le := Inf
	for _, bound := range h.Bounds {
		if d <= bound {
			le = Seconds(bound)
			break
		}
	}
	bucket := append(values[:len(values):len(values)], le)
	return []Count{h.buckets.With(bucket...), h.sum.Plus(uint64(d), values...)}
}

// Buckets and Sum return the names of the counters of a histogram. Sum is in nanoseconds.
func (h *Histogram) Buckets() string { return h.buckets.Name }
func (h *Histogram) Sum() string     { return h.sum.Name }

// Seconds returns a bound as the label Bucket has it.
func Seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', -1, 64) }
