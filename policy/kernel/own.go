package kernel

import "fmt"

// Own makes a loaded profile ours, if it has exactly this content, and tells whether it is ours then. It is for one that
// something else loaded on our behalf, and so the content must have been told to that by us.
func (k *Kernel) Own(p Profile) (bool, error) {
	if err := p.check(); err != nil {
		return false, err
	}
	s, err := openState(k.State)
	if err != nil || s == nil {
		return false, err
	}
	defer s.close()
	boot, err := k.boot()
	if err != nil {
		return false, err
	}
	found, err := k.check(&p, "")
	if err != nil {
		return false, k.explain(err)
	}
	if found.Status != Matches {
		return false, nil
	}
	if s.owned(p.Name, boot, found.Dir) {
		return true, nil
	}
	if err := s.setOwned(p.Name, boot, found.Dir); err != nil {
		return false, fmt.Errorf("that profile %s is ours could not be written down: %w", p.Name, err)
	}
	return true, nil
}

// OwnName makes a loaded profile ours by its name alone. It is for one that something else has loaded from a text of ours
// which becomes other content each time that it is compiled: the caller has proof of that. What the kernel holds is not
// what is wanted then, and whoever relies on it calls Ensure, which may replace it now.
func (k *Kernel) OwnName(name string) error {
	s, err := openState(k.State)
	if err != nil || s == nil {
		return err
	}
	defer s.close()
	boot, err := k.boot()
	if err != nil {
		return err
	}
	dir, err := k.locate(k.profiles(), name, "")
	if err != nil || dir == "" {
		return k.explain(err)
	}
	return s.setOwned(name, boot, dir)
}
