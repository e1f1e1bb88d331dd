package meaning

import (
	"encoding/binary"
	"hash/maphash"
)

// condensed is the automaton of rules about files with only what they say of labels: states that say the same there, and
// lead to the same, are one. State 0 is the one of those that say nothing and lead to nothing.
type condensed struct {
	groups  []state // of the states of the rules
	next    []state // by groups and classes
	classOf [256]uint16
	classes int
	perms   [][2]Perms // of each group: for the owner and for others
}

// ofLabels are the permissions that rules about files have for labels.
const ofLabels = MayChangeProfile | MayOnExec

// only returns what of permissions is about some of them.
func (p Perms) only(mask uint32) Perms {
	return Perms{Allow: p.Allow & mask, Deny: p.Deny & mask, Audit: p.Audit & mask, Quiet: p.Quiet & mask, Kill: p.Kill & mask,
		Hide: p.Hide & mask, Complain: p.Complain & mask}
}

// condense makes the automaton of what rules about files say of labels.
func (p *Profile) condense() *condensed {
	r := &p.file
	c := &condensed{}
	if r.dfa == nil {
		c.groups, c.next, c.classes, c.perms = []state{0}, []state{0}, 1, make([][2]Perms, 1)
		return c
	}
	var bytes []byte // one of each class
	numbers := make(map[uint32]uint16)
	for b, class := range (machine{dfa: r.dfa}).Classes() {
		n, ok := numbers[class]
		if !ok {
			n = uint16(len(bytes))
			numbers[class], bytes = n, append(bytes, byte(b))
		}
		c.classOf[b] = n
	}
	c.classes = len(bytes)

	group := make([]state, len(r.base))
	values := make(map[[2]Perms]state)
	perms := make([][2]Perms, len(group))
	apart := false // what says nothing is not the same as what matches nothing
	for s := range group {
		for i, one := range []Perms{r.owner(state(s)), r.other(state(s))} {
			unsafe := one.XIndex & XUnsafe
			if one = p.flagged(one).only(ofLabels); one.Allow&MayOnExec != 0 {
				one.XIndex = unsafe
			}
			one.Audit &= one.Allow // else it does not matter
			apart = apart || one.Kill|one.Hide|one.Complain != 0
			perms[s][i] = one
		}
	}
	perms[0] = [2]Perms{}
	for s, value := range perms {
		if apart && s > 0 && value == (perms[0]) {
			value[0].Deny = ^uint32(0) // which no value has
		}
		n, ok := values[value]
		if !ok {
			n = state(len(values))
			values[value] = n
		}
		group[s] = n
	}
	group, count := r.refined(group, len(values), bytes)
	c.groups, c.next, c.perms = group, make([]state, count*c.classes), make([][2]Perms, count)
	for s := len(group) - 1; s >= 0; s-- {
		g := group[s]
		c.perms[g] = perms[s]
		for i, b := range bytes {
			c.next[int(g)*c.classes+i] = group[r.step(state(s), b)]
		}
	}
	return c
}

// refined parts groups of states until all of a group lead to the same groups (Moore's algorithm).
func (r *rules) refined(group []state, count int, bytes []byte) ([]state, int) {
	seed := maphash.MakeSeed()
	row := make([]byte, 4*(len(bytes)+1))
	for {
		numbers := make(map[uint64]state, count)
		refined := make([]state, len(group))
		for s := range group {
			binary.NativeEndian.PutUint32(row, uint32(group[s]))
			for i, b := range bytes {
				binary.NativeEndian.PutUint32(row[4+4*i:], uint32(group[r.step(state(s), b)]))
			}
			key := maphash.Bytes(seed, row)
			n, ok := numbers[key]
			if !ok {
				n = state(len(numbers)) // the first state's is 0
				numbers[key] = n
			}
			refined[s] = n
		}
		group = refined
		if len(numbers) == count {
			return group, count
		}
		count = len(numbers)
	}
}

func (c *condensed) step(s state, b byte) state {
	if s == 0 {
		return 0
	}
	return c.next[int(s)*c.classes+int(c.classOf[b])]
}

// whose returns what a group says of labels.
func (c *condensed) whose(s state, owner bool) Perms {
	if owner {
		return c.perms[s][0]
	}
	return c.perms[s][1]
}

// bytes returns the bytes that it does not tell apart, without some that are to be told apart.
func (c *condensed) bytes(apart ...byte) *[256]uint32 {
	var all [256]uint32
	for b, class := range c.classOf {
		all[b] = uint32(class)
	}
	for i, b := range apart {
		all[b] = 256 + uint32(i)
	}
	return &all
}
