package profiletest

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/internal/element"
)

// Table encodes a table of a DFA as apparmor_parser does.
func Table(id, width int, values ...uint32) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(id))
	b = binary.BigEndian.AppendUint16(b, uint16(width))
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(values)))
	for _, v := range values {
		switch width {
		case 1:
			b = append(b, byte(v))
		case 2:
			b = binary.BigEndian.AppendUint16(b, uint16(v))
		default:
			b = binary.BigEndian.AppendUint32(b, v)
		}
	}
	return append(b, make([]byte, -len(b)&7)...)
}

// DFA makes a DFA of tables.
func DFA(flags uint16, tables ...[]byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, 0x1B5E783D)
	b = binary.BigEndian.AppendUint32(b, 24)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = append(b, "notflex\x00\x00\x00"...)
	for _, t := range tables {
		b = append(b, t...)
	}
	return b
}

// Large returns the blob of a profile whose rules about files are a DFA of n states, more than a parser writes for most
// kernels. Each state leads to two others, by chance.
func Large(n int, seed uint64) []byte {
	const classes = 256
	random := rand.New(rand.NewPCG(seed, 1))
	accept, base, def := make([]uint32, n), make([]uint32, n), make([]uint32, n)
	next, check := make([]uint32, 2*n+classes+4), make([]uint32, 2*n+classes+4)
	for s := 1; s < n; s++ {
		accept[s] = uint32(random.IntN(8)) << 1 * 0x4001 // for the owner and others alike
		base[s] = uint32(2 * s)
		for i, to := range []int{random.IntN(n), s%(n-1) + 1} {
			at := 2*s + 'a' + i
			next[at], check[at] = uint32(to), uint32(s)
		}
		def[s] = uint32(min(s, 1+random.IntN(n-1)))
	}
	const acceptID, baseID, checkID, defaultID, accept2ID, nextID = 1, 2, 3, 4, 7, 8
	return ProfileOf(DFA(0, Table(acceptID, 4, accept...), Table(baseID, 4, base...), Table(defaultID, 4, def...),
		Table(nextID, 4, next...), Table(checkID, 4, check...), Table(accept2ID, 4, make([]uint32, n)...)))
}

// ProfileOf returns the blob of a profile whose rules about files are a DFA. start may be nil; else it is where matches
// begin.
func ProfileOf(dfa []byte, start ...uint32) []byte {
	var w writer
	w.u32("version", 7)
	w.code("profile", element.Struct)
	w.code("", element.String)
	w.text("large")
	w.code("flags", element.Struct)
	w.u32("", 0, 0, 0)
	w.code("", element.StructEnd)
	w.u32("", 0, 0, 0, 0)
	w.code("aadfa", element.Blob)
	w.data = binary.LittleEndian.AppendUint32(w.data, uint32(len(dfa)))
	w.data = append(w.data, dfa...)
	if len(start) > 0 {
		w.u32("dfa_start", start...)
	}
	w.code("", element.StructEnd)
	return w.data
}

// writer writes the elements of a blob.
type writer struct{ data []byte }

func (w *writer) name(name string) {
	if name != "" {
		w.data = append(w.data, byte(element.Name))
		w.text(name)
	}
}

func (w *writer) text(text string) {
	w.data = binary.LittleEndian.AppendUint16(w.data, uint16(len(text)+1))
	w.data = append(append(w.data, text...), 0)
}

func (w *writer) u32(name string, values ...uint32) {
	w.name(name)
	for _, v := range values {
		w.data = binary.LittleEndian.AppendUint32(append(w.data, byte(element.U32)), v)
	}
}

func (w *writer) code(name string, code element.Code) {
	w.name(name)
	w.data = append(w.data, byte(code))
}
