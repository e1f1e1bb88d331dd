package compare

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// draft is a line before the asks that it is about are known.
type draft struct {
	match
	shown   shown
	without []shown // the exceptions
	asks    asks
	texts   map[int]string // the shortest key that differs, by asks
}

func (l *liner) draft(m match) *draft {
	d := &draft{match: m, shown: l.show(m, m.pattern), texts: make(map[int]string)}
	for _, e := range m.except {
		d.without = append(d.without, l.show(m, e))
	}
	return d
}

// key is the same for patterns that are shown in the same way.
func (d *draft) key() string {
	parts := append([]string{}, d.shown.fields...)
	for _, any := range d.shown.any {
		if any {
			parts = append(parts, "any")
		} else {
			parts = append(parts, "")
		}
	}
	for _, e := range d.without {
		parts = append(parts, e.fields...)
		parts = append(parts, "except")
	}
	if d.some {
		parts = append(parts, "some")
	}
	return strings.Join(parts, "\x00")
}

// finished makes lines of a draft: one about all processes, and one each about owners and about others if these differ.
func (l *liner) finished(one item, d *draft) (lines []Line) {
	var owner, other asks
	other = d.asks
	paired := false
	for i, ask := range l.pair.topic.Asks {
		if ask.Owner {
			paired = true
			for j, twin := range l.pair.topic.Asks {
				if !twin.Owner && twin.Want == ask.Want && d.asks>>i&1 != 0 {
					owner |= 1 << j
				}
			}
			other &^= 1 << i
		}
	}
	if !paired {
		return []Line{l.line(one, d, "", other, false)}
	}
	for _, part := range []struct {
		word  string
		asks  asks
		owner bool
	}{{"", owner & other, false}, {"owner ", owner &^ other, true}, {"other ", other &^ owner, false}} {
		if part.asks != 0 {
			lines = append(lines, l.line(one, d, part.word, part.asks, part.owner))
		}
	}
	return lines
}

func (l *liner) line(one item, d *draft, whose string, about asks, owner bool) Line {
	t := l.pair.topic
	var mask uint32
	for i, ask := range t.Asks {
		if about>>i&1 != 0 {
			mask |= ask.Want
		}
	}
	first := t.Asks[bits.TrailingZeros64(uint64(about))]
	first.Owner = owner
	its := *d
	for i, text := range d.texts { // patterns that are wider may be the same where the keys that differ are not
		if t.Asks[i].Want == first.Want && t.Asks[i].Owner == owner {
			its.text = text
		}
	}
	line := Line{Change: one.change, From: one.from, To: one.to, Some: d.some, Topic: t.Name,
		What: l.rule(whose, mask, d.shown), Witness: t.Access(l.familiar(&its), first), of: d.about(about, owner, whose == "", t)}
	if line.Witness == nil {
		line.Path = its.text
	}
	for _, e := range d.without {
		line.Except = append(line.Except, l.exception(e))
	}
	return line
}

// familiar returns a key of a draft that is decided as the draft's own one, with values in it that people know.
func (l *liner) familiar(d *draft) string {
	prefer := map[meaning.Field][]string{meaning.SignalField: {string(rune(meaning.SIGTERM)), string(rune(meaning.SIGKILL))},
		meaning.FamilyField: {"\x00\x02", "\x00\x01"}, meaning.TypeField: {"\x00\x01", "\x00\x02"},
		meaning.ProtocolField: {"\x00\x00"}, meaning.NumberField: {"\x00\x00"}}
	key := d.text
	mark, known := l.product.markAt(key)
	at := 0
	fields, ok := l.pair.topic.Split(key)
	for i := 0; ok && known && i < len(fields); i++ {
		for _, better := range prefer[l.pair.topic.Fields[i]] {
			one := key[:at] + better + key[min(at+len(better), len(key)):]
			if m, valid := l.product.markAt(one); valid && m == mark && d.matches(one) {
				key = one
				break
			}
		}
		if at += len(fields[i]); fieldParted(l.pair.topic.Fields[i]) {
			at++
		}
	}
	return key
}

// about returns the draft with the asks that a line is about.
func (d *draft) about(about asks, owner, both bool, t *meaning.Topic) *draft {
	one := *d
	one.asks = 0
	for i, ask := range t.Asks {
		for j, twin := range t.Asks {
			if about>>j&1 != 0 && twin.Want == ask.Want && (both || ask.Owner == owner) {
				one.asks |= 1 << i
			}
		}
	}
	return &one
}

// matches reports whether a key is one that the draft's pattern is about.
func (d *draft) matches(key string) bool {
	one := func(pattern []piece) bool {
		list := tokens(pattern)
		var at places
		at.reach(list, 0)
		nul := d.match.of.set(func(b byte) bool { return b == 0 })
		for i := range len(key) {
			at = d.match.of.advance(list, at, d.match.of.classOf[key[i]], nul)
		}
		return at.has(len(list)) || at.has(beyondRest(list))
	}
	return one(d.pattern) && !slices.ContainsFunc(d.match.except, one)
}

// permissions writes permissions of a topic, and nothing if these are all.
func (l *liner) permissions(mask uint32) string {
	t := l.pair.topic
	var all uint32
	for _, ask := range t.Asks {
		all |= ask.Want
	}
	if mask == all && t.Name != "file" && t.Name != "dbus" {
		return ""
	}
	if t.Name == "file" && mask&(meaning.MayRead|meaning.MayWrite) != 0 {
		mask &^= meaning.MayGetAttr // which is asked for together with these
	}
	var short string
	var long []string
	for _, w := range words(t.Name) {
		if mask&w.Bits == w.Bits {
			if mask &^= w.Bits; t.Name == "file" && len(w.Word) == 1 {
				short += w.Word
			} else {
				long = append(long, w.Word)
			}
		}
	}
	if short != "" {
		long = append([]string{short}, long...)
	}
	for _, w := range bitNames {
		if mask&w.Bits != 0 {
			mask &^= w.Bits
			long = append(long, w.Word)
		}
	}
	return strings.Join(long, "+")
}

// rule writes a pattern as a rule has it.
func (l *liner) rule(whose string, mask uint32, s shown) string {
	t := l.pair.topic
	perms := l.permissions(mask)
	path := func(i int) string {
		if s.any[i] {
			return "/**"
		}
		return quoted(s.fields[i])
	}
	w := []string{}
	add := func(text string) {
		if text != "" {
			w = append(w, text)
		}
	}
	named := func(key string, i int) {
		if i < len(s.fields) && !s.any[i] {
			add(key + quoted(s.fields[i]))
		}
	}
	switch t.Name {
	case "file":
		return whose + perms + " " + path(0)
	case "link":
		return whose + "l " + path(0) + " -> " + path(1)
	case "unix path":
		return whose + "unix connect peer addr=" + path(0)
	case "attachment":
		return "attach to " + path(0)
	case "change_profile", "change_profile &", "change_profile onexec", "change_profile & onexec":
		return whose + l.change(perms, s)
	case "mount":
		add("mount")
		named("fstype=", 2)
		add(s.options(3))
		named("data=", 4)
		named("", 1)
		named("-> ", 0)
	case "umount":
		add("umount")
		named("", 0)
	case "pivot_root":
		add("pivot_root")
		named("oldroot=", 1)
		named("", 0)
	case "network":
		add("network")
		add(perms)
		named("", 0)
		named("type=", 1)
		named("protocol=", 2)
	case "unix":
		add("unix")
		add(perms)
		named("type=", 0)
		named("protocol=", 1)
		named("addr=", 2)
		l.unixRest(named)
	case "signal":
		add("signal")
		add(perms)
		named("set=", 0)
		named("peer=", 1)
	case "ptrace":
		add("ptrace")
		add(perms)
		named("peer=", 0)
	case "mqueue":
		add("mqueue")
		add(perms)
		named("", 0)
		named("label=", 1)
	case "dbus":
		add("dbus")
		add(perms)
		for i, key := range []string{"bus=", "name=", "label=", "path=", "interface=", "member="} {
			named(key, i)
		}
	default:
		add(t.Name)
		named("label=", 0)
	}
	return strings.Join(w, " ")
}

// options writes the flags of a mount.
func (s shown) options(field int) string {
	if s.any[field] {
		return ""
	}
	return "options" + s.fields[field]
}

// change writes a request for another label.
func (l *liner) change(perms string, s shown) string {
	name := strings.Fields(l.pair.topic.Name)
	text := "change_profile"
	label := len(s.fields) - 1
	switch {
	case label == 1 && !s.any[0]:
		text += " " + quoted(s.fields[0])
	case label == 1:
		text += " /**"
	case perms != "":
		text += " " + perms
	}
	to := "**"
	if !s.any[label] {
		to = s.fields[label]
	}
	if len(name) > 1 && name[1] == "&" {
		to = "&" + to
	}
	return text + " -> " + quoted(to)
}

func (l *liner) unixRest(named func(string, int)) {
	t := l.pair.topic
	switch {
	case len(t.Fields) == 5:
		named("peer addr=", 3)
		named("peer=", 4)
	case t.Asks[0].Want == meaning.MayListen:
		named("backlog=", 3)
	default:
		named("option=", 3)
	}
}

// exception writes what is taken out of a pattern: the fields that the pattern leaves open.
func (l *liner) exception(e shown) string {
	if len(e.fields) == 1 && e.fields[0] != "" && l.pair.topic.Fields[0] == meaning.PathField {
		return quoted(e.fields[0])
	}
	_, rest, _ := strings.Cut(l.rule("", 0, e), " ")
	return rest
}

// quoted writes a text that has blanks in it in quotes.
func quoted(text string) string {
	if text == "" || strings.ContainsAny(text, " \t") {
		return `"` + text + `"`
	}
	return text
}
