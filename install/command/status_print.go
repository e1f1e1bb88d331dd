package command

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// screen is the terminal that stdout goes to, if it is one.
type screen struct {
	terminal      bool
	colour        bool
	width, height int // in characters; 80 and 0 if not known
}

// stdoutScreen returns the screen of this process's standard output. It honours NO_COLOR (no-color.org).
func stdoutScreen() screen {
	s := screen{width: output.Width}
	if _, err := unix.IoctlGetTermios(unix.Stdout, unix.TCGETS); err != nil {
		return s
	}
	s.terminal = true
	s.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	if size, err := unix.IoctlGetWinsize(unix.Stdout, unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		s.width, s.height = int(size.Col), int(size.Row)
	}
	return s
}

// Colours of verdicts, by their numbers in SGR sequences.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

var verdictColours = map[status.Verdict]string{
	status.Confined: green, status.Differs: red, status.Drifted: red, status.Stale: red, status.Unverified: red,
	status.Unconfined: yellow, status.Complaining: yellow,
}

// statusPrinter writes a status as text.
type statusPrinter struct {
	output.Printer
	screen screen
}

func (p *statusPrinter) counts(s *status.Status, show status.Show) {
	for _, part := range []struct {
		show bool
		n    int
	}{{show.Profiles, len(s.Profiles)}, {show.Processes, len(s.Processes)}, {show.Containers, len(s.Containers)}} {
		if part.show {
			p.Line("%d", part.n)
		}
	}
}

// status writes profiles and processes line for line as aa-status does, and then the containers. loaded and defined are the
// numbers of profiles and processes before the filter.
func (p *statusPrinter) status(s *status.Status, show status.Show, f status.Filter, loaded, defined int) {
	if show.Profiles {
		p.Line("%d profiles are loaded.", loaded)
		for _, mode := range status.Modes {
			if mode == "mixed" || f.Mode != nil && !f.Mode.MatchString(mode) {
				continue
			}
			some := filtered(s.Profiles, func(p status.Profile) bool { return p.Mode == mode })
			slices.SortFunc(some, func(a, b status.Profile) int { return cmp.Compare(a.Name, b.Name) })
			p.Line("%d profiles are in %s mode.", len(some), mode)
			for _, pr := range some {
				p.Line("   %s", oneline.Whole(pr.Name))
			}
		}
	}
	if show.Processes {
		p.Line("%d processes have profiles defined.", defined)
		for _, mode := range status.Modes {
			if f.Mode != nil && !f.Mode.MatchString(mode) {
				continue
			}
			some := filtered(s.Processes, func(p status.Process) bool { return p.Mode == mode })
			slices.SortStableFunc(some, func(a, b status.Process) int { return cmp.Compare(a.Profile, b.Profile) })
			if mode == "unconfined" {
				p.Line("%d processes are unconfined but have a profile defined.", len(some))
			} else {
				p.Line("%d processes are in %s mode.", len(some), mode)
			}
			for _, pr := range some {
				profile := pr.Profile
				if profile == pr.Exe {
					profile = ""
				}
				p.Line("   %s (%d) %s", oneline.Whole(pr.Exe), pr.PID, oneline.Whole(profile))
			}
		}
	}
	if show.Containers {
		p.containers(s.Containers)
	}
	for i := range s.Quiet {
		printStanding(&p.Printer, "", &s.Quiet[i])
	}
	for _, policy := range s.Recorded {
		p.Wrapped("warning: ", status.Recorded(oneline.Name(policy)))
	}
	for _, problem := range s.Problems {
		p.Wrapped("warning: ", oneline.Whole(problem))
	}
}

func filtered[T any](all []T, is func(T) bool) []T {
	var some []T
	for _, one := range all {
		if is(one) {
			some = append(some, one)
		}
	}
	return some
}

// column is a column of the table of containers. If a line does not fit a terminal, columns are left out whose field leave
// is set. If that is not enough, columns with a least width are cut, the widest first.
type column struct {
	title   string
	cell    func(*status.Container) string
	least   int  // the width to which it may be cut; 0 if it must not be cut
	leave   bool // it may be left out
	numbers bool // it is aligned to the right
}

// columns are the columns of the table of containers. The last one has the colour of the verdict.
var columns = []column{
	{title: "ENGINE", cell: func(c *status.Container) string { return cmp.Or(c.Engine, "?") }},
	{title: "ID", cell: shortID, leave: true},
	{title: "CONTAINER", cell: fullName, least: 8},
	{title: "POLICY", cell: func(c *status.Container) string { return cmp.Or(c.Policy, "-") }, least: 6},
	{title: "LABEL", cell: label, least: 8},
	{title: "PROCS", cell: func(c *status.Container) string { return strconv.Itoa(len(c.Processes)) }, numbers: true},
	{title: "VERDICT", cell: func(c *status.Container) string { return string(c.Verdict) }},
}

// shortID returns a container's id as engines show it.
func shortID(c *status.Container) string {
	if len(c.ID) == 64 {
		return c.ID[:12]
	}
	return c.ID
}

// fullName returns a container's name with its pod.
func fullName(c *status.Container) string {
	name := cmp.Or(c.Name, shortID(c))
	switch {
	case c.Pod != "" && c.Sandbox:
		return c.Namespace + "/" + c.Pod + " (pause)"
	case c.Pod != "":
		return c.Namespace + "/" + c.Pod + "/" + name
	case c.Namespace != "":
		return c.Namespace + "/" + name
	}
	return name
}

// label returns the label of a container's first process, or the decided label if it has no process.
func label(c *status.Container) string {
	if len(c.Processes) == 0 || c.Verdict == status.Waiting {
		return cmp.Or(c.Label, "-")
	}
	first := c.Processes[0].Label
	if first.Mode != "" && first.Mode != "enforce" {
		return first.String()
	}
	return strings.Join(first.Components, "//&")
}

func (p *statusPrinter) containers(all []status.Container) {
	p.Line("%s.", status.Summary(all))
	if len(all) == 0 {
		return
	}

	rows := make([][]string, len(all))
	for i := range all {
		rows[i] = row(&all[i])
	}
	widths := p.widths(rows)
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.title
	}
	p.row(titles, widths, "")
	for i := range all {
		p.row(rows[i], widths, verdictColours[all[i].Verdict])
		for _, problem := range all[i].Problems {
			if p.screen.terminal {
				p.WrappedAt("    ", oneline.Whole(problem), p.screen.width)
			} else {
				p.Line("    %s", oneline.Whole(problem))
			}
		}
	}
}

// row returns the cells of a container's line.
func row(c *status.Container) []string {
	cells := make([]string, len(columns))
	for i, column := range columns {
		cells[i] = oneline.Whole(column.cell(c))
	}
	return cells
}

const gap = "  "

// widths returns the widths of the columns; 0 for a column that is left out. If the output is no terminal, no column is
// cut, so that a search finds whole names.
func (p *statusPrinter) widths(rows [][]string) []int {
	widths := make([]int, len(columns))
	sum := len(gap) * (len(columns) - 1)
	for i, c := range columns {
		widths[i] = len(c.title)
		for _, r := range rows {
			widths[i] = max(widths[i], len(r[i]))
		}
		sum += widths[i]
	}
	if !p.screen.terminal {
		return widths
	}
	for i, c := range columns {
		if c.leave && sum > p.screen.width {
			sum -= widths[i] + len(gap)
			widths[i] = 0
		}
	}
	for ; sum > p.screen.width; sum-- {
		widest := -1
		for i, c := range columns {
			if c.least > 0 && widths[i] > c.least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

// row writes a line of the table. Its last cell has the colour, if that is not empty.
func (p *statusPrinter) row(cells []string, widths []int, colour string) {
	var b strings.Builder
	for i, cell := range cells {
		if widths[i] == 0 {
			continue
		}
		if len(cell) > widths[i] {
			cell = cell[:widths[i]-2] + ".."
		}
		switch {
		case i == len(cells)-1 && colour != "" && p.screen.colour:
			b.WriteString("\x1b[" + colour + "m" + cell + "\x1b[0m")
		case i == len(cells)-1:
			b.WriteString(cell)
		case columns[i].numbers:
			fmt.Fprintf(&b, "%*s%s", widths[i], cell, gap)
		default:
			fmt.Fprintf(&b, "%-*s%s", widths[i], cell, gap)
		}
	}
	p.Line("%s", b.String())
}
