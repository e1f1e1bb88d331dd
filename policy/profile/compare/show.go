package compare

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// shown is what a pattern says of the fields of a key.
type shown struct {
	fields []string // as rules write it: a glob, a list of names or numbers
	any    []bool   // the field may be anything
}

// show writes a pattern's fields.
func (d *describer) show(m match, pattern []piece) shown {
	s := shown{make([]string, len(d.topic.Fields)), make([]bool, len(d.topic.Fields))}
	for i := range d.topic.Fields {
		s.any[i] = true
	}
	all := m.of.sets()
	for f, kind := range d.topic.Fields {
		var own []piece
		for i, p := range pattern {
			switch {
			case p.field == f && p.rest, p.field == f && p.loop && p.set == all.any: // anything from here on
				if len(own) > 0 {
					s.fields[f], s.any[f] = showField(m.of, kind, own), false
				}
				return s
			case p.field == f && (i+1 == len(pattern) || pattern[i+1].field == f || !fieldParted(kind) || p.loop || !m.of.is(p.set, 0)):
				own = append(own, p)
			}
		}
		s.fields[f] = showField(m.of, kind, own)
		s.any[f] = len(own) == 1 && own[0].loop && own[0].set == all.text || kind.Size() > 0 && m.of.anyOf(kind, own)
	}
	return s
}

// anyOf reports whether a field of a fixed number of bytes may have all values.
func (l *language) anyOf(kind meaning.Field, own []piece) bool {
	for b := range 256 {
		for n, p := range own {
			if kind.Takes(uint8(n+1), byte(b)) && !p.set.has(l.classOf[b]) {
				return false
			}
		}
	}
	return len(own) == kind.Size()
}

func showField(l *language, kind meaning.Field, own []piece) string {
	switch kind {
	case meaning.SignalField:
		return l.listed(own[0], func(b byte) (string, bool) { return meaning.Signal(b).String(), kind.Takes(1, b) })
	case meaning.FamilyField:
		return l.listed(own[1], func(b byte) (string, bool) { return kernelname.Families.Word(uint16(b)), kind.Takes(2, b) })
	case meaning.TypeField:
		return l.listed(own[1], func(b byte) (string, bool) { return kernelname.SocketTypes.Word(uint16(b)), kind.Takes(2, b) })
	case meaning.ProtocolField, meaning.NumberField:
		return l.numbers(own)
	case meaning.FlagsField:
		return l.flags(own)
	case meaning.AddressField:
		return l.address(own)
	}
	return l.glob(own)
}

// listed writes the names of the bytes that a piece matches or, if these are fewer, of those that it does not match.
func (l *language) listed(p piece, name func(byte) (string, bool)) string {
	var others classSet
	for class := range l.classes() {
		if !p.set.has(uint16(class)) {
			others.add(uint16(class))
		}
	}
	yes, no := l.valuesOf(p, name), l.valuesOf(piece{token: token{set: others}}, name)
	if len(no) < len(yes) {
		return "any but " + strings.Join(no, ",")
	}
	return strings.Join(yes, ",")
}

// valuesOf returns the names of the bytes that a piece matches.
func (l *language) valuesOf(p piece, name func(byte) (string, bool)) (names []string) {
	for b := range 256 {
		if text, valid := name(byte(b)); valid && p.set.has(l.classOf[b]) {
			names = append(names, text)
		}
	}
	return names
}

// numbers writes the numbers of two bytes, those that follow one another as a range.
func (l *language) numbers(own []piece) string {
	var ranges []string
	first := -1
	for n := range 1<<16 + 1 {
		is := n < 1<<16 && own[0].set.has(l.classOf[n>>8]) && own[1].set.has(l.classOf[n&0xff])
		switch {
		case is && first < 0:
			first = n
		case !is && first >= 0:
			if ranges = append(ranges, fmt.Sprint(first)); n-1 > first {
				ranges[len(ranges)-1] += fmt.Sprintf("-%d", n-1)
			}
			first = -1
		}
	}
	return strings.Join(ranges, ",")
}

// flags writes the flags that a mount must have, and then those that it may have, as they stand behind "options".
func (l *language) flags(own []piece) string {
	var must, may []string
	any := false
	for _, p := range own {
		bytes := l.valuesOf(p, func(b byte) (string, bool) {
			return strings.Join(meaning.Flags(string([]byte{b})), ""), b > 0 && b <= 32
		})
		switch {
		case p.loop && len(bytes) == 32:
			any = true
		case p.loop:
			may = append(may, slices.DeleteFunc(bytes, func(name string) bool { return name[0] >= '0' && name[0] <= '9' })...)
		default:
			must = append(must, strings.Join(bytes, "|"))
		}
	}
	slices.Sort(may)
	may = slices.Compact(may)
	text := ""
	switch {
	case len(must) > 0:
		text = "=(" + strings.Join(must, ",") + ")"
	case !any && len(may) == 0:
		text = "=(rw)" // which is the lack of a flag
	}
	switch {
	case any:
		text += " and any others"
	case len(may) > 0:
		text += " in (" + strings.Join(may, ",") + ")"
	}
	return text
}

func (l *language) address(own []piece) string {
	switch {
	case len(own) == 0:
		return "none"
	case own[0].loop:
		return l.glob(own)
	}
	first := l.valuesOf(own[0], func(b byte) (string, bool) { return map[byte]string{0: "@", 1: "none"}[b], b < 2 })
	return strings.Join(first, " or ") + l.glob(own[1:])
}

// glob writes a text with the wildcards of rules.
func (l *language) glob(own []piece) string {
	all := l.sets()
	var b strings.Builder
	for i := 0; i < len(own); i++ {
		p := own[i]
		last := i+1 == len(own)
		behindSlash := i > 0 && !own[i-1].loop && l.is(own[i-1].set, '/')
		switch {
		case p.loop && behindSlash && last: // "**" would not match nothing there
			b.WriteString("{," + l.star(p.set, all) + "}")
		case p.loop:
			b.WriteString(l.star(p.set, all))
		case p.set == all.name && behindSlash && !last && own[i+1].loop && (i+2 == len(own) || l.is(own[i+2].set, '/')):
			// Behind a slash a star is at least one byte.
			i++
			b.WriteString(l.star(own[i].set, all))
		default:
			b.WriteString(l.class(p.set, all))
		}
	}
	return b.String()
}

func (l *language) is(set classSet, b byte) bool { return l.size(set) == 1 && set.has(l.classOf[b]) }

func (l *language) star(set classSet, all sets) string {
	switch set {
	case all.text, all.any:
		return "**"
	case all.name:
		return "*"
	}
	return l.class(set, all) + "*"
}

// class writes one byte, or a set of them.
func (l *language) class(set classSet, all sets) string {
	var bytes []byte
	for b := range 256 {
		if set.has(l.classOf[b]) {
			bytes = append(bytes, byte(b))
		}
	}
	const half = 128
	switch {
	case set == all.name:
		return "?"
	case len(bytes) == 1:
		return escaped(bytes[0])
	case len(bytes) < half:
		return "[" + ranges(bytes) + "]"
	}
	var not []byte
	for b := 1; b < 256; b++ {
		if !set.has(l.classOf[b]) {
			not = append(not, byte(b))
		}
	}
	return "[^" + ranges(not) + "]"
}

// ranges writes sorted bytes as a set has them.
func ranges(bytes []byte) string {
	var b strings.Builder
	for i := 0; i < len(bytes); {
		to := i
		for to+1 < len(bytes) && bytes[to+1] == bytes[to]+1 {
			to++
		}
		b.WriteString(escaped(bytes[i]))
		if to > i {
			if to > i+1 {
				b.WriteByte('-')
			}
			b.WriteString(escaped(bytes[to]))
		}
		i = to + 1
	}
	return b.String()
}

// escaped writes a byte so that it stands for itself in a glob, and is printable.
func escaped(b byte) string {
	switch {
	case b < ' ', b >= 0x7f:
		return fmt.Sprintf("\\%03o", b)
	case strings.IndexByte(`*?[]{}^\,"-`, b) >= 0 && b != '-':
		return "\\" + string(rune(b))
	}
	return string(rune(b))
}
