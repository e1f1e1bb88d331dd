package wire

import "io/fs"

// What is here is about what stays of ours for an engine that is wired no more.

// Left reports whether something of ours stays for an engine that is wired no more, for what still needs it.
func (b *Book) Left(engine string) bool { return b.record.Engines[engine].Left }

// LeaveLinks drafts that our links of an engine's wiring stay, after an Unwire, for containers and a daemon that call them. It
// returns those that the draft had no more.
func (b *Book) LeaveLinks(d *Draft, engine string) (left []string, err error) {
	for _, e := range b.record.Engines[engine].Edits {
		if e.New.kind() != fs.ModeSymlink || !d.disk[e.Path].Equal(e.New) || d.now[e.Path] != nil {
			continue
		}
		if err := d.set(e.Path, e.New); err != nil {
			return nil, err
		}
		left = append(left, e.Path)
	}
	return left, nil
}
