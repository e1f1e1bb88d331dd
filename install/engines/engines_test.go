package engines

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// plain is an engine with one file, which names a link of ours. The real ones are shown in guests.
type plain struct{ name string }

func (p plain) Name() string { return p.name }
func (plain) Vias() []string { return []string{"wrapper"} }
func (plain) Then() string   { return "" }

func (plain) Missing(*host.Host, *wire.Draft) (string, error)       { return "", nil }
func (plain) Clear(*host.Host, *wire.Draft) (host.Former, error)    { return host.Former{}, nil }
func (plain) ByHand(*host.Host, *wire.Draft) ([]host.ByHand, error) { return nil, nil }
func (plain) Check(context.Context, *host.Host, *wire.Draft) error  { return nil }
func (plain) Leave(*host.Host, *wire.Draft) error                   { return nil }
func (plain) Needed(context.Context, *host.Host) (host.Need, error) { return host.Need{}, nil }

// Strip takes out lines that name our links.
func (plain) Strip(_ string, _, now *wire.Entry) (left []byte, err error) {
	for line := range bytes.Lines(now.Data) {
		if !bytes.Contains(line, []byte("/oci-apparmor/")) {
			left = append(left, line...)
		}
	}
	return left, nil
}

func (p plain) file() string { return "/etc/" + p.name + ".conf" }

func (p plain) Wire(_ context.Context, h *host.Host, d *wire.Draft, o wire.Options) (*host.Outcome, error) {
	link := h.Lib() + "/" + p.name + "/runc"
	return &host.Outcome{Via: "wrapper"}, errors.Join(d.Link(link, h.Bin+"/ours"), d.WriteFile(p.file(), []byte(link)))
}

// both makes two engines the ones that can be wired, and returns an image and its book.
func both(t *testing.T) (*host.Host, *wire.Book) {
	t.Helper()
	kept := table
	t.Cleanup(func() { table = kept })
	table = []Engine{plain{"one"}, plain{"two"}}
	h := host.New(t.TempDir(), "/usr/local/bin")
	b, err := wire.Open(t.Context(), h.Tree)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return h, b
}

// below returns the paths below a root, but those of the book.
func below(t *testing.T, root string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if rel := strings.TrimPrefix(p, root); !strings.HasPrefix(rel, "/var") {
			all[rel] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Two engines in one call make a directory together, and remove it together.
func TestTwoEnginesShareADirectory(t *testing.T) {
	h, b := both(t)
	before := below(t, h.Tree.Root)
	plans, err := Install(t.Context(), b, h, nil, Choice{})
	if err != nil {
		t.Fatal(err)
	}
	if done, err := Commit(b, plans); err != nil || len(done) != 2 {
		t.Fatalf("%d are wired: %v", len(done), err)
	}
	for _, name := range []string{"one", "two"} {
		link, err := os.ReadFile(h.Tree.Real(plain{name}.file()))
		if err != nil {
			t.Fatal(err)
		}
		if to, err := os.Readlink(h.Tree.Real(string(link))); err != nil || to != "/usr/local/bin/ours" {
			t.Errorf("%s calls %s -> %q: %v", name, link, to, err)
		}
	}
	if plans, err = Uninstall(t.Context(), b, h, nil); err != nil {
		t.Fatal(err)
	}
	if done, err := Commit(b, plans); err != nil || len(done) != 2 {
		t.Fatalf("%d are not wired any more: %v", len(done), err)
	}
	if after := below(t, h.Tree.Root); !maps.Equal(before, after) {
		t.Errorf("there is %v, and was %v", after, before)
	}
}

// Where somebody changes the second engine's file after it was shown, the first one is reported as done.
func TestWhatIsDoneIsToldBesideAnError(t *testing.T) {
	h, b := both(t)
	if err := os.Mkdir(h.Tree.Real("/etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	plans, err := Install(t.Context(), b, h, nil, Choice{})
	if err != nil {
		t.Fatal(err)
	}
	const theirs = "theirs"
	if err := os.WriteFile(h.Tree.Real("/etc/two.conf"), []byte(theirs), 0o644); err != nil {
		t.Fatal(err)
	}
	done, err := Commit(b, plans)
	if err == nil || !strings.HasPrefix(err.Error(), "two: ") || len(done) != 1 || done[0].Engine != "one" {
		t.Errorf("%d are done, %v", len(done), err)
	}
	if got, err := os.ReadFile(h.Tree.Real("/etc/two.conf")); err != nil || string(got) != theirs {
		t.Errorf("the second one's file is %q, %v", got, err)
	}
	if _, wired := b.Wiring("one"); !wired {
		t.Error("the first one is not wired")
	}
}

// What was the default stays it, and is known as such to whoever asks whether there is a policy for that.
func TestPlanIsOfTheDefaultThatIsRecorded(t *testing.T) {
	h, b := both(t)
	yes := true
	plans, err := Install(t.Context(), b, h, []string{"one"}, Choice{Default: &yes})
	if err != nil || !plans[0].Default() {
		t.Fatalf("with --default: %v", err)
	}
	if _, err := Commit(b, plans); err != nil {
		t.Fatal(err)
	}
	if plans, err = Install(t.Context(), b, h, nil, Choice{}); err != nil || !plans[0].Default() || plans[1].Default() {
		t.Errorf("a second install: %v", err)
	}
	if plans, err = Uninstall(t.Context(), b, h, nil); err != nil || plans[0].Default() {
		t.Errorf("uninstall: %v", err)
	}
}

// A way that not every engine has leaves the others out, unless somebody has named them.
func TestWayThatAnEngineLacks(t *testing.T) {
	h, b := both(t)
	plans, err := Install(t.Context(), b, h, nil, Choice{Via: "shim"})
	if err != nil || len(plans) != 2 || plans[0].Failed || !strings.Contains(plans[0].Absent, `it does not reach us by "shim": take --via wrapper`) {
		t.Errorf("%+v, %v", plans, err)
	}
	if _, err := Install(t.Context(), b, h, []string{"one"}, Choice{Via: "shim"}); err == nil || !strings.HasPrefix(err.Error(), "one: ") {
		t.Errorf("an engine that is named: %v", err)
	}
}

// Of a file that somebody has changed, uninstall says whether something of ours is taken out of it.
func TestNotesOfChangedFiles(t *testing.T) {
	h, b := both(t)
	if err := os.Mkdir(h.Tree.Real("/etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	plans, err := Install(t.Context(), b, h, []string{"one"}, Choice{})
	if err == nil {
		_, err = Commit(b, plans)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := h.Tree.Real(plain{"one"}.file())
	ours, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, note string }{
		{"theirs\n" + string(ours) + "\n", "only what is ours is taken out"},
		{"theirs\n", "has nothing of ours any more"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		plans, err := Uninstall(t.Context(), b, h, []string{"one"})
		if err != nil || len(plans) != 1 {
			t.Fatalf("%d plans, %v", len(plans), err)
		}
		if notes := strings.Join(plans[0].Notes, "\n"); strings.Count(notes, "changed by somebody else since") != 1 || !strings.Contains(notes, c.note) {
			t.Errorf("of %q it says %q, want %q", c.text, notes, c.note)
		}
	}
}

// A file that cannot be read is that of one engine: uninstall takes ours out of the others, and says so of that one.
func TestUninstallBesideABrokenFile(t *testing.T) {
	h, b := both(t)
	plans, err := Install(t.Context(), b, h, nil, Choice{})
	if err == nil {
		_, err = Commit(b, plans)
	}
	if err != nil {
		t.Fatal(err)
	}
	table[0] = broken{plain{"one"}}
	if plans, err = Uninstall(t.Context(), b, h, nil); err != nil || len(plans) != 2 || !plans[0].Failed ||
		plans[0].Why() != "ours stays in its configuration: /etc/one.conf:3: no value" || plans[1].Failed {
		t.Fatalf("%+v, %v", plans, err)
	}
	if _, err := Commit(b, plans); err != nil {
		t.Error(err)
	}
	_, one := b.Wiring("one")
	if _, two := b.Wiring("two"); !one || two {
		t.Errorf("wired: one %v, two %v", one, two)
	}
	if _, err := Uninstall(t.Context(), b, h, []string{"one"}); err == nil || !strings.HasPrefix(err.Error(), "one: /etc/one.conf:3: ") {
		t.Errorf("where it is named: %v", err)
	}
}

// broken is an engine whose file cannot be parsed.
type broken struct{ plain }

func (b broken) Clear(*host.Host, *wire.Draft) (host.Former, error) {
	return host.Former{}, errors.New(b.file() + ":3: no value")
}

// needed is an engine whose containers need its file as it is.
type needed struct{ plain }

func (needed) Needed(context.Context, *host.Host) (host.Need, error) {
	return host.Need{Containers: []string{"shop"}, Why: "need it"}, nil
}

func (n needed) Leave(h *host.Host, d *wire.Draft) error {
	e, err := wire.NewDraft(h.Tree).Read(n.file())
	if err != nil || !e.IsFile() {
		return err
	}
	return d.WriteFile(n.file(), e.Data)
}

func (n needed) Clear(h *host.Host, d *wire.Draft) (host.Former, error) {
	return host.Former{}, d.Remove(n.file())
}

// Where all of ours must stay, nothing changes, and whoever runs uninstall is told so each time.
func TestUninstallReportsWhatStays(t *testing.T) {
	h, b := both(t)
	table = []Engine{needed{plain{"one"}}, plain{"two"}}
	plans, err := Install(t.Context(), b, h, []string{"one"}, Choice{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Commit(b, plans); err != nil {
		t.Fatal(err)
	}
	wired := below(t, h.Tree.Root)
	for range 2 {
		plans, err := Uninstall(t.Context(), b, h, nil)
		if err != nil || len(plans) != 1 || len(plans[0].Edits) > 0 || len(plans[0].Notes) != 1 ||
			!strings.HasPrefix(plans[0].Notes[0], "these containers need it: shop;") {
			t.Fatalf("%+v, %v", plans, err)
		}
		if done, err := Commit(b, plans); err != nil || len(done) != 1 || !maps.Equal(below(t, h.Tree.Root), wired) {
			t.Fatalf("%d done, %v", len(done), err)
		}
	}
}

// twoWays is an engine that reaches us by a file alone as well, and whose containers need all of it, or its link alone.
type twoWays struct {
	needed
	link bool
}

func (twoWays) Vias() []string { return []string{"wrapper", "hook"} }

func (e twoWays) Wire(ctx context.Context, h *host.Host, d *wire.Draft, o wire.Options) (*host.Outcome, error) {
	if o.Via == "hook" {
		return &host.Outcome{Via: "hook"}, d.WriteFile(e.file(), []byte("hook"))
	}
	return e.needed.Wire(ctx, h, d, o)
}

func (e twoWays) Leave(h *host.Host, d *wire.Draft) error {
	if e.link {
		return nil
	}
	return e.needed.Leave(h, d)
}

// Containers that were made in one way keep what they need of it when the engine is to reach us in another one, or that is refused.
func TestInstallInAnotherWay(t *testing.T) {
	for _, link := range []bool{true, false} {
		h, b := both(t)
		table = []Engine{twoWays{needed{plain{"one"}}, link}}
		do := func(via string) error {
			plans, err := Install(t.Context(), b, h, []string{"one"}, Choice{Via: via})
			if err == nil {
				_, err = Commit(b, plans)
			}
			return err
		}
		if err := do("wrapper"); err != nil {
			t.Fatal(err)
		}
		err := do("hook")
		if link != (err == nil) || err != nil && err.Error() != "one: these containers need it: remove shop first" {
			t.Errorf("%v", err)
		}
		if _, err := os.Lstat(h.Tree.Real(h.Lib() + "/one/runc")); err != nil {
			t.Errorf("links alone are needed: %v; %v", link, err)
		}
		if w, _ := b.Wiring("one"); (w.Options.Via == "hook") != link {
			t.Errorf("it is wired by the %s", w.Options.Via)
		}
	}
}
