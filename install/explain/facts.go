package explain

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/install/describe"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/policy"
)

// flag returns the flag of policy explain that describes a part of a container.
func flag(of string) string {
	if of == "choice" {
		of = "engine-choice"
	}
	return "--" + of
}

// facts returns what a start of the container would know.
func (q *Question) facts() (policy.Facts, error) {
	c, err := q.described()
	if err != nil {
		return policy.Facts{}, exit.With(exit.Usage, err)
	}
	by, err := c.Caller(flag)
	if err == nil {
		err = c.CheckChoice(flag)
	}
	if err != nil {
		return policy.Facts{}, exit.With(exit.Usage, err)
	}
	if q.Bundle != "" {
		return q.bundleFacts(by)
	}
	f, err := c.Known(by)
	if err != nil {
		return f, exit.With(exit.Usage, err)
	}
	return f, nil
}

// described returns the container that the flags describe.
func (q *Question) described() (c describe.Container, err error) {
	c = describe.Container{Engine: q.Engine, Root: q.Root, ID: q.ID, Facts: make(map[string]string, len(q.Facts)),
		Privileged: q.Privileged, Sandbox: q.Sandbox, Choice: q.Choice, ChoiceSaid: q.ChoiceSaid}
	for key, value := range q.Facts {
		if value != nil {
			c.Facts[key] = *value
		}
	}
	if c.Annotations, err = pairs("--annotation", q.Annotations); err != nil {
		return c, err
	}
	c.Labels, err = pairs("--label", q.Labels)
	return c, err
}

// pairs parses the values of a flag, each KEY=VALUE.
func pairs(flag string, list []string) (map[string]string, error) {
	all := make(map[string]string)
	for _, pair := range list {
		key, value, ok := strings.Cut(pair, "=")
		if key == "" || !ok {
			return nil, fmt.Errorf("%s %q: it is written KEY=VALUE", flag, pair)
		}
		all[key] = value
	}
	return all, nil
}

func (q *Question) bundleFacts(c hook.Caller) (policy.Facts, error) {
	bundle := hook.NewBundle(q.Bundle)
	dir, err := bundle.Dir()
	if errors.Is(err, fs.ErrNotExist) {
		return policy.Facts{}, exit.With(exit.Cannot, fmt.Errorf("%s is no bundle: it is not there", absolute(q.Bundle)))
	}
	if err != nil {
		return policy.Facts{}, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	f, err := bundle.Identify(c, cmp.Or(q.ID, filepath.Base(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return policy.Facts{}, exit.With(exit.Cannot, fmt.Errorf("%s is no bundle: it has no config.json", dir))
	}
	if err != nil {
		return policy.Facts{}, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	return f, nil
}

// warnings returns warnings about parts of the question that are probably mistakes.
func (q *Question) warnings(f policy.Facts) []string {
	c, err := q.described()
	if err != nil {
		return nil // facts has returned it
	}
	list := c.Untold(f, flag)
	if q.Bundle == "" {
		list = append(list, c.ForOthers(f, flag)...)
	}
	return list
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
