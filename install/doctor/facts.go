package doctor

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// Facts is what the node is, for the head of the screen. Each is a sentence or empty, and fit for a line.
type Facts struct {
	Kernel     string        `json:"kernel"`
	Parser     string        `json:"parser"`
	Policy     string        `json:"policy"`
	Engines    []EngineFacts `json:"engines"`
	Containers string        `json:"containers"`
}

// EngineFacts is how an engine that can be wired stands on the node.
type EngineFacts struct {
	Name     string `json:"name"`
	Wired    bool   `json:"wired"`    // ours is in its files
	Recorded bool   `json:"recorded"` // install wrote down that it has wired it, as root sees it
	Down     bool   `json:"down"`     // its daemon does not run, as root sees it
	Via      string `json:"via"`      // "shim", "wrapper", "hook", or empty
	Program  string `json:"program"`  // of ours that it starts, or empty
	Version  string `json:"version"`  // of that program; empty if it is not known
	Default  bool   `json:"default"`  // ours is what it takes where nobody asks for another
	Stands   string `json:"stands"`   // the same for people; empty if the engine is not there
}

// facts returns what is known after an examination. It looks at nothing that no check has looked at.
func (x *exam) facts() (f Facts) {
	f.Kernel = clean("Linux " + x.Uname + ": " + x.apparmor())
	if c, err := x.compiler(); err == nil {
		f.Parser = "apparmor_parser"
		g, _ := x.generation()
		if m := node.ManifestOf(g); m.Program == c.program && m.Parser != "" { // asking the program takes as long as a check
			f.Parser += " " + m.Parser
		} else if version, err := c.Version(x.ctx); err == nil {
			f.Parser += " " + version
		}
		f.Parser = clean(f.Parser)
	}
	if g, err := x.generation(); err == nil {
		f.Policy = fmt.Sprintf("generation %d", g.Number)
		if m, err := g.Manifest(); err == nil {
			f.Policy += ", applied " + m.Applied.UTC().Format("2006-01-02 15:04 UTC")
		}
		if c, err := x.policy(); err == nil && c != nil {
			f.Policy += ", with " + output.Count(len(c.Profiles), "profile", "profiles")
		}
	} else if x.Root {
		f.Policy = "none"
	}
	f.Engines = []EngineFacts{}
	states, err := x.engines()
	for i := range states {
		s := &states[i]
		e := EngineFacts{Name: s.Name, Wired: s.Wired(), Recorded: s.Recorded, Via: s.Via, Default: s.Default, Down: s.Down && x.Root,
			Program: clean(s.Program), Version: clean(s.Version)}
		e.Stands = clean(stands(s, e.Down, err == nil))
		f.Engines = append(f.Engines, e)
	}
	if s, err := x.status(); err == nil && s != nil {
		f.Containers = status.Summary(s.Containers)
	}
	return f
}

// apparmor returns what AppArmor is on this node, and by which function it hashes.
func (x *exam) apparmor() string {
	r := x.readiness()
	what, _, _ := strings.Cut(r.String(), ": ")
	if !r.Usable() && (r != kernel.NoRight || x.Root) {
		return what
	}
	if r == kernel.NoRight {
		what = "AppArmor is on"
	}
	found, _ := filepath.Glob(filepath.Join(x.Kernel.FS, "policy/profiles/*/sha[12]*"))
	if len(found) > 0 {
		what += ", hashes by " + filepath.Base(found[0])
	}
	return what
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
