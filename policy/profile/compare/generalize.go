package compare

import (
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// piece is a token of a pattern and the field of the key that it is in.
type piece struct {
	token
	field int
}

// generalizer makes of one key a pattern that matches many.
type generalizer struct {
	*describer
	check *checker
	all   sets
	list  []piece

	witness []byte // the key
}

// generalized returns a pattern that matches a key, and as many others of the language as can be found.
func (d *describer) generalized(check *checker, text []uint16) []piece {
	g := generalizer{describer: d, check: check, all: check.sets()}
	bytes := make([]byte, len(text))
	for i, class := range text {
		bytes[i] = check.bytes[class][0]
	}
	g.witness = bytes
	fields := d.fields(string(bytes))
	for i, class := range text {
		g.list = append(g.list, piece{check.one(class), fields[i]})
	}
	if g.tails() {
		return g.list
	}
	for f := len(d.topic.Fields) - 1; f >= 0; f-- {
		if n := len(g.list); n > 0 {
			if last := g.list[n-1]; (last.rest || last.loop) && f >= last.field {
				continue // a tail stands for it
			}
		}
		switch d.topic.Fields[f] {
		case meaning.FlagsField:
			g.flags(f)
		case meaning.PathField, meaning.TextField, meaning.LabelField, meaning.DataField, meaning.AddressField:
			g.text(f)
		}
	}
	g.widen()
	return g.list
}

func tokens(list []piece) []token {
	all := make([]token, len(list))
	for i, p := range list {
		all[i] = p.token
	}
	return all
}

// try takes a list in place of the present one if it is within the language.
func (g *generalizer) try(list ...[]piece) bool {
	one := slices.Concat(list...)
	if len(one) > mostTokens || !g.check.within(tokens(one)) {
		return false
	}
	g.list = one
	return true
}

// fieldAt returns where a field's tokens begin and end, without the NUL behind them.
func (g *generalizer) fieldAt(f int) (begin, end int) {
	begin = slices.IndexFunc(g.list, func(p piece) bool { return p.field == f })
	if begin < 0 { // it is empty
		begin = slices.IndexFunc(g.list, func(p piece) bool { return p.field > f })
		if begin < 0 {
			begin = len(g.list)
		}
		return begin, begin
	}
	for end = begin; end < len(g.list) && g.list[end].field == f; end++ {
	}
	if end-begin > 0 && f+1 < len(g.topic.Fields) && g.nul(end-1) {
		end--
	}
	return begin, end
}

func (g *generalizer) nul(i int) bool {
	p := g.list[i]
	return !p.loop && g.check.size(p.set) == 1 && p.set.has(g.check.classOf[0]) && fieldParted(g.topic.Fields[p.field])
}

// fieldParted reports whether a NUL ends a field.
func fieldParted(f meaning.Field) bool {
	switch f {
	case meaning.SignalField, meaning.FamilyField, meaning.TypeField, meaning.ProtocolField, meaning.NumberField:
		return false
	}
	return true
}

// tails replaces all fields from one on by anything. It reports whether these are all fields.
func (g *generalizer) tails() bool {
	anything := []piece{{token{set: g.all.any, loop: true}, 0}}
	if g.try(anything) {
		return true
	}
	for f := range len(g.topic.Fields) {
		begin, end := g.fieldAt(f)
		if f > 0 && !fieldParted(g.topic.Fields[f-1]) && begin < len(g.list) {
			anything[0].field = f
			if g.try(g.list[:begin], anything) {
				return false
			}
		}
		if f+1 < len(g.topic.Fields) && fieldParted(g.topic.Fields[f]) &&
			g.try(g.list[:end], []piece{{token{rest: true}, f + 1}}) {
			return false
		}
	}
	return false
}

// text makes the text of a field more general: its end, then its parts between slashes, then places in it.
func (g *generalizer) text(f int) {
	begin, end := g.fieldAt(f)
	if begin < end && (g.list[begin].loop || g.list[begin].rest) {
		return
	}
	behind := slices.Clone(g.list[end:])
	found := false
	name := end // from where on there is no slash
	for name > begin && !g.list[name-1].set.has(g.check.classOf['/']) {
		name--
	}
	for n, set := range []classSet{g.all.text, g.all.name} {
		loop := []piece{{token{set: set, loop: true}, f}}
		for i := []int{begin, name}[n]; i <= end && !found; i++ {
			found = g.try(g.list[:i], loop, behind)
		}
		if found {
			break
		}
	}
	g.components(f)
	if !found {
		g.gaps(f)
	}
}

// components replaces the parts of a path by "**" or "*".
func (g *generalizer) components(f int) {
	begin, end := g.fieldAt(f)
	slash := g.check.one(g.check.classOf['/'])
	for i := begin; i < end; i++ {
		if g.list[i].token != slash {
			continue
		}
		to := i + 1
		for to < end && g.list[to].token != slash && !g.list[to].loop {
			to++
		}
		if to > i+1 && to < end && g.list[to].token == slash {
			before, behind := slices.Clone(g.list[:i+1]), slices.Clone(g.list[to:])
			for _, set := range []classSet{g.all.text, g.all.name} {
				if g.try(before, []piece{{token{set: set, loop: true}, f}}, behind) {
					end -= to - i - 2
					break
				}
			}
		}
	}
}

// gaps puts "**" or "*" into a field where they fit.
func (g *generalizer) gaps(f int) {
	begin, end := g.fieldAt(f)
	first := begin
	if g.topic.Fields[f] == meaning.PathField {
		first++ // which is a slash
	}
	for i := end; i >= first; i-- {
		if i > begin && g.list[i-1].loop || i < len(g.list) && g.list[i].loop {
			continue
		}
		for _, set := range []classSet{g.all.text, g.all.name} {
			if g.try(g.list[:i], []piece{{token{set: set, loop: true}, f}}, g.list[i:]) {
				break
			}
		}
	}
}

// flagFits reports whether there can be a flag beside those that there are.
func (g *generalizer) flagFits(begin, end int, flag byte) bool {
	var flags, key []byte
	for i, p := range g.witness {
		switch {
		case i < begin:
			key = append(key, p)
		case i < end:
			flags = append(flags, p)
		}
	}
	at, there := slices.BinarySearch(flags, flag)
	if there || flag == 0 {
		return false
	}
	key = append(key, slices.Insert(flags, at, flag)...)
	shape := g.topic.Shape()
	s := shape.Start()
	for _, b := range key {
		s = shape.Step(s, b)
	}
	return shape.Whole(s)
}

// flags lets there be other flags of a mount beside those that there are.
func (g *generalizer) flags(f int) {
	begin, end := g.fieldAt(f)
	var more classSet
	needed := slices.Clone(g.list[begin:end])
	before, behind := slices.Clone(g.list[:begin]), slices.Clone(g.list[end:])
	with := func(set classSet) []piece {
		loop := piece{token{set: set, loop: true}, f}
		list := []piece{loop}
		for _, p := range needed {
			list = append(list, p, loop)
		}
		return list
	}
	if g.try(before, []piece{{token{set: g.all.text, loop: true}, f}}, behind) {
		return
	}
	if g.try(before, with(g.all.text), behind) {
		return
	}
	for class := range g.check.classes() {
		one := more
		one.add(uint16(class))
		if g.flagFits(begin, end, g.check.bytes[class][0]) && g.try(before, with(one), behind) {
			more = one
		}
	}
	// What is needed may be one that may as well be missing.
	for i := len(needed) - 1; i >= 0; i-- {
		kept, larger := needed, more
		for n := range more {
			larger[n] |= needed[i].set[n]
		}
		needed = slices.Delete(slices.Clone(needed), i, i+1)
		if g.try(before, with(larger), behind) {
			more = larger
		} else {
			needed = kept
		}
	}
}

// widen makes sets of single bytes, as large as they can be.
func (g *generalizer) widen() {
	for i, p := range g.list {
		if p.loop || p.rest || g.nul(i) || g.topic.Fields[p.field] == meaning.FlagsField || p.set.has(g.check.classOf['/']) && fieldParted(g.topic.Fields[p.field]) {
			continue
		}
		whole := g.all.name
		if !fieldParted(g.topic.Fields[p.field]) {
			whole = g.all.any
		}
		with := func(set classSet) bool {
			list := slices.Clone(g.list)
			list[i].set = set
			return g.try(list)
		}
		if with(whole) {
			continue
		}
		set := p.set
		for class := range g.check.classes() {
			if whole.has(uint16(class)) && !set.has(uint16(class)) {
				one := set
				one.add(uint16(class))
				if with(one) {
					set = one
				}
			}
		}
	}
}
