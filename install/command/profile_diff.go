package command

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

func diffCommand(n *node) *cobra.Command {
	return &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two profiles: texts line by line, and what the kernel has by content",
		Long: `Compare two profiles, each of them one of these:

  FILE            the text in a file
  node:NAME       a generated profile, such as docker-default, for this node
  2015:NAME       docker-default as Docker's page on AppArmor had it in 2015
  policy:NAME     the profile of the policy in force
  kernel:NAME     what the kernel has loaded

Texts are compared line by line. Whether two profiles do the same is told by what
they compile to. The kernel keeps no text: what it has is compared by its hashes,
and line by line where oci-apparmor knows the text that it was loaded from.

The exit code is 0 where both have the same content, and 1 where they have not.`,
		Example: `  oci-apparmor profile diff 2015:docker-default node:docker-default
  oci-apparmor profile diff kernel:docker-default node:docker-default`,
		Args: cobra.ExactArgs(2),
		RunE: action(func(cmd *cobra.Command, args []string) error { return n.diff(cmd.Context(), args[0], args[1]) }),
	}
}

// side is one of the two that are compared.
type side struct {
	is       string // for people
	kernel   string // the name of a profile in the kernel
	text     []byte // nil where it is not known
	compiled []profile.Compiled
}

func (n *node) diff(ctx context.Context, a, b string) error {
	var sides [2]side
	for i, arg := range []string{a, b} {
		s, err := n.side(ctx, arg)
		if err != nil {
			return err
		}
		sides[i] = s
	}
	out := &printer{w: n.stdout}
	left, right := sides[0], sides[1]
	if left.text != nil && right.text != nil {
		for _, line := range diffLines(left.is, right.is, string(left.text), string(right.text)) {
			out.line("%s", line)
		}
	} else {
		for _, s := range sides {
			if s.text == nil {
				out.line("%s: there is no text of it, so that only hashes can be compared", s.is)
			}
		}
	}
	equal, why, err := n.sameContent(ctx, left, right)
	if err != nil {
		return err
	}
	if equal {
		out.line("the same content: %s", why)
		return out.err
	}
	out.line("other content: %s", why)
	if out.err != nil {
		return out.err
	}
	return &failure{code: badPolicy}
}

// side finds what an argument names.
func (n *node) side(ctx context.Context, arg string) (side, error) {
	kind, name, named := strings.Cut(arg, ":")
	if _, err := os.Lstat(arg); err == nil {
		named = false
	}
	switch {
	case named && kind == "kernel":
		if _, err := n.kernel.Details(name); errors.Is(err, kernel.ErrNotLoaded) {
			return side{}, fmt.Errorf("profile %s is not loaded: oci-apparmor profile list names those that are", oneline.Name(name))
		} else if err != nil {
			return side{}, asRoot(err)
		}
		s := side{is: arg, kernel: name}
		if t, err := n.textOf(ctx, name); err == nil && t.text != nil && n.compare(ctx, name, t) == same {
			s.text = t.text
		}
		return s, nil
	case named && kind == "policy":
		t, err := n.policyText(name)
		if err == nil && t.source == "" {
			err = fmt.Errorf("the policy in force has no profile %s", oneline.Name(name))
		}
		return side{is: arg, text: t.text, compiled: t.compiled}, err
	case named && kind == "node":
		node, _, _ := n.generatedFor(lastManifest(n.store))
		text, err := profile.Template(name, name, node)
		if err != nil {
			return side{}, &failure{usage, err}
		}
		return n.compiledSide(ctx, arg, text)
	case named:
		v, err := profile.FindVariant(name, kind)
		if err != nil {
			return side{}, &failure{usage, err}
		}
		return n.compiledSide(ctx, arg, v.Text)
	}
	f := textFile{path: arg}
	if err := f.read(false); err != nil {
		return side{}, fmt.Errorf("%w: see oci-apparmor profile diff --help for what can be compared", unwrapped(err))
	}
	return n.compiledSide(ctx, arg, f.text)
}

// compiledSide compiles a text. One that cannot be compiled here is still compared line by line.
func (n *node) compiledSide(ctx context.Context, is string, text []byte) (side, error) {
	s := side{is: is, text: text}
	c, _, err := n.newCompiler(ctx, "")
	if err != nil {
		return s, nil
	}
	b, err := c.CompileText(ctx, is, text)
	if err != nil {
		return s, &failure{badPolicy, err}
	}
	s.compiled = b.Profiles
	return s, nil
}

// sameContent tells whether both are the same to the kernel, and by what.
func (n *node) sameContent(ctx context.Context, a, b side) (equal bool, why string, err error) {
	if a.kernel == "" && b.kernel != "" {
		a, b = b, a
	}
	switch {
	case a.kernel != "" && b.kernel != "":
		one, err1 := n.kernel.Details(a.kernel)
		other, err2 := n.kernel.Details(b.kernel)
		if err := errors.Join(err1, err2); err != nil {
			return false, "", asRoot(err)
		}
		if a.kernel == b.kernel {
			return true, one.Hash, nil
		}
		return false, fmt.Sprintf("the kernel's hash of %s is %s, of %s %s, and a hash is over the name, too", oneline.Name(a.kernel),
			one.Hash, oneline.Name(b.kernel), other.Hash), nil
	case b.compiled == nil || a.kernel == "" && a.compiled == nil:
		return false, "", &failure{cannot, errors.New("whether both do the same cannot be told without apparmor_parser and the " +
			"kernel's features")}
	case a.kernel != "":
		if b.compiled[0].Name != a.kernel {
			return false, fmt.Sprintf("%s defines profile %s, and content can only be compared under one name", b.is,
				b.compiled[0].Name), nil
		}
		found, err := n.kernel.Check(kernel.Profile{Name: a.kernel, Compiled: b.compiled})
		if err != nil {
			return false, "", asRoot(err)
		}
		return found.Status == kernel.Matches, fmt.Sprintf("%s, where ours is %s", found, b.is), nil
	}
	hashes := func(s side) string {
		var all []string
		for _, c := range s.compiled {
			all = append(all, c.Name+" "+hex.EncodeToString(c.SHA256[:]))
		}
		return strings.Join(all, "\n")
	}
	if hashes(a) == hashes(b) {
		return true, "both compile to the same", nil
	}
	return false, "they compile to something else each", nil
}

// diffLines gives the difference of two texts in the form of diff -u, with three lines around each; none where there is none.
func diffLines(nameA, nameB, textA, textB string) []string {
	a, b := strings.Split(strings.TrimSuffix(textA, "\n"), "\n"), strings.Split(strings.TrimSuffix(textB, "\n"), "\n")
	type change struct {
		sign byte
		line string
	}
	var all []change
	// What both begin and end with is not searched.
	first := 0
	for first < min(len(a), len(b)) && a[first] == b[first] {
		first++
	}
	last := 0
	for last < min(len(a), len(b))-first && a[len(a)-1-last] == b[len(b)-1-last] {
		last++
	}
	for _, line := range a[:first] {
		all = append(all, change{' ', line})
	}
	midA, midB := a[first:len(a)-last], b[first:len(b)-last]
	// The longest common subsequence, where that does not take too much memory.
	const most = 16 << 20
	if len(midA)*len(midB) <= most {
		length := make([][]int32, len(midA)+1)
		for i := range length {
			length[i] = make([]int32, len(midB)+1)
		}
		for i := len(midA) - 1; i >= 0; i-- {
			for j := len(midB) - 1; j >= 0; j-- {
				if midA[i] == midB[j] {
					length[i][j] = length[i+1][j+1] + 1
				} else {
					length[i][j] = max(length[i+1][j], length[i][j+1])
				}
			}
		}
		for len(midA) > 0 && len(midB) > 0 {
			i, j := len(length)-1-len(midA), len(length[0])-1-len(midB)
			switch {
			case midA[0] == midB[0]:
				all = append(all, change{' ', midA[0]})
				midA, midB = midA[1:], midB[1:]
			case length[i+1][j] >= length[i][j+1]:
				all = append(all, change{'-', midA[0]})
				midA = midA[1:]
			default:
				all = append(all, change{'+', midB[0]})
				midB = midB[1:]
			}
		}
	}
	for _, line := range midA {
		all = append(all, change{'-', line})
	}
	for _, line := range midB {
		all = append(all, change{'+', line})
	}
	for _, line := range a[len(a)-last:] {
		all = append(all, change{' ', line})
	}

	const around = 3
	var out []string
	lineA, lineB := 1, 1
	for at := 0; at < len(all); {
		next := at
		for next < len(all) && all[next].sign == ' ' {
			next++
		}
		if next == len(all) {
			break
		}
		from := max(at, next-around)
		lineA, lineB = lineA+from-at, lineB+from-at
		to, quiet := next, 0
		for to < len(all) && quiet <= 2*around {
			if all[to].sign == ' ' {
				quiet++
			} else {
				quiet = 0
			}
			to++
		}
		if quiet > around {
			to -= quiet - around
		}
		var hunk []string
		countA, countB := 0, 0
		for _, c := range all[from:to] {
			if c.sign != '+' {
				countA++
			}
			if c.sign != '-' {
				countB++
			}
			hunk = append(hunk, string(c.sign)+c.line)
		}
		if out == nil {
			out = append(out, "--- "+nameA, "+++ "+nameB)
		}
		out = append(append(out, fmt.Sprintf("@@ -%d,%d +%d,%d @@", lineA, countA, lineB, countB)), hunk...)
		lineA, lineB, at = lineA+countA, lineB+countB, to
	}
	return out
}
