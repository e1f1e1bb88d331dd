package wire

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// Diff returns edits for people: files as diff -u has them, and a line for each link and each directory.
func Diff(edits []Edit) string {
	var out strings.Builder
	for _, e := range edits {
		switch {
		case e.New.kind() == fs.ModeDir:
			fmt.Fprintf(&out, "new directory %s\n", e.Path)
		case e.Old.kind() == fs.ModeDir && e.New == nil:
			fmt.Fprintf(&out, "removed directory %s\n", e.Path)
		case e.New.kind() == fs.ModeSymlink && e.Old.kind() == fs.ModeSymlink:
			fmt.Fprintf(&out, "link %s -> %s, which was -> %s\n", e.Path, e.New.Data, e.Old.Data)
		case e.New.kind() == fs.ModeSymlink:
			fmt.Fprintf(&out, "new link %s -> %s\n", e.Path, e.New.Data)
		case e.Old.kind() == fs.ModeSymlink:
			fmt.Fprintf(&out, "removed link %s -> %s\n", e.Path, e.Old.Data)
		default:
			out.WriteString(udiff.Unified(side(e.Old, e.Path), side(e.New, e.Path), text(e.Old), text(e.New)))
		}
	}
	return out.String()
}

// side is the name of a side of a diff, as diff -u has it for a file that is not there.
func side(e *Entry, path string) string {
	if e == nil {
		return "/dev/null"
	}
	return path
}

func text(e *Entry) string {
	if e == nil {
		return ""
	}
	return string(e.Data)
}
