package tomlfile

import "github.com/oci-apparmor/oci-apparmor/install/wire"

// Read parses a file as a draft has it. It returns nil if there is no such file.
func Read(d *wire.Draft, p string) (*File, error) {
	e, err := d.Read(p)
	if err != nil || !e.IsFile() {
		return nil, err
	}
	return Parse(p, e.Data)
}

// ReadAll parses those of some files that are there.
func ReadAll(d *wire.Draft, paths []string) (all []*File, err error) {
	for _, p := range paths {
		f, err := Read(d, p)
		if err != nil {
			return nil, err
		}
		if f != nil {
			all = append(all, f)
		}
	}
	return all, nil
}

// Strip takes ours out of a file that somebody else has changed since, as wire.Stripper has it. parse is Parse, or what reads
// a file that is not all TOML. cut edits the file. Its second argument is the file as it was before us, nil if there was none. blank reports whether nothing is left that is
// worth a file; a file that was there before us stays.
func Strip(p string, was, now *wire.Entry, parse func(string, []byte) (*File, error), cut func(f, before *File) error, blank func(*File) bool) ([]byte, error) {
	f, err := parse(p, now.Data)
	if err != nil {
		return nil, err
	}
	var before *File
	if was != nil {
		if before, err = parse(p, was.Data); err != nil {
			return nil, err
		}
	}
	if err := cut(f, before); err != nil {
		return nil, err
	}
	if was == nil && blank(f) {
		return nil, nil
	}
	return f.Text, nil
}

// Put drafts the file as it has been edited, or that it is gone if it is not needed.
func Put(d *wire.Draft, f *File, needed bool) error {
	if !needed {
		return d.Remove(f.Path)
	}
	return d.WriteFile(f.Path, f.Text)
}
