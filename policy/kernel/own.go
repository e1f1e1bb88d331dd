package kernel

import "fmt"

// Own makes a loaded profile ours if it has exactly this content. It reports whether the profile is ours then. It is for a
// profile that AppArmor's service loaded for us. So the caller must have given that content to the service.
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

// OwnName makes a loaded profile ours by its name alone. It is for a profile that AppArmor's service loaded from a text of
// ours which compiles to other content each time. The caller must have proof of that. The kernel does not hold the wanted
// content then. Whoever needs it calls Ensure, which may now replace the profile.
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
